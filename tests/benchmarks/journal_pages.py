"""Pages of a journal of a million lines, on both databases, as `audit.records.list` and the lists answer them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlmodel import Session, col

from data.migrate import upgrade
from data.models import Audit
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, compare, stopwatch
from tests.lab.packages import LabMissing
from tests.lab.postgres import PostgresServer, ServerMissing

ROWS = 1_000_000
_CHUNK = 20_000
_CALLS = 20
_KINDS = (*("operation",) * 6, "host", "host", "host", "application")
_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def _rows(first: int, counted: dict[str, int]) -> Iterator[dict[str, Any]]:
    chosen = random.Random(first)
    for seq in range(first, first + _CHUNK):
        kind = chosen.choice(_KINDS)
        counted[kind] = counted.get(kind, 0) + 1
        name = f"web{chosen.randrange(10_000):05}"
        yield {
            "seq": seq, "step": seq, "position": 0, "at": _BEGUN + timedelta(seconds=20 * seq), "kind": kind,
            "ordinal": counted[kind], "operation": "hosts.update", "actor": f"user{chosen.randrange(50):02}",
            "actor_id": 1, "source": "10.0.0.1", "target_kind": "host", "target_id": name[3:], "target_name": name,
            "environment": "default", "host": None, "result": "done", "run_id": f"run-{seq}",
            "detail": {"host": None, "via": "call", "op_type": "update", "text": f"update host {name}: cpu 4 → 8"},
            "before": {"cpu": 4}, "after": {"cpu": 8}, "mac": "0" * 64,
        }  # fmt: skip


async def _fill(house: House) -> None:
    """Lines as the house would have written them; their signatures are none, for nothing is verified here."""
    await places.caller(house)
    counted: dict[str, int] = {}
    start = await house.database.read(lambda tx: tx.execute(select(func.max(Audit.seq))).scalar() or 0)
    for first in range(start + 1, ROWS, _CHUNK):
        rows = list(_rows(first, counted))
        await house.database.write(lambda tx, rows=rows: tx.execute(insert(Audit), rows))  # type: ignore[misc]
    await house.database.write(lambda tx: tx.execute(text("ANALYZE")))


@contextmanager
def houses(home: Path) -> Iterator[dict[str, House]]:
    """One house on each database."""
    server = None
    found: dict[str, House] = {}
    try:
        found["sqlite"] = places.console(home)
        try:
            server = PostgresServer()
            server.start()
            url = server.create()
        except ServerMissing as missing:
            raise LabMissing(str(missing)) from missing
        place = home / "team"
        place.mkdir(mode=0o700)
        upgrade(url, home=place)
        found["postgresql"] = House.open(place, url)
        yield found
    finally:
        for house in found.values():
            house.database.close()
        if server is not None:
            server.stop()
            server.remove()


def pages(home: Path, rounds: int) -> Table:
    """First page and page 10 000, whole and narrowed, beside a plain read of ten lines by key."""
    with houses(home) as found, asyncio.Runner() as runner:
        sides: dict[str, Work] = {}
        pairs: list[Pair] = []
        for name, house in found.items():
            runner.run(_fill(house))
            ctx = runner.run(places.context(house))
            sides[f"{name}: ten lines by key"] = _each(lambda house=house: _plain(runner, house))  # type: ignore[misc]
            for title, operation, given in _ASKED:
                side = f"{name}: {title}"
                sides[side] = _each(
                    lambda ctx=ctx, operation=operation, given=given: _ask(runner, ctx, operation, given)  # type: ignore[misc]
                )
                pairs.append(Pair(side, f"{name}: ten lines by key"))
        note = f"A journal of {ROWS} lines, pages of 10 with their count, in a running program; time of one call."
        return compare("journal pages", note, sides, pairs, rounds=rounds)


_ASKED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("all, page 1", "audit.records.list", {}),
    ("all, page 10000", "audit.records.list", {"page": 10_000}),
    ("hosts, page 1", "audit.hosts.list", {}),
    ("hosts, page 10000", "audit.hosts.list", {"page": 10_000}),
    ("one operator, page 1", "audit.records.list", {"operator": "user07"}),
    ("one operator, page 1000", "audit.records.list", {"operator": "user07", "page": 1000}),
    ("one host's history, page 1", "audit.history", {"kind": "host", "id": "00042"}),
    ("one day, page 1", "audit.records.list", {"time__gt": "2026-03-01T00:00:00Z", "time__lt": "2026-03-02T00:00:00Z"}),
    ("after a key", "audit.records.list", {"before": 500_000}),
)


def _each(call: Callable[[], None]) -> Work:
    def work() -> Sample:
        taken: list[Sample] = []
        with stopwatch(taken):
            for _ in range(_CALLS):
                call()
        return Sample(taken[0].wall / _CALLS, (taken[0].cpu or 0.0) / _CALLS)

    return work


def _ask(runner: asyncio.Runner, ctx: Context, operation: str, given: dict[str, Any]) -> None:
    answer = runner.run(dispatch.call(ctx, operation, given))
    if len(answer["results"]) != 10:
        raise RuntimeError(f"not the page that was to come: {operation} {given}: {answer['count']}")


def _plain(runner: asyncio.Runner, house: House) -> None:
    def work(tx: Session) -> int:
        return len(tx.execute(select(Audit).order_by(col(Audit.seq).desc()).limit(10)).all())

    if runner.run(house.database.read(work)) != 10:
        raise RuntimeError("not the lines that were to come")
