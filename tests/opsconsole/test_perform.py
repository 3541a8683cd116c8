"""The way of a change: what is recorded, whatever happens on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import opsconsole.journal.audit
import opsconsole.journal.runs  # noqa: F401
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ConfirmationRequired,
    ConsoleError,
    InvalidRequest,
    NameNotUnique,
    ObjectNotFound,
    PartlyFailed,
    PlanStale,
    ReadOnly,
    StateConflict,
)
from opsconsole.engine.execute import TargetFailed
from opsconsole.engine.perform import Consent
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe


async def results(bench: Bench) -> list[str]:
    return [row.result for row in await bench.journal()]


async def run_state(bench: Bench, caller: Any) -> tuple[str, dict[str, int]]:
    run = (await bench.call(caller, "runs.list"))["results"][0]
    return run["state"], run["targets"]


async def test_one_target_answers_as_the_operation_does(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    assert await bench.call(root, NAME) == {"ok": True, "password": "answer"}
    assert await run_state(bench, root) == ("finished", {"done": 1})
    row = (await bench.journal())[0]
    assert (row.result, row.target_name, row.kind) == ("done", "thing-0", "operation")
    assert row.plan_digest
    assert row.run_id


@pytest.mark.parametrize(
    ("does", "state", "code", "status"),
    [
        ("fail", "failed", "host_unreachable", 6),
        ("timeout", "unknown", "host_unreachable", 6),
        ("bug", "unknown", "unexpected_error", 1),
    ],
)
async def test_the_error_of_the_only_target(
    bench: Bench, probe: type[Probe], does: str, state: str, code: str, status: int
) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(TargetFailed) as failed:
        await bench.call(root, NAME, {"does": {0: does}})
    assert (failed.value.as_json()["code"], failed.value.exit_status) == (code, status)
    assert failed.value.data["run_id"]
    assert await results(bench) == [state]
    assert (await run_state(bench, root))[0] == state


async def test_several_targets_partly(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(PartlyFailed) as partly:
        await bench.call(root, NAME, {"count": 6, "does": {1: "fail", 3: "fail"}})
    assert partly.value.exit_status == 8
    assert [target["state"] for target in partly.value.targets] == ["done", "failed", "done", "failed", "done", "done"]
    assert partly.value.targets[1]["error"]["code"] == "host_unreachable"
    assert await run_state(bench, root) == ("partial", {"done": 4, "failed": 2})
    with pytest.raises(PartlyFailed):
        await bench.call(root, NAME, {"count": 2, "does": {0: "timeout"}})
    assert (await run_state(bench, root))[0] == "unknown"
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


@pytest.mark.parametrize(("record", "error"), [("conflict", StateConflict), ("taken", NameNotUnique)])
async def test_a_change_that_cannot_be_recorded_is_recorded_as_failed(
    bench: Bench, probe: type[Probe], record: str, error: type[ConsoleError]
) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(error):
        await bench.call(root, NAME, {"count": 2, "record": record})
    assert await results(bench) == ["failed", "failed"]
    assert await run_state(bench, root) == ("failed", {"failed": 2})


async def test_extra_journal_rows_share_the_step(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    await bench.call(root, NAME, {"record": "extra"})
    first, extra = await bench.journal()
    assert (extra.kind, extra.step, extra.run_id, extra.source) == ("module_grant", first.step, first.run_id, "local")


@pytest.mark.parametrize("when", ["in flight", "while it is begun"])
async def test_cancelled(bench: Bench, probe: type[Probe], when: str) -> None:
    """What was in flight is unknown, what had not begun was not begun, and the run has an end."""
    root = await bench.user("root", admin=True)
    hanging, begun, loop = asyncio.Queue[int](), asyncio.Event(), asyncio.get_running_loop()

    def announced() -> None:
        loop.call_soon_threadsafe(begun.set)

    bench.database.on_announce(announced)
    Probe.on_hang = staticmethod(hanging.put_nowait)
    call = asyncio.create_task(bench.call(root, NAME, {"count": 7, "does": dict.fromkeys(range(1, 7), "hang")}))
    if when == "in flight":
        for _ in range(Probe.concurrency):
            await hanging.get()
    else:
        await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    state, targets = await run_state(bench, root)
    journal = await results(bench)
    assert sorted(journal) == sorted(state for state, count in targets.items() for _ in range(count))
    assert set(targets) <= {"done", "unknown", "skipped"}
    if when == "in flight":
        assert (state, targets) == ("unknown", {"done": 1, "unknown": 4, "skipped": 2})
        run = (await bench.call(root, "runs.list"))["results"][0]
        shown = await bench.call(root, "runs.get", {"id": run["id"]})
        assert {t["error"]["code"] for t in shown["results"] if t["state"] == "unknown"} == {"outcome_unknown"}
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"
    assert len((await bench.call(root, NAME, {"count": 7}))["results"]) == 7


async def test_a_refused_plan_changes_nothing(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(root, NAME, {"count": 3, "danger": "low"})
    assert asked.value.data["expect"] == "3"
    planned = await bench.plan(root, NAME, {"count": 3, "danger": "low"})
    assert (planned["rung"], planned["expect"], planned["digest"]) == (2, "3", asked.value.data["plan_digest"])
    with pytest.raises(PlanStale):
        await bench.call(root, NAME, {"count": 4, "danger": "low"}, confirm=planned["digest"])
    with pytest.raises(PlanStale):
        context = Context(bench.house, await bench.caller("root"))
        await dispatch.call(context, NAME, {"count": 1}, Consent(plan_digest=planned["digest"]))
    with pytest.raises(ReadOnly):
        await bench.call(root.with_read_only("drill"), NAME)
    assert probe.executed == []
    assert (await bench.call(root, "runs.list"))["count"] == 0
    await bench.call(root, NAME, {"count": 3, "danger": "low"}, confirm=planned["digest"])
    assert sorted(probe.executed) == [0, 1, 2]


async def test_a_target_named_twice_counts_once(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    await bench.call(root, NAME, {"only": [5, 5, 5]})
    assert probe.executed == [5]


async def test_what_is_no_change_cannot_be_planned(small_bench: Bench, probe: type[Probe]) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(InvalidRequest):
        await small_bench.plan(root, "runs.list")
    with pytest.raises(InvalidRequest):
        await small_bench.call(root, NAME, [1, 2])
    with pytest.raises(ObjectNotFound) as unknown:
        await small_bench.call(root, "runs.lst")
    assert unknown.value.field == "operation"
