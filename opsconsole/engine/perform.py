"""The one way a change goes: validate → authorise → plan → confirm → lease → run row → execute → verify → record.

Validation has happened before (`dispatch.py`). Whatever fails before the run row changes nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlmodel import Session

from data.errors import DataError
from data.models import Run
from opsconsole.engine import audit, authorise, execute, ladder, leases, runs, second_person
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ApprovalInvalid,
    ConsoleError,
    EmptyList,
    NotSignedIn,
    PermissionGrantDenied,
    PlanStale,
    UserDisabled,
)
from opsconsole.engine.execute import Work
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Confirmation, Plan, Target
from opsconsole.engine.registry import Change, Input, Operation, Outcome
from opsconsole.engine.second_person import Second
from opsconsole.engine.together import Together
from opsconsole.tasks import workers
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.submit import is_task, submit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator gave: the typed confirmation (or the id of an approval), the reason, and the digest of the plan
    he saw (if he saw one). `break_glass` goes on without the second person where one is needed.

    `task` asks for a worker to perform it, and says how; without it the operation and the number of targets decide.
    """

    confirm: str | None = None
    reason: str | None = None
    plan_digest: str | None = None
    break_glass: bool = False
    task: TaskOptions | None = None


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
    plan = await _with_dependents(ctx, operation, _once_each(plan))
    return change, plan, ladder.confirmation(plan, ctx.house.policy, second_person=operation.second_person)


def _once_each(plan: Plan) -> Plan:
    """A target named twice counts once."""
    unique = {target.key: target for target in plan.targets}
    return plan if len(unique) == len(plan.targets) else replace(plan, targets=tuple(unique.values()))


async def _with_dependents(ctx: Context, operation: Operation, plan: Plan) -> Plan:
    """What hangs on the targets through the graph of applications, beside what the operation itself found."""
    from opsconsole.cmdb import blast

    if not blast.counts(operation):
        return plan
    more = await ctx.database.read(lambda tx: blast.dependents(tx, ctx.caller, plan.targets))
    return replace(plan, dependents=tuple(dict.fromkeys((*plan.dependents, *more)))) if more else plan


async def perform(ctx: Context, operation: Operation, given: Input, consent: Consent) -> Any:
    """Run one change to its recorded end and answer it; raises the error of the only target, or PartlyFailed.

    What a worker is to perform is only written down: `{"task_id": …}`.
    """
    change, plan, wanted = await plan_change(ctx, operation, given)
    if consent.plan_digest is not None and consent.plan_digest != plan.digest:
        raise PlanStale(plan_digest=plan.digest)
    second = await agreed(ctx, operation, plan, wanted, given, consent)
    if is_task(operation, change, plan, consent.task, ctx.house.settings.task_above):
        return await _as_task(ctx, operation, given, plan, wanted, consent, second)
    work = Work(ctx, operation, change, plan, consent.reason, uuid7())
    outcomes = [Outcome(target, state="skipped", before=dict(target.before)) for target in plan.targets]
    try:
        execute.anchor(ctx, await ctx.database.write(lambda tx: _begin(tx, work, given, second)))
    except asyncio.CancelledError:
        await _to_its_end(_abandon(work, outcomes))
        raise
    except ApprovalInvalid as error:
        await authorise.record_refusal(ctx, operation, error)
        raise
    async with _beating(work), second_person.loud(ctx, second, work.agreed):
        await _execute_all(work, outcomes)
        await execute.settle(work.change, outcomes)
    answer = await _to_its_end(execute.record(work, outcomes))
    await change.told(answer)
    return answer


async def _as_task(
    ctx: Context,
    operation: Operation,
    given: Input,
    plan: Plan,
    wanted: Confirmation,
    consent: Consent,
    second: Second | None,
) -> dict[str, str]:
    options = consent.task or TaskOptions()
    executor = workers.new_id() if options.attached else None
    try:
        task_id, said = await submit(
            ctx, operation, given, plan, wanted, second, reason=consent.reason, options=options, executor=executor
        )
    except ApprovalInvalid as error:
        await authorise.record_refusal(ctx, operation, error)
        raise
    async with second_person.loud(ctx, second, said):
        await ctx.house.begin_task(task_id, executor=executor)
    return {"task_id": task_id}


async def agreed(
    ctx: Context, operation: Operation, plan: Plan, wanted: Confirmation, given: Input, consent: Consent
) -> Second | None:
    """The ladder: what confirms the plan, or the error that says what would. At its top it is another person, and the
    answer must be taken in the transaction that begins the change."""
    if wanted.rung != second_person.RUNG:
        ladder.check(plan, wanted, consent.confirm, consent.reason)
        return None
    return await second_person.given(
        ctx,
        operation,
        plan,
        wanted,
        given,
        confirm=consent.confirm,
        reason=consent.reason,
        break_glass=consent.break_glass,
    )


def _begin(tx: Session, work: Work, given: Input, second: Second | None) -> dict[str, Any] | None:
    """The leases, the run row and, at the top of the ladder, the use of the approval: all of it or nothing. Answers
    the head of the journal when something was written there."""
    ctx = work.ctx
    if second is not None:
        work.agreed = second.take(tx, ctx, run_id=work.run_id)
    work.fence = runs.begin(
        tx,
        work.run_id,
        work.plan,
        ctx.caller,
        given=given.shown(),
        reason=work.reason,
        now=ctx.now(),
    )
    return audit.head_of(tx) if second is not None else None


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


async def _abandon(work: Work, outcomes: list[Outcome]) -> None:
    """The caller gave up while the run row was being written: when it was, close it with nothing done."""
    if await work.ctx.database.read(lambda tx: tx.get(Run, work.run_id)) is not None:
        with contextlib.suppress(ConsoleError):
            await execute.record(work, outcomes)


@contextlib.asynccontextmanager
async def _beating(work: Work) -> AsyncIterator[None]:
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


async def _execute_all(work: Work, outcomes: list[Outcome]) -> None:
    """Every target to its own end. When cancelled, what was in flight is unknown and what had not begun is skipped."""
    gate = asyncio.Semaphore(work.change.concurrency)
    together = Together(work.ctx.database)

    async def one(position: int) -> None:
        async with gate:
            await _execute_one(work, together, position, outcomes[position])

    tasks = [asyncio.create_task(one(position)) for position in range(len(outcomes))]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(ConsoleError):
            await _to_its_end(execute.record(work, outcomes))
        raise


def _start(tx: Session, work: Work, position: int, target: Target) -> list[str]:
    """Before every target: is the one who wanted this still welcome, and is it still his to do?"""
    authorise.refuse_gone(tx, work.ctx)
    return execute.start_target(tx, work, position, target)


async def _execute_one(work: Work, together: Together, position: int, outcome: Outcome) -> None:
    target = outcome.target
    try:
        lost = await execute.fresh(lambda: together.write(lambda tx: _start(tx, work, position, target)))
    except (UserDisabled, NotSignedIn) as error:
        outcome.state, outcome.error = "failed", error.as_json()
    else:
        if lost:
            outcome.state, outcome.error = "failed", execute.taken_over(lost)
        else:
            await execute.one_target(work, outcome)
    now = work.ctx.now()
    await together.write(lambda tx: runs.mark(tx, work.run_id, position, outcome.state, now, outcome))
    work.ctx.progress({"position": position, **outcome.as_json()})
