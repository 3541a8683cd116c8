"""The worker: the process that performs tasks and keeps the timers.

One per home on SQLite, any number on PostgreSQL. It beats, takes what is pending, takes over what a dead one left, and
goes away when there is nothing to do (unless told to stay). Killed at any moment, it loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from sqlmodel import Session, and_, col, or_, select

from data.errors import DataError, SchemaMismatch
from data.models import Task
from opsconsole.engine import audit, runs
from opsconsole.engine.bugs import note
from opsconsole.house import House
from opsconsole.tasks import jobs, workers, workflow
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg

_LOOK_SECONDS = 2.0
_LEASE_BEAT = 10.0
_APART = 0.1
"""Seconds in which news are heard together: most of them are our own."""
_STUCK_SECONDS = 30.0
_GRACE_SECONDS = 30.0


class Worker:
    """Run it with `run()` and leave the process after it; `stop()` ends it in good order: what can be attached to again
    is left to the next one, the rest may end."""

    def __init__(self, house: House, *, stay: bool) -> None:
        self.house = house
        self.stay = stay
        self.id = workers.new_id()
        self._legs: dict[str, Leg] = {}
        self._begun: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._gates = Gates(house.settings.tasks_per_host)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._outdated = False
        self._leaving = False
        self._busy_at = time.monotonic()

    def arrive(self, task_id: str) -> Leg:
        """A workflow has begun here."""
        leg = Leg(self.house, task_id, self.id, self._gates)
        leg.halt.leave = self._leaving
        self._legs[task_id] = leg
        return leg

    def leave(self, leg: Leg) -> None:
        """A workflow has ended here, or belongs to another worker now. A later leg of the same task stays."""
        if self._legs.get(leg.task_id) is leg:
            del self._legs[leg.task_id]
            self._begun.pop(leg.task_id, None)
            self._left[leg.task_id] = time.monotonic()
        self._busy_at = time.monotonic()
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Until stopped, or idle for longer than the settings allow."""
        await self.house.database.write(lambda tx: workers.register(tx, self.id, audit.now(), stay=self.stay))
        workflow.launch(self.house, self.id, self)
        helpers = [
            asyncio.ensure_future(work)
            for work in (self._beat(), self._beat_leases(), self._listen(), self._keep_time())
        ]
        try:
            while not self._over() and self.house.home.is_dir():
                await self._guarded(self._take())
                await self._guarded(self._heed(set(self._legs)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK_SECONDS)
                self._wake.clear()
            await self._hand_over()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            with contextlib.suppress(DataError):
                await self.house.database.write(lambda tx: workers.end(tx, self.id, audit.now()))

    async def see_off(self) -> None:
        """After the end of an idle one, and with its lock given back: what was asked for while it ended found somebody
        alive and started nobody. A worker that was told to stop is not replaced."""
        with contextlib.suppress(DataError):
            if not self._stopping.is_set() and await self.house.database.read(workers.anything_pending):
                await asyncio.to_thread(self.house.wake_worker, self.house)

    def _over(self) -> bool:
        return self._stopping.is_set() or self._outdated or self._idle()

    def _idle(self) -> bool:
        quiet = time.monotonic() - self._busy_at > self.house.settings.worker_idle
        return quiet and not self.stay and not self._legs and not self._begun

    async def _take(self) -> None:
        """Take over, take what is pending, and look after what is ours and nobody is at work on."""
        now = audit.now()
        room = self.house.settings.tasks_at_once - len(self._legs.keys() | self._begun.keys())

        def look(tx: Session) -> tuple[list[str], list[str]]:
            left = workers.orphans(tx, self.id, now)
            return left, workers.claim(tx, self.id, room, now) if room > 0 else []

        ours, anything = await self.house.database.read(lambda tx: (_ours(tx, self.id), _anything(tx, self.id)))
        for task_id in self._lost(ours):
            await self._guarded(self._begin(task_id, again=True))
        if not anything:
            return
        left, fresh = await self.house.database.write(look)
        for task_id in left:
            await self._guarded(self._begin(task_id, again=True))
        for task_id in fresh:
            await self._guarded(self._begin(task_id, again=False))

    def _lost(self, ours: list[str]) -> list[str]:
        """Tasks of ours without a leg: never begun, begun and never arrived, or broken off by what is not their fault.
        What has just been begun or left is given a while."""
        early = time.monotonic() - _STUCK_SECONDS
        self._left = {key: at for key, at in self._left.items() if at > early}
        self._begun = {key: at for key, at in self._begun.items() if key in self._legs or at > early}
        return [key for key in ours if key not in self._legs and key not in self._begun and key not in self._left]

    async def _begin(self, task_id: str, *, again: bool) -> None:
        self._begun[task_id] = time.monotonic()
        task = await self.house.database.read(lambda tx: tx.get(Task, task_id))
        if task is None:
            return
        if not await workflow.start(task_id, task.leg, again=again or task.attempt > 0):
            leg = await self.house.database.write(lambda tx: _next_leg(tx, task_id))
            await workflow.start(task_id, leg, again=False)

    async def _hand_over(self) -> None:
        """Nothing new is begun; what the next worker can attach to is left as it is, the rest may end first."""
        self._leaving = True
        for leg in self._legs.values():
            leg.halt.leave = True
        until = time.monotonic() + _GRACE_SECONDS
        while any(leg.must_end() for leg in self._legs.values()) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(workers.BEAT)
            await self._guarded(self.house.database.write(self._still_here))

    def _still_here(self, tx: Session) -> None:
        """After a long sleep our row may have been cleared away: without it others take what we have."""
        if not workers.beat(tx, self.id, audit.now()):
            workers.register(tx, self.id, audit.now(), stay=self.stay)

    async def _beat_leases(self) -> None:
        while True:
            await asyncio.sleep(_LEASE_BEAT)
            mine = list(self._legs)

            def beat(tx: Session, mine: list[str] = mine) -> None:
                for task_id in mine:
                    runs.beat(tx, task_id, audit.now())

            if mine:
                await self._guarded(self.house.database.write(beat))

    async def _listen(self) -> None:
        """New tasks, and what somebody wants of ours, the moment it is committed."""
        while True:
            with contextlib.suppress(DataError):
                async for batch in self.house.feed.changes(apart=_APART):
                    keys = {row.key for row in batch if row.entity == "task"}
                    if keys or any(row.lost for row in batch):
                        lost = any(row.lost for row in batch)
                        await self._guarded(self._heed(set(self._legs) if lost else keys & set(self._legs)))
                        if keys - set(self._legs):
                            self._wake.set()
            await asyncio.sleep(1.0)

    async def _heed(self, keys: set[str]) -> None:
        if not keys:
            return
        query = select(Task.id, Task.wanted, Task.wanted_by).where(col(Task.id).in_(keys))
        query = query.where(col(Task.wanted).is_not(None))
        for task_id, wanted, by in await self.house.database.read(lambda tx: tx.exec(query).all()):
            leg = self._legs.get(task_id)
            if leg is not None and leg.halt.wanted != wanted:
                leg.halt.ask(wanted or "", by or "")

    async def _keep_time(self) -> None:
        while True:
            ran: list[str] = []
            await self._guarded(self._due(ran))
            if "tasks.trim" in ran:
                await self._guarded(workflow.forget(self.house.settings.output_days))
            await asyncio.sleep(jobs.LOOK_SECONDS)

    async def _due(self, ran: list[str]) -> None:
        ran += await jobs.run_due(self.house, self.id)

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> None:
        """A database that is away, or a bug, must not end the worker: it is written down, and tried again."""
        try:
            await work
        except SchemaMismatch:
            # Somebody has upgraded the program and the records: a worker of before can write nothing any more, and
            # as long as it lives nobody starts another.
            self._outdated = True
            self._wake.set()
        except DataError:
            await asyncio.sleep(1.0)
        except Exception as error:
            await asyncio.to_thread(note, error)
            await asyncio.sleep(1.0)


def _anything(tx: Session, worker_id: str) -> bool:
    """Cheap look before a write: is there a pending task, or one that runs and is not ours?"""
    elsewhere = col(Task.executor_id).is_distinct_from(worker_id)
    where = or_(col(Task.state) == "pending", and_(col(Task.state) == "running", elsewhere))
    return tx.exec(select(Task.id).where(where).limit(1)).first() is not None


def _ours(tx: Session, worker_id: str) -> list[str]:
    return list(tx.exec(select(Task.id).where(Task.state == "running", Task.executor_id == worker_id)).all())


def _next_leg(tx: Session, task_id: str) -> int:
    task = tx.exec(select(Task).where(Task.id == task_id).with_for_update()).one()
    task.leg += 1
    tx.add(task)
    return task.leg
