"""A task goes through its targets in waves, stops when it should, and every end says what became of each target."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from sqlmodel import Session, delete, select, update

from data.models import Run, RunTarget, Task, User
from drivers.errors import AuthRefused
from opsconsole.engine import audit
from opsconsole.engine.errors import (
    InvalidParameter,
    NotSupported,
    ObjectNotFound,
    PermissionDenied,
    SecretsLocked,
    StateConflict,
)
from opsconsole.engine.plan import Target
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe
from tests.opsconsole.tasks.conftest import MAY, get, leg_of, perform, states, submit, until, walk


async def test_a_task_to_its_end(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 7}, waves=("1", "2", "rest"))
    before = await get(bench, ada, task_id)
    assert (before["state"], before["total"], states(before)) == ("pending", 7, ["waiting"] * 7)
    assert probe.executed == []

    assert await perform(bench, task_id) == "finished"

    after = await get(bench, ada, task_id)
    assert (after["state"], states(after), after["attempt"]) == ("finished", ["done"] * 7, 1)
    assert [row["wave"] for row in after["results"]] == [0, 1, 1, 2, 2, 2, 2]
    assert sorted(probe.executed) == list(range(7))
    rows = [row for row in await bench.journal() if row.run_id == task_id]
    assert [row.result for row in rows if row.target_kind == "thing"] == ["done"] * 7
    assert [(row.target_kind, row.result) for row in rows][-1] == ("task", "finished")
    assert {row.actor for row in rows} == {"ada"}
    assert await perform(bench, task_id) == "over"


async def test_it_stops_after_so_many_failures(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    does = {0: "fail", 1: "fail"}
    task_id = await submit(bench, ada, {"count": 30, "does": does}, waves=("2", "rest"), stop_after=2)
    assert await perform(bench, task_id) == "failed"
    task = await get(bench, ada, task_id)
    assert states(task) == ["failed", "failed", *["skipped"] * 28]
    assert task["results"][5]["error"]["message"] == "stopped after 2 failed"
    assert sorted(probe.executed) == [0, 1]


async def test_some_of_it_failed(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 3, "does": {1: "fail"}})
    assert await perform(small_bench, task_id) == "partial"
    task = await get(small_bench, ada, task_id)
    assert states(task) == ["done", "failed", "done"]
    again = await small_bench.call(ada, "tasks.retry", {"id": task_id})
    assert await perform(small_bench, again["task_id"]) == "finished"
    assert [row["name"] for row in (await get(small_bench, ada, again["task_id"]))["results"]] == ["thing-1"]


async def test_a_bug_or_a_timeout_is_unknown(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 3, "does": {0: "bug", 1: "timeout"}})
    assert await perform(small_bench, task_id) == "unknown"
    task = await get(small_bench, ada, task_id)
    assert states(task) == ["unknown", "unknown", "done"]
    assert "thing-0" in task["check"][0]


async def test_cancelled_before_it_began(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2})
    await bench.call(ada, "tasks.cancel", {"id": task_id})
    assert await perform(bench, task_id) == "over"
    task = await get(bench, ada, task_id)
    assert (task["state"], task["error"]["message"]) == ("cancelled", "cancelled by ada")
    assert probe.executed == []
    with pytest.raises(StateConflict, match="is cancelled since"):
        await bench.call(ada, "tasks.cancel", {"id": task_id})


async def test_cancelled_in_the_middle(bench: Bench, probe: type[Probe]) -> None:
    """What is in flight ends; nothing more is begun."""
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 9}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    assert await leg.take_up()
    assert await leg.begin() == 2
    assert await leg.wave(0) == "go"
    shown = await bench.call(ada, "tasks.cancel", {"id": task_id})
    assert (shown["state"], shown["wanted"]) == ("running", "cancel")
    leg.halt.ask("cancel", "ada")
    assert await leg.wave(1) == "stop"
    assert await leg.end() == "cancelled"
    task = await get(bench, ada, task_id)
    assert states(task) == ["done", *["skipped"] * 8]
    assert task["results"][3]["error"]["message"] == "cancelled by ada"


async def test_paused_and_resumed(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 4}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    await leg.take_up()
    await leg.begin()
    await leg.wave(0)
    await bench.call(ada, "tasks.pause", {"id": task_id})
    leg.halt.ask("pause", "ada")
    await leg.wave(1)
    assert await leg.end() == "paused"
    assert await perform(bench, task_id) == "over"
    assert await bench.call(ada, "leases.list") == []
    resumed = await bench.call(ada, "tasks.resume", {"id": task_id})
    assert (resumed["state"], resumed["wanted"]) == ("pending", None)
    assert await perform(bench, task_id) == "finished"
    assert sorted(probe.executed) == [0, 1, 2, 3]


async def test_a_worker_that_died(bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    """Done stays done, in flight is unknown where it cannot be attached to, waiting goes on."""
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 4, "does": {1: "hang"}}, waves=("2", "rest"))
    first = asyncio.ensure_future(perform(bench, task_id))
    await until(lambda: _settled(bench, task_id))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert states(await get(bench, ada, task_id)) == ["done", "in_flight", "waiting", "waiting"]

    assert await perform(bench, task_id) == "unknown"

    task = await get(bench, ada, task_id)
    assert (states(task), task["attempt"]) == (["done", "unknown", "done", "done"], 2)
    assert "its worker died" in task["results"][1]["error"]["message"]
    assert sorted(probe.executed) == [0, 1, 2, 3]


async def _settled(bench: Bench, task_id: str) -> bool:
    query = select(RunTarget.state).where(RunTarget.run_id == task_id)
    found = await bench.database.read(lambda tx: list(tx.exec(query).all()))
    return found.count("done") == 1 and found.count("in_flight") == 1


async def test_what_resumes_is_taken_up_where_it_was(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "resumes", True)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2, "does": {1: "hang"}})
    first = asyncio.ensure_future(perform(bench, task_id))
    await until(lambda: _settled(bench, task_id))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await perform(bench, task_id) == "finished"


async def test_a_worker_thought_dead_does_nothing_more(bench: Bench, probe: type[Probe]) -> None:
    """It wakes up after another has taken the task: its next write finds that it is not its own any more."""
    from opsconsole.tasks.output import Superseded

    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 3}, waves=("1", "rest"))
    slow = leg_of(bench, task_id)
    await slow.take_up()
    await slow.begin()
    await slow.wave(0)
    assert await perform(bench, task_id) == "finished"
    with pytest.raises(Superseded):
        await slow.wave(1)
    assert sorted(probe.executed) == [0, 1, 2]


async def test_the_situation_changed_since_the_consent(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2})

    def other(tx: Session) -> None:
        tx.execute(update(Task).values(plan_digest="0" * 64))

    await bench.database.write(other)
    assert await perform(bench, task_id) == "over"
    task = await get(bench, ada, task_id)
    assert (task["state"], task["error"]["code"]) == ("failed", "plan_stale")
    assert probe.executed == []


@pytest.mark.parametrize("when", ["before", "between"])
async def test_the_owner_loses_his_rights(bench: Bench, probe: type[Probe], when: str) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 3}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    await leg.take_up()
    if when == "between":
        await leg.begin()
        await leg.wave(0)
    from data.models import ModuleGrant

    await bench.database.write(lambda tx: tx.execute(delete(ModuleGrant)))
    if when == "before":
        assert await leg.begin() == 0
    else:
        await leg.wave(1)
        assert await leg.end() == "partial"
    root = await bench.user("root", admin=True)
    task = await get(bench, root, task_id)
    if when == "before":
        assert (task["state"], task["error"]["code"]) == ("failed", "permission_denied")
    else:
        assert states(task) == ["done", "failed", "failed"]
        assert task["results"][1]["error"]["code"] == "permission_denied"


async def test_the_owner_is_disabled(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    root = await small_bench.user("root", admin=True)
    task_id = await submit(small_bench, ada, {"count": 2})
    await small_bench.database.write(
        lambda tx: tx.execute(update(User).where(User.username == "ada").values(status="disabled"))  # type: ignore[arg-type]
    )
    assert await perform(small_bench, task_id) == "over"
    assert (await get(small_bench, root, task_id))["error"]["code"] == "user_disabled"
    assert probe.executed == []


async def test_somebody_else_is_at_work_on_it(bench: Bench, probe: type[Probe]) -> None:
    """The task waits and goes on when the lease is free."""
    from opsconsole.engine import leases
    from opsconsole.tasks import housekeeping

    ada = await bench.user("ada", MAY)
    await bench.database.write(
        lambda tx: leases.acquire(tx, ["probe:1"], holder="x", actor="eve", purpose="other", now=audit.now())
    )
    task_id = await submit(bench, ada, {"count": 2})
    assert await perform(bench, task_id) == "over"
    task = await get(bench, ada, task_id)
    assert (task["state"], task["waiting_for"], task["error"]["code"]) == ("waiting", "lease", "lease_held")
    await bench.database.write(lambda tx: leases.release(tx, "x"))
    assert (await housekeeping.wake(bench.house))["woken"] == [task_id]
    assert await perform(bench, task_id) == "finished"


async def test_secrets_are_sealed_and_erased(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 1, "password": "hunter-2-hunter"})
    raw = b"".join(path.read_bytes() for path in small_bench.house.home.glob("opsconsole.db*"))
    assert b"hunter-2-hunter" not in raw
    row = await small_bench.database.read(lambda tx: tx.get(Task, task_id))
    assert row is not None and row.sealed is not None
    assert await perform(small_bench, task_id) == "finished"
    row = await small_bench.database.read(lambda tx: tx.get(Task, task_id))
    assert row is not None and row.sealed is None and row.input["password"] == "***"


async def test_a_console_that_sweeps_leaves_tasks_alone(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 1, "does": {0: "hang"}})
    first = asyncio.ensure_future(perform(bench, task_id))
    await until(lambda: bench.database.read(lambda tx: tx.get(Run, task_id)))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gone = {"host": socket.gethostname(), "boot_id": "another", "pid": 1, "start": 1}
    await bench.database.write(lambda tx: tx.execute(update(Run).values(holder=gone)))
    assert await bench.house.sweep(force=True) == []


async def test_others_tasks(bench: Bench, probe: type[Probe]) -> None:
    """They are not seen without the right to; who could begin the same work may cancel it, and nobody else."""
    ada = await bench.user("ada", MAY)
    eve = await bench.user("eve", "audit.view_audit")
    bob = await bench.user("bob", "audit.view_audit", MAY)
    nil = await bench.user("nil")
    task_id = await submit(bench, ada, {"count": 1})
    assert (await bench.call(nil, "tasks.list"))["count"] == 0
    for operation in ("tasks.get", "tasks.cancel", "tasks.pause", "tasks.retry"):
        with pytest.raises(ObjectNotFound):
            await bench.call(nil, operation, {"id": task_id})
    assert (await bench.call(eve, "tasks.list"))["count"] == 1
    with pytest.raises(PermissionDenied):
        await bench.call(eve, "tasks.cancel", {"id": task_id})
    assert (await bench.call(bob, "tasks.cancel", {"id": task_id}))["state"] == "cancelled"


async def test_bad_input(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    with pytest.raises(ObjectNotFound, match="tasks list"):
        await small_bench.call(ada, "tasks.cancel", {"id": "nonsense"})
    task_id = await submit(small_bench, ada, {"count": 1})
    with pytest.raises(StateConflict, match="resume is not possible"):
        await small_bench.call(ada, "tasks.resume", {"id": task_id})
    with pytest.raises(StateConflict, match="not ended"):
        await small_bench.call(ada, "tasks.retry", {"id": task_id})
    with pytest.raises(InvalidParameter):
        await small_bench.call(ada, "tasks.list", {"state": "sleeping"})


async def test_a_change_without_a_task_runs_at_once(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    assert await small_bench.call(ada, NAME, {"count": 1}) == {"ok": True, "password": "answer"}
    monkey = pytest.MonkeyPatch()
    monkey.setattr(Probe, "many_as_task", True)
    try:
        assert "task_id" in await small_bench.call(ada, NAME, {"count": 6})
        assert "results" in await small_bench.call(ada, NAME, {"count": 5, "resource": "other"})
    finally:
        monkey.undo()


async def test_retry_needs_the_secret_again(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 2, "password": "hunter-2-hunter", "does": {0: "fail"}})
    assert await perform(small_bench, task_id) == "partial"
    with pytest.raises(NotSupported, match="secret"):
        await small_bench.call(ada, "tasks.retry", {"id": task_id})


async def test_waves_are_walked_as_the_workflow_does(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 3}, waves=("1", "1", "1"), limit=1)
    assert await walk(leg_of(small_bench, task_id)) == "finished"
    assert probe.executed == [0, 1, 2]


async def test_what_a_look_proves_is_done(bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    """An effect that cannot be attached to, but that a look shows: done, and not done again."""

    async def proven(self: Probe, target: Target, before: dict[str, Any]) -> dict[str, Any] | None:
        assert before == {"on": False, "password": "***"}
        return {"on": True, "seen": "by a look"}

    monkeypatch.setattr(Probe, "proven", proven)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2, "does": {1: "hang"}})
    first = asyncio.ensure_future(perform(bench, task_id))
    await until(lambda: _settled(bench, task_id))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await perform(bench, task_id) == "finished"
    task = await get(bench, ada, task_id)
    assert task["results"][1]["after"] == {"on": True, "seen": "by a look"}
    assert sorted(probe.executed) == [0, 1]


@pytest.mark.parametrize(("code", "waits_for"), [("auth", "credentials"), ("locked", "unlock")])
async def test_lost_credentials_make_it_wait(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch, code: str, waits_for: str
) -> None:
    """Nothing was done to those targets: they wait, and are worked on when somebody has come."""
    lost = True
    real = Probe.execute

    async def execute(self: Probe, target: Target) -> dict[str, Any] | None:
        if lost and int(target.id) > 0:
            raise AuthRefused(target.name, "log in", "no key fits") if code == "auth" else SecretsLocked()
        return await real(self, target)

    monkeypatch.setattr(Probe, "execute", execute)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 3}, waves=("1", "rest"))
    assert await perform(bench, task_id) == "waiting"
    task = await get(bench, ada, task_id)
    assert (task["state"], task["waiting_for"], states(task)) == ("waiting", waits_for, ["done", "waiting", "waiting"])
    lost = False
    await bench.call(ada, "tasks.resume", {"id": task_id})
    assert await perform(bench, task_id) == "finished"


async def test_one_closed_door_among_others_has_failed(
    small_bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Probe.execute

    async def execute(self: Probe, target: Target) -> dict[str, Any] | None:
        if target.id == "1":
            raise AuthRefused(target.name, "log in", "no key fits")
        return await real(self, target)

    monkeypatch.setattr(Probe, "execute", execute)
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 3})
    assert await perform(small_bench, task_id) == "partial"
    assert states(await get(small_bench, ada, task_id)) == ["done", "failed", "done"]


async def test_who_waits_for_a_lease_is_woken_by_its_end(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    first = leg_of(bench, await submit(bench, ada, {"count": 1}))
    await first.take_up()
    await first.begin()
    second = await submit(bench, ada, {"count": 1})
    assert await perform(bench, second) == "over"
    assert (await get(bench, ada, second))["waiting_for"] == "lease"
    await first.wave(0)
    await first.end()
    assert (await get(bench, ada, second))["state"] == "pending"
    assert await perform(bench, second) == "finished"
