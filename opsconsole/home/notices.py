"""notices.list | retry: what was to be told outside, and whether it was."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Notice
from opsconsole.engine import outbox
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound, StateConflict
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.home.parts import MOST_SHOWN, Section, counted, item
from opsconsole.journal.runs import sees_all

_WAYS = {"webhook": "the webhook", "mail": "mail"}


class ListNotices(Paged):
    """Of what one did oneself; of everybody with the right to view the journal."""

    state: Literal["waiting", "sent", "given_up"] | None = None


class RetryNotice(Input):
    id: Annotated[str, Field(min_length=1, max_length=64)]


def _visible(ctx: Context) -> list[Any]:
    return [] if sees_all(ctx) else [col(Notice.actor_id) == ctx.caller.user_id]


@read(
    "notices.list",
    summary="List what was to be told outside (webhook, mail), newest first, and whether it was",
    permission="self | module.audit.view_audit",
    input=ListNotices,
    objects=("notice",),
)
async def list_notices(ctx: Context, query: ListNotices) -> Json:
    """`recipients` are those still to be told; `next_at` the next try of one that waits."""

    def work(tx: Session) -> Json:
        where = _visible(ctx)
        if query.state is not None:
            where.append(Notice.state == query.state)
        return page_of(tx, Notice, where, [col(Notice.id).desc()], query, lambda rows: [_json(row) for row in rows])

    return await ctx.database.read(work)


def _json(row: Notice) -> Json:
    return {
        "id": row.id,
        "channel": row.channel,
        "event": row.event,
        "about": row.about,
        "summary": row.body.get("summary"),
        "state": row.state,
        "attempts": row.attempts,
        "recipients": row.recipients if row.state != "sent" else [],
        "created_at": utc_text(row.created_at),
        "next_at": utc_text(row.next_at) if row.state == "waiting" else None,
        "sent_at": utc_text(row.sent_at) if row.sent_at else None,
        "last_error": row.last_error,
    }


@change(
    "notices.retry",
    summary="Try once more to tell what was given up, or waits for its next try",
    permission="self | module.audit.view_audit",
    input=RetryNotice,
    kind="action",
    objects=("notice",),
)
class RetryIt(Change[RetryNotice]):
    async def plan(self) -> Plan:
        row = await self.ctx.database.read(self._known)
        name = f"{row.event}: {row.body.get('summary') or row.about}"
        target = Target(
            kind="notice",
            id=row.id,
            name=name,
            resource=f"notice:{row.id}",
            subject=Subject("notice", name, owner_id=self.ctx.caller.user_id),
            before={"state": row.state, "last_error": row.last_error},
            after={"state": "waiting"},
        )
        return record_plan("notices.retry", f"tell again: {name}", [target], self.input, undo=None)

    def _known(self, tx: Session) -> Notice:
        row = tx.get(Notice, self.input.id)
        if row is None or (row.actor_id != self.ctx.caller.user_id and not sees_all(self.ctx)):
            raise ObjectNotFound(entity="notice", id=self.input.id, hint="; see: notices list", field="id")
        if row.state == "sent":
            raise StateConflict(f"the notice {row.id} was told already")
        return row

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row = self._known(tx)
        row.state, row.attempts, row.next_at = "waiting", 0, self.ctx.now()
        tx.add(row)
        tx.flush()
        announce(tx, "notice", row.id, "updated")
        return _json(row)

    async def told(self, answer: Any) -> None:
        answer["not_told"] = await outbox.send(self.ctx.house, answer["about"], answer["event"])


def notices(tx: Session, ctx: Context) -> Section:
    """What was given up, and what waits for another try."""
    section = Section("notices")
    for level, where in (
        ("red", [*_visible(ctx), Notice.state == "given_up"]),
        ("amber", [*_visible(ctx), Notice.state == "waiting", Notice.attempts > 0]),
    ):
        rows = tx.exec(select(Notice).where(*where).order_by(col(Notice.next_at).desc()).limit(MOST_SHOWN)).all()
        found = [_item(row, level) for row in rows]
        section.add(found, counted(tx, select(Notice.id).where(*where)) if len(rows) == MOST_SHOWN else None)
    return section


def _item(row: Notice, level: str) -> Json:
    way, what = _WAYS.get(row.channel, row.channel), row.body.get("summary") or row.about
    return item(
        level,
        "notice",
        row.id,
        row.event,
        "not told" if row.state == "waiting" else "given up",
        f"{row.event.replace('_', ' ')} by {way}: {what}",
        why=row.last_error,
        since=row.created_at,
        due=row.next_at if row.state == "waiting" else None,
        operations=["notices.retry"],
    )
