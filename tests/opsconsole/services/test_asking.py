"""A host whose login waits for an answer of the operator is no dead host."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.errors import TimedOut
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.services import observe
from tests.opsconsole.houses import Bench


async def _late(*args: Any, **more: Any) -> None:
    raise TimedOut("web1", "connect", "no end within 20 s")


@pytest.fixture
async def asked(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A house with one host, which times out."""
    await small_bench.host("web1")
    monkeypatch.setattr(observe, "_snapshot", _late)
    return small_bench


async def _states(bench: Bench) -> list[tuple[str, str | None]]:
    ctx = Context(bench.house, await bench.user("ann", admin=True))
    found: list[tuple[str, str | None]] = []
    async for event in dispatch.stream(ctx, "services.watch", {"hosts": ["web1"]}):
        found.append((event["host"]["state"], event["host"]["error"]))
        if len(found) == 2:
            break
    return found


async def test_while_a_question_about_it_is_open_it_asks(asked: Bench) -> None:
    asked.house.asked = lambda host: host == "web1"
    states = await _states(asked)
    assert states[0][0] == "connecting"
    assert states[1] == ("asking", "web1 cannot be reached: it waits for your answer to the question about it")


async def test_without_a_question_it_is_a_timeout(asked: Bench) -> None:
    assert [state for state, _ in await _states(asked)] == ["connecting", "timeout"]
