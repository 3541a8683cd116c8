"""The end of a task is told outside, without input or plan; silence there stops nothing here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.test_webhook import Receiver
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import Probe
from tests.opsconsole.tasks.conftest import perform, submit


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


async def test_the_end_is_told(small_bench: Bench, probe: type[Probe], receiver: Receiver) -> None:
    ada = await small_bench.user("ada", "service.manage_service")
    object.__setattr__(small_bench.house.settings, "webhook", receiver.url)
    task_id = await submit(small_bench, ada, {"count": 2, "does": {1: "fail"}, "password": "hunter-2-hunter"})
    assert await perform(small_bench, task_id) == "partial"
    [(_, body)] = receiver.told
    assert (body["event"], body["id"], body["state"], body["who"]) == ("task_ended", task_id, "partial", "ada")
    assert "hunter-2-hunter" not in repr(body)


async def test_nobody_listens(small_bench: Bench, probe: type[Probe], receiver: Receiver) -> None:
    ada = await small_bench.user("ada", "service.manage_service")
    receiver.close()
    object.__setattr__(small_bench.house.settings, "webhook", receiver.url)
    task_id = await submit(small_bench, ada, {"count": 1})
    assert await perform(small_bench, task_id) == "finished"
