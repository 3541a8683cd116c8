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

from sqlmodel import Session, select

from data.feed import announce
from data.models import RunTarget, utc_now
from drivers import detached
from drivers.detached import JobSpec, Look
from drivers.errors import DriverError, ProtocolError, Refused, TimedOut, Unreachable, Unsupported
from drivers.runner import Runner
from opsconsole.engine import clock, leases
from opsconsole.engine.context import Finished
from opsconsole.engine.errors import Cancelled, OutcomeUnknown, StateConflict
from opsconsole.engine.plan import Target
from opsconsole.house import House
from opsconsole.tasks import output
from opsconsole.tasks.patience import patient_read, patient_write

T = TypeVar("T")
OUR_OWN = 1_000_000
"""Steps from here on are lines of our own, beside the steps of the hosts."""
_ABOUT = 1_500_000
_LOST_SECONDS = 300.0
_FRESH = 2.0
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
        self._copied: int | None = None
        self.in_flight: set[int] = set()
        """Positions that an earlier worker had begun."""
        self.begun: set[int] = set()
        """Positions of which something runs, or ran, on their host, as far as this leg knows."""
        self._fenced: dict[int, float] = {}
        self._cut: set[str] = set()
        self._ended: dict[int, list[tuple[Runner, str]]] = {}

    def check(self) -> None:
        if self._halt.wanted == "cancel":
            raise Cancelled(by=self._halt.by, proof="nothing more was begun")

    async def progress(self, target: Target, step: int, of: int, said: str) -> None:
        position = self.positions[target.key]

        def work(tx: Session) -> list[str]:
            output.fence(tx, self.task_id, self._attempt)
            row = self._row(tx, position)
            row.progress = {**(row.progress or {}), "step": step, "of": of, "said": said}
            tx.add(row)
            announce(tx, "task", self.task_id, "updated", run_id=self.task_id)
            return leases.keep(tx, self.task_id, [target.resource], utc_now())

        self._refuse_lost(await self._write(work))
        self._fenced[position] = clock.awake()

    async def _fence(self, target: Target) -> None:
        """Right before an effect: still ours? Looked at again when the look before is not of this very moment, for the
        host was waited for, or we were asleep."""
        position = self.positions[target.key]
        if clock.awake() - self._fenced.get(position, 0.0) < _FRESH:
            return

        def work(tx: Session) -> list[str]:
            output.fence(tx, self.task_id, self._attempt)
            return leases.keep(tx, self.task_id, [target.resource], utc_now())

        self._refuse_lost(await self._write(work))
        self._fenced[position] = clock.awake()

    def _refuse_lost(self, lost: list[str]) -> None:
        if lost:
            raise StateConflict(f"the lease on {lost[0]} was taken over; nothing more was begun", resource=lost[0])

    def _row(self, tx: Session, position: int) -> RunTarget:
        where = (RunTarget.run_id == self.task_id, RunTarget.position == position)
        return tx.exec(select(RunTarget).where(*where).with_for_update()).one()

    async def say(self, target: Target, step: int, text: str) -> None:
        await self._append(target, OUR_OWN + step, 0, f"{text}\n".encode())

    async def detached(self, target: Target, runner: Runner, step: int, spec: JobSpec) -> Finished:
        spec = replace(spec, name=f"{self.task_id}-{self.positions[target.key]}-{step}")
        begun = time.monotonic()
        await self._begin(target, runner, step, spec)
        try:
            look = await self._to_its_end(target, runner, step, spec, begun)
        except (_Gone, Refused, Unsupported, ProtocolError) as gone:
            # It was begun: whatever is in the way of looking at it now is no failure of its own.
            raise OutcomeUnknown(reason=str(gone), check=f"what {spec.name} did on {runner.name}") from None
        if look.state != "exited":
            reason = look.reason or "the host has no memory of it"
            raise OutcomeUnknown(reason=reason, check=f"what {spec.name} had done on {runner.name} by then")
        if look.output_cut:
            await self._note(target, step, f"{runner.name} could not store all that was printed (its disk was full)")
        self._ended.setdefault(self.positions[target.key], []).append((runner, spec.name))
        return Finished(look.exit_status, look.signal, look.timed_out)

    async def _begin(self, target: Target, runner: Runner, step: int, spec: JobSpec) -> None:
        """Start or attach. When the very first look at a host fails, nothing was begun: the error is the host's."""
        position = self.positions[target.key]
        found = await self._first_look(runner, spec, position)
        if found.state != "absent":
            self.begun.add(position)
            return
        await self._refuse_vanished(runner, spec, position, step)
        self.check()
        await self._fence(target)
        self.begun.add(position)
        await self._started(runner, spec)
        await self._write(lambda tx: self._mark_begun(tx, position, step))

    async def _started(self, runner: Runner, spec: JobSpec) -> None:
        """Whether it was begun is told by its name only; starting it again by that name is harmless."""
        until = time.monotonic() + _LOST_SECONDS
        unknown = f"whether {spec.name} runs on {runner.name}"
        while True:
            try:
                await detached.start(runner, spec)
                return
            except (Unreachable, TimedOut) as lost:
                try:
                    await self._reached(runner, spec, until)
                    if self._halt.wanted == "cancel":
                        await self._never(runner, spec.name)
                        return
                except _Gone as gone:
                    reason = f"{runner.name}: the connection was lost while {spec.name} was being started ({gone})"
                    raise OutcomeUnknown(reason=reason, check=unknown) from None
                if time.monotonic() > until:
                    raise OutcomeUnknown(reason=f"{spec.name} could not be started: {lost}", check=unknown) from None
            except ProtocolError as garbled:
                raise OutcomeUnknown(reason=str(garbled), check=unknown) from None

    async def _never(self, runner: Runner, name: str) -> None:
        """Cancelled while a start is on its way: a job that lies ready is kept from beginning, by the host itself."""
        if (await detached.look(runner, name, limit=0)).state == "absent":
            seen = await detached.stop(runner, name, grace=_STOP_GRACE)
            if seen.state == "absent":
                raise _Gone("it was cancelled while it was being started")

    async def _refuse_vanished(self, runner: Runner, spec: JobSpec, position: int, step: int) -> None:
        """What was begun once and is not there any more (another login, a wiped host, somebody who tidied
        up) is not begun again."""

        def was_begun(tx: Session) -> bool:
            query = select(RunTarget.progress).where(RunTarget.run_id == self.task_id, RunTarget.position == position)
            known = (tx.exec(query).one() or {}).get("begun", 0)
            return known >= step or output.end_of(tx, self.task_id, position, step) > 0

        if position in self.in_flight and await patient_read(self._house, was_begun):
            raise OutcomeUnknown(
                reason=f"{spec.name} was begun on {runner.name}, which knows nothing of it any more",
                check=f"what it did on {runner.name}",
            )

    def _mark_begun(self, tx: Session, position: int, step: int) -> None:
        output.fence(tx, self.task_id, self._attempt)
        row = self._row(tx, position)
        row.progress = {**(row.progress or {}), "begun": step}
        tx.add(row)

    async def _first_look(self, runner: Runner, spec: JobSpec, position: int) -> Look:
        """A host that has done steps for us is waited for; one whose step may run since an earlier attempt is never
        called failed."""
        try:
            return await detached.look(runner, spec.name, limit=0)
        except (Unreachable, TimedOut) as lost:
            if position not in self.in_flight and not self._ended.get(position):
                raise
            try:
                await self._reached(runner, spec, time.monotonic() + _LOST_SECONDS)
            except _Gone as gone:
                if position in self.in_flight:
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
                look = await self._unless_cancelled(follow, runner, spec.name, position)
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
                if await self._full():
                    self._cut.add(name)
                    kept = (
                        f"more than {output.KEPT >> 20} MiB of output: all of it is on {runner.name} in {look.path}/out"
                    )
                    await self._note(target, step, kept)
            offset, held = offset + shown, data[shown:]
            if ended or look.state in {"lost", "absent"}:
                return look
        return None

    async def _unless_cancelled(
        self, follow: asyncio.Future[Look | None], runner: Runner, name: str, position: int
    ) -> Look | None:
        waiting = asyncio.ensure_future(self._halt.changed.wait())
        try:
            while True:
                both: set[asyncio.Future[Any]] = {follow, waiting}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if follow.done():
                    return await follow
                if self._halt.wanted == "cancel":
                    return await self._stopped(follow, runner, name, position)
                self._halt.changed.clear()
                waiting = asyncio.ensure_future(self._halt.changed.wait())
        finally:
            waiting.cancel()
            if not follow.done():
                follow.cancel()

    async def _stopped(
        self, follow: asyncio.Future[Look | None], runner: Runner, name: str, position: int
    ) -> Look | None:
        """Stop it, keep its last words, and say so; a step that ended by itself meanwhile keeps its own end."""
        after = await detached.look(runner, name, limit=0)
        if after.state == "running":
            after = await detached.stop(runner, name, grace=_STOP_GRACE)
        if after.state == "running" or after.processes:
            raise OutcomeUnknown(reason=f"{name} was told to stop and still runs", check=f"{name} on {runner.name}")
        look = await follow
        if not after.stopped or look is None:
            return look
        self._ended.setdefault(position, []).append((runner, name))
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
        if step < OUR_OWN and await self._full():
            return
        position, now = self.positions[target.key], utc_now()
        await self._write(lambda tx: output.append(tx, self.task_id, self._attempt, position, step, offset, data, now))
        self._copied = (self._copied or 0) + len(data)

    async def _full(self) -> bool:
        """Whether as much was copied as is kept of one task, by this worker and those before."""
        if self._copied is None:
            known = await patient_read(self._house, lambda tx: output.size_of(tx, self.task_id))
            self._copied = max(known, self._copied or 0)
        return self._copied > output.KEPT

    async def _note(self, target: Target, step: int, text: str) -> None:
        """About a step, once."""
        await self._append(target, _ABOUT + step, 0, f"-- {text}\n".encode())

    async def put_away(self, position: int) -> None:
        """Take the steps of a target off its host, once its end is recorded: until then they are the only proof of what
        has been done, and a worker that takes over would begin without them again."""
        for runner, name in self._ended.pop(position, []):
            await self._put_away(runner, name)

    async def _put_away(self, runner: Runner, name: str) -> None:
        """What is copied need not stay on the host; what cannot be removed now is found by `tasks.sweep`."""
        if name in self._cut:
            return
        try:
            await detached.remove(runner, name)
        except DriverError:
            return

    async def _write(self, work: Callable[[Session], T]) -> T:
        return await patient_write(self._house, work)


class _Gone(Exception):
    """The host does not answer any more."""
