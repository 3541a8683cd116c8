"""Transactions of a worker wait for a database that is being restarted: work on hosts does not end for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlmodel import Session

from data.errors import DatabaseBusy, DatabaseUnavailable
from opsconsole.house import House

T = TypeVar("T")
PATIENCE = 900.0
"""Seconds without a database after which nobody waits any longer."""


async def patient_write(house: House, work: Callable[[Session], T]) -> T:
    """`Database.write`, again and again while the database is away. `work` must bear being committed twice."""
    return await _patient(lambda: house.database.write(work))


async def patient_read(house: House, work: Callable[[Session], T]) -> T:
    """`Database.read`, again and again while the database is away."""
    return await _patient(lambda: house.database.read(work))


async def _patient(attempt: Callable[[], Awaitable[T]]) -> T:
    until, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        try:
            return await attempt()
        except (DatabaseUnavailable, DatabaseBusy):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
