"""Runs: who sees which, and doing the rest again."""

from __future__ import annotations

import pytest
from sqlmodel import Session, select

import opsconsole.access.users
import opsconsole.hosts.changes
import opsconsole.journal.runs  # noqa: F401
from data.models import Run, RunTarget
from opsconsole.engine import holder, runs
from opsconsole.engine.audit import now
from opsconsole.engine.errors import (
    ConsoleError,
    NotSupported,
    ObjectNotFound,
    PartlyFailed,
    PermissionDenied,
    StateConflict,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe


async def test_own_runs_or_all_with_the_right_to_view_the_journal(bench: Bench, probe: type[Probe]) -> None:
    ann = await bench.user("ann", "service.manage_service")
    bob = await bench.user("bob", "service.manage_service", "audit.view_audit")
    await bench.call(ann, NAME)
    await bench.call(bob, NAME, {"only": [3]})
    listed = (await bench.call(ann, "runs.list"))["results"]
    assert [run["operator"] for run in listed] == ["ann"]
    everybody = (await bench.call(bob, "runs.list"))["results"]
    assert [run["operator"] for run in everybody] == ["bob", "ann"]
    assert [run["operator"] for run in (await bench.call(bob, "runs.list", {"operator": "ann"}))["results"]] == ["ann"]
    assert (await bench.call(bob, "runs.list", {"state": "failed"}))["count"] == 0
    with pytest.raises(ObjectNotFound):
        await bench.call(ann, "runs.get", {"id": everybody[0]["id"]})
    shown = await bench.call(ann, "runs.get", {"id": listed[0]["id"]})
    assert (shown["results"][0]["name"], shown["results"][0]["after"]["on"]) == ("thing-0", True)
    assert shown["finished_at"] >= shown["started_at"]


async def test_retry_runs_only_what_did_not_end_well(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(PartlyFailed) as partly:
        await bench.call(root, NAME, {"count": 5, "does": {1: "fail", 2: "timeout", 4: "fail"}})
    run_id = partly.value.data["run_id"]
    planned = await bench.plan(root, "runs.retry", {"id": run_id})
    assert (planned["operation"], [target["id"] for target in planned["targets"]]) == (NAME, ["1", "2", "4"])
    probe.executed = []
    await bench.call(root, "runs.retry", {"id": run_id, "states": ["failed"]})
    assert sorted(probe.executed) == [1, 4]
    newest = (await bench.call(root, "runs.list"))["results"][0]
    assert (newest["operation"], newest["state"]) == (NAME, "finished")
    with pytest.raises(StateConflict):
        await bench.call(root, "runs.retry", {"id": newest["id"]})


async def test_retry_has_the_rights_of_the_operation(bench: Bench, probe: type[Probe]) -> None:
    ann = await bench.user("ann", "service.manage_service")
    bob = await bench.user("bob", "audit.view_audit", "service.view_service")
    with pytest.raises(ConsoleError) as failed:
        await bench.call(ann, NAME, {"does": {0: "fail"}})
    with pytest.raises(PermissionDenied) as refused:
        await bench.call(bob, "runs.retry", {"id": failed.value.data["run_id"]})
    assert refused.value.data["missing"] == "module.service.manage_service"


async def test_what_cannot_be_retried(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(ConsoleError) as failed:
        await bench.call(root, NAME, {"does": {0: "fail"}, "password": "hunter2"})
    with pytest.raises(NotSupported):
        await bench.call(root, "runs.retry", {"id": failed.value.data["run_id"]})
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "runs.retry", {"id": "nothing"})


async def test_sweep_leaves_the_living_alone(bench: Bench, probe: type[Probe]) -> None:
    """Runs of this process, and of another machine while it beats, are not closed."""
    root = await bench.user("root", admin=True)
    await bench.call(root, NAME)

    def reopen(tx: Session) -> None:
        run = tx.exec(select(Run)).one()
        run.state, run.holder = "running", holder.here()
        tx.add(run)

    await bench.database.write(reopen)
    assert await bench.house.sweep(force=True) == []

    def elsewhere(tx: Session) -> None:
        run = tx.exec(select(Run)).one()
        run.holder, run.heartbeat_at = {**holder.here(), "host": "another"}, now()
        tx.add(run)

    await bench.database.write(elsewhere)
    assert await bench.house.sweep(force=True) == []

    def silent(tx: Session) -> None:
        run = tx.exec(select(Run)).one()
        run.heartbeat_at = now() - 2 * runs.DEAD_AFTER
        tx.add(run)

    await bench.database.write(silent)
    assert len(await bench.house.sweep(force=True)) == 1
    assert (await bench.call(root, "runs.list"))["results"][0]["state"] == "finished"


@pytest.mark.parametrize(
    ("changed", "dead"),
    [
        ({}, False),
        ({"start": 1}, True),
        ({"pid": 2**22 + 1}, True),
        ({"boot_id": "another boot"}, True),
        ({"host": "another"}, None),
        ({"machine": "a clone of the same name", "boot_id": "another boot"}, None),
        ({"pids": "pid:[1]", "pid": 2**22 + 1}, None),
        ({"pid": None}, None),
    ],
)
def test_who_is_dead(changed: dict[str, object], dead: bool | None) -> None:
    assert holder.is_dead({**holder.here(), **changed}) is dead


def test_what_to_check_says_where_it_stood() -> None:
    unit = RunTarget(run_id="r", position=0, kind="unit", name="nginx", host="web-1", state="unknown")
    assert runs.what_to_check(unit) == "look at unit nginx on web-1 and compare it with what was wanted"
    host = RunTarget(run_id="r", position=0, kind="host", name="web-1", host="web-1", state="unknown")
    host.progress = {"step": 2, "of": 3, "said": "apt-get -y upgrade"}
    said = "look at host web-1, where step 2 of 3 was under way, and compare it with what was wanted"
    assert runs.what_to_check(host) == said
