"""services.journal.follow: the journal of one service, of several on many hosts, or of whole hosts, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from drivers.errors import DriverError
from drivers.journal import Gap, follow
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, EmptyList, InvalidParameter
from opsconsole.engine.registry import stream
from opsconsole.hosts.lookup import HostFacts
from opsconsole.services import observe
from opsconsole.services.inputs import FollowItem, FollowJournal
from opsconsole.services.reads import VIEW, hosts_of
from opsconsole.services.resolve import resolve

Event = dict[str, Any]
_QUEUED = 2000


@stream(
    "services.journal.follow",
    summary="Follow the journal of services or whole hosts",
    permission=VIEW,
    target_permission="host.view_host",
    input=FollowJournal,
    objects=("service",),
    key="l",
)
async def follow_journal(ctx: Context, query: FollowJournal) -> AsyncIterator[Event]:
    """Lines `{host, unit, at, priority, identifier, pid, message, truncated, cursor}`; `{host, gap, seconds}` while a
    source is being reached again; `{host, error}` when one ended. One source alone raises its error instead."""
    sources = await _sources(ctx, query)
    if query.after_cursor is not None and len(sources) != 1:
        raise InvalidParameter(field="after_cursor", reason="a cursor belongs to one source; name one")
    queue: asyncio.Queue[Event | ConsoleError | None] = asyncio.Queue(_QUEUED)
    tasks = [
        asyncio.create_task(_feed(ctx, query, host, units, queue), name=f"journal {host.name}")
        for host, units in sources
    ]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, ConsoleError):
                if len(tasks) == 1:
                    raise item
                yield {"host": item.data.get("host"), "error": item.as_json(ctx.house.settings.language)}
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sources(ctx: Context, query: FollowJournal) -> list[tuple[HostFacts, tuple[str, ...] | None]]:
    """One source per host: its units, or None for all of its journal."""
    items = query.items if query.items is not None else [FollowItem(host=query.host, name=query.name)]
    if not items:
        raise EmptyList(field="items")
    wanted: dict[int, tuple[HostFacts, list[str] | None]] = {}
    for item in items:
        host = (await hosts_of(ctx, [item.host]))[0]
        names = wanted.setdefault(host.id, (host, []))[1]
        if item.name is None:
            wanted[host.id] = (host, None)
        elif names is not None:
            names.append(item.name)
    return [(host, None if names is None else await _units(ctx, host, names)) for host, names in wanted.values()]


async def _units(ctx: Context, host: HostFacts, names: list[str]) -> tuple[str, ...]:
    """The units meant by the names; from the last sight when it knows them all, which saves a round trip."""
    sight = (await observe.cached(ctx, [host])).get(host.id)
    if sight is not None:
        known = {row["name"]: row for row in sight.rows} | {row["unit"]: row for row in sight.rows}
        rows = [known.get(name) for name in names]
        if all(row is not None and not row["multiple_instances"] for row in rows):
            return tuple(dict.fromkeys(row["unit"] for row in rows if row is not None))
    sight = await observe.look(ctx, host, observe.known_services(ctx), retry=True)
    if sight.units is None:
        return tuple(name if name.endswith(".service") else f"{name}.service" for name in names)
    return tuple(dict.fromkeys(unit.id for name in names for unit in resolve(sight, name).units))


async def _feed(
    ctx: Context,
    query: FollowJournal,
    host: HostFacts,
    units: tuple[str, ...] | None,
    queue: asyncio.Queue[Event | ConsoleError | None],
) -> None:
    try:
        runner = await ctx.house.fleet.runner(host, retry=True)
        entries = follow(
            runner,
            units=units,
            lines=query.lines if query.since is None else None,
            after_cursor=query.after_cursor,
            since=query.since,
            until=query.until,
            priority=query.priority,
            follow=query.follow,
            become=host.become,
        )
        async for entry in entries:
            if isinstance(entry, Gap):
                await queue.put(
                    {
                        "host": host.name,
                        "gap": entry.reason,
                        "seconds": round(entry.seconds, 1),
                        "resumed": entry.resumed,
                    }
                )
            else:
                await queue.put(
                    {
                        "host": host.name,
                        "unit": entry.unit,
                        "at": entry.realtime_us / 1_000_000,
                        "priority": entry.priority,
                        "identifier": entry.identifier,
                        "pid": entry.pid,
                        "message": entry.message.decode("utf-8", "replace"),
                        "truncated": entry.truncated,
                        "cursor": entry.cursor,
                    }
                )
    except DriverError as error:
        await queue.put(translate(error))
    await queue.put(None)
