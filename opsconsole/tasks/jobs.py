"""Timers: what has to happen every so often, in whichever worker is alive, once.

A job is a function of the house, due every `every` seconds. Areas name theirs here by module, so that nothing is
imported before it is due.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Job
from opsconsole.engine import audit
from opsconsole.engine.bugs import note
from opsconsole.engine.errors import ConsoleError
from opsconsole.house import House

LOOK_SECONDS = 5.0
TICK = "tick:"
_LATE = 3
"""A job is overdue when it is late by this many of its own periods."""
_GIVEN_UP = timedelta(minutes=30)
_LONGEST = 1500.0
"""Seconds after which a timer is broken off: well before somebody else takes it to be given up, and runs it again."""


@dataclass(frozen=True, slots=True)
class Timer:
    """`where` is `module:function`, an async function of the house that answers what it did as JSON."""

    name: str
    summary: str
    every: float
    where: str

    async def run(self, house: House) -> Any:
        module, _, function = self.where.partition(":")
        work: Callable[[House], Awaitable[Any]] = getattr(importlib.import_module(module), function)
        return await work(house)


_HERE = "opsconsole.tasks.housekeeping"
TIMERS: tuple[Timer, ...] = (
    Timer("notices.send", "tell again what could not be told outside", 30, f"{_HERE}:tell"),
    Timer("runs.sweep", "close the runs of dead consoles, end requests that nobody decided", 60, f"{_HERE}:sweep_runs"),
    Timer("tasks.wake", "try tasks again that wait for a lease or an unlocked key", 15, f"{_HERE}:wake"),
    Timer("tasks.trim", "forget old task output and workers that are gone", 3600, f"{_HERE}:trim"),
    Timer(
        "vpn.servers",
        "look at every OpenVPN server, publish newer revocation lists, go on with revocations",
        300,
        "opsconsole.vpn.servers_due:keep_current",
    ),
    Timer("vpn.crls.resign", "sign revocation lists anew at half of their life", 600, "opsconsole.vpn.due:resign"),
)


async def run_due(house: House, executor_id: str) -> list[str]:
    """Run what is due, each at most once among all workers; answers the names."""
    ran: list[str] = []
    due = await house.database.read(lambda tx: _due(tx, audit.now()))
    for timer in TIMERS:
        if timer.name in due and await house.database.write(lambda tx, t=timer: _take(tx, t, executor_id, audit.now())):  # type: ignore[misc]
            await _run(house, timer)
            ran.append(timer.name)
    return ran


def _due(tx: Session, now: datetime) -> set[str]:
    rows = {row.name: row for row in tx.exec(select(Job)).all()}
    return {timer.name for timer in TIMERS if timer.name not in rows or _is_due(rows[timer.name], timer, now)}


def _is_due(row: Job, timer: Timer, now: datetime) -> bool:
    """A moment further ahead than any of ours was written by a clock that has been set back since."""
    furthest = now + max(_GIVEN_UP, timedelta(seconds=timer.every)) + timedelta(minutes=1)
    return row.next_due <= now or row.next_due > furthest


def _take(tx: Session, timer: Timer, executor_id: str, now: datetime) -> bool:
    """Mark it as begun, so that nobody else does; one whose runner died in it is due again after a while."""
    row = tx.exec(select(Job).where(Job.name == timer.name).with_for_update()).one_or_none()
    if row is None:
        row = Job(name=timer.name)
    elif not _is_due(row, timer, now):
        return False
    row.last_started, row.executor_id = now, executor_id
    row.next_due = now + max(_GIVEN_UP, timedelta(seconds=timer.every))
    tx.add(row)
    return True


async def _run(house: House, timer: Timer) -> None:
    error: str | None = None
    result: Any = None
    try:
        async with asyncio.timeout(_LONGEST):
            result = await timer.run(house)
    except TimeoutError:
        error = f"broken off after {_LONGEST:g} s; it is tried again when it is due"
    except ConsoleError as failed:
        error = failed.message
    except Exception as bug:
        note(bug)
        error = f"a bug of ours ({type(bug).__name__}); it is written down in log/errors.log"

    def work(tx: Session) -> None:
        row = tx.exec(select(Job).where(Job.name == timer.name).with_for_update()).one()
        now = audit.now()
        row.last_finished, row.last_error, row.last_result = now, error, result
        row.next_due = now + timedelta(seconds=timer.every)
        tx.add(row)
        if error:
            announce(tx, "job", timer.name, "updated")

    await house.database.write(work)


def overdue(rows: list[Job], now: datetime) -> list[str]:
    """The names of timers that nobody has kept."""
    known = {row.name: row for row in rows}
    late: list[str] = []
    for timer in TIMERS:
        row = known.get(timer.name)
        if row is not None and now - row.next_due > timedelta(seconds=timer.every * _LATE):
            late.append(timer.name)
    return late


def all_rows(tx: Session) -> list[Job]:
    return list(tx.exec(select(Job).order_by(col(Job.name))).all())


def ticked(rows: list[Job], now: datetime) -> str | None:
    """What ran the timers lately from outside a worker (`opsconsole tick`), if anything did."""
    recent = [row for row in rows if row.last_started and now - row.last_started < timedelta(hours=1)]
    return next((row.executor_id for row in recent if (row.executor_id or "").startswith(TICK)), None)
