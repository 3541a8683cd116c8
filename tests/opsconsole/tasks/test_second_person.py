"""A task at the top of the ladder waits for another person, and what he decides begins it or ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, delete, update

from data.models import Approval, ModuleGrant, Task
from opsconsole.engine import audit
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import ApprovalInvalid, ApprovalRequired, StateConflict
from opsconsole.engine.registry import REGISTRY
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe, declaration
from tests.opsconsole.tasks.conftest import MAY, perform


@pytest.fixture
def wary(probe: type[Probe], monkeypatch: pytest.MonkeyPatch) -> type[Probe]:
    monkeypatch.setitem(REGISTRY, NAME, replace(declaration(), second_person=True, kind="task"))
    return probe


async def ask(bench: Bench, caller: Caller, **more: Any) -> dict[str, Any]:
    wanted = {"operation": NAME, "input": {"count": 3, **more}, "reason": "needed", "task": {"waves": ["1", "rest"]}}
    found: dict[str, Any] = await bench.call(caller, "approvals.request", wanted)
    return found


async def task_of(bench: Bench, caller: Caller) -> dict[str, Any]:
    [row] = (await bench.call(caller, "tasks.list"))["results"]
    found: dict[str, Any] = await bench.call(caller, "tasks.get", {"id": row["id"]})
    return found


async def test_approved_it_begins(bench: Bench, wary: type[Probe]) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    with pytest.raises(ApprovalRequired):
        await bench.call(ada, NAME, {"count": 3})
    asked = await ask(bench, ada)
    task = await task_of(bench, ada)
    assert (task["state"], task["waiting_for"], task["approval_id"]) == ("waiting", "approval", asked["approval_id"])
    assert await perform(bench, task["id"]) == "over"
    with pytest.raises(StateConflict, match="begins it by itself"):
        await bench.call(ada, "tasks.resume", {"id": task["id"]})

    await bench.call(bob, "approvals.approve", {"id": asked["approval_id"]}, confirm="yes")

    assert (await task_of(bench, ada))["state"] == "pending"
    assert await perform(bench, task["id"]) == "finished"
    rows = [row for row in await bench.journal() if row.run_id == task["id"] and row.target_kind == "thing"]
    assert {row.detail["approved_by"] for row in rows} == {"bob"}
    used = await bench.database.read(lambda tx: tx.get(Approval, asked["approval_id"]))
    assert used is not None and (used.state, used.run_id) == ("used", task["id"])


@pytest.mark.parametrize("how", ["reject", "withdraw", "expire"])
async def test_refused_it_is_over(bench: Bench, wary: type[Probe], how: str) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    asked = await ask(bench, ada, password="hunter-2-hunter")
    if how == "reject":
        await bench.call(bob, "approvals.reject", {"id": asked["approval_id"], "reason": "not today"})
    elif how == "withdraw":
        await bench.call(ada, "approvals.withdraw", {"id": asked["approval_id"]})
    else:
        past = audit.now() - timedelta(hours=1)
        await bench.database.write(lambda tx: tx.execute(update(Approval).values(expires_at=past)))
        await bench.house.sweep(force=True)
    task = await task_of(bench, ada)
    assert task["state"] == "cancelled"
    assert {"reject": "rejected by bob: not today", "withdraw": "withdrawn", "expire": "expired"}[how] in task["error"][
        "message"
    ]
    assert await perform(bench, task["id"]) == "over"
    assert wary.executed == []
    row = await bench.database.read(lambda tx: tx.get(Task, task["id"]))
    assert row is not None and row.sealed is None


async def test_his_approval_serves_no_other_task(bench: Bench, wary: type[Probe]) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    asked = await ask(bench, ada)
    await bench.call(bob, "approvals.approve", {"id": asked["approval_id"]}, confirm="yes")
    with pytest.raises(ApprovalInvalid, match="asked for by task"):
        await bench.call(ada, NAME, {"count": 3}, confirm=asked["approval_id"])


async def test_cancelled_while_it_waits(bench: Bench, wary: type[Probe]) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    asked = await ask(bench, ada)
    task = await task_of(bench, ada)
    await bench.call(ada, "tasks.cancel", {"id": task["id"]})
    with pytest.raises(StateConflict, match="withdrawn"):
        await bench.call(bob, "approvals.approve", {"id": asked["approval_id"]}, confirm="yes")
    assert (await task_of(bench, ada))["state"] == "cancelled"
    assert await perform(bench, task["id"]) == "over"


async def test_the_approver_lost_his_right_before_it_began(bench: Bench, wary: type[Probe]) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    asked = await ask(bench, ada)
    await bench.call(bob, "approvals.approve", {"id": asked["approval_id"]}, confirm="yes")
    await bench.database.write(
        lambda tx: tx.execute(delete(ModuleGrant).where(col(ModuleGrant.subject_id) == bob.user_id))
    )
    task = await task_of(bench, ada)
    assert await perform(bench, task["id"]) == "over"
    task = await task_of(bench, ada)
    assert (task["state"], task["error"]["code"]) == ("failed", "approval_invalid")
    assert wary.executed == []
