"""Detached jobs on the simulated hosts: our own driver is answered as a host would answer it."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from drivers import detached
from drivers.detached import JobSpec
from drivers.errors import Refused
from opsconsole.demo.detached import Job, play
from tests.demo.conftest import Desk


def played(script: str, timeout: float = 60) -> Job:
    job = Job(0.0, "", timeout)
    play(job, script, "ops")
    return job


def test_what_is_played() -> None:
    job = played(
        "#!/bin/sh\nfor i in $(seq 2 3); do echo line $i; sleep 1; done\nfor x in a b; do echo $x;done\nwhoami"
    )
    assert job.output(1e9) == b"line 2\nline 3\na\nb\nops\n"
    assert 2 < job.ended < 3
    assert played("echo a; exit 3; echo b").status == 3
    assert played("false; echo b").output(1e9) == b""
    assert played("rm -rf /").output(1e9) == b"(simulated host) would run: rm -rf /\n"
    late = played("echo a; sleep 9", timeout=2)
    assert (late.timed_out, late.ended, late.status) == (True, 2, 143)
    assert played("echo 'not closed").status == 2


async def test_begun_followed_and_put_away(desk: Desk) -> None:
    runner = desk.runner("dev-db-1")
    spec = JobSpec(f"job-{uuid.uuid4()}", b"echo one; sleep 1; echo two")
    first = await detached.start(runner, spec)
    assert not first.attached
    assert (await detached.start(runner, spec)).attached
    with pytest.raises(Refused, match="another job"):
        await detached.start(runner, replace(spec, script=b"echo other"))
    with pytest.raises(Refused):
        await detached.remove(runner, spec.name)
    text = b"".join([look.data async for look in detached.follow(runner, spec.name)])
    ended = await detached.look(runner, spec.name)
    assert (text, ended.state, ended.exit_status) == (b"one\ntwo\n", "exited", 0)
    assert spec.name in {left.name for left in await detached.leftovers(runner)}
    await detached.remove(runner, spec.name)
    assert (await detached.look(runner, spec.name)).state == "absent"


async def test_stopped(desk: Desk) -> None:
    runner = desk.runner("dev-db-1")
    spec = JobSpec(f"job-{uuid.uuid4()}", b"echo one; sleep 15; echo two")
    await detached.start(runner, spec)
    await asyncio.sleep(0.1)
    ended = await detached.stop(runner, spec.name)
    assert (ended.state, ended.stopped, ended.signal, ended.processes) == ("exited", True, 15, 0)
    assert (await detached.look(runner, spec.name)).data == b"one\n"
    await detached.remove(runner, spec.name)
