"""tasks.list, tasks.get, tasks.follow: what is under way, how far it is, and what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field
from sqlalchemy import func
from sqlmodel import Session, col, select

from data.errors import DatabaseBusy, DatabaseUnavailable
from data.models import RunTarget, Task, TaskOutput
from opsconsole.engine import audit, runs
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.registry import Input, Json, read, stream
from opsconsole.hosts.fields import Text
from opsconsole.journal.runs import sees_all
from opsconsole.tasks import output
from opsconsole.tasks.patience import PATIENCE
from opsconsole.tasks.record import ENDED

PERMISSION = "self | module.audit.view_audit"
_COMPARED = 20
_SAFETY_SECONDS = 2.0
_APART = 0.02
"""Seconds in which lines for one reader are told together."""
_AWAY_SECONDS = 1.0
State = Literal[
    "pending", "waiting", "running", "paused", "finished", "partial", "failed", "timeout", "cancelled", "unknown"
]


class ListTasks(Paged):
    """One's own tasks; those of everybody with the right to view the journal. Time bounds are inclusive."""

    operator: Text | None = None
    operation: Text | None = None
    state: State | None = None
    open: Annotated[bool | None, Field(description="only those that have not ended (true) or have (false)")] = None
    time__gt: AwareDatetime | None = None
    time__lt: AwareDatetime | None = None


class OneTask(Input):
    id: Annotated[str, Field(min_length=1, max_length=64)]


class Follow(OneTask):
    """`after` is the `seq` of the last piece seen; 0 shows everything."""

    after: Annotated[int, Field(ge=0)] = 0


@read("tasks.list", summary="List tasks, newest first", permission=PERMISSION, input=ListTasks, objects=("task",))
async def list_tasks(ctx: Context, query: ListTasks) -> Json:
    await ctx.house.look_after_tasks()

    def work(tx: Session) -> Json:
        where: list[Any] = [] if sees_all(ctx) else [col(Task.actor_id) == ctx.caller.user_id]
        wanted = ((Task.actor, query.operator), (Task.operation, query.operation), (Task.state, query.state))
        where += [col(column) == value for column, value in wanted if value]
        if query.open is not None:
            ended = col(Task.state).in_(ENDED)
            where.append(~ended if query.open else ended)
        if query.time__gt is not None:
            where.append(col(Task.created_at) >= query.time__gt)
        if query.time__lt is not None:
            where.append(col(Task.created_at) <= query.time__lt)
        return page_of(tx, Task, where, [col(Task.id).desc()], query, lambda rows: shape(tx, rows))

    return await ctx.database.read(work)


@read("tasks.get", summary="Show one task with the state of each target", permission=PERMISSION, input=OneTask)
async def get_task(ctx: Context, query: OneTask) -> Json:
    await ctx.house.look_after_tasks()
    return await ctx.database.read(lambda tx: whole(tx, find_task(tx, ctx, query.id)))


def find_task(tx: Session, ctx: Context, task_id: str) -> Task:
    """A task the caller may see."""
    task = tx.get(Task, task_id)
    if task is None or (task.actor_id != ctx.caller.user_id and not sees_all(ctx)):
        raise ObjectNotFound(entity="task", id=task_id, hint="; see: tasks list", field="id")
    return task


def shape(tx: Session, rows: list[Task]) -> list[Json]:
    """List rows: `targets` counts the states of the targets, `usual_seconds` is the median of earlier ones."""
    counted: dict[str, Json] = {row.id: {} for row in rows}
    grouped = (
        select(RunTarget.run_id, RunTarget.state, func.count())
        .where(col(RunTarget.run_id).in_(list(counted)))
        .group_by(col(RunTarget.run_id), col(RunTarget.state))
    )
    for task_id, state, count in tx.exec(grouped):
        counted[task_id][state] = count
    usual = {operation: _usual(tx, operation) for operation in {row.operation for row in rows}}
    return [_row(row, counted[row.id], usual[row.operation]) for row in rows]


def _row(task: Task, targets: Json, usual: float | None) -> Json:
    return {
        "id": task.id,
        "operation": task.operation,
        "summary": task.summary,
        "operator": task.actor,
        "source": task.source,
        "state": task.state,
        "waiting_for": task.waiting_for,
        "wanted": task.wanted,
        "total": task.total,
        "targets": targets,
        "created_at": utc_text(task.created_at),
        "started_at": _text(task.started_at),
        "finished_at": _text(task.finished_at),
        "seconds": _seconds(task),
        "usual_seconds": usual,
        "worker": task.executor_id,
        "attempt": task.attempt,
        "reason": task.reason,
        "approval_id": task.approval_id,
        "incident_id": task.incident_id,
        "error": task.error,
    }


def _text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment else None


def _seconds(task: Task) -> float | None:
    if task.started_at is None:
        return None
    return round(((task.finished_at or audit.now()) - task.started_at).total_seconds(), 1)


def _usual(tx: Session, operation: str) -> float | None:
    """Median seconds of the newest finished tasks of this operation; None before there is one."""
    rows = tx.exec(
        select(Task.started_at, Task.finished_at)
        .where(Task.operation == operation, Task.state == "finished")
        .order_by(col(Task.finished_at).desc())
        .limit(_COMPARED)
    ).all()
    times = sorted((end - start).total_seconds() for start, end in rows if start is not None and end is not None)
    return round(times[len(times) // 2], 1) if times else None


def whole(tx: Session, task: Task) -> Json:
    """A task with its plan, its input without secrets, and one result per target."""
    targets = targets_of(tx, task)
    last = tx.exec(select(func.max(TaskOutput.id)).where(TaskOutput.task_id == task.id)).one()
    return shape(tx, [task])[0] | {
        "input": task.input,
        "plan": task.plan,
        "options": task.options,
        "answer": task.answer,
        "results": targets,
        "check": [t["check"] for t in targets if t["state"] == "unknown"],
        "output_seq": last or 0,
    }


def targets_of(tx: Session, task: Task) -> list[Json]:
    """One row per target; before the task has begun, those of its plan."""
    rows = tx.exec(select(RunTarget).where(RunTarget.run_id == task.id).order_by(col(RunTarget.position))).all()
    if not rows:
        planned = (task.plan or {}).get("targets") or []
        return [
            {"position": n, "kind": t["kind"], "id": t["id"], "name": t["name"], "host": t["host"], "wave": None}
            | {"state": "waiting", "progress": None, "error": None, "before": t["before"], "after": None, "check": None}
            | {"started_at": None, "finished_at": None}
            for n, t in enumerate(planned)
        ]
    return [
        {
            "position": row.position,
            "kind": row.kind,
            "id": row.object_id,
            "name": row.name,
            "host": row.host,
            "wave": row.wave,
            "state": row.state,
            "progress": row.progress,
            "before": row.before,
            "after": row.after,
            "error": row.error,
            "check": runs.what_to_check(row) if row.state == "unknown" else None,
            "started_at": _text(row.started_at),
            "finished_at": _text(row.finished_at),
        }
        for row in rows
    ]


@stream(
    "tasks.follow",
    summary="Follow the output and the state of a task until it ends",
    permission=PERMISSION,
    input=Follow,
    objects=("task",),
)
async def follow(ctx: Context, query: Follow) -> AsyncIterator[Json]:
    """Events `state` (whenever it changed) and `output` (pieces in order, each once); the last event is the end.

    While the database is being restarted there is an event `away`, once, with what is wrong; for as long as the workers
    wait for it so does this, and goes on behind the last piece.
    """
    news = _News()
    since = await ctx.house.feed.position()

    async def listen() -> None:
        async for batch in ctx.house.feed.changes(since, apart=_APART):
            news.take({"lost" if row.lost else row.entity for row in batch if row.lost or row.key == query.id})

    listening = asyncio.ensure_future(listen())
    try:
        async for event in _events(ctx, query, news):
            yield event
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


class _News:
    """What the feed said of one task since it was last looked at. Its state is looked at only when that may differ."""

    def __init__(self) -> None:
        self.state = True
        self._woken = asyncio.Event()

    def take(self, entities: set[str]) -> None:
        self.state = self.state or bool(entities & {"task", "lost"})
        if entities & {"task", "task_output", "lost"}:
            self._woken.set()

    async def wait(self) -> None:
        """Until there is something, or for so long that it is worth a look anyway."""
        try:
            await asyncio.wait_for(self._woken.wait(), _SAFETY_SECONDS)
        except TimeoutError:
            self.state = True
        self._woken.clear()


async def _events(ctx: Context, query: Follow, news: _News) -> AsyncIterator[Json]:
    seq, state, away_since = query.after, None, 0.0
    names: dict[int, Json] = {}
    while True:
        whole, news.state = news.state, False

        def look(tx: Session, whole: bool = whole, seq: int = seq) -> tuple[Json | None, list[TaskOutput]]:
            rows = output.pieces(tx, query.id, seq)
            return _state(tx, ctx, query.id, names) if whole else None, rows

        try:
            await ctx.house.look_after_tasks()
            now, rows = await ctx.database.read(look)
        except (DatabaseUnavailable, DatabaseBusy) as error:
            if state is None or (away_since and time.monotonic() > away_since + PATIENCE):
                raise
            if not away_since:
                away_since = time.monotonic()
                yield {"event": "away", "message": error.message}
            news.state = True
            await asyncio.sleep(_AWAY_SECONDS)
            continue
        away_since = 0.0
        if now is not None and now != state:
            state = now
            yield {"event": "state", **state}
        for row in rows:
            seq = row.id
            yield output.as_event(row, names)
        if rows:
            continue
        if state is not None and state["state"] in ENDED:
            yield {"event": "end", "id": query.id, "state": state["state"], "seq": seq}
            return
        await news.wait()


def _state(tx: Session, ctx: Context, task_id: str, names: dict[int, Json]) -> Json:
    """How the task stands; `names` of its targets are filled in."""
    task = find_task(tx, ctx, task_id)
    if not names:
        names.update({target["position"]: target for target in targets_of(tx, task)})
    [state] = shape(tx, [task])
    return {key: state[key] for key in ("id", "state", "waiting_for", "wanted", "total", "targets", "error")}
