"""Large records: many hosts, their last known services, a long journal."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from data.models import Host, HostGrant, ModuleGrant, User
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.permissions import ENABLE_FLAG
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare, process, stopwatch
from tests.benchmarks.peers import SQLITE_AUDIT, SQLITE_SERVICES
from tests.benchmarks.startup import PROGRAM

_HOSTS, _UNITS = 1000, 100
_JOURNAL = 100_000
_MANY = 10_000
_CALLS = 20


def cached_services(home: Path, rounds: int) -> Table:
    """The last known state of a large fleet, as one JSON answer."""

    async def fill(house: House) -> None:
        await places.add_hosts(house, places.made_up(_HOSTS))
        await places.add_observations(house, _UNITS)

    places.inside(home, fill)
    env, database = clean_environment(home), str(home / "console" / "opsconsole.db")
    wanted = _HOSTS * _UNITS

    def complete(out: bytes) -> bool:
        return out.count(b'"unit": ') == wanted

    sides: dict[str, Work] = {
        "opsconsole services list --cached": lambda: process(
            [PROGRAM, "services", "list", "--cached"], env=env, check=complete
        ),
        "python sqlite3 services": lambda: process(
            [sys.executable, "-c", SQLITE_SERVICES, database], env=env, check=complete
        ),
    }
    pairs = [Pair("opsconsole services list --cached", "python sqlite3 services")]
    note = (
        f"{_HOSTS} hosts with {_UNITS} units each: {wanted} rows from the database to standard output.\n"
        "The peer unpacks and prints the same rows and knows no rights and no actions."
    )
    return compare("cached services", note, sides, pairs, rounds=rounds)


def journal(home: Path, rounds: int) -> Table:
    """`audit verify` over a long journal."""
    places.inside(home, lambda house: places.add_journal(house, _JOURNAL))
    env, database = clean_environment(home), str(home / "console" / "opsconsole.db")
    sides: dict[str, Work] = {
        "opsconsole audit verify": lambda: process(
            [PROGRAM, "audit", "verify"], env=env, check=lambda out: b'"verdict": "intact"' in out
        ),
        "python sqlite3 journal": lambda: process(
            [sys.executable, "-c", SQLITE_AUDIT, database], env=env, check=lambda out: int(out) >= _JOURNAL
        ),
    }
    pairs = [Pair("opsconsole audit verify", "python sqlite3 journal")]
    note = (
        f"{_JOURNAL} lines in {_JOURNAL // 5} transactions. The peer reads the lines and makes one HMAC of each;\n"
        "it compares nothing, follows no chain, and looks for no gap."
    )
    return compare("journal", note, sides, pairs, rounds=rounds)


async def _clerk(house: House) -> None:
    """A user who may see every second host, by a grant on each."""

    def work(tx: Session) -> None:
        user = User(username="clerk", status="enabled")
        tx.add(user)
        tx.flush()
        common: dict[str, Any] = {"subject_type": "user", "subject_id": user.id, "granted_by": "benchmark"}
        tx.add(ModuleGrant(module_name="host", flag=ENABLE_FLAG["host"], **common))
        ids = tx.exec(select(Host.id).order_by(col(Host.id))).all()
        tx.add_all([HostGrant(host_id=number, flag="view_host", **common) for number in ids[::2]])

    await house.database.write(work)


def host_pages(home: Path, rounds: int) -> Table:
    """A page of `hosts.list` out of many hosts, in a running program."""

    async def fill(house: House) -> None:
        await places.add_hosts(house, places.made_up(_MANY), tags=("web",))
        await _clerk(house)

    places.inside(home, fill)
    with asyncio.Runner() as runner:
        house = places.console(home)
        raw = sqlite3.connect(f"file:{home / 'console' / 'opsconsole.db'}?mode=ro", uri=True)
        try:
            admin = runner.run(places.context(house))
            clerk = runner.run(_context_of(house, "clerk"))
            sides: dict[str, Work] = {
                "sqlite3, 50 rows": _each(lambda: _raw_page(raw, 0)),
                "administrator, page 1": _each(lambda: _page(runner, admin, 1, _MANY)),
                "administrator, page 200": _each(lambda: _page(runner, admin, 200, _MANY)),
                "grants on 5000, page 1": _each(lambda: _page(runner, clerk, 1, _MANY // 2)),
                "grants on 5000, page 100": _each(lambda: _page(runner, clerk, 100, _MANY // 2)),
                "sqlite3, 50 rows from 9950": _each(lambda: _raw_page(raw, 9950)),
            }
            pairs = [
                Pair("administrator, page 1", "sqlite3, 50 rows"),
                Pair("administrator, page 200", "sqlite3, 50 rows from 9950"),
                Pair("grants on 5000, page 1", "administrator, page 1"),
                Pair("grants on 5000, page 100", "administrator, page 200"),
            ]
            note = f"hosts.list in a running program, {_MANY} hosts, pages of 50 with their count; time of one call."
            return compare("host pages", note, sides, pairs, rounds=rounds)
        finally:
            raw.close()
            runner.run(house.close())


async def _context_of(house: House, username: str) -> Context:
    found = await house.database.read(lambda tx: load_caller(tx, username))
    if found is None:
        raise RuntimeError(f"{username} is not there")
    return Context(house, found)


def _each(call: Callable[[], None]) -> Work:
    """The time of one call, as the mean of several."""

    def work() -> Sample:
        taken: list[Sample] = []
        with stopwatch(taken):
            for _ in range(_CALLS):
                call()
        return Sample(taken[0].wall / _CALLS, (taken[0].cpu or 0.0) / _CALLS)

    return work


def _page(runner: asyncio.Runner, ctx: Context, page: int, count: int) -> None:
    answer = runner.run(dispatch.call(ctx, "hosts.list", {"page": page, "page_size": 50}))
    if answer["count"] != count or len(answer["results"]) != 50:
        raise RuntimeError(f"not the page that was to come: {answer['count']} hosts")


def _raw_page(raw: sqlite3.Connection, offset: int) -> None:
    raw.execute("select count(*) from host").fetchone()
    if len(raw.execute("select * from host order by id limit 50 offset ?", (offset,)).fetchall()) != 50:
        raise RuntimeError("not the page that was to come")
