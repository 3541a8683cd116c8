"""Tasks on a house of their own: performed by the test itself, step by step, or by a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from opsconsole.engine.caller import Caller
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import GO, Leg
from opsconsole.tasks.options import TaskOptions
from tests.opsconsole.houses import Bench, bench, small_bench
from tests.opsconsole.probes import NAME, probe

__all__ = ["bench", "probe", "small_bench"]


MAY = "service.manage_service"
"""What the probe asks for."""


async def get(bench: Bench, caller: Caller, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await bench.call(caller, "tasks.get", {"id": task_id})
    return found


def states(task: dict[str, Any]) -> list[str]:
    """Of its targets, in order."""
    return [row["state"] for row in task["results"]]


async def submit(bench: Bench, caller: Caller, data: dict[str, Any], **options: Any) -> str:
    """A task of the probe, waiting to be performed."""
    answer = await bench.call(caller, NAME, data, task=TaskOptions(**options))
    task_id: str = answer["task_id"]
    return task_id


def leg_of(bench: Bench, task_id: str) -> Leg:
    return Leg(bench.house, task_id, workers.new_id(), Gates(4))


async def walk(leg: Leg) -> str:
    """What the workflow does with a leg, without the durable part around it."""
    if not await leg.take_up():
        return "over"
    waves = await leg.begin()
    for number in range(waves):
        if leg.heard(await leg.wave(number)) != GO:
            break
    return await leg.end() if waves else "over"


async def perform(bench: Bench, task_id: str) -> str:
    return await walk(leg_of(bench, task_id))


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for an awaitable condition to be true, and answer it."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.05)
