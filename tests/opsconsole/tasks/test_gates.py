"""How much is done at once on one host, whatever tasks and workers it belongs to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlmodel import select

from data.models import RunTarget
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import Probe
from tests.opsconsole.tasks.conftest import MAY, submit, until, walk


def leg(bench: Bench, task_id: str, per_host: int) -> Leg:
    """A worker of its own: it knows nothing of what others have begun but what is in the database."""
    return Leg(bench.house, task_id, workers.new_id(), Gates(per_host))


async def test_workers_share_the_room_on_a_host(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = {"web1": 0, "web2": 0}
    peaks = {"web1": 0, "web2": 0}

    async def execute(self: Probe, target: Any) -> dict[str, Any]:
        at_work[target.host] += 1
        peaks[target.host] = max(peaks[target.host], at_work[target.host])
        await asyncio.sleep(0.1)
        at_work[target.host] -= 1
        return {}

    monkeypatch.setattr(Probe, "execute", execute)
    ada = await bench.user("ada", MAY)
    ids = [
        await submit(bench, ada, {"count": 4, "host": host, "resource": f"{host}-{n}"})
        for n in range(3)
        for host in at_work
    ]
    ends = await asyncio.gather(*(walk(leg(bench, task_id, 2)) for task_id in ids))
    assert ends == ["finished"] * 6
    assert peaks == {"web1": 2, "web2": 2}


async def test_cancelled_while_it_waits_for_room(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    first = await submit(bench, ada, {"does": {0: "hang"}, "host": "web1", "resource": "a"})
    second = await submit(bench, ada, {"host": "web1", "resource": "b"})
    holding = asyncio.ensure_future(walk(leg(bench, first, 1)))
    query = select(RunTarget.state).where(RunTarget.run_id == first)

    async def in_flight() -> bool:
        return "in_flight" in await bench.database.read(lambda tx: list(tx.exec(query).all()))

    await until(in_flight)
    crowded = leg(bench, second, 1)
    waiting = asyncio.ensure_future(walk(crowded))
    await asyncio.sleep(1.0)
    assert not waiting.done()
    await bench.call(ada, "tasks.cancel", {"id": second})
    crowded.halt.ask("cancel", "ada")
    assert await waiting == "cancelled"
    task = await bench.call(ada, "tasks.get", {"id": second})
    assert [target["state"] for target in task["results"]] == ["skipped"]
    assert probe.executed == [0]
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
