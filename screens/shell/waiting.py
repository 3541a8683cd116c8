"""What waits for the operator, kept up to date for the header: requests, approvals, reviews, and who keeps time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opsconsole.client import Client, Json, OperationFailed

COUNTED: Final = frozenset({"approval", "review"})
RIGHTS: Final = frozenset({"user", "role"})
EVERY: Final = 60.0
"""Seconds after which is counted anyway, since what expires is announced by whoever notices it first."""
NOTIFICATION: Final = "\x1b]9;opsconsole: something waits for your approval\x07"
"""For terminals that show a notification; others ignore it. It says nothing of what waits."""


def concerns(changes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a batch of changes may alter what waits."""
    return any(change.get("lost") or change.get("entity") in COUNTED | RIGHTS for change in changes)


class Waiting:
    """Counts, and calls `changed` with the counts before and after. One at a time; what comes meanwhile is one more."""

    def __init__(self, client: Client, changed: Callable[[Json, Json], None]) -> None:
        self._client = client
        self._changed = changed
        self._due = asyncio.Event()
        self._known: Json = {}

    def due(self) -> None:
        """Something changed that may be counted."""
        self._due.set()

    async def keep(self) -> None:
        """Count now, whenever it is due, and every minute. A house that cannot answer is asked again later."""
        while True:
            self._due.clear()
            await self._count()
            try:
                async with asyncio.timeout(EVERY):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _count(self) -> None:
        try:
            found = await self._client.call("home.count")
        except OperationFailed:
            return
        if isinstance(found, Mapping) and found != self._known:
            before, self._known = self._known, dict(found)
            self._changed(before, self._known)


def more_to_decide(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether somebody began to wait for this operator."""

    def number(counts: Mapping[str, Any], name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    return any(number(now, name) > number(before, name) for name in ("to_decide", "mine_approved", "reviews"))
