"""How much is done at once on one host, whatever tasks it belongs to: by one worker, and by all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from data.models import RunTarget, Task

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended(:host, 20))")


class Crowded(Exception):
    """As much is in flight on this host as may be; to be raised in the transaction that would begin more."""


def refuse_crowded(tx: Session, task_id: str, position: int, host: str | None, per_host: int) -> None:
    """Raise Crowded when other targets of tasks at work, of whatever worker, fill this host.

    Held to the end of the transaction on PostgreSQL, so that two workers do not both see the last place; on SQLite only
    one writes at a time. What a dead worker had in flight counts until somebody has looked after it.
    """
    if host is None:
        return
    if tx.get_bind().dialect.name == "postgresql":
        tx.connection().execute(_ONE_AT_A_TIME, {"host": host})
    others = (
        select(func.count())
        .select_from(RunTarget)
        .join(Task, col(Task.id) == col(RunTarget.run_id))
        .where(RunTarget.host == host, RunTarget.state == "in_flight", Task.state == "running")
        .where((col(RunTarget.run_id) != task_id) | (col(RunTarget.position) != position))
    )
    if tx.exec(others).one() >= per_host:
        raise Crowded(host)


class Gates:
    """A gate per host, forgotten when nobody stands at it. `per_host` targets at a time pass each."""

    def __init__(self, per_host: int) -> None:
        self.per_host = per_host
        self._gates: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, host: str | None) -> AsyncIterator[None]:
        if host is None:
            yield
            return
        gate, users = self._gates.get(host, (asyncio.Semaphore(self.per_host), 0))
        self._gates[host] = (gate, users + 1)
        try:
            async with gate:
                yield
        finally:
            gate, users = self._gates[host]
            if users == 1:
                del self._gates[host]
            else:
                self._gates[host] = (gate, users - 1)
