"""Access that ends soon, and the state of the journal as far as it is known without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlmodel import Session, col, select

from data.models import AuditHead, AuditStep, AuthToken, User
from opsconsole.engine.audit_verify import Anchor
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.registry import find
from opsconsole.home.parts import MOST_SHOWN, Section, counted, item

ENDING: Final = timedelta(days=14)
OVER_FOR: Final = timedelta(days=7)


def access(tx: Session, ctx: Context) -> Section:
    """Tokens that end (his own, or everybody's for who manages them), and his own password."""
    section, now = Section("access"), ctx.now()
    where: list[Any] = [AuthToken.expires_at < now + ENDING, AuthToken.expires_at > now - OVER_FOR]  # type: ignore[operator]
    if not decide(ctx.caller, find("access.tokens.list").needs).allowed:
        where.append(AuthToken.user_id == ctx.caller.user_id)
    query: Any = select(AuthToken.id, AuthToken.name, AuthToken.expires_at, User.username)
    joined = query.join(User, col(User.id) == col(AuthToken.user_id)).where(*where)
    rows = tx.exec(joined.order_by(col(AuthToken.expires_at)).limit(MOST_SHOWN)).all()
    for key, name, ends, owner in rows:
        state = "ended" if ends <= now else "ends"
        section.add([item("amber", "token", key, name, state, f"the token {name} {state}", who=owner, due=ends)])
    if len(rows) == MOST_SHOWN:
        section.count = counted(tx, select(AuthToken.id).where(*where))
    me = tx.get(User, ctx.caller.user_id)
    ends = me.password_expires_at if me is not None else None
    if me is not None and ends is not None and ends < now + ENDING:
        state = "ended" if ends <= now else "ends"
        section.add([item("amber", "user", me.id, me.username, state, f"your password {state}", due=ends)])
    return section


def journal(tx: Session, ctx: Context, kept: Sequence[Anchor]) -> Section:
    """The newest line against the head kept beside the database: a cut tail is seen at once, the rest by a check."""
    section = Section("journal")
    if not decide(ctx.caller, find("audit.verify").needs).allowed:
        return section
    head = tx.exec(select(AuditHead).where(AuditHead.id == 1)).one()
    step = tx.get(AuditStep, head.step)
    ahead = next((anchor for anchor in kept if anchor.step > head.step), None)
    other = next((anchor for anchor in kept if anchor.step == head.step and anchor.mac != head.mac), None)
    at = step.at if step is not None else None
    if ahead is not None:
        what = f"lines are missing: {ahead.where} knows step {ahead.step}, the journal ends at {head.step}"
        section.add([item("red", "journal", "", "journal", "cut", what, why="audit verify says more", since=at)])
    elif other is not None or (step is None and head.step > 0):
        what = "its end is not the one that was kept: audit verify says more"
        section.add([item("red", "journal", "", "journal", "broken", what, since=at)])
    else:
        what = f"{head.last_seq} lines; its end is the one that was kept" if kept else f"{head.last_seq} lines"
        section.add([item("ok", "journal", "", "journal", "in order", what, since=at)])
    return section
