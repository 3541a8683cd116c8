"""Detached jobs on real hosts, with systemd and without, for every kind of login."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from drivers import detached
from drivers.detached import JobSpec
from drivers.errors import DriverError, ProtocolError, Refused, TimedOut, Unreachable
from drivers.local import LocalRunner
from drivers.runner import Runner
from tests.drivers.jobs import ON_FARM, ON_GUEST, PLAIN_USER, Deaf, Place, places
from tests.drivers.support import Desk
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node

pytestmark = pytest.mark.lab


@pytest_asyncio.fixture(params=[*ON_GUEST, *ON_FARM])
async def place(request: pytest.FixtureRequest, desk: Desk, guest_a: Guest, plain_host: Node) -> AsyncIterator[Place]:
    """Every way a login may have."""
    kind = request.param
    farm = kind in ON_FARM
    async for one in places(kind, desk, None if farm else guest_a, plain_host if farm else None):
        yield one


@pytest_asyncio.fixture
async def root(desk: Desk, guest_a: Guest) -> AsyncIterator[Place]:
    async for one in places("root", desk, guest_a, None):
        yield one


@pytest_asyncio.fixture
async def farm(desk: Desk, plain_host: Node) -> AsyncIterator[Place]:
    async for one in places("farm", desk, None, plain_host):
        yield one


async def test_twenty_starts_at_once_are_one_effect(place: Place) -> None:
    spec = place.spec("")
    effect = place.effect(spec)
    text = f"id -un; echo once >> {effect}; chmod 666 {effect}; sleep 0.5; echo error >&2; exit 7"
    spec = replace(spec, script=text.encode())
    answers = await asyncio.gather(*(detached.start(place.runner, spec) for _ in range(20)))
    assert [answer.attached for answer in answers].count(False) == 1
    assert {answer.look.way for answer in answers} == {place.way}
    pieces = [piece async for piece in detached.follow(place.runner, spec.name)]
    end = pieces[-1]
    assert b"".join(piece.data for piece in pieces) == f"{place.account}\nerror\n".encode()
    assert (end.state, end.exit_status, end.signal, end.timed_out, end.stopped) == ("exited", 7, None, False, False)
    assert end.elapsed is not None
    assert 0.4 < end.elapsed < 20
    again = await detached.start(place.runner, spec)
    assert (again.attached, again.look.state, again.look.exit_status) == (True, "exited", 7)
    assert await place.effects(spec) == 1


async def test_a_lost_answer_is_asked_again(place: Place) -> None:
    spec = place.spec("")
    spec = replace(spec, script=f"echo once >> {place.effect(spec)}".encode())
    deaf = Deaf(place.runner, losses=3)
    for _ in range(3):
        with pytest.raises(DriverError):
            await detached.start(deaf, spec)
    assert (await detached.start(deaf, spec)).attached
    assert (await place.ended(spec.name)).exit_status == 0
    assert await place.effects(spec) == 1


async def test_binary_output_by_byte(place: Place) -> None:
    """Both outputs in order, NUL and broken UTF-8 too, read in odd pieces and followed from the middle."""
    script = (
        "i=0; while [ $i -lt 40 ]; do head -c 7001 /dev/urandom; head -c 3 /dev/urandom >&2; i=$((i+1)); done; "
        "printf 'line without end'; echo late > /dev/stderr"
    )
    spec = place.spec(script)
    found = await detached.start(place.runner, spec)
    whole = b"".join([piece.data async for piece in detached.follow(place.runner, spec.name)])
    there = await place.sh(f"sha256sum < {found.look.path}/out")
    assert hashlib.sha256(whole).hexdigest() == there.split()[0]
    assert len(whole) == 40 * 7004 + len(b"line without endlate\n")
    parts, offset = [], 0
    while piece := (await detached.look(place.runner, spec.name, offset=offset, limit=50_001)).data:
        parts.append(piece)
        offset += len(piece)
    assert b"".join(parts) == whole
    tail = [piece async for piece in detached.follow(place.runner, spec.name, offset=100_003)]
    assert b"".join(piece.data for piece in tail) == whole[100_003:]
    with pytest.raises(ProtocolError, match="had 999999 before"):
        await detached.look(place.runner, spec.name, offset=999_999)


def _ours(script: str) -> str:
    """The same with seconds no other run on this machine sleeps for."""
    return re.sub(r"(\d{4}|\])\.", rf"\g<1>.{os.getpid()}", script)


async def test_the_host_ends_what_takes_too_long(place: Place) -> None:
    script = _ours(
        "sleep 1234. & setsid sleep 1235. & trap '' TERM; (trap '' TERM; exec sleep 1236.) & echo go; sleep 1237."
    )
    spec = place.spec(script, timeout=0.5, grace=0.5)
    await detached.start(place.runner, spec)
    end = await place.ended(spec.name)
    assert (end.state, end.timed_out, end.data[:3]) == ("exited", True, b"go\n")
    assert end.signal in (9, 15)
    assert await place.sh(_ours("ps -eo stat,args | grep '[s]leep 123[0-9].' | grep -v '^Z' || true")) == ""


async def test_stop_ends_the_whole_tree(place: Place) -> None:
    script = _ours("sleep 2234. & setsid sleep 2235. & (trap '' TERM; sleep 2236.; sleep 2236.) & echo go; sleep 2237.")
    spec = place.spec(script)
    await detached.start(place.runner, spec)
    async for piece in detached.follow(place.runner, spec.name):
        if piece.data:
            break
    end = await detached.stop(place.runner, spec.name, grace=0.5)
    assert (end.state, end.stopped, end.timed_out, end.processes) == ("exited", True, False, 0)
    assert await place.sh(_ours("ps -eo stat,args | grep '[s]leep 223[0-9].' | grep -v '^Z' || true")) == ""
    assert (await detached.stop(place.runner, spec.name, grace=0)).exit_status == end.exit_status


async def test_what_is_left_in_the_background_goes_on(place: Place) -> None:
    spec = place.spec("(while sleep 0.05; do echo still here; done) & echo $! ; exit 4")
    await detached.start(place.runner, spec)
    end = await place.ended(spec.name)
    assert end.exit_status == 4
    pid = int(end.data.split()[0])
    left = {one.name: one for one in await detached.leftovers(place.runner)}[spec.name]
    assert left.state == "exited"
    assert left.processes >= 1
    await detached.remove(place.runner, spec.name)
    await asyncio.sleep(0.3)
    assert await place.sh(f"ps -o stat= -p {pid}")
    assert (await detached.look(place.runner, spec.name)).state == "absent"
    # Nothing is kept of what it says from now on: the one who wrote it down is gone.
    assert await place.sh(f"ls -l /proc/[0-9]*/fd/1 2>/dev/null | grep '{spec.name}.*/out' || true") == ""
    assert await place.sh(f"kill {pid}; sleep 0.1; ps -o stat= -p {pid} | grep -v Z || true") == ""


async def test_secrets_reach_the_script_and_nothing_else(place: Place) -> None:
    secret = f"geheim-{random.getrandbits(64):x}"
    script = "cat $OPSCONSOLE_SECRETS/db.pw | tr a-z A-Z; stat -c %a $OPSCONSOLE_SECRETS/*; sleep 0.7 # SCRIPTTEXT"
    spec = place.spec(script, secret_files={"db.pw": secret.encode(), "other": b"\0\xff"})
    starting = asyncio.create_task(detached.start(place.runner, spec))
    shown = []
    async with asyncio.timeout(20):
        while not starting.done():
            shown.append(await place.sh("ps -eo args; cat /proc/[0-9]*/environ | tr '\\0' '\\n'"))
    found = (await starting).look
    shown.append(await place.sh("ps -eo args; cat /proc/[0-9]*/environ | tr '\\0' '\\n'"))
    if place.way == "systemd":
        shown.append(await place.sh(f"systemctl show opsconsole-job-{spec.name}; journalctl -n 200 --no-pager"))
    end = await place.ended(spec.name)
    assert end.data == secret.upper().encode() + b"600\n600\n"
    assert found.path
    everywhere = "\n".join(shown)
    assert secret not in everywhere
    assert "SCRIPTTEXT" not in everywhere
    assert spec.name in everywhere
    assert await place.sh(f"grep -rl {secret} {found.path} /run/opsconsole-jobs /var/tmp 2>/dev/null || true") == ""
    assert secret not in repr(spec)


async def test_files_are_closed_to_others(place: Place) -> None:
    spec = place.spec("echo x; sleep 0.2")
    path = (await detached.start(place.runner, spec)).look.path
    await place.ended(spec.name)
    modes = await place.sh(f"cd {path}; stat -c '%n %a' . out exit job job/script")
    found = dict(line.split() for line in modes.splitlines())
    assert found.pop(".") == ("711" if place.run_as not in (None, "root") and place.account != "root" else "700") or (
        place.run_as == "root"
    )
    assert found == {"out": "600", "exit": "600", "job": "700", "job/script": "600"}


async def test_the_name_belongs_to_the_first_script(place: Place) -> None:
    spec = place.spec("sleep 0.1")
    await detached.start(place.runner, spec)
    for other in (replace(spec, script=b"sleep 0.2"), replace(spec, environment={"A": "b"}), replace(spec, timeout=9)):
        with pytest.raises(Refused) as refused:
            await detached.start(place.runner, other)
        assert refused.value.code == "in_use"


async def test_stopped_before_it_began_it_never_begins(place: Place) -> None:
    """A start that was cut between laying ready and beginning, made out of one that ended."""
    done = place.spec("echo done")
    path = (await detached.start(place.runner, done)).look.path
    await place.ended(done.name)
    ready = [place.spec("echo done") for _ in range(2)]
    for spec in ready:
        new = path.replace(done.name, spec.name)
        await place.sh(
            f"cp -a {path} {new}; cd {new}; rm begun; mv exit exit.new; : > out; "
            f"sed -i 's/{done.name}/{spec.name}/g' launch"
        )
    first = await detached.look(place.runner, ready[0].name)
    assert (first.state, first.prepared) == ("absent", True)
    stopped = await detached.stop(place.runner, ready[0].name, grace=0)
    assert (stopped.state, stopped.stopped, stopped.exit_status) == ("exited", True, None)
    again = await detached.start(place.runner, ready[0])
    assert (again.attached, again.look.state, again.look.size) == (True, "exited", 0)
    assert (await detached.start(place.runner, ready[1])).attached
    assert (await place.ended(ready[1].name)).data == b"done\n"


async def test_scenery(place: Place) -> None:
    """Directory, environment, interpreter, account; nothing of ours is in the way."""
    script = (
        '#!/usr/bin/env bash\necho ${BASH_VERSION:+bash} $PWD "$ODD" $HOME $USER ${LC_ALL:-none}; '
        "read x || echo eof; trap -p; false"
    )
    spec = place.spec(script, cwd="/usr/share", environment={"ODD": "it's\n$x `y`"})
    await detached.start(place.runner, spec)
    end = await place.ended(spec.name)
    home = (await place.sh(f"getent passwd {place.account} | cut -d: -f6")).strip()
    assert end.data.decode() == f"bash /usr/share it's\n$x `y` {home} {place.account} none\neof\n"
    assert end.exit_status == 1
    nowhere = place.spec("echo never", cwd="/nowhere at all")
    await detached.start(place.runner, nowhere)
    end = await place.ended(nowhere.name)
    assert end.exit_status == 126
    assert b"never" not in end.data


async def test_leftovers_and_remove(place: Place) -> None:
    running, ended = place.spec("sleep 30"), place.spec("echo 12345")
    for spec in (running, ended):
        await detached.start(place.runner, spec)
    await place.ended(ended.name)
    found = {one.name: one for one in await detached.leftovers(place.runner)}
    assert (found[running.name].state, found[ended.name].state) == ("running", "exited")
    assert (found[ended.name].size, found[ended.name].processes) == (6, 0)
    assert found[running.name].processes >= 1
    assert all(one.age is not None and one.age < 3600 for one in found.values() if one.name in place.names)
    with pytest.raises(Refused) as refused:
        await detached.remove(place.runner, running.name)
    assert refused.value.code == "busy"
    for _ in range(2):
        await detached.remove(place.runner, ended.name)
    assert ended.name not in {one.name for one in await detached.leftovers(place.runner)}
    assert (await detached.look(place.runner, ended.name)).state == "absent"


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "Upper"}, {"name": "-x"}, {"name": "a" * 101}, {"name": "a/b"}, {"run_as": "a b"},
        {"run_as": "$(id)"}, {"cwd": "relative"}, {"environment": {"A-B": ""}}, {"environment": {"A": "\0"}},
        {"secret_files": {"../x": b""}}, {"timeout": 0}, {"timeout": float("nan")}, {"script": b"x" * (9 << 20)},
    ],
)  # fmt: skip
async def test_bad_input(bad: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        await detached.start(LocalRunner(), replace(JobSpec("ok", b"true"), **bad))  # type: ignore[arg-type]
    assert refused.value.code == "invalid"
    assert next(iter(bad)) in refused.value.message


async def test_nothing_there(root: Place) -> None:
    assert (await detached.look(root.runner, "no-such-job")).state == "absent"
    assert (await detached.stop(root.runner, "no-such-job")).state == "absent"
    await detached.remove(root.runner, "no-such-job")
    with pytest.raises(Refused) as refused:
        _ = [piece async for piece in detached.follow(root.runner, "no-such-job")]
    assert refused.value.code == "not_found"
    with pytest.raises(Refused, match="no account nobody-here"):
        await detached.start(root.runner, replace(root.spec("id"), run_as="nobody-here"))


async def test_without_sudo_nobody_else(desk: Desk, guest_a: Guest, root: Place) -> None:
    spec = replace(root.spec("id"), run_as="root")
    with pytest.raises(Refused) as refused:
        await detached.start(desk.runner(guest_a, PLAIN_USER), spec)
    assert refused.value.code == "privilege"
    assert (await detached.look(root.runner, spec.name)).state == "absent"


async def test_logout_that_ends_everything(desk: Desk, guest_a: Guest, root: Place) -> None:
    plain = desk.runner(guest_a, PLAIN_USER)
    await root.sh("mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nKillUserProcesses=yes\\n' > "
                  "/etc/systemd/logind.conf.d/kill.conf; systemctl restart systemd-logind")  # fmt: skip
    try:
        with pytest.raises(Refused, match="KillUserProcesses") as refused:
            await detached.start(plain, root.spec("id"))
        assert "linger" in refused.value.remedy
    finally:
        await root.sh("rm /etc/systemd/logind.conf.d/kill.conf; systemctl restart systemd-logind")


async def _started(runner: Runner, spec: JobSpec) -> None:
    """As somebody who never gives up."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Unreachable, TimedOut, Refused):
                await detached.start(runner, spec)
                return
            await asyncio.sleep(0.05)


async def test_cut_at_any_moment_of_a_start(farm: Place, desk: Desk, plain_host: Node) -> None:
    """The sshd of the session is killed while a start is under way, earlier and later each time."""
    pool = desk.pools[0]
    cuts = 0
    for step in range(16):
        spec = farm.spec("")
        spec = replace(spec, script=f"echo once >> {farm.effect(spec)}; sleep 0.2".encode())
        await detached.look(farm.runner, spec.name)
        starting = asyncio.create_task(detached.start(farm.runner, spec))
        await asyncio.sleep(step * 0.006)
        await asyncio.to_thread(plain_host.cut)
        with contextlib.suppress(Unreachable, TimedOut):
            await starting
            cuts -= 1
        cuts += 1
        pool.forget(plain_host.name)
        await _started(farm.runner, spec)
        assert (await farm.ended(spec.name)).exit_status == 0
        assert await farm.effects(spec) == 1
    assert cuts > 3


async def test_follow_goes_on_where_it_was_cut(farm: Place, desk: Desk, plain_host: Node) -> None:
    spec = farm.spec("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 50)) = 0 ] && sleep 0.02; done")
    await detached.start(farm.runner, spec)
    got, cuts, ended = b"", 0, False
    while not ended:
        try:
            async for piece in detached.follow(farm.runner, spec.name, offset=len(got)):
                assert piece.offset == len(got)
                got += piece.data
                ended = piece.state != "running"
                if cuts < 5 and len(got) > (cuts + 1) * 4000:
                    cuts += 1
                    await asyncio.to_thread(plain_host.cut)
        except Unreachable:
            desk.pools[0].forget(plain_host.name)
    assert cuts == 5
    assert got == b"".join(b"line %d\n" % number for number in range(3000))


async def test_nobody_who_left_is_still_following(farm: Place) -> None:
    spec = farm.spec("echo go; sleep 30")
    await detached.start(farm.runner, spec)
    for _ in range(3):
        pieces = detached.follow(farm.runner, spec.name)
        assert (await anext(pieces)).data == b"go\n"
        reading = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0.3)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await pieces.aclose()
    async with asyncio.timeout(10):
        await farm.sh(f"while ps -eo stat,args | grep '[t]ail.*{spec.name}' | grep -v '^Z'; do sleep 0.1; done")
