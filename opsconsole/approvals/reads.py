"""approvals.list | get | count: what waits for whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import func
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from data.models import Approval, Review
from drivers.errors import DriverError
from opsconsole.approvals.lookup import (
    approval_json,
    closable,
    decidable,
    find_approval,
    needs_of,
    objection,
    replan,
    visible_approvals,
    visible_reviews,
)
from opsconsole.engine import approvals as engine
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, DatabaseUnavailable
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.registry import Input, Json, Nothing, read
from opsconsole.engine.users import who_could_all
from opsconsole.hosts.fields import Text

State = Literal["pending", "approved", "rejected", "withdrawn", "expired", "used"]


class ListApprovals(Paged):
    """One's own requests and those one may decide; all with the right to view the journal."""

    state: State | None = None
    mine: bool = Field(False, description="only what I asked for")
    to_decide: bool = Field(False, description="only what waits for a decision I may make")
    operation: Text | None = None
    requester: Text | None = None
    plan_digest: Text | None = None


class OneApproval(Input):
    id: Annotated[str, Field(min_length=1, max_length=64)]


class GetApproval(OneApproval):
    fresh: bool = Field(False, description="plan it again now, and say whether that is still what was asked for")


@read(
    "approvals.list",
    summary="List requests for a second person, newest first",
    permission="self",
    input=ListApprovals,
    objects=("approval",),
)
async def list_approvals(ctx: Context, query: ListApprovals) -> Json:
    await ctx.house.sweep()
    now = ctx.now()

    def work(tx: Session) -> Json:
        where = visible_approvals(tx, ctx)
        if query.mine:
            where.append(col(Approval.requester_id) == ctx.caller.user_id)
        if query.to_decide:
            where += [col(Approval.state) == "pending", col(Approval.id).in_(decidable(tx, ctx.caller, now))]
        if query.state in engine.OPEN:
            where.append(col(Approval.expires_at) > now)
        if query.state == "expired":
            late = col(Approval.state).in_(engine.OPEN) & (col(Approval.expires_at) <= now)
            where.append((col(Approval.state) == "expired") | late)
        elif query.state:
            where.append(col(Approval.state) == query.state)
        for name in ("operation", "requester", "plan_digest"):
            value = getattr(query, name)
            if value:
                where.append(getattr(Approval, name) == value)
        return page_of(
            tx,
            Approval,
            where,
            [col(Approval.id).desc()],
            query,
            lambda rows: [approval_json(row, ctx.caller, now) for row in rows],
            options=(defer(Approval.plan), defer(Approval.input), defer(Approval.sealed)),  # type: ignore[arg-type]
        )

    return await ctx.database.read(work)


@read(
    "approvals.get",
    summary="Show one request with its input and plan; the plan as it would be now on demand",
    permission="self",
    input=GetApproval,
    objects=("approval",),
)
async def get_approval(ctx: Context, query: GetApproval) -> Json:
    await ctx.house.sweep()

    def work(tx: Session) -> tuple[Approval, Json]:
        row = find_approval(tx, ctx, query.id)
        needs, subjects = needs_of(row.operation), engine.subjects_of(row.subjects)
        eligible = who_could_all(tx, needs, subjects, without=row.requester_persons)
        return row, approval_json(row, ctx.caller, ctx.now()) | {"eligible": eligible}

    row, answer = await ctx.database.read(work)
    answer |= {"input": row.input, "plan": row.plan}
    if query.fresh:
        answer["fresh"] = await _fresh(ctx, row, answer)
    return answer


async def _fresh(ctx: Context, row: Approval, answer: Json) -> Json:
    """`same`: whether it is still what was asked for; `plan` as it is now, or the `error` in its way."""
    if answer["state"] not in engine.OPEN:
        return {"same": False, "plan": None, "error": {"code": "state_conflict", "message": f"it is {answer['state']}"}}
    if not answer["mine"] and objection(ctx.caller, row) is not None:
        return {"same": False, "plan": None, "error": {"code": "permission_denied", "message": answer["because"]}}
    try:
        now = await replan(ctx, row)
    except DatabaseUnavailable:
        raise
    except DriverError as error:
        return {"same": False, "plan": None, "error": translate(error).as_json()}
    except ConsoleError as error:
        return {"same": False, "plan": None, "error": error.as_json()}
    return {"same": now.plan.digest == row.plan_digest, "plan": now.plan.as_json(now.confirmation), "error": None}


@read(
    "approvals.count",
    summary="Count what waits: requests I may decide, my own open ones, reviews still open",
    permission="self",
)
async def count(ctx: Context, query: Nothing) -> Json:
    return await ctx.database.read(lambda tx: waiting_counts(tx, ctx))


def waiting_counts(tx: Session, ctx: Context) -> Json:
    """`reviews` are those he may close and did not cause, `my_reviews` those of what he did, `open_reviews` all open
    ones he may see."""
    now, me = ctx.now(), ctx.caller.user_id
    may = set(decidable(tx, ctx.caller, now))
    pending = select(Approval.id).where(Approval.state == "pending", Approval.expires_at > now)
    mine = (
        select(Approval.state, func.count())
        .where(Approval.requester_id == me, col(Approval.state).in_(engine.OPEN), Approval.expires_at > now)
        .group_by(col(Approval.state))
    )
    still = [col(Review.closed_at).is_(None)]
    seen = select(func.count()).select_from(Review).where(*still, *visible_reviews(tx, ctx))
    my_reviews = select(func.count()).select_from(Review).where(*still, Review.who_id == me)
    own: dict[str, int] = dict(tx.exec(mine).all())
    return {
        "to_decide": len(may & set(tx.exec(pending).all())),
        "mine_pending": own.get("pending", 0),
        "mine_approved": own.get("approved", 0),
        "reviews": len(closable(tx, ctx.caller)),
        "my_reviews": tx.exec(my_reviews).one(),
        "open_reviews": tx.exec(seen).one(),
    }
