"""Homes full of made-up hosts, made once per run; and byte code for everything, as an installation leaves it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, delete, select

from data.models import SERVICES_SEEN, Environment, Host, HostObservation, HostTag
from drivers.systemd_parse import HostUnits, UnitState
from opsconsole.engine import identity
from opsconsole.engine.audit import Entry, append
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import digest
from opsconsole.engine.context import Context
from opsconsole.hosts.lookup import HostFacts, visible_hosts
from opsconsole.house import House
from opsconsole.services.conf import Known
from opsconsole.services.kept import packed
from opsconsole.services.observe import Sight
from opsconsole.services.project import rows_of
from tests.benchmarks.measure import ROOT, clean_environment

SEEN = datetime(2026, 11, 1, tzinfo=UTC)
_STATES = (("active", "running"), ("active", "exited"), ("inactive", "dead"), ("failed", "failed"))


def compile_all() -> None:
    """Byte code for the project and for what it stands on."""
    directories = [str(ROOT / room) for room in ("opsconsole", "screens", "drivers", "data", "tests/benchmarks")]
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", *directories, packages],
        env=clean_environment(ROOT),
        stdout=subprocess.DEVNULL,
        check=False,  # some packages ship templates that are no Python
    )


def console(home: Path) -> House:
    """The house a child started with `clean_environment(home)` will open."""
    place = home / "console"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return House.open(place)


def inside(home: Path, work: Callable[[House], Awaitable[Any]]) -> Any:
    """Open the house, run `work`, close it."""

    async def run() -> Any:
        house = console(home)
        try:
            return await work(house)
        finally:
            await house.close()

    return asyncio.run(run())


async def caller(house: House) -> Caller:
    return await house.caller(identity.who(), via="call")


async def context(house: House) -> Context:
    return Context(house, await caller(house))


async def add_hosts(house: House, hosts: Iterable[Host], *, tags: tuple[str, ...] = ()) -> None:
    """These hosts alone, none of them this machine."""
    wanted = list(hosts)
    await caller(house)

    def work(tx: Session) -> None:
        tx.exec(delete(Host))
        ring = tx.exec(select(Environment)).first()
        for host in wanted:
            host.environment_id = ring.id if ring else None
        tx.add_all(wanted)
        tx.flush()
        tx.add_all([HostTag(host_id=host.id, tag=tag) for host in wanted for tag in tags])

    await house.database.write(work)


def made_up(count: int) -> list[Host]:
    """Hosts nobody can reach: their port on loopback is closed."""
    return [
        Host(name=f"web{n:05}.example.net", host_type="VM", status="attached", address="127.0.0.1", ssh_port=9)
        for n in range(count)
    ]


async def add_observations(house: House, units: int) -> None:
    """What a look at every host would have kept: `units` units each, as the program itself packs them."""
    me = await caller(house)
    facts = await house.database.read(lambda tx: visible_hosts(tx, me))
    for start in range(0, len(facts), 100):
        rows = [_observation(host, units) for host in facts[start : start + 100]]
        await house.database.write(lambda tx, rows=rows: tx.add_all(rows))  # type: ignore[misc]


def _observation(host: HostFacts, units: int) -> HostObservation:
    found = {unit.id: unit for unit in (_unit(host.id, number) for number in range(units))}
    seen = HostUnits(host.name, found, 252, "b", 0, None, SEEN.timestamp(), 0.0, 0.05)
    rows = rows_of(seen, Known())
    sight = Sight(host, "ok", rows, observed_at=SEEN, facts={"privileged": True, "version": 252, "clock_skew": 0.0})
    return HostObservation(
        host_id=host.id,
        kind=SERVICES_SEEN,
        state="ok",
        observed_at=SEEN,
        payload=packed(sight.kept()),
        digest=digest(rows),
    )


def _unit(host: int, number: int) -> UnitState:
    active, sub = _STATES[0 if (host + number) % 17 else number % 4]
    return UnitState(
        id=f"unit-{number:03}.service",
        description=f"Makes sure that thing number {number} of this machine goes on",
        load_state="loaded",
        active_state=active,
        sub_state=sub,
        result="success",
        unit_file_state="enabled" if number % 3 else "static",
        n_restarts=0,
        state_change=SEEN.timestamp() - 3600 - host - number,
        memory=1_048_576 * (number + 1) + host,
        cpu_nsec=1_000_003 * (number + host),
    )


async def add_journal(house: House, rows: int, *, per_step: int = 5) -> None:
    """A journal of `rows` lines, `per_step` of them per transaction, written by the program's own `append`."""
    await caller(house)

    def work(tx: Session, first: int, count: int) -> None:
        for start in range(first, first + count, per_step):
            append(tx, house.audit_key, [_entry(start + n) for n in range(per_step)], at=SEEN)
            tx.flush()

    at_once = 100 * per_step
    for first in range(0, rows, at_once):
        await house.database.write(lambda tx, first=first: work(tx, first, at_once))  # type: ignore[misc]


def _entry(number: int) -> Entry:
    return Entry(
        operation="services.restart",
        actor="operator",
        actor_id=1,
        result="done",
        source="ssh 192.0.2.7",
        target_kind="service",
        target_id=f"{number % 1000}/unit-{number % 100:03}.service",
        target_name=f"unit-{number % 100:03}.service",
        environment="prod",
        before={"status": "started", "invocation_id": f"{number:032x}"},
        after={"status": "started", "invocation_id": f"{number + 1:032x}"},
        run_id=f"018f{number:028x}",
    )
