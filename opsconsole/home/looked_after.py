"""home.looked_after: a person looked at what ended badly, or nobody knows how; it need not be shown any more."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from sqlmodel import Session

from data.feed import announce
from data.models import LookedAfter, Run, Task
from opsconsole.approvals.changes import Reason
from opsconsole.engine import authorise
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound, PermissionDenied, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find
from opsconsole.home.work import could_begin
from opsconsole.journal.runs import sees_all

_BAD = {"task": ("failed", "partial", "timeout", "unknown"), "run": ("failed", "partial", "unknown")}


class LookAfter(Input):
    kind: Annotated[Literal["task", "run"], Field(description="what it is")]
    id: Annotated[str, Field(min_length=1, max_length=64)]
    note: Annotated[Reason, Field(description="what was found when looking at it")]


@change(
    "home.looked_after",
    summary="Say that a task or run that failed, or nobody knows the end of, was looked after, and what was found",
    permission="self",
    input=LookAfter,
    kind="action",
    objects=("task", "run"),
)
class LookAfterIt(Change[LookAfter]):
    """By whoever did it, or could have."""

    async def plan(self) -> Plan:
        row = await self.ctx.database.read(lambda tx: _known(tx, self.ctx, self.input))
        await self._authorise(row)
        name = row.summary if isinstance(row, Task) else row.operation
        target = Target(
            kind=self.input.kind,
            id=row.id,
            name=name,
            resource=f"looked-after:{row.id}",
            subject=Subject(self.input.kind, name, owner_id=self.ctx.caller.user_id),
            before={"state": row.state, "looked_after": False},
            after={"looked_after": True, "note": self.input.note},
        )
        return record_plan("home.looked_after", f"looked after: {name}, {row.state}", [target], self.input, undo=None)

    async def _authorise(self, row: Task | Run) -> None:
        user = self.ctx.caller.username
        if row.actor_id == self.ctx.caller.user_id or could_begin(self.ctx, row.operation):
            return
        error = PermissionDenied(
            f"{user} may not say that for {row.actor}, since he could not do it himself: {row.operation}",
            user=user,
            operation="home.looked_after",
            who_could=row.actor,
        )
        await authorise.record_refusal(self.ctx, find("home.looked_after"), error)
        raise error

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        caller, given, now = self.ctx.caller, self.input, self.ctx.now()
        _refuse_done(tx, given)
        row = LookedAfter(
            kind=given.kind, id=given.id, by=caller.username, by_id=caller.user_id, at=now, note=given.note
        )
        tx.add(row)
        tx.flush()
        announce(tx, given.kind, given.id, "updated", run_id=given.id)
        return {"kind": row.kind, "id": row.id, "by": row.by, "at": utc_text(now), "note": row.note}


def _known(tx: Session, ctx: Context, given: LookAfter) -> Task | Run:
    """A task or run he may see, that ended badly and that nobody has looked after."""
    row: Task | Run | None = tx.get(Task, given.id) if given.kind == "task" else tx.get(Run, given.id)
    if row is None or (row.actor_id != ctx.caller.user_id and not sees_all(ctx)):
        raise ObjectNotFound(entity=given.kind, id=given.id, hint=f"; see: {given.kind}s list", field="id")
    if isinstance(row, Run) and row.task:
        raise StateConflict(f"the run {row.id} belongs to a task: say it of kind task")
    if row.state not in _BAD[given.kind]:
        raise StateConflict(f"the {given.kind} {row.id} is {row.state}; there is nothing to look after")
    _refuse_done(tx, given)
    return row


def _refuse_done(tx: Session, given: LookAfter) -> None:
    """A second one at the same moment meets the primary key, and its transaction is run again and ends here."""
    done = tx.get(LookedAfter, (given.kind, given.id))
    if done is not None:
        raise StateConflict(f"{done.by} has looked after it already: {done.note}")
