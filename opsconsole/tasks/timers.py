"""jobs.list: the timers, when they ran, and whether anybody keeps them."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from data.models import Job
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json, read
from opsconsole.tasks import jobs, workers


@read("jobs.list", summary="List the timers, what is overdue, and who keeps time", permission="public")
async def list_jobs(ctx: Context, _: object) -> Json:
    """`timekeeper` is a worker that stays, or what ran `tick` in time; null when nobody does."""
    return await ctx.database.read(lambda tx: timekeeping(tx, ctx.now()))


def timekeeping(tx: Session, now: datetime) -> Json:
    """The answer of `jobs.list`; a handful of rows."""
    rows = {row.name: row for row in jobs.all_rows(tx)}
    alive = workers.living(tx, now)
    staying = [worker.id for worker in alive if worker.stay]
    return {
        "jobs": [
            {
                "name": timer.name,
                "summary": timer.summary,
                "every": timer.every,
                "next_due": utc_text(rows[timer.name].next_due) if timer.name in rows else None,
                "last_started": _moment(rows, timer.name, "last_started"),
                "last_finished": _moment(rows, timer.name, "last_finished"),
                "last_error": rows[timer.name].last_error if timer.name in rows else None,
                "last_result": rows[timer.name].last_result if timer.name in rows else None,
            }
            for timer in jobs.TIMERS
        ],
        "overdue": jobs.overdue(list(rows.values()), now),
        "timekeeper": staying[0] if staying else jobs.ticked(list(rows.values()), now),
        "workers": [worker.id for worker in alive],
    }


def _moment(rows: dict[str, Job], name: str, field: str) -> str | None:
    moment = getattr(rows.get(name), field, None)
    return utc_text(moment) if moment is not None else None
