"""The application tree of a hundred thousand nodes, and names looked up by a piece of them among a million."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text
from sqlmodel import Session

from data.models import AppInstance, Application, Host, Production, utc_now
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.journal_pages import houses
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare, stopwatch
from tests.benchmarks.startup import PROGRAM
from tests.benchmarks.terminal import Terminal

TREE, NAMES = 100_000, 1_000_000
_LINES, _HOSTS, _CHUNK, _CALLS = 5, 100, 5000, 5
DOWN, RIGHT = b"\x1b[B", b"\x1b[C"
_WORDS = ("mail", "shop", "index", "gate", "cache", "queue", "report", "audit", "proxy", "store")


def made_up(count: int) -> Iterator[dict[str, Any]]:
    """Roots with three levels of ten under each node: 1111 applications a root."""
    now, key = utc_now(), 0
    while key < count:
        key += 1
        level = [(key, f"root{key}")]
        line = 1 + key % _LINES
        yield _row(key, None, f"root{key}", f"root{key}", line, now)
        for _ in range(3):
            below: list[tuple[int, str]] = []
            for parent, path in level:
                for word in _WORDS:
                    if key >= count:
                        return
                    key += 1
                    yield _row(key, parent, f"{word}{key}", f"{path}.{word}{key}", line, now)
                    below.append((key, f"{path}.{word}{key}"))
            level = below


def _row(key: int, parent: int | None, name: str, full_name: str, line: int, now: Any) -> dict[str, Any]:
    return {
        "id": key,
        "parent_id": parent,
        "name": name,
        "full_name": full_name,
        "production_id": line,
        "protected": False,
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }


async def _fill(house: House, count: int, *, instances: bool) -> None:
    await places.caller(house)

    def first(tx: Session) -> list[int]:
        tx.add_all([Production(id=1 + number, name=f"line {number}") for number in range(_LINES)])
        hosts = [Host(name=f"host{number}", host_type="PHY_HOST") for number in range(_HOSTS)]
        tx.add_all(hosts)
        tx.flush()
        return [host.id for host in hosts]

    hosts = await house.database.write(first)
    rows = made_up(count)
    while chunk := list(islice(rows, _CHUNK)):
        more = [
            {
                "application_id": row["id"],
                "host_id": hosts[row["id"] % _HOSTS],
                "status": "running" if row["id"] % 17 else "stopped",
                "version": "",
            }
            for row in chunk
            if instances
        ]

        def work(tx: Session, chunk: list[dict[str, Any]] = chunk, more: list[dict[str, Any]] = more) -> None:
            tx.connection().execute(insert(Application), chunk)
            if more:
                tx.connection().execute(insert(AppInstance), more)

        await house.database.write(work)
    await house.database.write(lambda tx: tx.execute(text("ANALYZE")))


def tree(home: Path, rounds: int) -> Table:
    """What the tree screen asks for when it opens, and what follows."""
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "roots": ("cmdb.tree.children", {}),
        "one product line": ("cmdb.tree.children", {"kind": "production", "id": 2}),
        "one application": ("cmdb.tree.children", {"kind": "application", "id": 1}),
        "counts of five lines": (
            "cmdb.tree.rollup",
            {"items": [{"kind": "production", "id": 1 + number} for number in range(_LINES)]},
        ),
        "counts of a root": ("cmdb.tree.rollup", {"items": [{"kind": "application", "id": 1}]}),
        "search with ancestors": ("cmdb.tree.search", {"needle": f"{_WORDS[-1]}{TREE - 1000}"[:8]}),
        "everything below a root": ("cmdb.tree.below", {"id": 1}),
        "impact of a node": ("cmdb.applications.impact", {"id": TREE // 2}),
    }
    note = f"{TREE} applications four levels deep with an instance each, in a running program; time of one call."
    return _measured(home, rounds, "application tree", note, TREE, asked, instances=True)


def opened(home: Path, rounds: int) -> Table:
    """The console over the same tree: from the key that opens a product line to its first application painted."""
    before = os.getloadavg()[0]
    places.inside(home, lambda house: _fill(house, TREE, instances=True))
    keys: list[Sample] = []
    for _ in range(rounds):
        with Terminal([PROGRAM], clean_environment(home)) as terminal:
            keys.append(_line_opened(terminal))
    note = f"{TREE} applications, SQLite, a console of 120x40: a line opened; processor time is the console's."
    return Table("application open", note, {"a product line opened": keys}, (), (before, os.getloadavg()[0]))


def _line_opened(terminal: Terminal) -> Sample:
    terminal.until(lambda: b"@" in terminal.tail)
    terminal.quiet(0.5)
    os.write(terminal.master, b"3")
    terminal.until(lambda: f"line {_LINES - 1}".encode() in terminal.tail)
    terminal.quiet(1.5)
    os.write(terminal.master, DOWN)
    terminal.quiet(1.5)
    terminal.tail, (ran, _), start = b"", terminal.ran(), time.perf_counter()
    os.write(terminal.master, RIGHT)
    terminal.until(lambda: b"root" in terminal.tail)
    return Sample(time.perf_counter() - start, terminal.ran()[0] - ran)


def names(home: Path, rounds: int) -> Table:
    """A piece of a name, rare and shared by a hundred, and a short one, which is looked up as a beginning."""
    rare = NAMES - 7
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "one of a million": ("cmdb.applications.list", {"name": f"{rare}"}),
        "a piece of the path": ("cmdb.applications.list", {"full_path": f"{rare}"}),
        "a hundred of a million": ("cmdb.applications.list", {"name": f"{rare // 100}"}),
        "two characters": ("cmdb.applications.list", {"name": "zz"}),
        "with ancestors": ("cmdb.tree.search", {"needle": f"{rare}"}),
    }
    note = f"{NAMES} applications; the first page with its count; time of one call."
    return _measured(home, rounds, "application names", note, NAMES, asked, instances=False)


def _measured(
    home: Path,
    rounds: int,
    title: str,
    note: str,
    count: int,
    asked: dict[str, tuple[str, dict[str, Any]]],
    *,
    instances: bool,
) -> Table:
    with houses(home) as found, asyncio.Runner() as runner:
        sides: dict[str, Work] = {}
        pairs: list[Pair] = []
        for name, house in found.items():
            runner.run(_fill(house, count, instances=instances))
            ctx = runner.run(places.context(house))
            plain = f"{name}: ten rows by key"
            sides[plain] = _each(runner, lambda house=house: _plain(house))  # type: ignore[misc]
            for what, (operation, given) in asked.items():
                call = _asking(ctx, operation, given)
                sides[f"{name}: {what}"] = _each(runner, call)
                pairs.append(Pair(f"{name}: {what}", plain))
        return compare(title, note, sides, pairs, rounds=rounds)


def _asking(ctx: Context, operation: str, given: dict[str, Any]) -> Callable[[], Any]:
    return lambda: dispatch.call(ctx, operation, given)


def _plain(house: House) -> Any:
    wanted = text("SELECT * FROM application ORDER BY id LIMIT 10")
    return house.database.read(lambda tx: tx.execute(wanted).all())


def _each(runner: asyncio.Runner, call: Callable[[], Any]) -> Work:
    async def once() -> None:
        await call()

    def work() -> Sample:
        taken: list[Sample] = []
        with stopwatch(taken):
            for _ in range(_CALLS):
                runner.run(once())
        return Sample(taken[0].wall / _CALLS, (taken[0].cpu or 0.0) / _CALLS)

    return work
