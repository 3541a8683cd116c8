"""How much one worker does at once: on one host, whatever tasks it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Gates:
    """A gate per host, forgotten when nobody stands at it. `per_host` targets at a time pass each."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._gates: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, host: str | None) -> AsyncIterator[None]:
        if host is None:
            yield
            return
        gate, users = self._gates.get(host, (asyncio.Semaphore(self._per_host), 0))
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
