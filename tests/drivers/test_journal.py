"""The journal of a real host: in order, without loss, without doubles, whatever happens to the line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from drivers.errors import ProtocolError, Refused, Unreachable, Unsupported
from drivers.journal import MAX_MESSAGE, Entry, Gap, follow
from drivers.runner import Runner
from tests.drivers.support import Desk, key_of
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node, SshFarm

pytestmark = pytest.mark.lab


async def _until(entries: AsyncGenerator[Entry | Gap, None], count: int) -> list[Entry | Gap]:
    got: list[Entry | Gap] = []
    async with asyncio.timeout(40):
        async for item in entries:
            got.append(item)
            if sum(isinstance(one, Entry) for one in got) >= count:
                break
    return got


async def _all(entries: AsyncGenerator[Entry | Gap, None]) -> list[Entry]:
    async with contextlib.aclosing(entries):
        return [item async for item in entries if isinstance(item, Entry)]


def _numbers(items: list[Entry | Gap]) -> list[int]:
    return [int(item.message.split()[1]) for item in items if isinstance(item, Entry) and item.message[:5] == b"line "]


async def _cut(guest: Guest, then: str = "true") -> None:
    """Kill every session of root, as a broken line would, and do something while nobody is connected."""
    command = f"pkill -KILL -f '[s]shd: root@notty'; {then}"
    await asyncio.to_thread(guest.sh, f'systemd-run -q --no-block sh -c "sleep 0.2; {command}"')


async def test_new_lines_come_as_they_are_written(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    async with contextlib.aclosing(follow(runner, units=("reloads.service",), lines=0)) as entries:
        first = asyncio.create_task(anext(entries))
        await asyncio.sleep(0.5)
        assert not first.done()
        await asyncio.to_thread(guest_a.sh, "systemctl restart reloads.service")
        entry = await asyncio.wait_for(first, 10)
    assert isinstance(entry, Entry)
    assert (entry.unit, entry.identifier, entry.hostname) == ("reloads.service", "systemd", "a")
    assert b"Can reload" in entry.message


@pytest.mark.parametrize("lines", [0, 10, None])
async def test_a_unit_that_never_said_anything_is_heard_when_it_does(
    desk: Desk, guest_a: Guest, lines: int | None
) -> None:
    name = f"silent{lines}.service"
    async with contextlib.aclosing(follow(desk.runner(guest_a), units=(name,), lines=lines)) as entries:
        first = asyncio.create_task(anext(entries))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(guest_a.sh, f"systemd-run -q --unit={name} sh -c 'echo I speak; sleep 1'")
        got = [await asyncio.wait_for(first, 10), *await _until(entries, 2)]
    assert {item.message for item in got if isinstance(item, Entry)} >= {b"I speak"}


async def test_the_backlog_and_what_follows_meet_without_a_seam(desk: Desk, guest_a: Guest) -> None:
    await asyncio.to_thread(guest_a.sh, "systemctl restart chatty")
    try:
        for _ in range(3):
            async with contextlib.aclosing(
                follow(desk.runner(guest_a), units=("chatty.service",), lines=15)
            ) as entries:
                numbers = _numbers(await _until(entries, 60))
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    finally:
        await asyncio.to_thread(guest_a.sh, "systemctl stop chatty")


async def test_closing_ends_the_remote_journalctl(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    entries = follow(runner, lines=1)
    await anext(entries)
    assert (await runner.run("pgrep -c journalctl", timeout=20)).stdout != b"0\n"
    await entries.aclose()
    await asyncio.to_thread(guest_a.sh, "timeout 5 sh -c 'while pgrep journalctl >/dev/null; do sleep 0.05; done'")


async def test_a_cut_line_is_a_gap_and_nothing_is_lost_or_doubled(desk: Desk, guest_a: Guest) -> None:
    await asyncio.to_thread(guest_a.sh, "systemctl restart chatty")
    try:
        runner = desk.runner(guest_a)
        async with contextlib.aclosing(follow(runner, units=("chatty.service",), lines=0)) as entries:
            got = await _until(entries, 20)
            for _ in range(2):
                await _cut(guest_a)
                got += await _until(entries, 60)
    finally:
        await asyncio.to_thread(guest_a.sh, "systemctl stop chatty")
    numbers = _numbers(got)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    gaps = [item for item in got if isinstance(item, Gap)]
    assert [gap.resumed for gap in gaps].count(True) == 2
    assert "connection lost" in gaps[0].reason


async def test_a_follower_that_saw_nothing_yet_resumes_where_it_began(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    async with contextlib.aclosing(follow(runner, units=("static.service",), lines=0)) as entries:
        waiting = asyncio.create_task(anext(entries))
        await asyncio.sleep(0.5)
        await _cut(guest_a, "systemctl start static.service")
        gap = await asyncio.wait_for(waiting, 10)
        assert isinstance(gap, Gap)
        got = await _until(entries, 1)
    await asyncio.to_thread(guest_a.sh, "systemctl stop static.service")
    entry = got[-1]
    assert isinstance(entry, Entry)
    assert entry.message.startswith(b"Started static.service")


async def test_a_host_that_stays_away_is_given_up(desk: Desk, sshfarm: SshFarm, guest_a: Guest) -> None:
    del sshfarm
    runner = desk.runner(guest_a)
    await asyncio.to_thread(guest_a.sh, "systemctl start static.service")
    entries = follow(runner, lines=1, retries=2)
    assert isinstance(await anext(entries), Entry)
    await asyncio.to_thread(guest_a.kill)
    try:
        seen = []
        with pytest.raises(Unreachable, match="given up after 2 attempts") as lost:
            async with asyncio.timeout(60):
                async for item in entries:
                    seen.append(item)
        assert all(isinstance(item, Gap) for item in seen)
        assert "goes on behind" in lost.value.remedy
    finally:
        await asyncio.to_thread(guest_a.start)


async def test_reading_on_behind_a_cursor(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    whole = await _all(follow(runner, lines=30, follow=False))
    assert len(whole) == 30
    rest = await _all(follow(runner, lines=None, after_cursor=whole[10].cursor, follow=False))
    assert [entry.cursor for entry in rest[:19]] == [entry.cursor for entry in whole[11:]]


async def test_time_priority_and_boot(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    await asyncio.to_thread(guest_a.sh, "logger -p user.err -t labtest first; logger -p user.info -t labtest second")
    everything = await _all(follow(runner, lines=None, boot="0", follow=False))
    mark = next(entry for entry in everything if entry.message == b"first")
    assert (mark.priority, mark.identifier) == (3, "labtest")
    since = await _all(follow(runner, lines=None, since=mark.realtime_us / 1e6 - 0.001, follow=False))
    assert any(entry.message == b"second" for entry in since)
    assert all(entry.realtime_us >= mark.realtime_us - 1001 for entry in since)
    until = await _all(follow(runner, lines=None, until=mark.realtime_us / 1e6 - 0.001, follow=False))
    assert not any(entry.message == b"second" for entry in until)
    errors = await _all(follow(runner, lines=None, priority=3, follow=False))
    assert any(entry.message == b"first" for entry in errors)
    assert all(entry.priority is not None and entry.priority <= 3 for entry in errors)


async def test_bytes_and_very_long_messages(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    script = (
        "import socket\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.connect('/run/systemd/journal/socket')\n"
        "import array,os,struct\n"
        "def send(m):\n"
        "  d=b'SYSLOG_IDENTIFIER=labbytes\\nMESSAGE\\n'+struct.pack('<Q',len(m))+m+b'\\n'\n"
        "  f=os.memfd_create('m',os.MFD_ALLOW_SEALING);os.write(f,d)\n"
        "  import fcntl;fcntl.fcntl(f,1033,15)\n"
        "  s.sendmsg([],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[f]))])\n"
        "send(b'\\x1b[31m\\xff\\x00raw');send(b'x'*6000);send(b'\\xfe'*(MAX+5))\n"
    ).replace("MAX", str(MAX_MESSAGE))
    await runner.run("python3 -", stdin=script.encode(), timeout=20)
    found: list[Entry] = []
    for _ in range(100):
        found = await _labbytes(runner)
        if len(found) >= 3:
            break
        await asyncio.sleep(0.1)
    raw, long, longest = found[-3:]
    assert (raw.message, raw.truncated) == (b"\x1b[31m\xff\x00raw", False)
    assert (long.message, long.truncated) == (b"x" * 6000, False)
    assert (len(longest.message), longest.truncated) == (MAX_MESSAGE, True)


async def _labbytes(runner: Runner) -> list[Entry]:
    return [entry for entry in await _all(follow(runner, lines=100, follow=False)) if entry.identifier == "labbytes"]


async def test_who_may_read(desk: Desk, guest_a: Guest) -> None:
    for user in ("reader", "admin1"):
        assert len(await _all(follow(desk.runner(guest_a, user), lines=3, follow=False))) == 3
    with pytest.raises(Refused, match="may not read") as refused:
        await _all(follow(desk.runner(guest_a, "ops"), lines=3))
    assert refused.value.code == "privilege"
    assert "systemd-journal" in refused.value.remedy
    with pytest.raises(Refused, match="may not read"):
        await _all(follow(desk.runner(guest_a, "admin1"), lines=3, become=False))


async def test_a_host_without_a_journal(desk: Desk, plain_host: Node) -> None:
    runner = desk.runner(plain_host)
    if (await runner.run("command -v journalctl", timeout=20)).ok:
        with pytest.raises(Refused):
            await _all(follow(runner, lines=3))
    else:
        with pytest.raises(Unsupported):
            await _all(follow(runner, lines=3))


async def test_the_first_connection_must_work(desk: Desk, plain_host: Node, refused_port: tuple[str, int]) -> None:
    from drivers.ssh import SshEndpoint

    runner = desk.pool().runner(SshEndpoint("gone", *refused_port), key_of(plain_host))
    with pytest.raises(Unreachable, match="refused"):
        await _all(follow(runner))


async def test_questions_that_make_no_sense(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    for bad in (
        follow(runner, units=("$(id).service",)),
        follow(runner, after_cursor="x' y"),
        follow(runner, boot="last"),
        follow(runner, priority=8),
        follow(runner, lines=-1),
    ):
        with pytest.raises(Refused) as refused:
            await _all(bad)
        assert refused.value.code == "invalid"
    with pytest.raises(ProtocolError, match="boot"):
        await _all(follow(runner, boot="1" * 32, follow=False))
