"""What a change may use while a worker performs it: steps that outlive the worker, and output that is never lost.

Everything here may be called again after a takeover. A step on a host has a name made of task, target and step, so
that whoever comes next attaches to it and never begins it a second time; its output is copied by byte offset.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlmodel import Session, col, update

from data.feed import announce
from data.models import RunTarget, utc_now
from drivers import detached
from drivers.detached import JobSpec, Look
from drivers.errors import DriverError, TimedOut, Unreachable
from drivers.runner import Runner
from opsconsole.engine.context import Finished
from opsconsole.engine.errors import Cancelled, OutcomeUnknown
from opsconsole.engine.plan import Target
from opsconsole.house import House
from opsconsole.tasks import output
from opsconsole.tasks.patience import patient_write

T = TypeVar("T")
OUR_OWN = 1_000_000
"""Steps from here on are lines of our own, beside the steps of the hosts."""
_LOST_SECONDS = 300.0
_STOP_GRACE = 10.0


@dataclass(slots=True)
class Halt:
    """What somebody wants of a running task: `pause` and `cancel`, with who asked. A worker that ends sets `leave`."""

    wanted: str | None = None
    by: str = ""
    leave: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, wanted: str, by: str) -> None:
        self.wanted, self.by = wanted, by
        self.changed.set()


class TaskHandle:
    """Implements `engine.context.TaskWork` for one leg of a task. `positions` maps a target's key to its place."""

    def __init__(self, house: House, task_id: str, attempt: int, halt: Halt) -> None:
        self.task_id = task_id
        self.positions: dict[tuple[str, str], int] = {}
        self._house = house
        self._attempt = attempt
        self._halt = halt
        self._copied = 0
        self._ended: dict[int, list[tuple[Runner, str]]] = {}

    def check(self) -> None:
        if self._halt.wanted == "cancel":
            raise Cancelled(by=self._halt.by, proof="nothing more was begun")

    async def progress(self, target: Target, step: int, of: int, said: str) -> None:
        position = self.positions[target.key]

        def work(tx: Session) -> None:
            output.mine(tx, self.task_id, self._attempt)
            tx.execute(
                update(RunTarget)
                .where(col(RunTarget.run_id) == self.task_id, col(RunTarget.position) == position)
                .values(progress={"step": step, "of": of, "said": said})
            )
            announce(tx, "task", self.task_id, "updated", run_id=self.task_id)

        await self._write(work)

    async def say(self, target: Target, step: int, text: str) -> None:
        await self._append(target, OUR_OWN + step, 0, f"{text}\n".encode())

    async def detached(self, target: Target, runner: Runner, step: int, spec: JobSpec) -> Finished:
        spec = replace(spec, name=f"{self.task_id}-{self.positions[target.key]}-{step}")
        begun = time.monotonic()
        await self._begin(runner, spec, self.positions[target.key])
        try:
            look = await self._to_its_end(target, runner, step, spec, begun)
        except _Gone as gone:
            raise OutcomeUnknown(reason=str(gone), check=f"what {spec.name} did on {runner.name}") from None
        if look.state != "exited":
            reason = look.reason or "the host has no memory of it"
            raise OutcomeUnknown(reason=reason, check=f"what {spec.name} had done on {runner.name} by then")
        self._ended.setdefault(self.positions[target.key], []).append((runner, spec.name))
        return Finished(look.exit_status, look.signal, look.timed_out)

    async def _begin(self, runner: Runner, spec: JobSpec, position: int) -> None:
        """Start or attach. When the very first look at a host fails, nothing was begun: the error is the host's."""
        found = await self._first_look(runner, spec, position)
        if found.state != "absent":
            return
        self.check()
        while True:
            try:
                await detached.start(runner, spec)
                return
            except (Unreachable, TimedOut):
                # Whether it was begun is told by its name only; starting it again by that name is harmless.
                try:
                    await self._reached(runner, spec, time.monotonic() + _LOST_SECONDS)
                except _Gone as gone:
                    raise OutcomeUnknown(
                        reason=f"{runner.name}: the connection was lost while {spec.name} was being started ({gone})",
                        check=f"whether {spec.name} runs on {runner.name}",
                    ) from None

    async def _first_look(self, runner: Runner, spec: JobSpec, position: int) -> Look:
        """A host that has done steps for us is waited for; one whose step may run since an earlier attempt is never
        called failed."""
        try:
            return await detached.look(runner, spec.name, limit=0)
        except (Unreachable, TimedOut) as lost:
            if self._attempt <= 1 and not self._ended.get(position):
                raise
            try:
                await self._reached(runner, spec, time.monotonic() + _LOST_SECONDS)
            except _Gone as gone:
                if self._attempt > 1:
                    raise OutcomeUnknown(reason=str(gone), check=f"whether {spec.name} runs on {runner.name}") from None
                raise lost from None
        return await self._first_look(runner, spec, position)

    async def _to_its_end(self, target: Target, runner: Runner, step: int, spec: JobSpec, begun: float) -> Look:
        """Copy the output until the step has ended; a lost connection is made again, a cancelled step stopped."""
        position = self.positions[target.key]
        offset = await self._house.database.read(lambda tx: output.end_of(tx, self.task_id, position, step))
        while True:
            try:
                follow = asyncio.ensure_future(self._copy(target, runner, step, spec.name, offset))
                look = await self._unless_cancelled(follow, runner, spec.name)
                if look is not None:
                    return look
            except (Unreachable, TimedOut):
                await self._reached(runner, spec, max(begun + spec.timeout, time.monotonic()) + _LOST_SECONDS)
            offset = await self._house.database.read(lambda tx: output.end_of(tx, self.task_id, position, step))

    async def _copy(self, target: Target, runner: Runner, step: int, name: str, offset: int) -> Look | None:
        """None when the stream ended before the step did: follow it again."""
        held = b""
        async for look in detached.follow(runner, name, offset=offset):
            data = held + look.data
            ended = look.state != "running" and offset + len(data) >= look.size
            shown = len(data) if ended else output.whole(data)
            if shown:
                await self._append(target, step, offset, data[:shown])
            offset, held = offset + shown, data[shown:]
            if ended or look.state in {"lost", "absent"}:
                return look
        return None

    async def _unless_cancelled(self, follow: asyncio.Future[Look | None], runner: Runner, name: str) -> Look | None:
        waiting = asyncio.ensure_future(self._halt.changed.wait())
        try:
            while True:
                both: set[asyncio.Future[Any]] = {follow, waiting}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if follow.done():
                    return await follow
                if self._halt.wanted == "cancel":
                    return await self._stopped(follow, runner, name)
                self._halt.changed.clear()
                waiting = asyncio.ensure_future(self._halt.changed.wait())
        finally:
            waiting.cancel()
            if not follow.done():
                follow.cancel()

    async def _stopped(self, follow: asyncio.Future[Look | None], runner: Runner, name: str) -> Look | None:
        """Stop it, keep its last words, and say so; a step that ended by itself meanwhile keeps its own end."""
        before = await detached.look(runner, name, limit=0)
        after = before if before.state != "running" else await detached.stop(runner, name, grace=_STOP_GRACE)
        look = await follow
        if before.state != "running" or look is None:
            return look
        if after.state == "running":
            raise OutcomeUnknown(reason=f"{name} was told to stop and still runs", check=f"{name} on {runner.name}")
        await self._put_away(runner, name)
        raise Cancelled(by=self._halt.by, proof=f"{name} was stopped and is gone")

    async def _reached(self, runner: Runner, spec: JobSpec, until: float) -> None:
        """Wait until the host answers again; _Gone when it does not in time."""
        pause = 0.5
        while True:
            try:
                await detached.look(runner, spec.name, limit=0)
                return
            except (Unreachable, TimedOut) as error:
                if time.monotonic() > until:
                    raise _Gone(str(error)) from error
            if self._halt.wanted == "cancel":
                raise _Gone("it was cancelled while the host did not answer")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 10.0)

    async def _append(self, target: Target, step: int, offset: int, data: bytes) -> None:
        if self._copied > output.KEPT and step < OUR_OWN:
            return
        position, now = self.positions[target.key], utc_now()
        await self._write(lambda tx: output.append(tx, self.task_id, self._attempt, position, step, offset, data, now))
        self._copied += len(data)

    async def put_away(self, position: int) -> None:
        """Take the steps of a target off its host, once its end is recorded: until then they are the only proof of what
        has been done, and a worker that takes over would begin without them again."""
        for runner, name in self._ended.pop(position, []):
            await self._put_away(runner, name)

    async def _put_away(self, runner: Runner, name: str) -> None:
        """What is copied need not stay on the host; what cannot be removed now is found by `tasks.sweep`."""
        if self._copied > output.KEPT:
            return
        try:
            await detached.remove(runner, name)
        except DriverError:
            return

    async def _write(self, work: Callable[[Session], T]) -> T:
        return await patient_write(self._house, work)


class _Gone(Exception):
    """The host does not answer any more."""
