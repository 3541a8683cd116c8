"""Tasks on real hosts: services in waves, steps that a reboot takes away, a full disk, what was left behind."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from opsconsole.engine import dispatch
from opsconsole.engine.errors import HostUnreachable, ObjectNotFound, StateConflict
from opsconsole.engine.perform import Consent
from opsconsole.house import House
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg
from opsconsole.tasks.options import TaskOptions
from tests.lab.guests import Guest
from tests.opsconsole.services.conftest import Desk, MakeDesk, desks
from tests.opsconsole.tasks.conftest import until, walk

__all__ = ["desks"]
pytestmark = pytest.mark.timeout(300)


async def task(desk: Desk, operation: str, confirm: str, data: dict[str, Any], **options: Any) -> str:
    desk.house.wake_worker = lambda house: None
    wanted = TaskOptions(**options) if options else None
    answer = await dispatch.call(desk.ctx, operation, data, Consent(confirm, "test", task=wanted))
    task_id: str = answer["task_id"]
    return task_id


async def perform(house: House, task_id: str) -> str:
    return await walk(Leg(house, task_id, workers.new_id(), Gates(4)))


async def printed(desk: Desk, task_id: str) -> str:
    return "".join([e["text"] async for e in desk.stream("tasks.follow", id=task_id) if e["event"] == "output"])


async def test_services_of_two_hosts_in_waves(desks: MakeDesk, guest_a: Guest, guest_b: Guest) -> None:
    desk = await desks(guest_a, guest_b)
    names = [f"wave{n}" for n in range(3)]
    for guest in (guest_a, guest_b):
        guest.sh("systemctl start " + " ".join(f"work@{name}" for name in names))
    read = "systemctl show -p InvocationID --value " + " ".join(f"work@{name}" for name in names)
    before = guest_a.sh(read)
    items = [{"host": host, "name": f"work@{name}"} for host in ("a", "b") for name in names]
    plan = await desk.plan("services.restart", items=items)
    assert (plan["task"], plan["needs_operator"], plan["expect"]) == (True, [], "6")
    task_id = await task(desk, "services.restart", "6", {"items": items}, waves=("1", "rest"), limit=2)
    assert await perform(desk.house, task_id) == "finished"
    found = await desk.call("tasks.get", id=task_id)
    assert [row["wave"] for row in found["results"]] == [0, 1, 1, 1, 1, 1]
    assert {row["after"]["status"] for row in found["results"]} == {"started"}
    assert not set(before.split()) & set(guest_a.sh(read).split())
    for guest in (guest_a, guest_b):
        guest.sh("systemctl stop " + " ".join(f"work@{name}" for name in names))


async def test_a_restart_that_was_in_flight_is_proven_by_its_invocation(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    guest_a.sh("systemctl start work@proof")
    task_id = await task(desk, "services.restart", "yes", {"host": "a", "name": "work@proof"}, limit=1)
    first = Leg(desk.house, task_id, workers.new_id(), Gates(4))
    assert await first.take_up()
    await first.begin()
    from sqlmodel import update

    from data.models import RunTarget

    await desk.house.database.write(lambda tx: tx.execute(update(RunTarget).values(state="in_flight")))
    guest_a.sh("systemctl restart work@proof")
    assert await perform(desk.house, task_id) == "finished"
    again = await task(desk, "services.restart", "yes", {"host": "a", "name": "work@proof"}, limit=1)
    second = Leg(desk.house, again, workers.new_id(), Gates(4))
    await second.take_up()
    await second.begin()
    await desk.house.database.write(
        lambda tx: tx.execute(update(RunTarget).where(RunTarget.run_id == again).values(state="in_flight"))  # type: ignore[arg-type]
    )
    assert await perform(desk.house, again) == "unknown"
    guest_a.sh("systemctl stop work@proof")


async def test_a_reboot_in_the_middle_is_unknown(desks: MakeDesk, guest_b: Guest) -> None:
    desk = await desks(guest_b)
    data = {"hosts": ["b"], "steps": ["echo begun; sleep 300", "echo never"]}
    task_id = await task(desk, "hosts.execute", "b", data)
    running = asyncio.ensure_future(perform(desk.house, task_id))

    async def begun() -> bool:
        found = await desk.call("tasks.get", id=task_id)
        return bool(found["output_seq"])

    await until(begun, 60)
    await asyncio.to_thread(guest_b.kill)
    await asyncio.to_thread(guest_b.start)
    assert await asyncio.wait_for(running, 90) == "unknown"
    found = await desk.call("tasks.get", id=task_id)
    assert found["results"][0]["error"]["code"] == "outcome_unknown"
    assert await printed(desk, task_id) == "begun\n"


async def test_a_full_disk_there_is_said_and_nothing_runs(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    guest_a.sh(
        "mkdir -p /var/lib/opsconsole-jobs; mount -t tmpfs -o size=64k tmpfs /var/lib/opsconsole-jobs;"
        " head -c 1M /dev/zero > /var/lib/opsconsole-jobs/fill || true"
    )
    try:
        data = {"hosts": ["a"], "steps": ["touch /root/it-ran"]}
        task_id = await task(desk, "hosts.execute", "a", data)
        assert await perform(desk.house, task_id) == "failed"
        found = await desk.call("tasks.get", id=task_id)
        assert "disk is full" in found["results"][0]["error"]["message"]
        assert guest_a.ssh("test -e /root/it-ran").returncode == 1
    finally:
        guest_a.sh("umount /var/lib/opsconsole-jobs")


async def test_one_dead_host_does_not_hold_the_others(desks: MakeDesk, guest_a: Guest, dead_address: str) -> None:
    desk = await desks(guest_a, settings="connect_timeout = 2.0\n")
    await desk.add("dead", dead_address)
    data = {"hosts": ["dead", "a"], "steps": ["echo here"]}
    plan = await desk.plan("hosts.execute", **data)
    task_id = await task(desk, "hosts.execute", plan["expect"], data)
    assert await perform(desk.house, task_id) == "partial"
    found = {row["host"]: row for row in (await desk.call("tasks.get", id=task_id))["results"]}
    assert (found["dead"]["state"], found["dead"]["error"]["code"]) == ("failed", "host_unreachable")
    assert found["a"]["state"] == "done"


async def test_a_host_that_only_the_operator_can_open(desks: MakeDesk, guest_a: Guest) -> None:
    """No key in a file, no stored credential: a worker would stand before a closed door, and the plan says so."""
    desk = await desks()
    await desk.add("a", guest_a.address)
    data = {"hosts": ["a"], "steps": ["id"]}
    assert (await desk.plan("hosts.execute", **data))["needs_operator"] == ["a"]
    with pytest.raises(HostUnreachable, match="--attached"):
        await task(desk, "hosts.execute", "a", data)


async def test_what_was_left_behind_is_swept(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    data = {"hosts": ["a"], "steps": ["echo x; sleep 400"]}
    task_id = await task(desk, "hosts.execute", "a", data)
    running = asyncio.ensure_future(perform(desk.house, task_id))

    async def begun() -> bool:
        return bool((await desk.call("tasks.get", id=task_id))["output_seq"])

    await until(begun, 60)
    with pytest.raises(StateConflict, match="nothing of ours"):
        await desk.plan("tasks.sweep", hosts=["a"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    from sqlmodel import update

    from data.models import Task

    await desk.house.database.write(lambda tx: tx.execute(update(Task).values(state="unknown")))
    plan = await desk.plan("tasks.sweep", hosts=["a"])
    assert [t["before"]["state"] for t in plan["targets"]] == ["running"]
    await desk.call("tasks.sweep", confirm=plan["expect"], reason="left behind", hosts=["a"])
    assert "sleep 400" not in guest_a.sh("ps -eo args")
    with pytest.raises(StateConflict, match="nothing of ours"):
        await desk.plan("tasks.sweep", hosts=["a"])
    with pytest.raises(ObjectNotFound):
        await desk.plan("tasks.sweep", hosts=["nowhere"])


async def test_the_unit_we_print_keeps_a_worker(guest_a: Guest) -> None:
    """By systemd itself, in a guest that runs this very program: it is started, and started again after a kill."""
    program = f"OPSCONSOLE_HOME=/root/console {sys.executable} -P -m opsconsole"
    guest_a.sh(f"{program} worker --unit > /etc/systemd/system/opsconsole-worker.service")
    try:
        assert guest_a.ssh("systemd-analyze verify opsconsole-worker.service").stderr == ""
        guest_a.sh("systemctl daemon-reload; systemctl start opsconsole-worker")

        async def keeper() -> Any:
            said = await asyncio.to_thread(guest_a.ssh, f"{program} jobs list")
            return said.returncode == 0 and json.loads(said.stdout)["timekeeper"]

        first = await until(keeper, 60)
        guest_a.sh("systemctl kill -s KILL opsconsole-worker")

        async def another() -> bool:
            found = await keeper()
            return bool(found) and found != first

        assert await until(another, 60)
        guest_a.sh("systemctl stop opsconsole-worker")
        assert await keeper() is None or str(await keeper()).startswith("tick:")
    finally:
        guest_a.sh(
            "systemctl stop opsconsole-worker; rm -rf /etc/systemd/system/opsconsole-worker.service /root/console;"
            " systemctl daemon-reload"
        )
