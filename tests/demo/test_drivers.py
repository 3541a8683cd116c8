"""Our drivers against the simulated fleet, over real ssh."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator

import pytest

from drivers.errors import Refused, TimedOut, Unreachable
from drivers.journal import Entry, Gap, follow
from drivers.systemd import act, arm_deadman, carriers, cat, deadman_state, dependencies, disarm, show, snapshot
from opsconsole.demo.catalogue import FLEET
from tests.demo.conftest import Desk

CONFIGS = {"openvpn@.service": "/etc/openvpn/*.conf"}


async def test_a_snapshot_of_every_live_host(desk: Desk) -> None:
    plans = [plan for plan in FLEET if plan.way == "answers"]
    seen = await asyncio.gather(*(snapshot(desk.runner(plan.name), timeout=60) for plan in plans))
    for plan, units in zip(plans, seen, strict=True):
        assert units.failed_to_parse == 0
        assert units.systemd_version == plan.version
        assert units.euid == (0 if plan.user == "root" else 1000)
        assert units.sudo is (None if plan.user == "root" else plan.sudo)
        # A generous bound: how exact this is depends on how busy the machine of the test is.
        assert units.clock_skew == pytest.approx(plan.skew, abs=20)
        real = [unit for unit in units.units.values() if not unit.is_template]
        assert {unit.id for unit in real} == {spec.unit for spec in plan.specs()}


async def test_unit_files_are_read_once_and_again_after_a_change(desk: Desk) -> None:
    runner = desk.runner("dev-db-1")
    first = await snapshot(runner, timeout=60)
    again = await snapshot(runner, timeout=60, earlier=first)
    assert again.files is first.files
    await act(runner, "disable", "memcached.service", timeout=20)
    changed = await snapshot(runner, timeout=60, earlier=first)
    assert changed.files is not first.files
    assert changed.units["memcached.service"].unit_file_state == "disabled"
    await act(runner, "enable", "memcached.service", timeout=20)


async def test_instances_of_a_template(desk: Desk) -> None:
    seen = await snapshot(desk.runner("vpn-1"), timeout=60, instance_configs=CONFIGS)
    branches = {name: unit for name, unit in seen.units.items() if unit.template == "openvpn@.service"}
    assert len(branches) == 13
    assert branches["openvpn@branch-7.service"].active_state == "failed"
    assert branches["openvpn@branch-11.service"].active_state == "inactive"
    assert "config:/etc/openvpn/branch-7.conf" in branches["openvpn@branch-7.service"].sources
    assert "openvpn@branch-3.service" in dependencies(seen.units, "openvpn.service")
    assert carriers(seen.units)["openvpn@hq.service"] == "a VPN that may be our path"


async def test_show_and_cat(desk: Desk) -> None:
    runner = desk.runner("web-2")
    found = await show(runner, ["nginx.service", "sshd.service", "nothing.service"], timeout=20)
    assert found["nginx.service"].need_daemon_reload
    assert found["sshd.service"].id == "ssh.service"
    assert found["nothing.service"].load_state == "not-found"
    text = await cat(runner, "nginx.service")
    assert "ExecStart=" in text
    assert "limits.conf" in text
    with pytest.raises(Refused) as refused:
        await cat(runner, "nothing.service")
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    ("verb", "unit", "code"),
    [
        ("start", "ModemManager.service", "masked"),
        ("start", "nothing.service", "not_found"),
        ("enable", "rescue.service", "invalid"),
        ("reload", "cron.service", "invalid"),
        ("stop", "auditd.service", "invalid"),
    ],
)
async def test_refusals_are_systemds_own(desk: Desk, verb: str, unit: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        await act(desk.runner("web-1"), verb, unit, timeout=20)
    assert refused.value.code == code


async def test_a_powerless_user(desk: Desk) -> None:
    runner = desk.runner("dev-lab-1")
    with pytest.raises(Refused) as refused:
        await act(runner, "stop", "named.service", timeout=20)
    assert refused.value.code == "privilege"
    with pytest.raises(Refused) as unread:
        await anext(follow(runner))
    assert unread.value.code == "privilege"


async def test_a_dead_man_fires_or_is_disarmed(desk: Desk) -> None:
    runner = desk.runner("stage-web-1")
    await act(runner, "stop", "cron.service", timeout=20)
    fires = await arm_deadman(runner, "start", "cron.service", 1, uuid.uuid4().hex)
    waits = await arm_deadman(runner, "start", "cron.service", 600, uuid.uuid4().hex)
    assert await disarm(runner, waits) == "armed"
    async with asyncio.timeout(30):
        while await deadman_state(runner, fires) != "fired":  # noqa: ASYNC110 - it happens over there
            await asyncio.sleep(0.2)
    assert (await show(runner, ["cron.service"], timeout=20))["cron.service"].active_state == "active"
    assert await disarm(runner, fires) == "fired"
    assert await deadman_state(runner, fires) == "gone"


async def take(entries: AsyncGenerator[Entry | Gap, None], count: int) -> list[Entry]:
    found: list[Entry] = []
    async with asyncio.timeout(60):
        async for entry in entries:
            if isinstance(entry, Entry):
                found.append(entry)
            if len(found) == count:
                break
    await entries.aclose()
    return found


async def test_the_journal_goes_on_behind_a_cursor(desk: Desk) -> None:
    runner = desk.runner("web-2")
    whole = [entry async for entry in follow(runner, lines=40, follow=False) if isinstance(entry, Entry)]
    assert len(whole) == 40
    rest = await take(follow(runner, after_cursor=whole[10].cursor), 32)
    assert [entry.cursor for entry in rest[:29]] == [entry.cursor for entry in whole[11:]]
    assert [entry.realtime_us for entry in rest] == sorted(entry.realtime_us for entry in rest)


async def test_following_survives_a_cut_without_loss(desk: Desk) -> None:
    runner = desk.runner("web-2")
    entries = follow(runner, lines=0)
    found: list[Entry] = []
    gaps = 0
    async with asyncio.timeout(90):
        async for item in entries:
            if isinstance(item, Gap):
                gaps += 1
                continue
            found.append(item)
            if len(found) == 3:
                (await desk.house.fleet.pool.connection(runner._host)).abort()
            if len(found) == 12:
                break
    await entries.aclose()
    assert gaps == 2
    again = await take(follow(runner, after_cursor=found[0].cursor), 11)
    assert [entry.cursor for entry in again] == [entry.cursor for entry in found[1:]]


async def test_lines_of_units_priorities_and_times(desk: Desk) -> None:
    runner = desk.runner("web-1")
    await act(runner, "restart", "cron.service", timeout=20)
    said = [e async for e in follow(runner, units=("cron.service",), lines=50, follow=False) if isinstance(e, Entry)]
    assert {entry.unit for entry in said} == {"cron.service"}
    assert any(entry.message.startswith(b"Started cron.service") and entry.identifier == "systemd" for entry in said)
    bad = [e async for e in follow(runner, priority=4, lines=20, follow=False) if isinstance(e, Entry)]
    assert bad
    assert all(entry.priority is not None and entry.priority <= 4 for entry in bad)
    since = said[-1].realtime_us / 1_000_000
    new = [e async for e in follow(runner, since=since, lines=None, follow=False) if isinstance(e, Entry)]
    assert all(entry.realtime_us >= said[-1].realtime_us - 1 for entry in new)


async def test_hostile_lines_arrive_as_they_are(desk: Desk) -> None:
    runner = desk.runner("dev-weird-1")
    entries = [e async for e in follow(runner, units=("legacy-report.service",), lines=300, follow=False)]
    text = b"\n".join(entry.message for entry in entries if isinstance(entry, Entry))
    assert b"\x1b]52;c;" in text
    assert b"\xff\xfe" in text
    assert "幅広い".encode() in text


async def test_dead_hosts_have_their_own_errors(desk: Desk) -> None:
    with pytest.raises(Unreachable, match="refused"):
        await desk.runner("web-4").run("id -u", timeout=20)
    with pytest.raises(TimedOut):
        await desk.runner("stage-ci-1").run("id -u", timeout=2)


async def test_a_stranger_is_not_let_in(desk: Desk) -> None:
    from dataclasses import replace

    from drivers.errors import AuthRefused
    from opsconsole.fleet import endpoint

    wrong = replace(endpoint(desk.hosts["web-1"]), user="somebody")
    with pytest.raises(AuthRefused):
        await desk.house.fleet.pool.runner(wrong).run("id -u", timeout=30)
