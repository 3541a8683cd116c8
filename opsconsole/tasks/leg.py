"""One leg of a task: from being taken up by a worker to its end, a pause, or the death of that worker.

Everything that matters is in rows, written before and after each effect, so that the next worker goes on from there:
what is done stays done, what was in flight is attached to where the change can do that, else it is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from data.errors import DataError
from data.feed import announce
from data.models import Run, RunTarget, Task
from opsconsole.engine import audit, execute, runs
from opsconsole.engine.authorise import refuse_gone
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.errors import (
    ConsoleError,
    HostUnreachable,
    NotSignedIn,
    PermissionDenied,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.registry import Operation, Outcome
from opsconsole.house import House
from opsconsole.tasks import prepare, record
from opsconsole.tasks.gates import Crowded, Gates, refuse_crowded
from opsconsole.tasks.handle import Halt, TaskHandle
from opsconsole.tasks.output import Superseded, fence
from opsconsole.tasks.patience import patient_read, patient_write
from opsconsole.tasks.prepare import Item, Parked
from opsconsole.tasks.troubles import Trouble, told

GO, STOP, WAIT = "go", "stop", "wait "
"""What a wave answers, and the workflow remembers: go on, stop, or wait for what is named behind it."""
_CROWDED_SECONDS = (0.2, 0.6)


@dataclass(slots=True)
class Progress:
    """Where a leg stands among its waves."""

    failed: int = 0
    stopped: str | None = None
    parked: Parked | None = None
    held: list[Item] = field(default_factory=list)


class Leg:
    """Called by the workflow in this order: `take_up`, `begin`, `wave` for each and `heard` with its answer, `end`.
    `perform` is all of it."""

    def __init__(self, house: House, task_id: str, executor_id: str, gates: Gates) -> None:
        self.house = house
        self.task_id = task_id
        self.executor_id = executor_id
        self.gates = gates
        self.halt = Halt()
        self.attempt = 0
        self._ctx: Context | None = None
        self._operation: Operation | None = None
        self._items: list[Item] = []
        self._task: Task | None = None
        self._handle: TaskHandle | None = None
        self._state = Progress()
        self._running: dict[int, bool] = {}

    def must_end(self) -> bool:
        """Whether something is in flight that nobody could attach to again."""
        return not all(self._running.values())

    async def take_up(self) -> bool:
        """Become the one who works on it; False when it is not to be worked on (any more)."""

        def work(tx: Session) -> Task | None:
            task = tx.exec(select(Task).where(Task.id == self.task_id).with_for_update()).one_or_none()
            if task is None or task.state not in {"pending", "running"}:
                return None
            task.state, task.executor_id, task.waiting_for = "running", self.executor_id, None
            task.attempt += 1
            task.started_at = task.started_at or audit.now()
            tx.add(task)
            announce(tx, "task", task.id, "updated", run_id=task.id)
            return task

        task = await patient_write(self.house, work)
        if task is None:
            return False
        self.attempt, self._task = task.attempt, task
        if task.wanted:
            self.halt.ask(task.wanted, task.wanted_by or "")
        return True

    async def begin(self) -> int:
        """Plan, authorise, write the run row (or take it up again); answers the number of waves, 0 when it is over."""
        task = self._its_task()
        try:
            if self.halt.wanted and not await self._has_run():
                return await self._over_before_it_began()
            handle = self._handle = TaskHandle(self.house, self.task_id, self.attempt, self.halt)
            found = await prepare.prepare(self.house, task, self.attempt, handle)
        except Superseded:
            raise
        except Parked as parked:
            await record.park(self.house, self.task_id, self.attempt, parked.waiting_for, parked.error)
            return 0
        except ConsoleError as error:
            await record.fail(self.house, self.task_id, self.attempt, error)
            return 0
        self._ctx, self._operation, self._items = found.ctx, found.operation, found.items
        self._state.failed = found.failed
        for item, reason in found.refused:
            await self._refuse(item, reason)
        return found.waves

    async def wave(self, number: int) -> str:
        """Every target of one wave to its end; answers whether to go on with the next.

        What an earlier worker had in flight is looked after first, whatever its wave: nothing more may be begun
        perhaps (cancelled, enough failures), but what was begun must be known.
        """
        items = [item for item in self._items if item.wave == number or item.in_flight]
        self._items = [item for item in self._items if item.wave != number and not item.in_flight]
        if not items:
            return self._word()
        allowed = await self._authorised(items)
        limit = self._its_task().options.get("limit")
        gate = asyncio.Semaphore(min(limit or 10_000, *(item.work.change.concurrency for item in items)))

        async def one(item: Item) -> None:
            async with gate, self.gates.of(item.target.host):
                if not item.in_flight and not self._may_begin():
                    return
                await self._one(item)

        running = [asyncio.ensure_future(one(item)) for item in allowed]
        try:
            await asyncio.gather(*running)
        finally:
            for future in running:
                future.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        await self._let_go(allowed)
        for change in {id(item.work.change): item.work.change for item in allowed}.values():
            ended = [item.outcome for item in allowed if item.work.change is change and item.outcome.state != "skipped"]
            if ended:
                await execute.settle(change, ended)
        return self._word()

    def _word(self) -> str:
        if self._may_begin():
            return GO
        return STOP if self._state.parked is None else WAIT + self._state.parked.waiting_for

    def heard(self, word: str) -> str:
        """The answer of a wave, perhaps one that an earlier worker gave and did not live to act on."""
        waiting_for = word.removeprefix(WAIT)
        if waiting_for != word and self._state.parked is None:
            error = HostUnreachable(f"nobody was let in; {waiting_for} was missing")
            self._state.parked = Parked(waiting_for, error)
        return word

    async def end(self) -> str:
        """Close what was not begun, write the task's end; answers its state."""
        if self.halt.leave:
            return "left"
        if self._state.parked is not None:
            parked = self._state.parked
            return await record.park(self.house, self.task_id, self.attempt, parked.waiting_for, parked.error)
        pausing = self.halt.wanted == "pause"
        reason = self._state.stopped or (f"cancelled by {self.halt.by}" if self.halt.wanted == "cancel" else None)
        return await record.close(self.house, self.task_id, self.attempt, pausing=pausing, reason=reason)

    def _may_begin(self) -> bool:
        """Whether another target may be begun now."""
        stop_after = self._its_task().options.get("stop_after")
        if stop_after is not None and self._state.failed >= stop_after:
            self._state.stopped = f"stopped after {self._state.failed} failed"
        over = self._state.stopped is not None or self._state.parked is not None
        return self.halt.wanted is None and not self.halt.leave and not over

    async def _start(self, item: Item) -> list[str] | None:
        """Mark it as in flight, once there is room on its host; answers what was lost, None when it may not begin."""
        work, placed = item.work, item.in_flight

        def start(tx: Session) -> list[str]:
            fence(tx, self.task_id, self.attempt)
            if not item.in_flight:
                refuse_gone(tx, work.ctx)
            if not placed:
                refuse_crowded(tx, self.task_id, item.position, item.target.host, self.gates.per_host)
            announce(tx, "task", self.task_id, "updated", run_id=self.task_id)
            return execute.start_target(tx, work, item.position, item.target)

        async def write() -> list[str]:
            nonlocal placed
            lost = await patient_write(self.house, start)
            placed = True
            return lost

        while True:
            with contextlib.suppress(Crowded):
                return await execute.fresh(write)
            await asyncio.sleep(random.uniform(*_CROWDED_SECONDS))  # noqa: S311 - spreads load, guards nothing
            if not self._may_begin():
                return None

    async def _one(self, item: Item) -> None:
        work, outcome = item.work, item.outcome
        gone: ConsoleError | None = None
        lost: list[str] | None = []
        try:
            lost = await self._start(item)
        except (UserDisabled, NotSignedIn) as error:
            gone = error
        if lost is None:
            return
        if gone is not None:
            outcome.state, outcome.error = "failed", gone.as_json()
        elif lost:
            outcome.state = "unknown" if item.in_flight else "failed"
            outcome.error = execute.interrupted(item.target).as_json() if item.in_flight else execute.taken_over(lost)
        elif item.proof is not None:
            outcome.state, outcome.after = "done", item.proof
        else:
            self._running[item.position] = work.change.resumes
            try:
                await execute.one_target(work, outcome)
            finally:
                self._running.pop(item.position, None)
            if _lacking(outcome) is not None:
                self._state.held.append(item)
                return
        await self._ended(item)

    async def _let_go(self, items: list[Item]) -> None:
        """Targets that nobody let us in to: where others of the wave could be worked on they have failed; where none
        could, or the secrets are locked, our credentials are what is missing, and the task waits for them."""
        held, self._state.held = self._state.held, []
        if not held:
            return
        kinds = {_lacking(item.outcome) for item in held}
        if "unlock" not in kinds and any(item.outcome.state == "done" for item in items):
            for item in held:
                if item.in_flight or self._has_begun(item):
                    item.outcome.state = "unknown"
                await self._ended(item)
            return
        positions = [item.position for item in held if not (item.in_flight or self._has_begun(item))]
        await patient_write(self.house, lambda tx: record.hold_back(tx, self.task_id, self.attempt, positions))
        error = held[0].outcome.error or {}
        waiting_for = "unlock" if "unlock" in kinds else "credentials"
        self._state.parked = Parked(waiting_for, HostUnreachable(str(error.get("message", "no credentials"))))
        for item in held:
            item.outcome.state = "skipped"

    async def _ended(self, item: Item) -> None:
        """The target's result, its change and its audit row in one transaction; a lost answer is not written twice."""
        try:
            head = await patient_write(self.house, lambda tx: self._end_tx(tx, item, None))
        except (ConsoleError, IntegrityError, DataError) as error:
            failure = execute.as_console_error(error)
            item.outcome.state, item.outcome.error = "failed", failure.as_json()
            head = await patient_write(self.house, lambda tx: self._end_tx(tx, item, failure))
        execute.anchor(item.work.ctx, head)
        if self._handle is not None:
            await self._handle.put_away(item.position)
        if item.outcome.state in {"failed", "unknown"}:
            self._state.failed += 1

    def _has_begun(self, item: Item) -> bool:
        return self._handle is not None and item.position in self._handle.begun

    def _end_tx(self, tx: Session, item: Item, failure: ConsoleError | None) -> dict[str, Any] | None:
        fence(tx, self.task_id, self.attempt)
        row = tx.exec(
            select(RunTarget).where(RunTarget.run_id == self.task_id, RunTarget.position == item.position)
        ).one()
        if row.state not in {"waiting", "in_flight"}:
            return None
        answer, head = execute.write_outcomes(tx, item.work, [item.outcome], failure)
        runs.mark(tx, self.task_id, item.position, item.outcome.state, audit.now(), item.outcome)
        if answer and self._its_task().total == 1:
            record.keep_answer(tx, self.task_id, answer)
        announce(tx, "task", self.task_id, "updated", run_id=self.task_id)
        return head

    async def _refuse(self, item: Item, error: ConsoleError) -> None:
        item.outcome.state = "unknown" if item.in_flight else "failed"
        item.outcome.error = error.as_json()
        await self._ended(item)

    async def _authorised(self, items: list[Item]) -> list[Item]:
        """The rights of now: a user disabled, or a right taken, since the last wave ends it for these targets."""
        ctx, operation = self._its_context()
        gone: ConsoleError | None = None
        caller = ctx.caller
        try:
            caller = await prepare.caller_now(self.house, self._its_task())
        except (UserDisabled, NotSignedIn) as error:
            gone = error
        allowed: list[Item] = []
        for item in items:
            decision = decide(caller, operation.needs, item.target.subject, now=ctx.now())
            if item.in_flight or (decision.allowed and gone is None):
                allowed.append(item)
                continue
            denied = PermissionDenied(
                user=caller.username,
                operation=operation.id,
                on=f" on {item.target.name}",
                missing=decision.because,
                who_could="see access.authorizations",
            )
            await self._refuse(item, gone or denied)
        return allowed

    async def perform(self) -> str:
        """All of it, without the durable part around it; answers how it ended."""
        if not await self.take_up():
            return "over"
        return await self.guarded(self._walk())

    async def _walk(self) -> str:
        waves = await self.begin()
        for number in range(waves):
            if self.heard(await self.wave(number)) != GO:
                break
        return await self.end() if waves else "over"

    async def guarded(self, work: Awaitable[str]) -> str:
        """A bug of ours ends the task, saying so, and never leaves it running with nobody at work. What is wrong with a
        database or the machine is raised: whoever looks after the worker's tasks tries again."""
        try:
            return await work
        except Superseded:
            return "superseded"
        except Exception as error:
            known = await told(error)
            if isinstance(known, Trouble):
                raise known from None
            with contextlib.suppress(Superseded):
                await record.break_off(self.house, self.task_id, self.attempt, execute.bug(str(known)))
            return "broken off"

    async def _has_run(self) -> bool:
        return await patient_read(self.house, lambda tx: tx.get(Run, self.task_id) is not None)

    async def _over_before_it_began(self) -> int:
        if self.halt.wanted == "pause":
            await record.close(self.house, self.task_id, self.attempt, pausing=True, reason=None)
        else:
            error = StateConflict(f"cancelled by {self.halt.by} before anything was begun")
            await record.fail(self.house, self.task_id, self.attempt, error, state="cancelled")
        return 0

    def _its_task(self) -> Task:
        if self._task is None:
            raise RuntimeError("a leg is taken up first")
        return self._task

    def _its_context(self) -> tuple[Context, Operation]:
        if self._ctx is None or self._operation is None:
            raise RuntimeError("a leg is begun first")
        return self._ctx, self._operation


def _lacking(outcome: Outcome) -> str | None:
    """What a target wants that only a person can give; None when it is not that."""
    error = outcome.error or {}
    if outcome.state != "failed":
        return None
    if error.get("code") == "secrets_locked":
        return "unlock"
    return "credentials" if (error.get("data") or {}).get("kind") == "auth" else None
