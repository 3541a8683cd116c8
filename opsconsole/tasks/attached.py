"""A task in the caller's own process, for hosts that only he can reach: with his agent, his answers, and his end."""

from __future__ import annotations

import asyncio
import contextlib

from data.errors import DataError
from data.models import Task
from opsconsole.engine import audit, runs
from opsconsole.house import House
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg

_LOOK_SECONDS = 0.5


async def perform_here(house: House, task_id: str, executor: str) -> None:
    """Perform the task to its end; interrupted, it stays for a worker, which goes on with the hosts it can reach. It
    was written as the task of `executor`, which is us."""
    leg = Leg(house, task_id, executor, Gates(house.settings.tasks_per_host))
    helpers = [asyncio.ensure_future(work) for work in (_beat(house, executor, task_id), _heed(house, leg))]
    try:
        await leg.perform()
    finally:
        for helper in helpers:
            helper.cancel()
        with contextlib.suppress(DataError):
            await house.database.write(lambda tx: workers.end(tx, executor, audit.now()))


async def _beat(house: House, executor: str, task_id: str) -> None:
    while True:
        await asyncio.sleep(workers.BEAT)
        with contextlib.suppress(DataError):
            await house.database.write(lambda tx: workers.beat(tx, executor, audit.now()))
            await house.database.write(lambda tx: runs.beat(tx, task_id, audit.now()))


async def _heed(house: House, leg: Leg) -> None:
    """What somebody at another console wants of it."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        with contextlib.suppress(DataError):
            task = await house.database.read(lambda tx: tx.get(Task, leg.task_id))
            if task is not None and task.wanted and task.wanted != leg.halt.wanted:
                leg.halt.ask(task.wanted, task.wanted_by or "")
