"""Tasks under way and those that ended badly, runs nobody knows the end of, work held long, and who keeps time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, select

from data.models import Lease, LookedAfter, Run, RunTarget, Task
from opsconsole.approvals.lookup import needs_of
from opsconsole.engine import runs as engine
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.registry import Json
from opsconsole.engine.users import unfrozen
from opsconsole.home.parts import MOST_SHOWN, Section, counted, item
from opsconsole.journal.runs import sees_all
from opsconsole.tasks.timers import timekeeping

LATELY: Final = timedelta(days=1)
"""How long a task that failed is shown when nobody says that he has looked after it."""
UNKNOWN_FOR: Final = timedelta(days=30)
"""How long one whose end nobody knows is."""
HELD_LONG: Final = timedelta(minutes=10)
_NAMED: Final = 5
_OPEN: Final = ("waiting", "paused", "running", "pending")
_BAD: Final = ("failed", "partial", "timeout")
_FOR_A_PERSON: Final = ("unlock", "credentials", "approval")
_WAITS: Final = {
    "approval": "waits for a second person",
    "unlock": "waits for unlocked secrets: opsconsole unlock",
    "credentials": "waits for credentials of the operator",
    "lease": "waits for the lease of somebody else",
}


def _mine(ctx: Context, column: Any) -> list[Any]:
    return [] if sees_all(ctx) else [column == ctx.caller.user_id]


def _not_looked_after(kind: str, key: Any) -> Any:
    return ~select(LookedAfter.id).where(LookedAfter.kind == kind, LookedAfter.id == key).exists()


def tasks(tx: Session, ctx: Context) -> Section:
    section = Section("tasks")
    mine = _mine(ctx, col(Task.actor_id))
    for state in _OPEN:
        _add_tasks(tx, ctx, section, [*mine, Task.state == state])
    fresh = [*mine, _not_looked_after("task", Task.id)]
    now = ctx.now()
    _add_tasks(tx, ctx, section, [*fresh, Task.state == "unknown", col(Task.finished_at) > now - UNKNOWN_FOR])
    for state in _BAD:
        _add_tasks(tx, ctx, section, [*fresh, Task.state == state, col(Task.finished_at) > now - LATELY])
    return section


def _add_tasks(tx: Session, ctx: Context, section: Section, where: list[Any]) -> None:
    columns = (
        Task.id, Task.operation, Task.summary, Task.actor, Task.actor_id, Task.reason, Task.state, Task.waiting_for,
        Task.error, Task.created_at, Task.started_at, Task.finished_at, Task.total,
    )  # fmt: skip
    query: Any = select(*columns).where(*where)  # type: ignore[call-overload]
    rows = tx.exec(query.order_by(col(Task.created_at).desc()).limit(MOST_SHOWN)).all()
    more = counted(tx, select(Task.id).where(*where)) if len(rows) == MOST_SHOWN else None
    section.add([_task(ctx, row) for row in rows], more)


def _task(ctx: Context, row: Any) -> Json:
    said = (row.error or {}).get("message") if row.state not in ("running", "pending") else None
    if row.state == "waiting":
        level, said = _waiting(row.waiting_for), _WAITS.get(row.waiting_for, f"waits for {row.waiting_for}")
    else:
        level = {"unknown": "unknown", "failed": "red", "timeout": "red", "partial": "red", "paused": "amber"}.get(
            row.state, "busy"
        )
    over = row.state in ("unknown", *_BAD)
    return item(
        level,
        "task",
        row.id,
        row.summary,
        row.state,
        row.summary,
        who=row.actor,
        why=said or row.reason,
        since=row.finished_at if over else row.started_at or row.created_at,
        operations=["home.looked_after"] if over and may_look_after(ctx, row.actor_id, row.operation) else [],
    )


def _waiting(for_what: str | None) -> str:
    return "amber" if for_what in _FOR_A_PERSON else "busy"


def may_look_after(ctx: Context, actor_id: int | None, operation: str) -> bool:
    """His own work, or work he could have begun himself."""
    if ctx.caller.read_only is not None:
        return False
    return actor_id == ctx.caller.user_id or could_begin(ctx, operation)


def could_begin(ctx: Context, operation: str) -> bool:
    """Whether he holds what the operation asks for on anything at all."""
    return decide(ctx.caller, unfrozen(needs_of(operation)), None).allowed


def unknown_runs(tx: Session, ctx: Context) -> Section:
    """Closed by whoever found their console dead; those of tasks are shown as tasks."""
    section = Section("runs")
    where = [
        *_mine(ctx, col(Run.actor_id)),
        Run.state == "unknown",
        col(Run.task).is_(False),
        Run.heartbeat_at > ctx.now() - UNKNOWN_FOR,
        _not_looked_after("run", Run.id),
    ]
    columns = (Run.id, Run.operation, Run.actor, Run.actor_id, Run.reason, Run.started_at, Run.finished_at)
    query: Any = select(*columns).where(*where).order_by(col(Run.heartbeat_at).desc())  # type: ignore[call-overload]
    rows = tx.exec(query.limit(MOST_SHOWN)).all()
    section.add([_run(tx, ctx, row) for row in rows], counted(tx, select(Run.id).where(*where)))
    return section


def _run(tx: Session, ctx: Context, row: Any) -> Json:
    query = select(RunTarget).where(RunTarget.run_id == row.id, RunTarget.state == "unknown")
    targets = tx.exec(query.order_by(col(RunTarget.position)).limit(_NAMED)).all()
    check = "; ".join(engine.what_to_check(target) for target in targets[:1])
    return item(
        "unknown",
        "run",
        row.id,
        row.operation,
        "unknown",
        row.operation,
        who=row.actor,
        why=check or row.reason,
        on=[f"{target.host}/{target.name}" if target.host else target.name for target in targets],
        since=row.finished_at or row.started_at,
        operations=["home.looked_after"] if may_look_after(ctx, row.actor_id, row.operation) else [],
    )


def leases(tx: Session, ctx: Context) -> Section:
    """What somebody has been at work on for longer than most work takes."""
    now, section = ctx.now(), Section("leases")
    where: list[Any] = [col(Lease.released).is_(False), Lease.expires_at > now, Lease.acquired_at < now - HELD_LONG]
    if not sees_all(ctx):
        where.append(Lease.actor == ctx.caller.username)
    rows = tx.exec(select(Lease).where(*where).order_by(col(Lease.acquired_at)).limit(MOST_SHOWN)).all()
    found = [
        item("amber", "lease", row.resource, row.resource, "held", row.purpose, who=row.actor, since=row.acquired_at)
        for row in rows
    ]
    section.add(found, counted(tx, select(Lease.resource).where(*where)) if len(rows) == MOST_SHOWN else None)
    return section


def timers(tx: Session, ctx: Context) -> Section:
    """That nobody keeps time, what is overdue, and what failed the last time."""
    section, known = Section("timers"), timekeeping(tx, ctx.now())
    overdue = set(known["overdue"])
    if known["timekeeper"] is None:
        what = "nobody keeps the timers: run opsconsole worker --stay, or opsconsole tick from cron"
        section.add([item("red" if overdue else "amber", "job", "", "timekeeper", "no timekeeper", what)])
    for job in known["jobs"]:
        error = job["last_error"]
        if job["name"] in overdue or error:
            state = "overdue" if job["name"] in overdue else "failed"
            due = _moment(job["next_due"]) if state == "overdue" else None
            since = _moment(job["last_finished"] or job["last_started"])
            section.add(
                [item("amber", "job", job["name"], job["name"], state, job["summary"], why=error, since=since, due=due)]
            )
    return section


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
