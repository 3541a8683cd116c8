"""runs.list, runs.get, runs.retry: what was done, how it ended, and doing the rest again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field
from sqlalchemy import func
from sqlmodel import Session, col, select

from data.models import Run, RunTarget
from opsconsole.engine import runs as engine
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Needs, decide
from opsconsole.engine.errors import NotSupported, ObjectNotFound, StateConflict
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.registry import Input, Json, find, read, stand_in
from opsconsole.hosts.fields import Text

_PERMISSION = "self | module.audit.view_audit"
_ALL = Needs("runs.list", "module.audit.view_audit", module="audit")
_RETRIED = ("failed", "unknown", "skipped", "cancelled")


class ListRuns(Paged):
    """Runs of one's own; of everybody with the right to view the journal. Time bounds are inclusive."""

    operator: Text | None = None
    operation: Text | None = None
    state: Literal["running", "finished", "partial", "failed", "unknown", "refused"] | None = None
    time__gt: AwareDatetime | None = None
    time__lt: AwareDatetime | None = None


class OneRun(Input):
    id: Annotated[str, Field(min_length=1, max_length=64)]


class Retry(OneRun):
    """`states` says which targets to run again."""

    states: list[Literal["failed", "unknown", "skipped", "cancelled"]] = list(_RETRIED)  # type: ignore[arg-type]


def sees_all(ctx: Context) -> bool:
    """May this caller see what others did?"""
    return decide(ctx.caller, _ALL, now=ctx.now()).allowed


@read("runs.list", summary="List runs, newest first", permission=_PERMISSION, input=ListRuns)
async def list_runs(ctx: Context, query: ListRuns) -> Json:
    await ctx.house.sweep()

    def work(tx: Session) -> Json:
        where: list[Any] = [] if sees_all(ctx) else [col(Run.actor_id) == ctx.caller.user_id]
        for column, value in ((Run.actor, query.operator), (Run.operation, query.operation), (Run.state, query.state)):
            if value:
                where.append(col(column) == value)
        if query.time__gt is not None:
            where.append(col(Run.started_at) >= query.time__gt)
        if query.time__lt is not None:
            where.append(col(Run.started_at) <= query.time__lt)
        return page_of(tx, Run, where, [col(Run.id).desc()], query, lambda rows: _shape(tx, rows))

    return await ctx.database.read(work)


@read("runs.get", summary="Show one run with the outcome of each target", permission=_PERMISSION, input=OneRun)
async def get_run(ctx: Context, query: OneRun) -> Json:
    await ctx.house.sweep()

    def work(tx: Session) -> Json:
        run = find_run(tx, ctx, query.id)
        targets = _targets(tx, run.id)
        return _shape(tx, [run])[0] | {
            "input": run.input,
            "answer": run.answer,
            "error": run.error,
            "results": [_target_json(target) for target in targets],
            "check": [engine.what_to_check(target) for target in targets if target.state == "unknown"],
        }

    return await ctx.database.read(work)


def find_run(tx: Session, ctx: Context, run_id: str) -> Run:
    """A run the caller may see."""
    run = tx.get(Run, run_id)
    if run is None or (run.actor_id != ctx.caller.user_id and not sees_all(ctx)):
        raise ObjectNotFound(entity="run", id=run_id, hint="; see: runs list", field="id")
    return run


def _targets(tx: Session, run_id: str) -> list[RunTarget]:
    return list(tx.exec(select(RunTarget).where(RunTarget.run_id == run_id).order_by(col(RunTarget.position))).all())


def _shape(tx: Session, rows: list[Run]) -> list[Json]:
    counted: dict[str, Json] = {row.id: {} for row in rows}
    grouped = (
        select(RunTarget.run_id, RunTarget.state, func.count())
        .where(col(RunTarget.run_id).in_(list(counted)))
        .group_by(col(RunTarget.run_id), col(RunTarget.state))
    )
    for run_id, state, count in tx.exec(grouped):
        counted[run_id][state] = count
    return [
        {
            "id": run.id,
            "operation": run.operation,
            "summary": (run.plan or {}).get("summary"),
            "operator": run.actor,
            "source": run.source,
            "state": run.state,
            "targets": counted[run.id],
            "started_at": utc_text(run.started_at),
            "finished_at": utc_text(run.finished_at) if run.finished_at else None,
            "reason": run.reason,
            "incident_id": run.incident_id,
        }
        for run in rows
    ]


def _target_json(target: RunTarget) -> Json:
    return {
        "kind": target.kind,
        "id": target.object_id,
        "name": target.name,
        "host": target.host,
        "state": target.state,
        "before": target.before,
        "after": target.after,
        "error": target.error,
        "started_at": utc_text(target.started_at) if target.started_at else None,
        "finished_at": utc_text(target.finished_at) if target.finished_at else None,
    }


@stand_in(
    "runs.retry",
    summary="Run an operation again for the targets of a run that failed, are unknown or were never begun",
    permission=_PERMISSION,
    input=Retry,
    objects=("run",),
)
async def retry(ctx: Context, given: Retry) -> tuple[str, Json]:
    """The same operation, planned anew, with the rights and the confirmation it has for these targets now."""
    await ctx.house.sweep()

    def work(tx: Session) -> tuple[Run, list[RunTarget]]:
        run = find_run(tx, ctx, given.id)
        return run, _targets(tx, run.id)

    run, targets = await ctx.database.read(work)
    if run.state == "running":
        raise StateConflict(f"the run {run.id} has not ended yet")
    return again_of(run.operation, run.input, targets, list(given.states), run.id)


def again_of(
    operation_id: str, given: Any, targets: list[RunTarget] | None, states: list[str], what: str
) -> tuple[str, Json]:
    """The operation and its input for the targets in these states; all of it when nothing was ever begun."""
    again = [target for target in targets or () if target.state in states]
    if targets is not None and not again:
        raise StateConflict(f"nothing of {what} is {', '.join(states)}")
    operation = find(operation_id)
    if operation.change is None:
        raise NotSupported(what="a retry", reason=f"{operation_id} is no change")
    if _has_secret(given):
        raise NotSupported(what="a retry", reason="the secret that was given is not kept; call the operation again")
    if targets is None or len(again) == len(targets):
        return operation_id, dict(given or {})
    chosen = [{"kind": t.kind, "id": t.object_id, "name": t.name, "host": t.host} for t in again]
    return operation_id, operation.change.narrow(dict(given or {}), chosen)


def _has_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_secret(item) for item in value)
    return isinstance(value, str) and bool(value) and set(value) == {"*"}
