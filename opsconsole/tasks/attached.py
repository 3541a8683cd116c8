"""A task in the caller's own process, for hosts that only he can reach: with his agent, his answers, and his end."""

from __future__ import annotations

import asyncio
import contextlib

from sqlmodel import Session

from data.errors import DataError
from data.models import Task, Worker
from opsconsole.engine import audit, holder, runs
from opsconsole.house import House
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg


async def perform_here(house: House, task_id: str) -> None:
    """Perform the task to its end; interrupted, it stays for a worker, which goes on with the hosts it can reach."""
    executor = workers.new_id()

    def register(tx: Session) -> None:
        mark = {**holder.here(), "attached": True}
        tx.add(Worker(id=executor, holder=mark, started_at=audit.now(), heartbeat_at=audit.now()))
        task = tx.get(Task, task_id)
        if task is not None:
            task.state, task.executor_id = "running", executor
            tx.add(task)

    await house.database.write(register)
    beating = asyncio.ensure_future(_beat(house, executor, task_id))
    leg = Leg(house, task_id, executor, Gates(house.settings.tasks_per_host))
    try:
        await leg.perform()
    finally:
        beating.cancel()
        with contextlib.suppress(DataError):
            await house.database.write(lambda tx: workers.end(tx, executor, audit.now()))


async def _beat(house: House, executor: str, task_id: str) -> None:
    while True:
        await asyncio.sleep(workers.BEAT)
        with contextlib.suppress(DataError):
            await house.database.write(lambda tx: workers.beat(tx, executor, audit.now()))
            await house.database.write(lambda tx: runs.beat(tx, task_id, audit.now()))
