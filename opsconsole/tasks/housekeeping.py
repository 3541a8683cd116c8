"""The timers of the tasks themselves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, delete, select

from data import feed
from data.models import Task, TaskOutput, Worker
from opsconsole.engine import audit, outbox
from opsconsole.house import House
from opsconsole.tasks.record import ENDED, wake_waiting

_BATCH = 500
_WORKER_DAYS = 1


async def sweep_runs(house: House) -> dict[str, Any]:
    """Runs of consoles that died become unknown."""
    return {"swept": await house.sweep(force=True)}


async def wake(house: House) -> dict[str, Any]:
    """Tasks that wait for what may have changed by itself are looked at again."""
    waits = ["lease", *(["unlock"] if await house.secrets_open() else [])]

    return {"woken": await house.database.write(lambda tx: wake_waiting(tx, waits, _BATCH))}


async def tell(house: House) -> dict[str, Any]:
    """What could not be told outside is tried again."""
    return await outbox.send_due(house)


async def trim(house: House) -> dict[str, Any]:
    """Output older than the settings keep it, workers that ended long ago, and the outbox of the change feed."""
    before = audit.now() - timedelta(days=house.settings.output_days)
    gone = audit.now() - timedelta(days=_WORKER_DAYS)

    def work(tx: Session) -> int:
        old = select(Task.id).where(col(Task.state).in_(ENDED), col(Task.finished_at) < before)
        ids = list(tx.exec(select(TaskOutput.id).where(col(TaskOutput.task_id).in_(old)).limit(_BATCH)).all())
        tx.execute(delete(TaskOutput).where(col(TaskOutput.id).in_(ids)))
        return len(ids)

    removed = 0
    while True:
        count = await house.database.write(work)
        removed += count
        if count < _BATCH:
            break
    await house.database.write(lambda tx: tx.execute(delete(Worker).where(col(Worker.heartbeat_at) < gone)))
    await house.database.write(lambda tx: outbox.trim(tx, audit.now()))
    return {"output_rows": removed, "changes": await asyncio.to_thread(feed.trim, house.database)}
