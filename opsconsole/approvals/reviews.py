"""reviews.list | close: what was done without its second person, until somebody else has looked at it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Review
from opsconsole.approvals.changes import Reason
from opsconsole.approvals.lookup import review_json, review_objection, visible_reviews
from opsconsole.engine import approvals as engine
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound, PermissionDenied, StateConflict
from opsconsole.engine.notify import tell
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, read
from opsconsole.engine.users import load_caller, who_could_all


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
        return page_of(tx, Review, where, order, query, lambda rows: [review_json(row, ctx.caller) for row in rows])

    return await ctx.database.read(work)


@change(
    "reviews.close",
    summary="Close the review of a break-glass, with a note; never one's own",
    permission="self",
    input=Close,
    kind="action",
    objects=("review",),
)
class CloseReview(Change[Close]):
    async def plan(self) -> Plan:
        row = await self.ctx.database.read(lambda tx: _known(tx, self.input.id))
        await self._authorise(row)
        _refuse_closed(row)
        target = Target(
            kind="review",
            id=row.id,
            name=row.summary,
            resource=f"review:{row.id}",
            subject=Subject("review", row.summary, owner_id=self.ctx.caller.user_id),
            before={"state": "open", "who": row.who},
            after={"state": "closed", "operation": row.operation, "note": self.input.note},
        )
        summary = f"close the review of what {row.who} did: {row.summary}"
        return record_plan("reviews.close", summary, [target], self.input, undo=None)

    async def _authorise(self, row: Review) -> None:
        because = review_objection(self.ctx.caller, row)
        if because is None:
            return
        needs = find(row.operation).needs

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
        caller, now = self.ctx.caller, self.ctx.now()
        row = tx.exec(select(Review).where(Review.id == self.input.id).with_for_update()).one()
        _refuse_closed(row)
        again = load_caller(tx, caller.username, on_behalf=caller.on_behalf, login=caller.login)
        because = review_objection(again, row) if again is not None else "no user any more"
        if because is not None:
            raise StateConflict(f"{caller.username} may not close it any more: {because}")
        row.closed_by, row.closed_by_id, row.closed_at, row.note = caller.username, caller.user_id, now, self.input.note
        tx.add(row)
        tx.flush()
        announce(tx, "review", row.id, "updated", run_id=row.run_id)
        return review_json(row, caller)

    async def told(self, answer: Any) -> None:
        answer["not_told"] = await tell(self.ctx.house, "review_closed", answer)


def _known(tx: Session, review_id: str) -> Review:
    row = tx.get(Review, review_id)
    if row is None:
        raise ObjectNotFound(entity="review", id=review_id, hint="; see: reviews list", field="id")
    return row


def _refuse_closed(row: Review) -> None:
    if row.closed_at is not None:
        raise StateConflict(f"the review {row.id} was closed by {row.closed_by}: {row.note}")
