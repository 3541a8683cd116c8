"""The highest rung: another person's approval, used in the transaction that begins the run, or break-glass.

Break-glass replaces the second person, never the caller's own permission. It is loud: a journal row of its own kind,
and a review that stays open until somebody else has closed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from data.feed import announce
from data.models import Review
from opsconsole.engine import approvals, audit, outbox
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ApprovalRequired, BreakGlassOff, ConfirmationRequired
from opsconsole.engine.given import bound
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Confirmation, Plan
from opsconsole.engine.registry import Input, Json, Operation

RUNG = 4
KIND = "break_glass"
EXPECT = "approval"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMED = 50


@dataclass(frozen=True, slots=True)
class Second:
    """How the second person is there: an approval to be used, or nobody (break-glass, with its reason)."""

    operation: Operation
    plan: Plan
    bound_to: str
    approval_id: str | None
    reason: str

    def take(self, tx: Session, ctx: Context, *, run_id: str | None, task_id: str | None = None) -> Json:
        """Use the approval, or open the review; answers what every journal row of the change then says."""
        if self.approval_id is not None:
            row = approvals.consume(
                tx,
                self.approval_id,
                self.plan.digest,
                ctx.caller.user_id,
                ctx.now(),
                persons=ctx.caller.persons,
                bound_to=self.bound_to,
                run_id=run_id or task_id,
            )
            return {"approval_id": row.id, "approved_by": row.decided_by}
        review = _open_review(tx, ctx, self, run_id=run_id, task_id=task_id)
        return {KIND: review.id}


async def given(
    ctx: Context,
    operation: Operation,
    plan: Plan,
    wanted: Confirmation,
    data: Input,
    *,
    confirm: str | None,
    reason: str | None,
    break_glass: bool,
) -> Second:
    """What stands for the second person; ApprovalRequired (exit 7) names who could be it."""
    seal = bound(ctx.house.audit_key, operation.id, data)
    if confirm is not None and _ID.fullmatch(confirm.strip()):
        return Second(operation, plan, seal, confirm.strip(), (reason or "").strip())
    if not break_glass:
        raise await required(ctx, operation, plan, wanted)
    if not ctx.house.settings.break_glass:
        raise BreakGlassOff(why=wanted.why, plan_digest=plan.digest)
    if not (reason or "").strip():
        raise ConfirmationRequired(
            why=f"{plan.summary}: without a second person a reason is needed",
            expect_hint="--break-glass --reason '…'",
            field="reason",
            rung=wanted.rung,
            expect=EXPECT,
            plan_digest=plan.digest,
        )
    return Second(operation, plan, seal, None, (reason or "").strip())


async def shown(ctx: Context, operation: Operation, plan: Plan, data: Input) -> Json:
    """What a plan says about the second person: who is `eligible`, the caller's own open `approval` for just this
    (`{id, state, decided_by, expires_at}` or None), and whether `break_glass` is allowed."""
    seal, caller, now = bound(ctx.house.audit_key, operation.id, data), ctx.caller, ctx.now()

    def work(tx: Session) -> Json:
        row = approvals.already_open(tx, caller.user_id, plan.digest, seal, now)
        mine = None
        if row is not None:
            expires = utc_text(row.expires_at)
            mine = {"id": row.id, "state": row.state, "decided_by": row.decided_by, "expires_at": expires}
        subjects = [target.subject for target in plan.targets]
        names = approvals.eligible(tx, operation.needs, subjects, caller.persons)
        return {"eligible": names, "approval": mine, "break_glass": ctx.house.settings.break_glass}

    return await ctx.database.read(work)


async def required(ctx: Context, operation: Operation, plan: Plan, wanted: Confirmation) -> ApprovalRequired:
    """The error that says how to go on, and who could approve."""
    subjects = [target.subject for target in plan.targets]
    names = await ctx.database.read(lambda tx: approvals.eligible(tx, operation.needs, subjects, ctx.caller.persons))
    missing = " and ".join(p for p in (operation.permission, operation.target_permission) if p)
    if names:
        how = f"{', '.join(names)} could; ask with --request-approval --reason '…', then --confirm APPROVAL-ID"
    else:
        how = f"nobody else holds {missing} on every target"
    return ApprovalRequired(
        why=wanted.why,
        how=how,
        rung=wanted.rung,
        expect=EXPECT,
        plan_digest=plan.digest,
        eligible=names,
        break_glass=ctx.house.settings.break_glass,
    )


@contextlib.asynccontextmanager
async def loud(ctx: Context, second: Second | None, agreed: Json) -> AsyncIterator[None]:
    """While the change runs, tell those outside that it runs without its second person. It delays nothing, and what
    cannot be told now is told later: it was written with the review."""
    if second is None or second.approval_id is not None:
        yield
        return
    telling = asyncio.create_task(outbox.send(ctx.house, agreed[KIND], KIND), name=f"tell {agreed[KIND]}")
    try:
        yield
    finally:
        await asyncio.wait([telling])


def _open_review(tx: Session, ctx: Context, second: Second, *, run_id: str | None, task_id: str | None) -> Review:
    caller, plan, now = ctx.caller, second.plan, ctx.now()
    review = Review(
        id=uuid7(),
        run_id=run_id,
        task_id=task_id,
        operation=second.operation.id,
        summary=plan.summary,
        plan_digest=plan.digest,
        subjects=approvals.subjects_json(plan),
        level=plan.level,
        who=caller.username,
        who_id=caller.user_id,
        who_persons=sorted(caller.persons),
        reason=second.reason,
        opened_at=now,
        incident_id=caller.incident_id,
    )
    tx.add(review)
    tx.flush()
    announce(tx, "review", review.id, "created", run_id=run_id)
    about: dict[str, Any] = {
        "id": review.id,
        "operation": review.operation,
        "summary": review.summary,
        "level": review.level,
    }
    about |= {"who": review.who, "reason": review.reason, "run_id": run_id, "task_id": task_id}
    outbox.put(tx, ctx.house, KIND, about, actor_id=caller.user_id)
    audit.append(tx, ctx.house.audit_key, [_loud(ctx, second, review)], at=now)
    return review


def _loud(ctx: Context, second: Second, review: Review) -> audit.Entry:
    """Written before the first effect: whatever becomes of the change, this stays."""
    caller, plan = ctx.caller, second.plan
    detail: dict[str, Any] = {
        "via": caller.via,
        "review": review.id,
        "task_id": review.task_id,
        "targets": [target.name for target in plan.targets[:_NAMED]],
        "count": len(plan.targets),
        "level": plan.level,
        "persons": sorted(caller.persons),
    }
    return audit.Entry(
        kind=KIND,
        operation=second.operation.id,
        actor=caller.username,
        actor_id=caller.user_id,
        source=caller.source,
        result=KIND,
        target_kind="review",
        target_id=review.id,
        target_name=plan.summary,
        environment=", ".join(sorted({t.subject.environment for t in plan.targets if t.subject.environment})) or None,
        reason=second.reason,
        detail=detail,
        run_id=review.run_id,
        plan_digest=plan.digest,
        incident_id=caller.incident_id,
    )
