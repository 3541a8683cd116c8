"""The one way a change goes: validate → authorise → plan → confirm → lease → run row → execute → verify → record.

Validation has happened before (`dispatch.py`). Whatever fails before the run row changes nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from data.errors import DataError
from data.models import Run
from drivers.errors import DriverError, TimedOut
from opsconsole.engine import audit, authorise, ladder, leases, runs
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import (
    ConsoleError,
    EmptyList,
    OutcomeUnknown,
    PartlyFailed,
    PermissionGrantDenied,
    PlanStale,
    StateConflict,
    UnexpectedError,
)
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Confirmation, Plan, Target
from opsconsole.engine.registry import Change, Input, Operation, Outcome
from opsconsole.house import translate as translate_data

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator gave: the typed confirmation, the reason, and the digest of the plan he saw (if he saw one)."""

    confirm: str | None = None
    reason: str | None = None
    plan_digest: str | None = None


@dataclass(slots=True)
class _Work:
    ctx: Context
    operation: Operation
    change: Change[Any]
    plan: Plan
    consent: Consent
    run_id: str


async def plan_change(ctx: Context, operation: Operation, given: Input) -> tuple[Change[Any], Plan, Confirmation]:
    """Authorise and plan, changing nothing. Every target is authorised on its own; one refusal refuses all."""
    if operation.change is None:
        raise TypeError(f"{operation.id} is no change")
    await authorise.coarse(ctx, operation)
    change = operation.change(ctx, given)
    try:
        plan = await change.plan()
    except PermissionGrantDenied as error:
        await authorise.record_refusal(ctx, operation, error)
        raise
    if not plan.targets:
        raise EmptyList(field="items")
    await authorise.targets(ctx, operation, plan)
    plan = _once_each(plan)
    return change, plan, ladder.confirmation(plan, ctx.house.policy, second_person=operation.second_person)


def _once_each(plan: Plan) -> Plan:
    """A target named twice counts once."""
    unique = {target.key: target for target in plan.targets}
    return plan if len(unique) == len(plan.targets) else replace(plan, targets=tuple(unique.values()))


async def perform(ctx: Context, operation: Operation, given: Input, consent: Consent) -> Any:
    """Run one change to its recorded end and answer it; raises the error of the only target, or PartlyFailed."""
    change, plan, wanted = await plan_change(ctx, operation, given)
    if consent.plan_digest is not None and consent.plan_digest != plan.digest:
        raise PlanStale(plan_digest=plan.digest)
    ladder.check(plan, wanted, consent.confirm, consent.reason)
    work = _Work(ctx, operation, change, plan, consent, uuid7())
    outcomes = [Outcome(target, state="skipped", before=dict(target.before)) for target in plan.targets]
    try:
        await ctx.database.write(lambda tx: _begin(tx, work, given))
    except asyncio.CancelledError:
        await _to_its_end(_abandon(work, outcomes))
        raise
    async with _beating(work):
        await _execute_all(work, outcomes)
        await work.change.settle(outcomes)
    return await _to_its_end(_record(work, outcomes))


def _begin(tx: Session, work: _Work, given: Input) -> None:
    ctx, consent = work.ctx, work.consent
    runs.begin(
        tx,
        work.run_id,
        work.plan,
        ctx.caller,
        given=given.model_dump(mode="json", exclude_unset=True),
        reason=consent.reason,
        now=ctx.now(),
    )


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even when the caller gives up meanwhile; he is told so only after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


async def _abandon(work: _Work, outcomes: list[Outcome]) -> None:
    """The caller gave up while the run row was being written: when it was, close it with nothing done."""
    if await work.ctx.database.read(lambda tx: tx.get(Run, work.run_id)) is not None:
        with contextlib.suppress(ConsoleError):
            await _record(work, outcomes)


@contextlib.asynccontextmanager
async def _beating(work: _Work) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(leases.BEAT)
            # A beat that is missed costs the lease at worst, and that is looked at before every target.
            with contextlib.suppress(DataError):
                await work.ctx.database.write(lambda tx: runs.beat(tx, work.run_id, work.ctx.now()))

    task = asyncio.create_task(beat(), name=f"beat {work.run_id}")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _execute_all(work: _Work, outcomes: list[Outcome]) -> None:
    """Every target to its own end. When cancelled, what was in flight is unknown and what had not begun is skipped."""
    gate = asyncio.Semaphore(work.change.concurrency)

    async def one(position: int) -> None:
        async with gate:
            await _execute_one(work, position, outcomes[position])

    tasks = [asyncio.create_task(one(position)) for position in range(len(outcomes))]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(ConsoleError):
            await _to_its_end(_record(work, outcomes))
        raise


async def _execute_one(work: _Work, position: int, outcome: Outcome) -> None:
    database, now, target = work.ctx.database, work.ctx.now, outcome.target
    lost: list[str] = await database.write(lambda tx: _start(tx, work, position))
    if lost:
        outcome.error = UnexpectedError(f"the lease on {lost[0]} was taken over; nothing was done").as_json()
        outcome.state = "failed"
    else:
        outcome.state, outcome.error = "unknown", _interrupted(target).as_json()
        try:
            effect = await work.change.execute(target)
            outcome.after = await work.change.verify(target, effect)
            outcome.state, outcome.error = "done", None
        except ConsoleError as error:
            outcome.state = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
            outcome.error = error.as_json()
        except DriverError as error:
            outcome.state = "unknown" if isinstance(error, TimedOut) else "failed"
            outcome.error = translate(error).as_json()
        except DataError as error:
            outcome.state, outcome.error = "failed", translate_data(error).as_json()
        except Exception as error:
            outcome.error = UnexpectedError(
                f"{target.name}: a bug of ours ({type(error).__name__}: {error}); what happened to it is not known"
            ).as_json()
    await database.write(lambda tx: runs.mark(tx, work.run_id, position, outcome.state, now(), outcome))
    work.ctx.progress({"position": position, **outcome.as_json()})


def _interrupted(target: Target) -> OutcomeUnknown:
    return OutcomeUnknown(reason="it was interrupted", check=f"{target.kind} {target.name}")


def _start(tx: Session, work: _Work, position: int) -> list[str]:
    lost = leases.still_mine(tx, work.run_id, [work.plan.targets[position].resource], work.ctx.now())
    if not lost:
        runs.mark(tx, work.run_id, position, "in_flight", work.ctx.now())
    return lost


async def _record(work: _Work, outcomes: list[Outcome]) -> Any:
    """One transaction: the change itself, its result, its audit rows, the end of the run, the leases back. When the
    change cannot be written, what was done is recorded as failed and the error raised."""
    ctx = work.ctx
    try:
        answer, head = await ctx.database.write(lambda tx: _record_tx(tx, work, outcomes))
    except (ConsoleError, DataError, IntegrityError) as error:
        failure = _as_console_error(error)
        for outcome in outcomes:
            if outcome.state == "done":
                outcome.state, outcome.error = "failed", failure.as_json()
        _, head = await ctx.database.write(lambda tx: _record_tx(tx, work, outcomes, failure))
        _anchor(ctx, head)
        raise failure from error
    _anchor(ctx, head)
    return _answer(work, outcomes, answer)


def _as_console_error(error: ConsoleError | DataError | IntegrityError) -> ConsoleError:
    if isinstance(error, ConsoleError):
        return error
    if isinstance(error, DataError):
        return translate_data(error)
    return StateConflict("somebody else wrote the same thing in the meantime; look at it again and repeat")


def _anchor(ctx: Context, head: dict[str, Any] | None) -> None:
    if head is not None:
        note_at_home(ctx.house.home, **head)


def _record_tx(
    tx: Session, work: _Work, outcomes: list[Outcome], failure: ConsoleError | None = None
) -> tuple[Any, dict[str, Any] | None]:
    now = work.ctx.now()
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    answer = work.change.record(tx, outcomes) if done and failure is None else None
    entries = [_entry(work, outcome) for outcome in outcomes]
    if done and failure is None:
        entries += [_completed(work, entry) for entry in work.change.audit_entries(outcomes)]
    head = audit.append(tx, work.ctx.house.audit_key, entries, at=now)
    for position, outcome in enumerate(outcomes):
        if failure is not None or outcome.state in {"skipped", "unknown"}:
            runs.mark(tx, work.run_id, position, outcome.state, now, outcome)
    runs.finish(tx, work.run_id, state_of(outcomes), now, answer=answer, error=failure.as_json() if failure else None)
    return answer, {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None


def state_of(outcomes: list[Outcome]) -> str:
    """The run's state from its targets': unknown wins over everything, for it is what a person must look at."""
    states = {outcome.state for outcome in outcomes}
    if "unknown" in states:
        return "unknown"
    if states == {"done"}:
        return "finished"
    return "partial" if "done" in states else "failed"


def _entry(work: _Work, outcome: Outcome) -> audit.Entry:
    caller, target = work.ctx.caller, outcome.target
    detail: dict[str, Any] = {"host": target.host, "via": caller.via}
    if caller.on_behalf:
        detail["on_behalf"] = caller.on_behalf
    if work.change.op_type:
        detail["op_type"] = work.change.op_type
    if outcome.error:
        detail["error"] = outcome.error["message"]
    return audit.Entry(
        kind=work.change.audit_kind if outcome.state == "done" else "operation",
        operation=work.operation.id,
        actor=caller.username,
        actor_id=caller.user_id,
        source=caller.source,
        result=outcome.state,
        target_kind=target.kind,
        target_id=target.id,
        target_name=target.name,
        environment=target.subject.environment,
        error_code=outcome.error["code"] if outcome.error else None,
        reason=work.consent.reason,
        detail=detail,
        before=outcome.before if outcome.before is not None else dict(target.before),
        after=outcome.after,
        run_id=work.run_id,
        plan_digest=work.plan.digest,
        incident_id=caller.incident_id,
    )


def _completed(work: _Work, entry: audit.Entry) -> audit.Entry:
    caller = work.ctx.caller
    return replace(
        entry,
        actor_id=caller.user_id,
        source=caller.source,
        reason=work.consent.reason,
        run_id=work.run_id,
        plan_digest=work.plan.digest,
        incident_id=caller.incident_id,
    )


def _answer(work: _Work, outcomes: list[Outcome], answer: Any) -> Any:
    """One target: the operation's own answer or the target's error. Several: results per target, or PartlyFailed."""
    bad = [outcome for outcome in outcomes if outcome.state != "done"]
    if len(outcomes) == 1:
        if bad:
            raise TargetFailed(outcomes[0], work.run_id)
        return answer
    results = [outcome.as_json() for outcome in outcomes]
    if bad:
        names = ", ".join(f"{o.target.host or ''}{'/' if o.target.host else ''}{o.target.name}" for o in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise PartlyFailed(
            done=len(outcomes) - len(bad), total=len(outcomes), failed=names + more, targets=results, run_id=work.run_id
        )
    if isinstance(answer, dict) and not answer:
        return {"results": results, "run_id": work.run_id}
    return answer


class TargetFailed(ConsoleError):
    """The error of a single target, with the code and exit status it had there."""

    def __init__(self, outcome: Outcome, run_id: str) -> None:
        error = outcome.error or OutcomeUnknown(reason="it was interrupted", check=outcome.target.name).as_json()
        super().__init__(error["message"], field=error.get("field"), targets=[outcome.as_json()])
        self.data = {**(error.get("data") or {}), "run_id": run_id}
        self._error = error

    @property
    def exit_status(self) -> int:  # type: ignore[override]
        known = {cls.code: cls.exit_status for cls in _all(ConsoleError) if cls is not TargetFailed}
        return known.get(self._error["code"], 6)

    def as_json(self, language: str = "en") -> dict[str, Any]:
        return super().as_json(language) | {
            "code": self._error["code"],
            "source_codes": self._error.get("source_codes", []),
        }


def _all(cls: type[ConsoleError]) -> list[type[ConsoleError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _all(sub))]
