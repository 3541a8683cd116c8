"""A stream lasts as long as the right to it: who is disabled, or loses his token or the right, is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from data.errors import DataError
from data.feed import newest
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.registry import Operation

LOOK_EVERY = 0.4
"""Seconds between two looks; a look costs one indexed read unless something was changed since."""


class _Guard:
    """Watches beside the reader. `error` is why he may not go on; `waiting` the wait for the next item, if he waits."""

    def __init__(self, ctx: Context, operation: Operation) -> None:
        self._ctx = ctx
        self._operation = operation
        self.error: ConsoleError | None = None
        self.waiting: asyncio.Timeout | None = None

    async def watch(self) -> None:
        seen: int | None = None
        until = self._ctx.caller.until
        while self.error is None:
            await asyncio.sleep(LOOK_EVERY)
            try:
                now = await self._ctx.database.read(newest)
                if now != seen or (until is not None and until <= self._ctx.now()):
                    self.error = await authorise.lost(self._ctx, self._operation)
                seen = now
            except DataError:
                # A database that is away says so to the stream itself; the next look asks again.
                seen = None
        if self.waiting is not None:
            self.waiting.reschedule(asyncio.get_running_loop().time())

    async def next(self, source: AsyncIterator[Any]) -> Any:
        """The next item; the refusal when the right to it is gone meanwhile."""
        self.check()
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self.waiting = wait
                return await anext(source)
        except TimeoutError:
            if wait.expired():
                self.check()
            raise
        finally:
            self.waiting = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error


async def while_allowed(ctx: Context, operation: Operation, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The items of `source` until it ends; raises the refusal within a second after the right to it is gone."""
    guard = _Guard(ctx, operation)
    watching = asyncio.create_task(guard.watch(), name=f"guard {operation.id}")
    try:
        while True:
            try:
                item = await guard.next(source)
            except StopAsyncIteration:
                return
            yield item
    finally:
        watching.cancel()
