"""Hosts to run detached jobs on, in every way a login may have, and how to see from outside what happened there."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from drivers import detached
from drivers.detached import JobSpec, Look
from drivers.errors import DriverError
from drivers.runner import Completed, Runner, Stream
from tests.drivers.support import Desk
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node

_numbers = itertools.count(1)
SUDO_USER, PLAIN_USER = "pwuser", "ops"


@dataclass
class Place:
    """A runner and the account the job has there. `root` is a runner of root on the same machine, as a witness."""

    runner: Runner
    root: Runner
    run_as: str | None
    account: str
    way: str
    names: list[str] = field(default_factory=list)

    def spec(self, script: str, *, timeout: float = 60, **more: object) -> JobSpec:
        self.names.append(name := f"test-{os.getpid()}-{next(_numbers)}")
        return JobSpec(name, script.encode(), self.run_as, timeout=timeout, **more)  # type: ignore[arg-type]

    def effect(self, spec: JobSpec) -> str:
        """A file that anybody may append to."""
        return f"/tmp/effect-{spec.name}"

    async def sh(self, command: str, *, timeout: float = 30) -> str:
        """As root over there; a failure is an error."""
        done = await self.root.run(command, timeout=timeout)
        assert done.exit_status == 0, (command, done)
        return done.stdout.decode("utf-8", "replace")

    async def effects(self, spec: JobSpec) -> int:
        return int(await self.sh(f"cat {self.effect(spec)} 2>/dev/null | wc -l"))

    async def ended(self, name: str, *, within: float = 30) -> Look:
        async with asyncio.timeout(within):
            async for _ in detached.follow(self.runner, name):
                pass
        return await detached.look(self.runner, name)

    async def clear(self) -> None:
        for name in self.names:
            await detached.stop(self.runner, name, grace=0)
            await detached.remove(self.runner, name)
        if self.names:  # only ours: where the host is this machine, other runs have theirs beside them
            await self.sh("rm -rf " + " ".join(f"/tmp/effect-{name}" for name in self.names))


@dataclass
class Deaf:
    """A runner that loses the first answers about a job: the command runs to its end, and we hear nothing of it."""

    runner: Runner
    losses: int

    @property
    def name(self) -> str:
        return self.runner.name

    def stream(self, command: str, *, become: bool = False) -> AbstractAsyncContextManager[Stream]:
        return self.runner.stream(command, become=become)

    async def fresh(self) -> None:
        await self.runner.fresh()

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        done = await self.runner.run(command, stdin=stdin, timeout=timeout, become=become)
        if self.losses and b"state=" in done.stdout:
            self.losses -= 1
            raise DriverError(self.name, "run a command", "the answer was lost")
        return done


async def place_of(kind: str, desk: Desk, guest: Guest | None, node: Node | None) -> Place:
    if node is not None:
        desk.know(node)
        runner = desk.runner(node)
        if kind == "farm-root":
            root = desk.runner(node, "root")
            return Place(root, root, None, "root", "setsid")
        return Place(runner, desk.runner(node, "root"), None, node.user, "setsid")
    assert guest is not None
    root = desk.runner(guest)
    login, run_as, account, way = {
        "root": ("root", None, "root", "systemd"),
        "root-as-plain": ("root", PLAIN_USER, PLAIN_USER, "systemd"),
        "sudo-root": (SUDO_USER, "root", "root", "systemd"),
        "sudo-as-plain": (SUDO_USER, PLAIN_USER, PLAIN_USER, "systemd"),
        "plain": (PLAIN_USER, None, PLAIN_USER, "setsid"),
        "lingering": (PLAIN_USER, None, PLAIN_USER, "user"),
    }[kind]
    place = Place(desk.runner(guest, login), root, run_as, account, way)
    if kind.startswith("sudo"):
        await place.sh(
            f"echo '{SUDO_USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/jobs; chmod 440 /etc/sudoers.d/jobs"
        )
    if kind == "lingering":
        await place.sh(f"loginctl enable-linger {PLAIN_USER}; until [ -S /run/user/$(id -u {PLAIN_USER})/bus ] || "
                       f"[ -S /run/user/$(id -u {PLAIN_USER})/systemd/private ]; do sleep 0.05; done")  # fmt: skip
    return place


async def places(kind: str, desk: Desk, guest: Guest | None, node: Node | None) -> AsyncIterator[Place]:
    place = await place_of(kind, desk, guest, node)
    yield place
    await place.clear()
    if kind.startswith("sudo"):
        await place.sh("rm -f /etc/sudoers.d/jobs")
    if kind == "lingering":
        await place.sh(f"loginctl disable-linger {PLAIN_USER}")


ON_GUEST = ("root", "root-as-plain", "sudo-root", "sudo-as-plain", "plain", "lingering")
ON_FARM = ("farm", "farm-root")
