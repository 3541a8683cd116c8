"""reviews.list | close: what was done without its second person, until somebody else has looked at it.

Where nobody else could close one, as with a single user, the one who broke the glass does it himself, on record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Review
from opsconsole.approvals.changes import Reason
from opsconsole.approvals.lookup import Closing, closing, needs_of, review_json, visible_reviews
from opsconsole.engine import approvals as engine
from opsconsole.engine import authorise, outbox
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound, PermissionDenied, StateConflict
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, read
from opsconsole.engine.users import load_caller, who_could_all

SELF_CLOSED = "self-closed"
HIMSELF = "nobody else looks at it"
ALONE = "nobody else could close it; that you closed it yourself is kept and told"


class ListReviews(Paged):
    """One's own and those one may close; all with the right to view the journal."""

    state: Literal["open", "closed"] | None = None


class Close(Input):
    id: Annotated[str, Field(min_length=1, max_length=64)]
    note: Annotated[Reason, Field(description="what was found when looking at it")]


@read(
    "reviews.list",
    summary="List what was done without its second person (break-glass), newest first",
    permission="self",
    input=ListReviews,
    objects=("review",),
)
async def list_reviews(ctx: Context, query: ListReviews) -> Json:
    def work(tx: Session) -> Json:
        where = visible_reviews(tx, ctx)
        if query.state is not None:
            closed = col(Review.closed_at)
            where.append(closed.is_(None) if query.state == "open" else closed.is_not(None))
        order: list[Any] = [col(Review.id).desc()]
        return page_of(tx, Review, where, order, query, lambda rows: [review_json(tx, row, ctx.caller) for row in rows])

    return await ctx.database.read(work)


@change(
    "reviews.close",
    summary="Close the review of a break-glass, with a note; one's own only where nobody else could",
    permission="self",
    input=Close,
    kind="action",
    objects=("review",),
)
class CloseReview(Change[Close]):
    def __init__(self, ctx: Context, given: Close) -> None:
        super().__init__(ctx, given)
        self._himself = False

    async def plan(self) -> Plan:
        row, found = await self.ctx.database.read(self._look)
        if found.because is not None:
            await self._refuse(row, found.because)
        _refuse_closed(row)
        self._himself = found.himself
        target = Target(
            kind="review",
            id=row.id,
            name=row.summary,
            resource=f"review:{row.id}",
            subject=Subject("review", row.summary, owner_id=self.ctx.caller.user_id),
            before={"state": "open", "who": row.who},
            after={"state": self._after, "operation": row.operation, "note": self.input.note},
        )
        summary = f"close the review of what {row.who} did: {row.summary}"
        plan = record_plan("reviews.close", summary, [target], self.input, undo=None)
        return replace(plan, danger="high", warnings=(ALONE,), why=HIMSELF) if self._himself else plan

    @property
    def _after(self) -> str:
        return SELF_CLOSED if self._himself else "closed"

    def _look(self, tx: Session) -> tuple[Review, Closing]:
        row = _known(tx, self.input.id)
        return row, closing(tx, self.ctx.caller, row)

    async def _refuse(self, row: Review, because: str) -> None:
        needs = needs_of(row.operation)

        def who(tx: Session) -> list[str]:
            return who_could_all(tx, needs, engine.subjects_of(row.subjects), without=row.who_persons)

        names = ", ".join(await self.ctx.database.read(who)) or "nobody yet"
        user = self.ctx.caller.username
        error = PermissionDenied(
            f"{user} may not close the review {row.id}: {because}; who could: {names}",
            user=user,
            operation="reviews.close",
            because=because,
            who_could=names,
        )
        await authorise.record_refusal(self.ctx, find("reviews.close"), error)
        raise error

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        """Looked at again under the lock: somebody who could close it may have come since it was planned."""
        caller, now = self.ctx.caller, self.ctx.now()
        row = tx.exec(select(Review).where(Review.id == self.input.id).with_for_update()).one()
        _refuse_closed(row)
        again = load_caller(tx, caller.username, on_behalf=caller.on_behalf, login=caller.login)
        found = closing(tx, again, row) if again is not None else Closing("no user any more")
        if found.because is not None:
            raise StateConflict(f"{caller.username} may not close it any more: {found.because}")
        if found.himself is not self._himself:
            raise StateConflict(f"who could close the review {row.id} has changed meanwhile; look at it again")
        row.closed_by, row.closed_by_id, row.closed_at, row.note = caller.username, caller.user_id, now, self.input.note
        row.self_closed = self._himself
        tx.add(row)
        tx.flush()
        announce(tx, "review", row.id, "updated", run_id=row.run_id)
        answer = review_json(tx, row, caller)
        outbox.put(tx, self.ctx.house, self._event, answer, actor_id=caller.user_id)
        return answer

    @property
    def _event(self) -> str:
        return "review_self_closed" if self._himself else "review_closed"

    async def told(self, answer: Any) -> None:
        answer["not_told"] = await outbox.send(self.ctx.house, answer["id"], self._event)


def _known(tx: Session, review_id: str) -> Review:
    row = tx.get(Review, review_id)
    if row is None:
        raise ObjectNotFound(entity="review", id=review_id, hint="; see: reviews list", field="id")
    return row


def _refuse_closed(row: Review) -> None:
    if row.closed_at is not None:
        how = "by himself, " if row.self_closed else "by "
        raise StateConflict(f"the review {row.id} was closed {how}{row.closed_by}: {row.note}")
