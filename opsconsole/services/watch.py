"""services.watch: the whole fleet as a stream, last known state first, then every host as it answers.

Each host is looked at on its own clock, with jitter, and slower the larger the fleet is. What another console saw or
did comes in through the change feed and is passed on at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from data.feed import Feed
from opsconsole.engine.canonical import digest
from opsconsole.engine.context import Context
from opsconsole.engine.registry import stream
from opsconsole.hosts.lookup import HostFacts
from opsconsole.services import observe
from opsconsole.services.inputs import Watch
from opsconsole.services.kept import placed
from opsconsole.services.observe import Sight
from opsconsole.services.reads import VIEW, hosts_of

Event = dict[str, Any]
_PER_HOST = 0.04
_QUEUED = 200
_FIRST_CACHED = 200
_SLOW = 0.5


@stream(
    "services.watch",
    summary="Follow the services of all hosts: last known state first, then live",
    permission=VIEW,
    input=Watch,
    objects=("service",),
)
async def watch(ctx: Context, query: Watch) -> AsyncIterator[Event]:
    """Events `{"event": "host", "host": {…}, "rows": [...]}`; `rows` is absent when nothing in them changed, and
    `{"event": "gone", "host": {...}}` for a host that was deleted or may no longer be seen."""
    watcher = _Watcher(ctx, query)
    try:
        async for event in watcher.events():
            yield event
    finally:
        await watcher.close()


class _Watcher:
    def __init__(self, ctx: Context, query: Watch) -> None:
        self._ctx = ctx
        self._query = query
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUED)
        self._gate = asyncio.Semaphore(ctx.house.settings.connect_limit)
        self._sent: dict[int, str] = {}
        self._known = observe.known_services(ctx)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._hosts: dict[int, HostFacts] = {}
        self._feed = Feed(ctx.database)
        self._listener: asyncio.Task[None] | None = None

    async def events(self) -> AsyncIterator[Event]:
        await self._take_hosts()
        for start in range(0, len(self._hosts), _FIRST_CACHED):
            chunk = list(self._hosts.values())[start : start + _FIRST_CACHED]
            kept = await observe.cached(self._ctx, chunk)
            for host in chunk:
                yield await self._event(kept.get(host.id) or Sight(host, "connecting", cached=True), first=True)
        for host in self._hosts.values():
            self._start(host)
        self._listener = asyncio.create_task(self._listen(), name="services.watch feed")
        while True:
            yield await self._queue.get()

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *([self._listener] if self._listener else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_hosts(self) -> None:
        hosts = await hosts_of(self._ctx, list(self._query.hosts) if self._query.hosts is not None else None)
        self._hosts = {host.id: host for host in hosts if host.status != "offline"}

    def _start(self, host: HostFacts) -> None:
        self._tasks[host.id] = asyncio.create_task(self._poll(host.id), name=f"services.watch {host.name}")

    async def _poll(self, host_id: int) -> None:
        while (host := self._hosts.get(host_id)) is not None:
            async with self._gate:
                sight = await self._look(host)
            await self._queue.put(await self._event(sight))
            pause = max(self._query.interval, len(self._hosts) * _PER_HOST)
            await asyncio.sleep(pause * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load, guards nothing

    async def _look(self, host: HostFacts) -> Sight:
        """A look; while the operator is asked about the host meanwhile, the stream says so."""
        look, said = asyncio.ensure_future(observe.look(self._ctx, host, self._known)), False
        try:
            while not (await asyncio.wait({look}, timeout=_SLOW))[0]:
                if not said and self._ctx.house.asked(host.name):
                    said = True
                    await self._queue.put(await self._event(await observe.asking(self._ctx, host)))
            return look.result()
        finally:
            look.cancel()

    async def _event(self, sight: Sight, *, first: bool = False) -> Event:
        event: Event = {"event": "host", "host": sight.host_json()}
        content = await asyncio.to_thread(digest, sight.rows)
        if first or self._sent.get(sight.host.id) != content:
            self._sent[sight.host.id] = content
            event["rows"] = [placed(row, sight.host) for row in sight.rows]
        return event

    async def _listen(self) -> None:
        async for batch in self._feed.changes():
            if any(row.lost or row.entity in {"host", "environment", "host_tag"} for row in batch):
                await self._refresh_hosts()
            seen = {int(row.key) for row in batch if row.entity == "host_observation" and row.key.isdigit()}
            hosts = [self._hosts[host_id] for host_id in seen if host_id in self._hosts]
            for sight in (await observe.cached(self._ctx, hosts)).values() if hosts else ():
                sight.cached = False
                event = await self._event(sight)
                if "rows" in event or sight.error is not None:
                    await self._queue.put(event)

    async def _refresh_hosts(self) -> None:
        before = dict(self._hosts)
        await self._take_hosts()
        for host_id, host in before.items():
            if host_id not in self._hosts:
                task = self._tasks.pop(host_id, None)
                if task is not None:
                    task.cancel()
                self._sent.pop(host_id, None)
                await self._queue.put({"event": "gone", "host": {"id": host_id, "name": host.name}})
        for host_id, host in self._hosts.items():
            if host_id not in before:
                self._start(host)
