"""Looking at hosts: one round trip each, kept as an observation so that any console can show the last known state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from data.errors import DataError
from data.feed import announce
from data.models import SERVICES_SEEN, HostObservation
from drivers.errors import DriverError, TimedOut
from drivers.runner import Runner
from drivers.systemd import HostUnits, snapshot
from opsconsole.engine.canonical import digest
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import HostUnreachable
from opsconsole.hosts.lookup import HostFacts
from opsconsole.house import translate as translate_data
from opsconsole.services.conf import Known, load
from opsconsole.services.kept import Kept, host_json, packed, remedy_of, unpacked
from opsconsole.services.project import Row, rows_of

_VOLATILE = ("memory", "cpu_nsec")
_AT_ONCE = 50
_NAMED = 10


@dataclass(slots=True)
class Sight:
    """What was seen of one host. `state` is ok, or the kind of the driver's error; with an error `rows` are the last
    known ones and `observed_at` says from when."""

    host: HostFacts
    state: str
    rows: list[Row] = field(default_factory=list)
    units: HostUnits | None = None
    error: dict[str, Any] | None = None
    remedy: str | None = None
    observed_at: datetime | None = None
    cached: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def age(self) -> float | None:
        return None if self.observed_at is None else (datetime.now(UTC) - self.observed_at).total_seconds()

    def kept(self) -> Kept:
        """What of it is worth keeping."""
        return Kept(self.rows, self.facts, self.observed_at)

    def host_json(self) -> dict[str, Any]:
        """The host as screens show it."""
        return host_json(self.host, self.state, self.kept(), error=self.error, remedy=self.remedy, cached=self.cached)


def known_services(ctx: Context) -> Known:
    return load(ctx.house.home)


async def look(ctx: Context, host: HostFacts, known: Known, *, retry: bool = False) -> Sight:
    """Look at one host now and keep what was seen. A driver's error becomes the state of the sight."""
    try:
        runner = await ctx.house.fleet.runner(host, retry=retry)
        units = await _snapshot(ctx, host, runner, known, afresh=retry)
    except TimedOut as error:
        if ctx.house.asked(host.name):
            return await asking(ctx, host)
        return await _failed(ctx, host, error.kind, translate(error).as_json(), error.remedy)
    except DriverError as error:
        return await _failed(ctx, host, error.kind, translate(error).as_json(), error.remedy)
    except DataError as error:
        return await _failed(ctx, host, error.kind, translate_data(error).as_json(), error.remedy)
    rows = await asyncio.to_thread(rows_of, units, known)
    privileged = units.euid == 0 or bool(units.sudo)
    sight = Sight(host, "ok", rows, units, observed_at=datetime.fromtimestamp(units.taken_at, UTC))
    sight.facts = {"privileged": privileged, "version": units.systemd_version, "clock_skew": units.clock_skew}
    await keep(ctx, sight, duration=units.duration)
    return sight


async def asking(ctx: Context, host: HostFacts) -> Sight:
    """What is known of a host whose login waits for an answer of the operator: no fault of the host, so not kept."""
    sight = (await cached(ctx, [host])).get(host.id) or Sight(host, "asking")
    waits = HostUnreachable(host=host.name, reason="it waits for your answer to the question about it", kind="asking")
    sight.state, sight.error, sight.remedy = "asking", waits.as_json(), "answer the question the console shows"
    return sight


async def _snapshot(ctx: Context, host: HostFacts, runner: Runner, known: Known, *, afresh: bool) -> HostUnits:
    """One round trip; unit files that did not change since the last one are not read again, and sudo is not asked
    again, since a no leaves a line in the host's auth log. `afresh` asks everything."""
    earlier = None if afresh else ctx.house.fleet.earlier.get(host.id)
    units = await snapshot(
        runner,
        timeout=ctx.house.settings.snapshot_timeout,
        instance_configs=known.instance_configs,
        privileges=earlier is None,
        earlier=earlier,
    )
    if earlier is not None:
        units = replace(units, sudo=earlier.sudo)
    ctx.house.fleet.remember(host.id, units)
    return units


async def _failed(ctx: Context, host: HostFacts, kind: str, error: dict[str, Any], remedy: str) -> Sight:
    last = (await cached(ctx, [host])).get(host.id)
    sight = last or Sight(host, kind)
    sight.state, sight.error, sight.remedy = kind, error, remedy or None
    if not ctx.house.database.read_only:
        await ctx.database.write(lambda tx: _store_error(tx, sight))
    return sight


async def look_at_all(ctx: Context, hosts: Sequence[HostFacts], *, retry: bool = False) -> list[Sight]:
    """Every host at once (at most fifty at a time), each with its own state."""
    known = known_services(ctx)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(host: HostFacts) -> Sight:
        async with gate:
            return await look(ctx, host, known, retry=retry)

    return list(await asyncio.gather(*(one(host) for host in hosts)))


async def cached(ctx: Context, hosts: Sequence[HostFacts]) -> dict[int, Sight]:
    """The last kept sight per host id; hosts never seen are absent."""
    wanted = {host.id: host for host in hosts}

    def work(tx: Session) -> list[HostObservation]:
        query = select(HostObservation).where(HostObservation.kind == SERVICES_SEEN)
        if len(wanted) <= 500:
            query = query.where(col(HostObservation.host_id).in_(wanted))
        return [row for row in tx.exec(query) if row.host_id in wanted]

    rows = await ctx.database.read(work)
    return await asyncio.to_thread(lambda: {row.host_id: _from_row(wanted[row.host_id], row) for row in rows})


def _from_row(host: HostFacts, row: HostObservation) -> Sight:
    rows, facts, seen = unpacked(row.payload)
    sight = Sight(host, row.state, rows, error=row.error, remedy=remedy_of(row.error), observed_at=seen, cached=True)
    sight.facts = facts
    return sight


async def keep(ctx: Context, sight: Sight, *, duration: float) -> None:
    """Store a sight; the change is announced only when something worth showing differs."""
    if ctx.house.database.read_only:
        return
    stable = [{k: v for k, v in row.items() if k not in _VOLATILE} for row in sight.rows]
    content = await asyncio.to_thread(digest, stable)
    payload = await asyncio.to_thread(packed, sight.kept())
    await ctx.database.write(lambda tx: _store(tx, sight, content, payload, duration))


def _store(tx: Session, sight: Sight, content: str, payload: bytes, duration: float) -> None:
    now = sight.observed_at or datetime.now(UTC)
    row = tx.get(HostObservation, (sight.host.id, SERVICES_SEEN))
    changed = row is None or row.digest != content or row.state != "ok"
    if row is None:
        row = HostObservation(host_id=sight.host.id, kind=SERVICES_SEEN, state="ok", observed_at=now)
    row.state, row.error, row.observed_at = "ok", None, now
    row.duration_ms, row.payload, row.digest = int(duration * 1000), payload, content
    row.failed, row.failing = failing_of(sight.rows)
    tx.add(row)
    if changed:
        announce(tx, "host_observation", sight.host.id, "updated")


def failing_of(rows: Sequence[Row]) -> tuple[int, list[dict[str, Any]]]:
    """How many services are an error, and the first of them, main ones before others: known without unpacking all."""
    bad = [row for row in rows if row["parent"] is None and row["status"] == "error"]
    first = sorted(bad, key=lambda row: not row["main"])[:_NAMED]
    named = [{"unit": row["unit"], "name": row["name"], "why": f"{row['sub']}, {row['result']}"} for row in first]
    return len(bad), named


def _store_error(tx: Session, sight: Sight) -> None:
    row = tx.get(HostObservation, (sight.host.id, SERVICES_SEEN))
    if row is None:
        row = HostObservation(
            host_id=sight.host.id, kind=SERVICES_SEEN, state=sight.state, observed_at=datetime.now(UTC)
        )
    elif row.state == sight.state and row.error == sight.error:
        return
    row.state, row.error = sight.state, sight.error
    tx.add(row)
    announce(tx, "host_observation", sight.host.id, "updated")
