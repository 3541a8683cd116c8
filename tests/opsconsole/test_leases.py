"""Two operators never act on one thing at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlmodel import Session, select

import opsconsole.journal.audit
import opsconsole.journal.leases
import opsconsole.journal.runs  # noqa: F401
from data.models import Lease
from opsconsole.engine import leases
from opsconsole.engine.errors import (
    ConfirmationRequired,
    LeaseHeld,
    ModuleDisabled,
    ObjectNotFound,
    PartlyFailed,
    PermissionDenied,
)
from opsconsole.engine.registry import REGISTRY
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe, declaration

NOW = datetime(2024, 5, 6, tzinfo=UTC)


def take(tx: Session, holder: str, resources: tuple[str, ...], at: datetime = NOW) -> int:
    return leases.acquire(tx, resources, holder=holder, actor=holder, purpose="work", now=at)


async def test_all_or_none_and_the_fence_only_grows(bench: Bench) -> None:
    write = bench.database.write
    assert await write(lambda tx: take(tx, "a", ("x", "y"))) == 1
    with pytest.raises(LeaseHeld) as held:
        await write(lambda tx: take(tx, "b", ("w", "x")))
    assert (held.value.data["resource"], held.value.exit_status) == ("x", 5)
    assert await bench.database.read(lambda tx: tx.get(Lease, "w")) is None
    await write(lambda tx: leases.release(tx, "a"))
    assert await write(lambda tx: take(tx, "b", ("x",))) == 2
    late = NOW + leases.TTL + timedelta(seconds=1)
    assert await write(lambda tx: take(tx, "c", ("x",), at=late)) == 3
    assert await write(lambda tx: leases.keep(tx, "b", ["x"], late)) == ["x"]
    assert await write(lambda tx: leases.keep(tx, "c", ["x"], late)) == []
    after = late + leases.TTL + timedelta(hours=2)
    assert await write(lambda tx: leases.keep(tx, "c", ["x"], after)) == [], "nobody took what had run out"
    with pytest.raises(LeaseHeld):
        await write(lambda tx: take(tx, "d", ("x",), at=after + timedelta(seconds=20)))


async def test_many_at_once_and_one_wins(bench: Bench) -> None:
    tries = [bench.database.write(partial(take, holder=f"holder {n}", resources=("new", "newer"))) for n in range(8)]
    ended = await asyncio.gather(*tries, return_exceptions=True)
    assert [result for result in ended if not isinstance(result, LeaseHeld)] == [1]


async def test_two_changes_of_one_thing(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann", "service.manage_service")
    hanging = asyncio.Event()
    Probe.on_hang = staticmethod(lambda position: hanging.set())
    first = asyncio.create_task(bench.call(root, NAME, {"count": 2, "does": {1: "hang"}}))
    await hanging.wait()
    with pytest.raises(LeaseHeld) as held:
        await bench.call(ann, NAME, {"only": [1]})
    assert "root (poke things)" in held.value.message
    await bench.call(ann, NAME, {"only": [2]})
    assert [row["resource"] for row in await bench.call(root, "leases.list")] == ["probe:0", "probe:1"]
    assert await bench.call(ann, "leases.list") == []
    found = await bench.call(ann, "leases.list", {"resource": "probe:1"})
    assert (found[0]["operator"], found[0]["purpose"]) == ("root", "poke things")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await bench.call(ann, NAME, {"only": [1]})


async def test_stealing(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann", "service.manage_service")
    eve = await bench.user("eve", "host.add_host")
    release, hanging = asyncio.Event(), asyncio.Event()

    class Slow(Probe):
        concurrency = 1

        async def execute(self, target: object) -> None:
            hanging.set()
            await release.wait()

    REGISTRY[NAME] = replace(declaration(), change=Slow)
    working = asyncio.create_task(bench.call(root, NAME, {"count": 2}))
    await hanging.wait()
    REGISTRY[NAME] = declaration()

    with pytest.raises((PermissionDenied, ModuleDisabled)):
        await bench.call(eve, "leases.steal", {"resource": "probe:1"}, confirm="probe:1", reason="mine")
    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(ann, "leases.steal", {"resource": "probe:1"}, confirm="probe:1")
    assert (asked.value.data["rung"], asked.value.field) == (3, "reason")
    answer = await bench.call(ann, "leases.steal", {"resource": "probe:1"}, confirm="probe:1", reason="root sleeps")
    assert (answer["taken_from"], answer["token"]) == ("root", 2)
    await bench.call(ann, NAME, {"only": [1]})
    with pytest.raises(ObjectNotFound):
        await bench.call(ann, "leases.steal", {"resource": "probe:1"}, confirm="probe:1", reason="again")

    release.set()
    with pytest.raises(PartlyFailed) as partly:
        await working
    assert [target["state"] for target in partly.value.targets] == ["done", "failed"]
    assert "taken over" in partly.value.targets[1]["error"]["message"]

    rows = [row for row in await bench.journal() if row.operation == "leases.steal"]
    assert [(row.actor, row.result, row.reason) for row in rows] == [
        ("ann", "done", "root sleeps"),
    ]
    assert (rows[0].before["operator"], rows[0].target_name) == ("root", "probe:1")
    refused = [row for row in await bench.journal() if row.result == "refused"]
    assert [row.actor for row in refused] == ["eve"]
    tokens = await bench.database.read(lambda tx: tx.exec(select(Lease.token).where(Lease.resource == "probe:1")).one())
    assert tokens == 3
