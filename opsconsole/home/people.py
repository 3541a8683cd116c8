"""Reviews nobody has closed, and decisions somebody waits for."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from data.models import Approval, Review
from opsconsole.approvals.lookup import closing, decidable, visible_reviews
from opsconsole.engine import approvals as engine
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json
from opsconsole.home.parts import MOST_SHOWN, Section, counted, item

_NAMED = 5


def reviews(tx: Session, ctx: Context) -> Section:
    """All open ones he may see, also those he cannot close."""
    where = [*visible_reviews(tx, ctx), col(Review.closed_at).is_(None)]
    rows = tx.exec(select(Review).where(*where).order_by(col(Review.id).desc()).limit(MOST_SHOWN)).all()
    section = Section("reviews")
    section.add([_review(tx, ctx, row) for row in rows], counted(tx, select(Review.id).where(*where)))
    return section


def _review(tx: Session, ctx: Context, row: Review) -> Json:
    found = closing(tx, ctx.caller, row)
    could = "close it yourself" if found.himself else "to review"
    state = "in review" if found.because is not None else could
    return item(
        "red" if found.because is None else "amber",
        "review",
        row.id,
        row.summary,
        state,
        row.summary,
        who=row.who,
        why=row.reason,
        on=_names(row.subjects),
        since=row.opened_at,
        environment_level=row.level,
        operations=["reviews.close"] if found.because is None else [],
    )


def _names(kept: list[Any]) -> list[str]:
    """Of the targets as they are kept beside a request or a review, the first ones."""
    names = [subject.name for subject in engine.subjects_of(kept[:_NAMED])]
    return [*names, f"and {len(kept) - _NAMED} more"] if len(kept) > _NAMED else names


def approvals(tx: Session, ctx: Context) -> Section:
    """Those he may decide, those of his own he may use now, and those of his own that wait for others."""
    now, section = ctx.now(), Section("approvals")
    still = Approval.expires_at > now
    to_decide = [col(Approval.id).in_(decidable(tx, ctx.caller, now)), Approval.state == "pending", still]
    mine = [Approval.requester_id == ctx.caller.user_id, still]
    kinds = (
        ("amber", "to approve", to_decide, ["approvals.approve", "approvals.reject"]),
        ("amber", "approved", [*mine, Approval.state == "approved"], ["approvals.perform"]),
        ("busy", "waiting", [*mine, Approval.state == "pending"], ["approvals.withdraw"]),
    )
    for level, state, where, operations in kinds:
        query = select(Approval).where(*where).order_by(col(Approval.id).desc()).limit(MOST_SHOWN)
        lean = query.options(defer(Approval.plan), defer(Approval.input), defer(Approval.sealed))  # type: ignore[arg-type]
        rows = tx.exec(lean).all()
        found = [_approval(row, level, state, operations) for row in rows]
        section.add(found, counted(tx, select(Approval.id).where(*where)) if len(rows) == MOST_SHOWN else None)
    return section


def _approval(row: Approval, level: str, state: str, operations: list[str]) -> Json:
    by_itself = state == "approved" and row.task_id is not None
    return item(
        "busy" if by_itself else level,
        "approval",
        row.id,
        row.summary,
        state,
        row.summary,
        who=row.requester,
        why=row.reason,
        on=_names(row.subjects),
        since=row.requested_at,
        due=row.expires_at,
        environment_level=row.level,
        operations=[] if by_itself else operations,
    )
