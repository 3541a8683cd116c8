"""Hosts in trouble: each has its own clear state in place, and the rest of the fleet stays live."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opsconsole.engine.errors import ConsoleError
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node
from tests.opsconsole.services.conftest import MakeDesk

pytestmark = pytest.mark.lab


async def test_a_half_dead_fleet_shows_each_state_and_the_live_ones(
    desks: MakeDesk, guest_a: Guest, guest_b: Guest, dead_address: str, refused_port: tuple[str, int], plain_host: Node
) -> None:
    desk = await desks(guest_a, guest_b, settings="connect_timeout = 2.0\nmin_uptime = 1.0\n")
    await desk.add("dead", dead_address)
    await desk.add("closed", refused_port[0], refused_port[1])
    await desk.add("nobody", guest_a.address, user="nosuchuser")
    await desk.add("noname", "does-not-resolve.invalid")
    answer = await desk.call("services.list")
    states = {host["host"]: host for host in answer["hosts"]}
    assert states["a"]["state"] == states["b"]["state"] == "ok"
    assert states["dead"]["state"] in {"timeout", "unreachable"}
    assert states["closed"]["state"] == "unreachable"
    assert states["nobody"]["state"] == "auth"
    assert states["noname"]["state"] == "unreachable"
    assert states["local"]["state"] in {"ok", "unsupported"}
    for name in ("dead", "closed", "nobody", "noname"):
        assert name in states[name]["error"]["message"]
    assert {row["host"] for row in answer["services"]} >= {"a", "b"}


async def test_a_plan_with_dead_hosts_says_what_can_be_done_without_them(
    desks: MakeDesk, guest_a: Guest, refused_port: tuple[str, int]
) -> None:
    desk = await desks(guest_a, settings="connect_timeout = 2.0\nmin_uptime = 1.0\n")
    await desk.add("closed", refused_port[0], refused_port[1])
    items = [{"host": "closed", "name": "work"}, {"host": "a", "name": "work"}, {"host": "closed", "name": "cron"}]
    with pytest.raises(ConsoleError) as caught:
        await desk.plan("services.restart", items=items)
    assert (caught.value.code, caught.value.exit_status) == ("host_unreachable", 6)
    assert "2 of 3 services are on hosts without an answer (closed)" in caught.value.message
    assert [(t["host"], t["name"]) for t in caught.value.targets] == [("closed", "work"), ("closed", "cron")]
    assert caught.value.data["rest"] == [{"host": "a", "name": "work"}]
    plan = await desk.plan("services.restart", items=caught.value.data["rest"])
    assert [target["name"] for target in plan["targets"]] == ["work"]
    with pytest.raises(ConsoleError) as alone:
        await desk.plan("services.restart", items=items[:1])
    assert "rest" not in alone.value.data


async def test_an_unknown_and_a_changed_host_key_are_told_apart(
    desks: MakeDesk, guest_a: Guest, guest_b: Guest
) -> None:
    desk = await desks(guest_a, guest_b)
    ssh = desk.house.home.parent / "user" / ".ssh" / "known_hosts"
    wrong = guest_b.known_hosts.replace(guest_b.address, guest_a.address)
    ssh.write_text(f"{wrong}\n")
    states = {host["host"]: host for host in (await desk.call("services.list"))["hosts"]}
    assert states["a"]["state"] == "host_key_changed"
    assert states["b"]["state"] == "host_key_unknown"
    assert states["b"]["error"]["data"]["fingerprint"].startswith("SHA256:")
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.get", host="b", name="work")
    assert (caught.value.code, caught.value.exit_status) == ("host_key_unknown", 6)


async def test_a_host_without_systemd(desks: MakeDesk, guest_a: Guest, plain_host: Node) -> None:
    desk = await desks(guest_a)
    config = desk.house.home.parent / "user" / ".ssh" / "config"
    config.write_text(f"Host plain\n  IdentityFile {plain_host.key}\n" + config.read_text())
    (desk.house.home / "known_hosts").write_text(f"{plain_host.known_hosts}\n")
    await desk.add("plain", plain_host.address, port=plain_host.port, user=plain_host.user)
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.list", host="plain")
    assert caught.value.code == "not_supported"
    assert "no systemd" in caught.value.message


async def test_an_unprivileged_user_sees_everything_and_is_told_before_he_tries(
    desks: MakeDesk, guest_a: Guest
) -> None:
    desk = await desks(guest_a)
    await desk.add("a-ops", guest_a.address, user="ops")
    await desk.add("a-admin", guest_a.address, user="admin1")
    seen = await desk.call("services.get", host="a-ops", name="work")
    assert seen["status"] == "started"
    assert "sudo" in seen["available_actions"]["restart"]["because"]
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.restart", confirm="yes", host="a-ops", name="work")
    assert caught.value.exit_status == 6
    assert "NOPASSWD" in caught.value.message
    assert await desk.call("services.restart", confirm="yes", host="a-admin", name="work") == {}


async def test_the_journal_goes_on_after_its_connection_was_cut(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    guest_a.sh("systemctl start chatty")
    try:
        events = desk.stream("services.journal.follow", items=[{"host": "a", "name": "chatty"}], lines=5)
        numbers: list[int] = []
        gaps = 0
        cut = False
        async with asyncio.timeout(60):
            async for event in events:
                if "gap" in event:
                    gaps += not event["resumed"]
                    continue
                words = event["message"].split()
                if words[:1] == ["line"]:
                    numbers.append(int(words[1]))
                if len(numbers) == 50 and not cut:
                    cut = True
                    guest_a.sh("nohup sh -c 'sleep 0.2; pkill -f \"sshd: root\"' >/dev/null 2>&1 &")
                if gaps and len(numbers) >= 300:
                    break
        await events.aclose()  # type: ignore[attr-defined]
    finally:
        guest_a.sh("systemctl stop chatty")
    assert gaps >= 1
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_watch_shows_the_kept_state_first_and_then_the_live_one(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    await desk.call("services.list", host="a")
    events = desk.stream("services.watch", interval=0.5, hosts=["a"])
    first = await anext(events)
    assert first["host"]["cached"] is True
    assert any(row["name"] == "work" for row in first["rows"])
    async with asyncio.timeout(20):
        second = await anext(events)
        while second["host"]["cached"]:
            second = await anext(events)
    assert second["host"]["state"] == "ok"
    await events.aclose()  # type: ignore[attr-defined]


async def test_two_consoles_see_each_others_changes_within_a_second(desks: MakeDesk, guest_a: Guest) -> None:
    mine, other = await desks(guest_a), await desks(guest_a)
    events = other.stream("services.watch", interval=600, hosts=["a"])
    status: dict[str, Any] = {}
    seen = asyncio.Event()

    async def read() -> None:
        async for event in events:
            for row in event.get("rows", ()):
                if row["name"] == "work":
                    status["now"] = row["status"]
                    status["at"] = asyncio.get_running_loop().time()
            seen.set()

    reader = asyncio.create_task(read())
    async with asyncio.timeout(90):
        while status.get("now") != "started":
            await seen.wait()
            seen.clear()
        await asyncio.sleep(1.0)
        await mine.call("services.stop", confirm="yes", host="a", name="work")
        done = asyncio.get_running_loop().time()
        while status["now"] != "stopped":
            await seen.wait()
            seen.clear()
    reader.cancel()
    await mine.call("services.start", host="a", name="work")
    assert status["at"] - done < 1.0
