"""Writes asked for at the same moment share one transaction: with many targets, most of the time is commits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from sqlmodel import Session

from data.database import Database

T = TypeVar("T")


class Together:
    """`write` as the database has it: answered when its transaction is committed, and a caller who gives up hears so
    only after that. When one of several fails, each is done again by itself, so that it alone gets its error."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Callable[[Session], Any], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Session], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="writes together")
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            while not done.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([done])
            if not done.cancelled():
                done.exception()
            raise

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._one(batch)
        self._flushing = None

    async def _one(self, batch: list[tuple[Callable[[Session], Any], asyncio.Future[Any]]]) -> None:
        works = [work for work, _ in batch]
        try:
            answers = await self._database.write(lambda tx: [work(tx) for work in works])
        except BaseException as error:
            if len(batch) == 1 or isinstance(error, asyncio.CancelledError):
                for _, done in batch:
                    done.set_exception(error)
                return
            for one in batch:
                await self._one([one])
            return
        for (_, done), answer in zip(batch, answers, strict=True):
            done.set_result(answer)
