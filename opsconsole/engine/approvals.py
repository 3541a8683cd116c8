"""A second person's consent to one planned change: asked for, decided, and used exactly once.

Everything here runs inside the caller's transaction and fails closed: what cannot be shown to be valid is refused.
Whoever waits for a decision (a task) puts a function into `on_decided`; it runs in the transaction of the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Approval, User
from opsconsole.engine import audit
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Needs, Subject, decide, holds_everywhere
from opsconsole.engine.errors import ApprovalInvalid, NobodyCanApprove, PlanStale, StateConflict
from opsconsole.engine.given import Given
from opsconsole.engine.plan import Confirmation, Plan
from opsconsole.engine.registry import Operation, find
from opsconsole.engine.users import caller_of, unfrozen, who_could_all

OPEN = ("pending", "approved")
MOST_OPEN = 100
"""Open requests of one user: an inbox that holds more is read by nobody."""
_SWEPT_AT_ONCE = 200

Listener = Callable[[Session, Approval], None]
on_decided: list[Listener] = []
"""Called with the row, its new state set, inside the transaction: approved, rejected, withdrawn or expired."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `bound_to` is `given.bound()`; `sealed` the packed secrets, sealed under `sealed_for(id)`."""

    id: str
    operation: Operation
    plan: Plan
    confirmation: Confirmation
    given: Given
    bound_to: str
    sealed: bytes | None
    reason: str
    valid: timedelta


def sealed_for(approval_id: str) -> str:
    """The context the secrets of a request are sealed under."""
    return f"approval:{approval_id}:input"


def subjects_json(plan: Plan) -> list[Any]:
    """The targets as permissions see them, as they are kept beside an approval or a review."""
    return [[s.kind, s.name, dict(s.ids), s.owner_id, s.environment] for s in (t.subject for t in plan.targets)]


def subjects_of(kept: Sequence[Any]) -> list[Subject]:
    return [
        Subject(kind, name, ids=tuple(ids.items()), owner_id=owner, environment=environment)
        for kind, name, ids, owner, environment in kept
    ]


def eligible(tx: Session, needs: Needs, subjects: Sequence[Subject], without: Collection[str]) -> list[str]:
    """Up to five enabled users who could be the second person."""
    return who_could_all(tx, needs, subjects, without=without)


def objection(caller: Caller, needs: Needs, kept: Sequence[Any], persons: Collection[str]) -> str | None:
    """Why this caller cannot be the second person beside these first ones; None when he can. `kept` are the subjects as
    `subjects_json` wrote them."""
    if not kept:
        return "the request names no target"
    found = general_objection(caller, needs, persons)
    return found if isinstance(found, str) or found is None else _special_objection(caller, needs, kept)


class Depends:
    """The answer depends on the objects."""


DEPENDS = Depends()


def general_objection(caller: Caller, needs: Needs, persons: Collection[str]) -> str | Depends | None:
    """The same before any object is looked at: a reason that holds for all, None when none can hold for any."""
    same = sorted(caller.persons & set(persons))
    if same:
        return f"{same[0]} cannot be the second person to himself"
    decision = decide(caller, unfrozen(needs), None)
    if not decision.allowed:
        return decision.because
    second = needs.target_permission
    everywhere = holds_everywhere(caller, needs.permission) and (second is None or holds_everywhere(caller, second))
    return None if everywhere else DEPENDS


def _special_objection(caller: Caller, needs: Needs, kept: Sequence[Any]) -> str | None:
    wanted = unfrozen(needs)
    for subject in subjects_of(kept):
        decision = decide(caller, wanted, subject)
        if not decision.allowed:
            return f"{decision.because} on {subject.name}"
    return None


def state_of(row: Approval, now: datetime) -> str:
    """The state as it is now: what has expired may not have been swept yet."""
    return "expired" if row.state in OPEN and row.expires_at <= now else row.state


def refuse_impossible(tx: Session, operation: Operation, plan: Plan, caller: Caller) -> list[str]:
    """Who could approve this plan for this caller; NobodyCanApprove when there is nobody, naming what is missing."""
    names = eligible(tx, operation.needs, [t.subject for t in plan.targets], caller.persons)
    if names:
        return names
    missing = " and ".join(p for p in (operation.permission, operation.target_permission) if p)
    administrators = who_could_all(tx, Needs("", "module.access.grant_permission", module="access"), [None])
    raise NobodyCanApprove(
        user=caller.username,
        operation=operation.id,
        missing=missing,
        administrators=", ".join(administrators) or "nobody",
        plan_digest=plan.digest,
    )


def already_open(tx: Session, requester_id: int, plan_digest: str, bound_to: str, now: datetime) -> Approval | None:
    """The request of the same user for the same thing that is still open."""
    return tx.exec(
        select(Approval).where(
            Approval.plan_digest == plan_digest,
            Approval.requester_id == requester_id,
            Approval.bound_to == bound_to,
            col(Approval.state).in_(OPEN),
            Approval.expires_at > now,
        )
    ).first()


def ask(tx: Session, wish: Wish, caller: Caller, now: datetime, *, task_id: str | None = None) -> Approval:
    """Write the request. NobodyCanApprove when it would wait in vain, StateConflict when it waits already."""
    refuse_impossible(tx, wish.operation, wish.plan, caller)
    same = already_open(tx, caller.user_id, wish.plan.digest, wish.bound_to, now)
    if same is not None and task_id is None:
        raise StateConflict(
            f"this is asked for already: approval {same.id} is {same.state}", approval_id=same.id, state=same.state
        )
    mine = select(Approval.id).where(Approval.requester_id == caller.user_id, col(Approval.state).in_(OPEN))
    if len(tx.exec(mine.where(Approval.expires_at > now).limit(MOST_OPEN)).all()) == MOST_OPEN:
        raise StateConflict(f"{MOST_OPEN} requests of {caller.username} are open; withdraw what is not needed any more")
    row = Approval(
        id=wish.id,
        operation=wish.operation.id,
        summary=wish.plan.summary,
        why=wish.confirmation.why,
        input=wish.given.shown,
        sealed=wish.sealed,
        bound_to=wish.bound_to,
        plan=audit.redact(wish.plan.as_json(wish.confirmation)),
        plan_digest=wish.plan.digest,
        subjects=subjects_json(wish.plan),
        permission=" and ".join(p for p in (wish.operation.permission, wish.operation.target_permission) if p),
        level=wish.plan.level,
        requester=caller.username,
        requester_id=caller.user_id,
        requester_persons=sorted(caller.persons),
        source=caller.source,
        reason=wish.reason,
        requested_at=now,
        expires_at=now + wish.valid,
        task_id=task_id,
        incident_id=caller.incident_id,
    )
    tx.add(row)
    tx.flush()
    announce(tx, "approval", row.id, "created")
    return row


def locked(tx: Session, approval_id: str) -> Approval:
    """The row for change. ApprovalInvalid says no more of an unknown one than of somebody else's."""
    row = tx.exec(select(Approval).where(Approval.id == approval_id).with_for_update()).one_or_none()
    if row is None:
        raise ApprovalInvalid(id=approval_id, reason=_UNKNOWN)
    return row


_UNKNOWN = "there is none with this id for this user"


def settle(tx: Session, row: Approval, state: str, by: Caller | None, reason: str | None, now: datetime) -> None:
    """Bring an open request to a decision and tell who waits for it; what will not be done keeps no secrets."""
    row.state, row.decision_reason, row.decided_at = state, reason, now
    if by is not None:
        row.decided_by, row.decided_by_id, row.decided_persons = by.username, by.user_id, sorted(by.persons)
    if state != "approved":
        row.sealed = None
    tx.add(row)
    tx.flush()
    for listener in tuple(on_decided):
        listener(tx, row)
    announce(tx, "approval", row.id, "updated")


def consume(
    tx: Session,
    approval_id: str,
    plan_digest: str,
    requester_id: int,
    now: datetime,
    *,
    persons: Collection[str] = (),
    bound_to: str | None = None,
    task_id: str | None = None,
    run_id: str | None = None,
) -> Approval:
    """Use an approval, once, in the transaction that begins the change; raises ApprovalInvalid or PlanStale.

    `persons` are those behind the caller who acts now. It serves only the input it was asked for (`bound_to`), and one
    asked for by a task (`task_id`) that task alone.
    """
    row = locked(tx, approval_id)
    if row.requester_id != requester_id:
        raise ApprovalInvalid(id=approval_id, reason=_UNKNOWN)
    _refuse_not_approved(row, now)
    if row.plan_digest != plan_digest:
        raise PlanStale(
            f"the approval {approval_id} was given for another plan; ask again for what would happen now",
            plan_digest=plan_digest,
            approved_digest=row.plan_digest,
        )
    if row.task_id != task_id:
        raise ApprovalInvalid(id=approval_id, reason=f"it was asked for by task {row.task_id or 'none'}")
    if bound_to is None or bound_to != row.bound_to:
        raise ApprovalInvalid(id=approval_id, reason="it was given for another input")
    _refuse_unfit(tx, row, {*row.requester_persons, *persons})
    row.state, row.used_at, row.sealed = "used", now, None
    row.run_id = run_id if run_id is not None else task_id
    tx.add(row)
    tx.flush()
    announce(tx, "approval", row.id, "updated", run_id=row.run_id)
    return row


def _refuse_not_approved(row: Approval, now: datetime) -> None:
    state = state_of(row, now)
    if state == "approved":
        return
    by = f" by {row.decided_by}" if row.decided_by and state != "expired" else ""
    because = f" ({row.decision_reason})" if row.decision_reason else ""
    reason = {
        "pending": "nobody has decided it yet",
        "expired": f"it expired at {utc_text(row.expires_at)}; ask again",
        "used": f"it was used already, by run {row.run_id}",
    }.get(state, f"it was {state}{by}{because}")
    raise ApprovalInvalid(id=row.id, reason=reason, state=state)


def _refuse_unfit(tx: Session, row: Approval, persons: Collection[str]) -> None:
    """The approver must be at this moment what he was when he approved: enabled, entitled, and another."""
    user = tx.get(User, row.decided_by_id) if row.decided_by_id is not None else None
    if user is None or user.username != row.decided_by:
        raise ApprovalInvalid(id=row.id, reason=f"its approver {row.decided_by} is no user any more")
    same = sorted(set(row.decided_persons) & set(persons))
    because = f"{same[0]} cannot be the second person to himself" if same else None
    because = because or objection(caller_of(tx, user), find(row.operation).needs, row.subjects, persons)
    if because is None:
        behind = select(User.username).where(col(User.username).in_(row.decided_persons), User.status != "enabled")
        disabled = tx.exec(behind).first()
        because = f"the user {disabled} is disabled" if disabled else None
    if because is not None:
        raise ApprovalInvalid(id=row.id, reason=f"{row.decided_by}, who approved it, could not do so now: {because}")


def expire(tx: Session, audit_key: bytes, now: datetime) -> list[str]:
    """End what nobody decided or used in time, with a journal row each; answers the ids."""
    over = (
        select(Approval)
        .where(col(Approval.state).in_(OPEN), Approval.expires_at <= now)
        .order_by(col(Approval.expires_at))
        .limit(_SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    rows = list(tx.exec(over))
    entries = []
    for row in rows:
        was = row.state
        settle(tx, row, "expired", None, row.decision_reason, now if was == "pending" else row.decided_at or now)
        entries.append(_expired_entry(row, was))
    audit.append(tx, audit_key, entries, at=now)
    return [row.id for row in rows]


def _expired_entry(row: Approval, was: str) -> audit.Entry:
    return audit.Entry(
        operation="approvals.expire",
        actor="opsconsole",
        result="done",
        target_kind="approval",
        target_id=row.id,
        target_name=row.summary,
        reason=row.reason,
        before={"state": was},
        after={"state": "expired"},
        detail={"operation": row.operation, "requester": row.requester, "approver": row.decided_by},
        plan_digest=row.plan_digest,
        incident_id=row.incident_id,
    )


def any_expired(tx: Session, now: datetime) -> bool:
    """One indexed look: is there anything for `expire`?"""
    over = select(Approval.id).where(col(Approval.state).in_(OPEN), Approval.expires_at <= now).limit(1)
    return tx.exec(over).first() is not None
