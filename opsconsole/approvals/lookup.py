"""Which requests and reviews a caller sees, how they are answered, and planning a request again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, or_, select

from data.models import Approval, Review, User
from opsconsole.engine import approvals as engine
from opsconsole.engine import dispatch
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Needs
from opsconsole.engine.errors import ApprovalInvalid, ConsoleError, ObjectNotFound
from opsconsole.engine.given import bound, whole
from opsconsole.engine.perform import plan_change
from opsconsole.engine.plan import Confirmation, Plan
from opsconsole.engine.registry import Input, Json, Operation, find
from opsconsole.engine.users import caller_of, nobody_could
from opsconsole.journal.runs import sees_all

MOST_JUDGED = 500
"""Open rows of which is worked out whether the caller may decide them, the newest first."""


def needs_of(operation: str) -> Needs:
    """What the second person must hold. Of an operation that this version does not know any more: what administrators
    hold, so that what it left can still be seen and closed."""
    try:
        return find(operation).needs
    except ObjectNotFound:
        return Needs(operation, "module.access.grant_permission", module="access")


def objection(caller: Caller, row: Approval) -> str | None:
    """Why this caller cannot decide the request; None when he can."""
    return engine.objection(caller, needs_of(row.operation), row.subjects, row.requester_persons)


@dataclass(frozen=True, slots=True)
class Closing:
    """Whether a caller may close a review: `because` says why not, `himself` that he may though he broke the glass."""

    because: str | None
    himself: bool = False


def closing(tx: Session, caller: Caller, row: Review) -> Closing:
    """Whoever could have been the second person then can close it. Where nobody else could, as with a single user, the
    one who broke the glass can, and it is kept that he did it himself."""
    needs = needs_of(row.operation)
    because = engine.objection(caller, needs, row.subjects, row.who_persons)
    if because is None or not caller.persons & set(row.who_persons):
        return Closing(because)
    if engine.objection(caller, needs, row.subjects, ()) is not None:
        return Closing(because)
    if nobody_could(tx, needs, engine.subjects_of(row.subjects), without=row.who_persons):
        return Closing(None, himself=True)
    return Closing(f"{because}, as long as somebody else could close it")


def decidable(tx: Session, caller: Caller, now: datetime) -> list[str]:
    """The ids of the open requests that this caller may decide."""
    still = [col(Approval.state).in_(engine.OPEN), Approval.expires_at > now]
    return _judged(tx, caller, Approval, Approval.requester_persons, still)


def closable(tx: Session, caller: Caller) -> list[str]:
    """The ids of the open reviews that this caller may close."""
    return _judged(tx, caller, Review, Review.who_persons, [col(Review.closed_at).is_(None)])


def _judged(tx: Session, caller: Caller, table: Any, persons: Any, still: list[Any]) -> list[str]:
    """Of the newest open rows those without an objection. The objects are read only where it depends on them."""
    open_rows = select(table.id, table.operation, persons).where(*still).order_by(col(table.id).desc())
    found: list[str] = []
    depends: dict[str, str] = {}
    for row_id, operation, names in tx.exec(open_rows.limit(MOST_JUDGED)):
        said = engine.general_objection(caller, needs_of(operation), names)
        if said is None:
            found.append(row_id)
        elif isinstance(said, engine.Depends):
            depends[row_id] = operation
    if depends:
        objects = select(table.id, table.subjects, persons).where(col(table.id).in_(list(depends)))
        for row_id, kept, names in tx.exec(objects):
            if engine.objection(caller, needs_of(depends[row_id]), kept, names) is None:
                found.append(row_id)
    return found


def visible_approvals(tx: Session, ctx: Context) -> list[Any]:
    """Conditions: one's own, those he decided or may decide; all with the right to view the journal."""
    if sees_all(ctx):
        return []
    me = ctx.caller.user_id
    mine = or_(col(Approval.requester_id) == me, col(Approval.decided_by_id) == me)
    return [or_(mine, col(Approval.id).in_(decidable(tx, ctx.caller, ctx.now())))]


def visible_reviews(tx: Session, ctx: Context) -> list[Any]:
    if sees_all(ctx):
        return []
    me = ctx.caller.user_id
    mine = or_(col(Review.who_id) == me, col(Review.closed_by_id) == me)
    return [or_(mine, col(Review.id).in_(closable(tx, ctx.caller)))]


def find_approval(tx: Session, ctx: Context, approval_id: str) -> Approval:
    """A request the caller may see."""
    row = tx.get(Approval, approval_id)
    if row is not None and not sees_all(ctx):
        mine = ctx.caller.user_id in {row.requester_id, row.decided_by_id}
        open_to_him = engine.state_of(row, ctx.now()) in engine.OPEN and objection(ctx.caller, row) is None
        row = row if mine or open_to_him else None
    if row is None:
        raise ObjectNotFound(entity="approval", id=approval_id, hint="; see: approvals list", field="id")
    return row


def approval_json(row: Approval, caller: Caller, now: datetime) -> Json:
    """The request as lists and answers show it."""
    state = engine.state_of(row, now)
    because = objection(caller, row) if state in engine.OPEN else f"it is {state}"
    return {
        "id": row.id,
        "operation": row.operation,
        "summary": row.summary,
        "why": row.why,
        "state": state,
        "permission": row.permission,
        "level": row.level,
        "targets": len(row.subjects),
        "plan_digest": row.plan_digest,
        "requester": row.requester,
        "persons": row.requester_persons,
        "reason": row.reason,
        "requested_at": utc_text(row.requested_at),
        "expires_at": utc_text(row.expires_at),
        "decided_by": row.decided_by,
        "decided_at": _text(row.decided_at),
        "decision_reason": row.decision_reason,
        "used_at": _text(row.used_at),
        "run_id": row.run_id,
        "task_id": row.task_id,
        "incident_id": row.incident_id,
        "mine": row.requester_id == caller.user_id,
        "may_decide": because is None,
        "because": because,
    }


def review_json(tx: Session, row: Review, caller: Caller) -> Json:
    """The review as lists and answers show it. `may_self_close`: he broke the glass, and nobody else could close it."""
    found = closing(tx, caller, row) if row.closed_at is None else Closing("it is closed")
    return {
        "id": row.id,
        "state": "open" if row.closed_at is None else "closed",
        "operation": row.operation,
        "summary": row.summary,
        "level": row.level,
        "who": row.who,
        "persons": row.who_persons,
        "reason": row.reason,
        "opened_at": utc_text(row.opened_at),
        "run_id": row.run_id,
        "task_id": row.task_id,
        "plan_digest": row.plan_digest,
        "incident_id": row.incident_id,
        "closed_by": row.closed_by,
        "closed_at": _text(row.closed_at),
        "note": row.note,
        "self_closed": row.self_closed,
        "may_close": found.because is None,
        "may_self_close": found.himself,
        "because": found.because,
    }


def _text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


@dataclass(frozen=True, slots=True)
class Replanned:
    """What a request would do now."""

    operation: Operation
    given: Input
    plan: Plan
    confirmation: Confirmation


async def given_again(ctx: Context, row: Approval) -> tuple[Operation, Json]:
    """The input of an open request, its secrets opened. ApprovalInvalid when it is not what was given."""
    packed = None
    if row.sealed is not None:
        packed = await ctx.house.unseal(row.sealed, context=engine.sealed_for(row.id))
    operation, data = find(row.operation), whole(row.input, packed)
    if bound(ctx.house.audit_key, operation.id, dispatch.validate(operation, data)) != row.bound_to:
        raise ApprovalInvalid(id=row.id, reason="its input is not the one it was asked for with")
    return operation, data


async def replan(ctx: Context, row: Approval) -> Replanned:
    """Plan an open request again, with the rights its requester has now."""
    operation, data = await given_again(ctx, row)
    given = dispatch.validate(operation, data)
    requester = await ctx.database.read(lambda tx: _requester(tx, row))
    try:
        _, plan, confirmation = await plan_change(Context(ctx.house, requester, trial=True), operation, given)
    except ConsoleError as error:
        if error.exit_status != 3:
            raise
        raise ApprovalInvalid(id=row.id, reason=f"{row.requester} may not do it any more: {error.message}") from error
    return Replanned(operation, given, plan, confirmation)


def _requester(tx: Session, row: Approval) -> Caller:
    user = tx.get(User, row.requester_id)
    if user is None or user.username != row.requester:
        raise ApprovalInvalid(id=row.id, reason=f"{row.requester} is no user any more")
    return caller_of(tx, user, via="approval", source=row.source)
