"""Detached jobs on hosts in trouble: rebooted, full, read-only, with a wrong clock; and jobs that attack themselves."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from drivers import detached
from drivers.detached_script import ROOT_PLACE
from drivers.errors import Refused, Unreachable
from drivers.local import LocalRunner
from tests.drivers.jobs import PLAIN_USER, Place, places
from tests.drivers.support import Desk
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node

pytestmark = pytest.mark.lab


@pytest_asyncio.fixture
async def root(desk: Desk, guest_a: Guest) -> AsyncIterator[Place]:
    async for one in places("root", desk, guest_a, None):
        yield one


@pytest_asyncio.fixture(params=["root-as-plain", "plain", "farm"])
async def place(request: pytest.FixtureRequest, desk: Desk, guest_a: Guest, plain_host: Node) -> AsyncIterator[Place]:
    """The job's account may not touch its keeper, or it may."""
    farm = request.param == "farm"
    async for one in places(request.param, desk, None if farm else guest_a, plain_host if farm else None):
        yield one


@pytest.mark.parametrize("kind", ["root", "plain"])
@pytest.mark.parametrize("power", ["cut", "orderly"])
async def test_reboot_in_the_middle(kind: str, power: str, desk: Desk, guest_b: Guest) -> None:
    """After a power cut the outcome is unknown and stays so; whoever asks again, the script does not run again."""
    async for place in places(kind, desk, guest_b, None):
        spec = place.spec("", secret_files={"pw": b"geheim"})
        script = f"echo once >> /var/tmp/effect-{spec.name}; echo before; sync; sleep 100; echo after"
        spec = replace(spec, script=script.encode())
        path = (await detached.start(place.runner, spec)).look.path
        async for piece in detached.follow(place.runner, spec.name):
            if piece.data:
                break
        boot = (await detached.look(place.runner, spec.name)).boot_id
        assert boot == (await place.sh("cat /proc/sys/kernel/random/boot_id")).strip()
        await place.sh("sync")
        await asyncio.to_thread(guest_b.kill if power == "cut" else guest_b.stop)
        with contextlib.suppress(Unreachable):
            await detached.look(place.runner, spec.name)
        guest_b.start()  # not in a thread: a guest dies with the thread that started it
        for pool in desk.pools:
            pool.forget(guest_b.name)
        now = await detached.look(place.runner, spec.name)
        if power == "cut":
            assert (now.state, now.exit_status) == ("lost", None)
            assert "rebooted" in now.reason
        else:
            # Told to end, the script did, and its keeper had the time to write it down.
            assert (now.state, now.signal, now.stopped) == ("exited", 15, False)
        assert now.data.startswith(b"before\n")
        assert b"after" not in now.data
        again = await detached.start(place.runner, spec)
        assert (again.attached, again.look.state) == (True, now.state)
        assert [piece.state async for piece in detached.follow(place.runner, spec.name)] == [now.state]
        assert (await place.sh(f"cat /var/tmp/effect-{spec.name}; rm /var/tmp/effect-{spec.name}")) == "once\n"
        assert await place.sh(f"grep -rl geheim {path} /run/opsconsole-jobs 2>/dev/null || true") == ""
        assert (await detached.stop(place.runner, spec.name, grace=0)).processes == 0


async def _mounted(place: Place, options: str) -> None:
    await place.sh(f"mkdir -p -m 711 {ROOT_PLACE}; mount -t tmpfs -o mode=711,{options} tmpfs {ROOT_PLACE}")


async def test_no_room_to_start(root: Place) -> None:
    await _mounted(root, "size=64k")
    try:
        await root.sh(f"head -c 1M /dev/zero > {ROOT_PLACE}/fill || true")
        spec = root.spec("")
        spec = replace(spec, script=f"echo once >> {root.effect(spec)}".encode())
        with pytest.raises(Refused, match="disk is full") as refused:
            await detached.start(root.runner, spec)
        assert refused.value.code == "no_space"
        assert await root.effects(spec) == 0
        assert (await detached.look(root.runner, spec.name)).state == "absent"
        assert await root.sh(f"ls -A {ROOT_PLACE}") == "fill\n"
        await root.sh(f"rm {ROOT_PLACE}/fill")
        await detached.start(root.runner, spec)
        assert (await root.ended(spec.name)).exit_status == 0
        assert await root.effects(spec) == 1
    finally:
        await root.sh(f"umount -l {ROOT_PLACE}")


async def test_disk_full_in_the_middle(root: Place) -> None:
    """The job goes on and its status is known; that output is missing is said."""
    await _mounted(root, "size=256k")
    try:
        spec = root.spec("")
        script = f"head -c 2M /dev/zero; echo once >> {root.effect(spec)}; head -c 1M /dev/zero; exit 9"
        spec = replace(spec, script=script.encode())
        await detached.start(root.runner, spec)
        end = await root.ended(spec.name)
        assert (end.state, end.exit_status, end.output_cut) == ("exited", 9, True)
        assert 0 < end.size < 256 * 1024
        assert await root.effects(spec) == 1
        await detached.remove(root.runner, spec.name)
    finally:
        await root.sh(f"umount -l {ROOT_PLACE}")


async def test_a_read_only_place(root: Place) -> None:
    await _mounted(root, "ro")
    try:
        with pytest.raises(Refused, match="read-only") as refused:
            await detached.start(root.runner, root.spec("id"))
        assert refused.value.code == "read_only"
    finally:
        await root.sh(f"umount -l {ROOT_PLACE}")


async def test_a_place_where_nothing_may_be_executed(root: Place) -> None:
    await _mounted(root, "noexec")
    try:
        spec = root.spec("#!/usr/bin/env -S python3 -u\nimport sys; print(sys.argv[0].rpartition('/')[2])")
        await detached.start(root.runner, spec)
        end = await root.ended(spec.name)
        assert (end.exit_status, end.data) == (0, b"script\n")
        await detached.remove(root.runner, spec.name)
    finally:
        await root.sh(f"umount -l {ROOT_PLACE}")


async def test_a_home_that_cannot_be_written(desk: Desk, guest_a: Guest) -> None:
    async for place in places("plain", desk, guest_a, None):
        await place.sh(f"cd /home/{PLAIN_USER}; rm -rf .local; mkdir .local; chown root .local")
        try:
            spec = place.spec("echo here")
            found = await detached.start(place.runner, spec)
            assert found.look.path.startswith("/var/tmp/opsconsole-")
            assert (await place.ended(spec.name)).data == b"here\n"
        finally:
            await place.sh(f"rm -rf /home/{PLAIN_USER}/.local")


async def test_a_place_of_somebody_else_is_not_used(desk: Desk, guest_a: Guest) -> None:
    """Anybody may make directories in /var/tmp before us."""
    async for place in places("plain", desk, guest_a, None):
        user = (await place.sh(f"id -u {PLAIN_USER}")).strip()
        trap = f"/var/tmp/opsconsole-{user}"
        await place.sh(f"cd /home/{PLAIN_USER}; rm -rf .local; touch .local; rm -rf {trap}; mkdir -m 777 {trap}")
        try:
            with pytest.raises(Refused):
                await detached.start(place.runner, place.spec("id"))
            assert await place.sh(f"ls -A {trap}") == ""
        finally:
            await place.sh(f"rm -rf /home/{PLAIN_USER}/.local {trap}")


@pytest.mark.parametrize("shift", ["-2 hours", "+2 hours"])
async def test_a_wrong_clock(shift: str, root: Place) -> None:
    """Every date over there is wrong: durations and ages are right, and times are marked as the host's own."""
    await root.sh(f"printf '%s\\n' '#!/bin/sh' \"exec /usr/bin/date -d '{shift}' \\\"\\$@\\\"\" > /usr/local/bin/date; "
                  "chmod +x /usr/local/bin/date")  # fmt: skip
    try:
        right = float(await root.sh("/usr/bin/date +%s.%N"))
        spec = root.spec("sleep 0.4; exit 2")
        await detached.start(root.runner, spec)
        end = await root.ended(spec.name)
        assert end.exit_status == 2
        assert abs(abs(end.host_clock - right) - 7200) < 60
        assert end.started_at is not None
        assert end.ended_at is not None
        assert abs(end.ended_at - end.started_at - 0.5) < 10
        assert end.elapsed is not None
        assert 0.3 < end.elapsed < 20
        late = root.spec("sleep 60", timeout=0.5, grace=0)
        await detached.start(root.runner, late)
        assert (await root.ended(late.name)).timed_out
    finally:
        await root.sh("rm /usr/local/bin/date")


@pytest.mark.parametrize(
    ("script", "status", "signal"),
    [("kill -9 $$", 137, 9), ("kill -9 0", 137, 9), ("kill -INT $$; exit 1", 130, 2), ("kill -PIPE $$", 141, 13),
     ("exec sh -c 'exit 255'", 255, None), ("trap '' TERM HUP; kill -TERM $PPID 2>&-; exit 3", 3, None)],
)  # fmt: skip
async def test_a_job_that_shoots_at_itself(place: Place, script: str, status: int, signal: int | None) -> None:
    spec = place.spec("echo before; " + script)
    await detached.start(place.runner, spec)
    end = await place.ended(spec.name)
    assert (end.state, end.exit_status, end.signal, end.data) == ("exited", status, signal, b"before\n")


async def test_a_keeper_killed_by_its_job(place: Place) -> None:
    """Where the job may, its status is lost, and that is what we say; where it may not, nothing happens."""
    spec = place.spec("echo before; kill -9 $PPID; sleep 1; exit 5")
    await detached.start(place.runner, spec)
    end = await place.ended(spec.name)
    assert end.data.startswith(b"before\n")
    if place.run_as:
        assert (end.state, end.exit_status) == ("exited", 5)
    else:
        assert (end.state, end.exit_status) == ("lost", None)
        assert "left no exit status" in end.reason
        assert (await detached.start(place.runner, spec)).look.state == "lost"


async def test_the_reader_of_the_output_killed(root: Place) -> None:
    """The job goes on; that output is missing is said."""
    spec = root.spec("echo one; sleep 1; echo two; head -c 1M /dev/zero; exit 6")
    path = (await detached.start(root.runner, spec)).look.path
    found = await root.sh("for d in /proc/[0-9]*; do [ \"$(readlink $d/fd/1)\" = " + path + "/out ] && cat $d/comm && "
                          "[ $(cat $d/comm) = cat ] && kill -9 ${d#/proc/}; done; true")  # fmt: skip
    assert "cat" in found
    end = await root.ended(spec.name)
    assert (end.state, end.exit_status, end.output_cut) == ("exited", 6, True)


async def test_much_output(root: Place) -> None:
    """256 MiB, of which we read only the end."""
    spec = root.spec("head -c 268435456 /dev/zero; echo end")
    await detached.start(root.runner, spec)
    async with asyncio.timeout(60):
        while (now := await detached.look(root.runner, spec.name, limit=0)).state == "running":
            assert now.data == b""
            await asyncio.sleep(0.2)
    assert now.size == 268435460
    assert (await detached.look(root.runner, spec.name, offset=now.size - 4)).data == b"end\n"
    pieces = [len(piece.data) async for piece in detached.follow(root.runner, spec.name, offset=now.size - 5_000_000)]
    assert sum(pieces) == 5_000_000


async def test_a_talkative_login_shell(desk: Desk, guest_a: Guest) -> None:
    async for place in places("plain", desk, guest_a, None):
        await place.sh(f"cd /home/{PLAIN_USER}; cp .bashrc keep; echo 'echo hello; echo state=exited' > .bashrc")
        try:
            spec = place.spec("echo one; sleep 0.3; echo two")
            assert (await detached.start(place.runner, spec)).look.state == "running"
            pieces = [piece.data async for piece in detached.follow(place.runner, spec.name)]
            assert b"".join(pieces) == b"one\ntwo\n"
        finally:
            await place.sh(f"cd /home/{PLAIN_USER}; mv keep .bashrc")


async def test_torn_starts_are_seen(root: Place) -> None:
    await root.sh(f"mkdir -p {ROOT_PLACE}/.new-young {ROOT_PLACE}/.new-old; touch -d '-2 hours' {ROOT_PLACE}/.new-old")
    found = {one.name: one for one in await detached.leftovers(root.runner)}
    assert found[".new-young"].state == "torn"
    assert ".new-old" not in found
    assert await root.sh(f"ls -A {ROOT_PLACE} | grep new") == ".new-young\n"
    await root.sh(f"rm -r {ROOT_PLACE}/.new-young; systemd-run -q --unit=opsconsole-job-stray sleep 100")
    found = {one.name: one for one in await detached.leftovers(root.runner)}
    assert found["stray"].state == "stray"
    assert (await detached.stop(root.runner, "stray")).state == "absent"
    assert "stray" not in {one.name for one in await detached.leftovers(root.runner)}


async def test_this_machine() -> None:
    """The local runner kills what a command leaves behind; a job is not of it."""
    runner = LocalRunner()
    spec = detached.JobSpec("test-local-machine", b"sleep 0.5; echo done")
    await detached.start(runner, spec)
    pieces = [piece async for piece in detached.follow(runner, spec.name)]
    assert b"".join(piece.data for piece in pieces) == b"done\n"
    assert pieces[-1].exit_status == 0
    assert re.fullmatch("[0-9a-f-]{36}", pieces[-1].boot_id)
    await detached.remove(runner, spec.name)
