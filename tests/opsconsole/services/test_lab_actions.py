"""Every action against real systemd over real ssh: done means done there, and what is refused changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlmodel import col, select

from data.models import Audit, Run, RunTarget
from opsconsole.engine.errors import ConfirmationRequired, ConsoleError, PartlyFailed, PlanStale
from tests.lab.guests import Guest
from tests.opsconsole.services.conftest import Desk, MakeDesk

pytestmark = pytest.mark.lab


@pytest.fixture
async def desk(desks: MakeDesk, guest_a: Guest, guest_b: Guest) -> Desk:
    return await desks(guest_a, guest_b)


@pytest.fixture(autouse=True)
async def mended(guest_a: Guest) -> AsyncIterator[None]:
    yield
    guest_a.sh(
        "systemctl unmask -q work.service; systemctl enable -q work.service; systemctl start work.service work@a"
    )


def active(guest: Guest, unit: str) -> str:
    return guest.ssh(f"systemctl is-active {unit}").stdout.strip()


async def test_the_fleet_in_one_list(desk: Desk, guest_a: Guest, guest_b: Guest) -> None:
    answer = await desk.call("services.list")
    states = {host["host"]: host["state"] for host in answer["hosts"]}
    assert states["a"] == states["b"] == "ok"
    rows = {(row["host"], row["name"]): row for row in answer["services"]}
    assert rows["a", "work"]["status"] == "started"
    assert rows["a", "work"]["enabled"] == "enabled"
    assert rows["b", "broken"]["status"] == "error"
    assert rows["a", "crashloop"]["status"] == "error"
    assert rows["a", "crashloop"]["auto_restart"] or rows["a", "crashloop"]["restarts"] > 0
    assert rows["a", "static"]["unit_file_state"] == "static"
    assert rows["a", "masked"]["masked"] is True
    assert rows["a", "work@"]["multiple_instances"] is True
    assert rows["a", "work"]["available_actions"]["stop"] is True
    assert rows["a", "static"]["available_actions"]["enable"] is False


async def test_the_same_list_from_the_database(desk: Desk) -> None:
    live = await desk.call("services.list", host="a")
    kept = await desk.call("services.list", host="a", cached=True)
    assert [row["name"] for row in kept["services"]] == [row["name"] for row in live["services"]]
    assert kept["hosts"][0]["age"] < 60


async def test_instances(desk: Desk, guest_a: Guest) -> None:
    guest_a.sh("systemctl start work@b")
    instances = (await desk.call("services.instances.list", host="a", name="work@"))["instances"]
    found = {instance["instance_name"]: instance for instance in instances}
    assert found["a"]["status"] == "started"
    assert found["a"]["enabled"] == "enabled"
    assert "with-dash" in found
    one = await desk.call("services.instances.get", host="a", name="work@", instance_name="b")
    assert (one["name"], one["instance_name"], one["status"]) == ("work@", "b", "started")
    assert one["enabled"] == "disabled"
    guest_a.sh("systemctl stop work@b")
    assert (await desk.call("services.instances.list", host="a", name="static")) == {"instances": []}


async def test_restart_is_a_new_invocation(desk: Desk, guest_a: Guest) -> None:
    before = guest_a.sh("systemctl show -p InvocationID --value work").strip()
    assert await desk.call("services.restart", confirm="yes", host="a", name="work") == {}
    after = guest_a.sh("systemctl show -p InvocationID --value work").strip()
    assert before != after
    assert active(guest_a, "work") == "active"


async def test_stop_and_start(desk: Desk, guest_a: Guest) -> None:
    plan = await desk.plan("services.stop", host="a", name="work")
    assert plan["rung"] == 1
    guest_a.sh("systemctl start needswork boundtowork")
    plan = await desk.plan("services.stop", host="a", name="work")
    assert {"a: needswork (through work)", "a: boundtowork (through work)"} <= set(plan["dependents"])
    assert await desk.call("services.stop", confirm="yes", host="a", name="work.service") == {}
    assert active(guest_a, "work") == "inactive"
    assert await desk.call("services.start", host="a", name="work") == {}
    assert active(guest_a, "work") == "active"
    assert await desk.call("services.start", host="a", name="work") == {}


async def test_disable_and_enable(desk: Desk, guest_a: Guest) -> None:
    assert await desk.call("services.action", confirm="yes", host="a", name="work", action="disable") == {}
    assert guest_a.ssh("systemctl is-enabled work").stdout.strip() == "disabled"
    assert await desk.call("services.enable", host="a", name="work") == {}
    assert guest_a.ssh("systemctl is-enabled work").stdout.strip() == "enabled"


async def test_a_start_that_does_not_hold_is_no_success(desk: Desk) -> None:
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.start", host="a", name="broken")
    assert (caught.value.as_json()["code"], caught.value.exit_status) == ("service_action_failed", 6)
    assert "exit-code" in caught.value.message
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.restart", confirm="yes", host="a", name="crashloop")
    assert caught.value.as_json()["code"] == "service_action_failed"


async def test_an_unmet_condition_is_said(desk: Desk) -> None:
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.start", host="a", name="conditional")
    assert "condition" in caught.value.message


async def test_a_failed_unit_is_reset(desk: Desk, guest_b: Guest) -> None:
    guest_b.ssh("systemctl start broken")
    assert active(guest_b, "broken") == "failed"
    assert await desk.call("services.reset_failed", host="b", name="broken") == {}
    assert active(guest_b, "broken") == "inactive"


@pytest.mark.parametrize(
    ("operation", "name", "status", "says"),
    [
        ("services.start", "nosuch", 4, "nosuch"),
        ("services.enable", "static", 5, "no [Install] section"),
        ("services.start", "masked", 5, "masked"),
        ("services.restart", "refuses", 5, "by hand"),
        ("services.restart", "a[/x]", 2, "name"),
        ("services.restart", "x" * 300, 2, "name"),
        ("services.restart", "a\nb", 2, "name"),
        ("services.restart", "a\x1b]0;t\x07", 2, "name"),
    ],
)
async def test_refused_before_anything_happens(desk: Desk, operation: str, name: str, status: int, says: str) -> None:
    with pytest.raises(ConsoleError) as caught:
        await desk.call(operation, confirm="yes", host="a", name=name)
    assert caught.value.exit_status == status
    assert caught.value.field == "name"
    assert says in caught.value.message
    assert not await desk.house.database.read(lambda tx: tx.exec(select(Run)).all())


async def test_an_unknown_action_names_the_known(desk: Desk) -> None:
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.action", host="a", name="work", action="explode")
    assert (caught.value.code, caught.value.field, caught.value.exit_status) == ("service_action_unknown", "action", 2)


async def test_without_a_confirmation_nothing_happens_and_the_answer_says_what_to_type(
    desk: Desk, guest_a: Guest
) -> None:
    before = guest_a.sh("systemctl show -p InvocationID --value work")
    with pytest.raises(ConfirmationRequired) as caught:
        await desk.call("services.restart", host="a", name="work")
    assert caught.value.exit_status == 7
    assert caught.value.data["expect"] == "yes"
    digest = caught.value.data["plan_digest"]
    assert guest_a.sh("systemctl show -p InvocationID --value work") == before
    await desk.call("services.restart", confirm=digest, host="a", name="work")
    with pytest.raises(PlanStale):
        await desk.call("services.restart", confirm=digest, host="a", name="work")


async def test_many_targets_each_with_its_result_and_the_failed_again(
    desk: Desk, guest_a: Guest, guest_b: Guest
) -> None:
    items = [{"host": "a", "name": "work"}, {"host": "b", "name": "work"}, {"host": "b", "name": "broken"}]
    plan = await desk.plan("services.restart", items=items)
    assert (plan["rung"], plan["expect"]) == (2, "3")
    with pytest.raises(PartlyFailed) as caught:
        await desk.call("services.restart", confirm="3", items=items)
    assert caught.value.exit_status == 8
    states = {(t["host"], t["name"]): t["state"] for t in caught.value.targets}
    assert states == {("a", "work"): "done", ("b", "work"): "done", ("b", "broken"): "failed"}
    run_id = caught.value.data["run_id"]
    run = await desk.house.database.read(lambda tx: tx.get(Run, run_id))
    assert run is not None
    assert run.state == "partial"
    guest_b.sh("sed -i 's/exit 3/exec sleep infinity/' /etc/systemd/system/broken.service; systemctl daemon-reload")
    try:
        await desk.call("runs.retry", id=run_id, confirm="yes")
        assert active(guest_b, "broken") == "active"
    finally:
        guest_b.sh(
            "systemctl stop broken;"
            "sed -i 's/exec sleep infinity/exit 3/' /etc/systemd/system/broken.service; systemctl daemon-reload"
        )


async def test_production_asks_one_rung_more(desk: Desk, guest_b: Guest) -> None:
    await desk.add("b-prod", guest_b.address, environment="prod")
    (desk.house.home / "known_hosts").write_text(f"{guest_b.known_hosts}\n")
    plan = await desk.plan("services.restart", host="b-prod", name="work")
    assert (plan["rung"], plan["expect"], plan["level"]) == (2, "1", "prod")


async def test_every_target_is_in_the_journal(desk: Desk) -> None:
    await desk.call("services.restart", confirm="2", items=[{"host": h, "name": "work"} for h in ("a", "b")])
    rows = await desk.house.database.read(
        lambda tx: tx.exec(select(Audit).where(Audit.operation == "services.restart").order_by(col(Audit.seq))).all()
    )
    assert [(row.target_name, row.result) for row in rows] == [("work", "done"), ("work", "done")]
    assert rows[0].before["invocation_id"] != rows[0].after["invocation_id"]
    assert (await desk.call("audit.verify"))["verdict"] == "intact"


async def test_a_cancelled_call_leaves_unknown_and_never_a_silent_half(desk: Desk) -> None:
    call = asyncio.create_task(desk.call("services.restart", confirm="yes", host="a", name="slowstop"))
    database = desk.house.database
    async with asyncio.timeout(20):
        while not await database.read(  # noqa: ASYNC110 - another process may write it
            lambda tx: tx.exec(select(RunTarget).where(RunTarget.state == "in_flight")).all()
        ):
            await asyncio.sleep(0.05)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    target = await database.read(lambda tx: tx.exec(select(RunTarget)).one())
    assert target.state == "unknown"
    assert "slowstop" in str(target.error)
