"""tasks.cancel | pause | resume | retry: what one may want of a task, of one's own or of work one could have begun."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlmodel import Session, select

from data.feed import announce
from data.models import Run, RunTarget, Task
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import NotSupported, PlanStale, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Outcome, change, find, stand_in
from opsconsole.hosts.lookup import visible_hosts
from opsconsole.journal.runs import Retry, again_of
from opsconsole.tasks import awaiting, record
from opsconsole.tasks.reads import OneTask, find_task, whole

_AT_REST = ("pending", "waiting", "paused")


class _Control(Change[OneTask]):
    """`FROM` are the states in which it may be asked for, `WORD` what is written into the row of a running task."""

    FROM: ClassVar[tuple[str, ...]] = ()
    VERB: ClassVar[str] = ""
    UNDO: ClassVar[str | None] = None

    async def plan(self) -> Plan:
        ctx = self.ctx
        task = await ctx.database.read(lambda tx: find_task(tx, ctx, self.input.id))
        if task.actor_id != ctx.caller.user_id:
            await _could_have_begun(ctx, task)
        self._check(task)
        target = Target(
            kind="task",
            id=task.id,
            name=task.summary[:120] or task.id,
            resource=f"task:{task.id}:control",
            subject=Subject("task", task.id, owner_id=ctx.caller.user_id),
            before={"state": task.state, "wanted": task.wanted},
            after={"wanted": self.VERB},
            warnings=self._warnings(task),
        )
        summary = f"{self.VERB} the task {task.id}: {task.summary}"
        return record_plan(f"tasks.{self.VERB}", summary[:500], [target], self.input, undo=self.UNDO)

    def _check(self, task: Task) -> None:
        if task.state not in self.FROM:
            raise StateConflict(
                f"{self.VERB} is not possible: the task {task.id} is {task.state}"
                + (f" since {task.finished_at:%Y-%m-%d %H:%M:%S} UTC" if task.finished_at else ""),
                action=self.VERB,
                state=task.state,
                field="id",
            )

        if task.wanted == "cancel" and self.VERB != "cancel":
            raise StateConflict(
                f"the task {task.id} is being cancelled by {task.wanted_by}", action=self.VERB, field="id"
            )

    def _warnings(self, task: Task) -> tuple[str, ...]:
        return () if task.actor_id == self.ctx.caller.user_id else (f"it is {task.actor}'s task",)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        task = tx.exec(select(Task).where(Task.id == self.input.id).with_for_update()).one()
        if task.state != outcomes[0].target.before["state"]:
            raise PlanStale()
        self._check(task)
        self.write(tx, task)
        announce(tx, "task", task.id, "updated")
        tx.flush()
        return whole(tx, task)

    async def told(self, answer: Json) -> None:
        """What is to go on, or to be stopped, needs somebody who does it."""
        if answer["state"] in {"pending", "running"}:
            await self.ctx.house.begin_task(self.input.id)

    def write(self, tx: Session, task: Task) -> None:
        raise NotSupported(what=self.VERB, reason="nothing is written by it")


async def _could_have_begun(ctx: Context, task: Task) -> None:
    """Another's task may be touched by who could begin the same work himself."""
    operation = find(task.operation)
    names = list(dict.fromkeys(t["host"] for t in (task.plan or {}).get("targets") or [] if t.get("host")))
    subjects = [Subject("task", task.id)]
    if names:
        hosts = await ctx.database.read(lambda tx: visible_hosts(tx, ctx.caller, names))
        subjects = [host.subject("task", task.id) for host in hosts]
    await authorise.subjects(ctx, operation, subjects)


@change(
    "tasks.cancel",
    summary="Cancel a task: nothing more is begun, what runs on a host is stopped",
    permission="self",
    input=OneTask,
    kind="action",
    reversible=False,
    objects=("task",),
    key="X",
)
class Cancel(_Control):
    FROM = (*_AT_REST, "running")
    VERB = "cancel"

    def write(self, tx: Session, task: Task) -> None:
        by = self.ctx.caller.username
        if task.state == "running":
            task.wanted, task.wanted_by = "cancel", by
            tx.add(task)
            return
        record.skip_rest(tx, task.id, f"cancelled by {by}")
        record.lose_in_flight(tx, self.ctx.house, task, "cancelled while nobody was at work on it")
        states = list(tx.exec(select(RunTarget.state).where(RunTarget.run_id == task.id).distinct()).all())
        task.wanted_by, task.error = by, {"code": "cancelled", "message": f"cancelled by {by}"}
        state = record.ended_as(states, cancelled=True, timed_out=False) if states else "cancelled"
        record.end_task(tx, self.ctx.house, task, state)
        awaiting.withdraw(tx, task, self.ctx.caller)

    async def told(self, answer: Any) -> None:
        await record.tell_end(self.ctx.house, self.input.id)


@change(
    "tasks.pause",
    summary="Pause a task: what is under way ends, nothing more is begun until it is resumed",
    permission="self",
    input=OneTask,
    kind="action",
    objects=("task",),
    key="P",
)
class Pause(_Control):
    FROM = ("pending", "running")
    VERB = "pause"
    UNDO = "resume it"

    def write(self, tx: Session, task: Task) -> None:
        if task.state == "pending":
            task.state = "paused"
        else:
            task.wanted, task.wanted_by = "pause", self.ctx.caller.username
        tx.add(task)


@change(
    "tasks.resume",
    summary="Go on with a task that was paused, or that waits for credentials",
    permission="self",
    input=OneTask,
    kind="action",
    objects=("task",),
    key="C",
)
class Resume(_Control):
    FROM = ("paused", "waiting")
    VERB = "resume"
    UNDO = "pause it"

    def _check(self, task: Task) -> None:
        super()._check(task)
        if task.waiting_for == "approval":
            raise StateConflict(f"the task {task.id} waits for approval {task.approval_id}, which begins it by itself")

    def write(self, tx: Session, task: Task) -> None:
        task.state, task.waiting_for, task.error = "pending", None, None
        task.leg += 1
        tx.add(task)


@stand_in(
    "tasks.retry",
    summary="Run a task again for the targets that failed, are unknown or were never begun",
    permission="self | module.audit.view_audit",
    input=Retry,
    objects=("task",),
    key="Y",
    as_task=True,
)
async def retry(ctx: Context, given: Retry) -> tuple[str, Json]:
    """A new task, planned anew, with the rights and the confirmation it has for these targets now."""

    def work(tx: Session) -> tuple[Task, Run | None, list[RunTarget]]:
        task = find_task(tx, ctx, given.id)
        rows = tx.exec(select(RunTarget).where(RunTarget.run_id == task.id).order_by(RunTarget.position)).all()  # type: ignore[arg-type]
        return task, tx.get(Run, task.id), list(rows)

    task, run, targets = await ctx.database.read(work)
    if task.state not in record.ENDED:
        raise StateConflict(f"the task {task.id} has not ended yet: it is {task.state}", state=task.state)
    return again_of(task.operation, task.input, targets if run is not None else None, list(given.states), task.id)
