"""What must hold at the worst moment: crashes between commits, wishes that cross, owners who go, doors that close."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select, update

from data.models import Lease, Run, RunTarget, Task, User
from drivers.errors import AuthRefused, Unreachable
from opsconsole.engine import audit
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Target
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import Probe
from tests.opsconsole.tasks.conftest import MAY, get, leg_of, perform, states, submit, until, walk


async def _begin(bench: Bench, task_id: str, done: int = 1) -> None:
    """A worker that is killed when `done` targets are done and one is in flight."""
    first = asyncio.ensure_future(perform(bench, task_id))

    async def settled() -> bool:
        query = select(RunTarget.state).where(RunTarget.run_id == task_id)
        found = await bench.database.read(lambda tx: list(tx.exec(query).all()))
        return found.count("done") + found.count("failed") >= done and found.count("in_flight") == 1

    await until(settled)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize("why", ["cancel", "stop_after"])
async def test_what_was_in_flight_is_seen_to_although_nothing_more_is_begun(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """In flight in a later wave, while the task is cancelled or has failed often enough: it is attached to first."""
    monkeypatch.setattr(Probe, "resumes", True)
    ada = await bench.user("ada", MAY)
    does = {0: "fail"} if why == "stop_after" else {}
    given = {"count": 4, "does": {**does, 1: "hang"}}
    task_id = await submit(bench, ada, given, waves=("1", "2", "rest"), stop_after=2 if why == "stop_after" else None)
    await _begin(bench, task_id)
    if why == "cancel":
        await bench.call(ada, "tasks.cancel", {"id": task_id})
    else:

        def less(tx: Session) -> None:
            task = tx.get(Task, task_id)
            assert task is not None
            task.options = task.options | {"stop_after": 1}
            tx.add(task)

        await bench.database.write(less)
    probe.executed.clear()
    await perform(bench, task_id)
    assert 1 in probe.executed, "nobody looked after what was in flight"
    task = await get(bench, ada, task_id)
    assert states(task)[1] == "done"
    assert "in_flight" not in states(task)


async def test_the_owner_is_disabled_between_two_waves(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    root = await bench.user("root", admin=True)
    task_id = await submit(bench, ada, {"count": 4}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    await leg.take_up()
    waves = await leg.begin()
    assert await leg.wave(0) == "go"
    await bench.database.write(
        lambda tx: tx.execute(update(User).where(col(User.username) == "ada").values(status="disabled"))
    )
    for number in range(1, waves):
        if await leg.wave(number) == "stop":
            break
    await leg.end()
    task = await get(bench, root, task_id)
    assert (task["state"], states(task)) == ("partial", ["done", "failed", "failed", "failed"])
    assert task["results"][1]["error"]["code"] == "user_disabled"
    assert probe.executed == [0]


async def test_the_owner_is_disabled_within_a_wave(small_bench: Bench, probe: type[Probe]) -> None:
    """A wave of a thousand may take hours: he is looked at before every target."""
    bench = small_bench
    ada = await bench.user("ada", MAY)
    root = await bench.user("root", admin=True)
    task_id = await submit(bench, ada, {"count": 6, "does": {1: "hang"}}, limit=1)
    go = asyncio.Event()

    async def execute(self: Probe, target: Target) -> dict[str, Any] | None:
        Probe.executed.append(int(target.id))
        if target.id == "1":
            go.set()
            await asyncio.sleep(0.3)
        return {}

    real, Probe.execute = Probe.execute, execute  # type: ignore[method-assign]
    try:
        working = asyncio.ensure_future(perform(bench, task_id))
        await go.wait()
        await bench.database.write(
            lambda tx: tx.execute(update(User).where(col(User.username) == "ada").values(status="disabled"))
        )
        await working
    finally:
        Probe.execute = real  # type: ignore[method-assign]
    task = await get(bench, root, task_id)
    assert probe.executed == [0, 1]
    assert states(task) == ["done", "done", "failed", "failed", "failed", "failed"]


@pytest.mark.parametrize("phase", ["verify", "settle", "authorise"])
async def test_a_bug_of_ours_ends_the_task_and_never_leaves_it_running(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    async def bug(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("geheim")

    where = {"verify": "verify", "settle": "settle", "authorise": "plan"}[phase]
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2})
    monkeypatch.setattr(Probe, where, bug)
    leg = leg_of(bench, task_id)
    await leg.perform()
    task = await get(bench, ada, task_id)
    wanted = {"verify": ("unknown", ["unknown"] * 2), "settle": ("finished", ["done"] * 2)}
    assert (task["state"], states(task)) == wanted.get(phase, ("failed", ["waiting"] * 2))
    rows = await bench.journal()
    assert "geheim" not in str([(row.detail, row.before, row.after) for row in rows]) + str(task)


async def test_a_door_that_closes_after_the_effect_is_unknown_and_not_done_again(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed, and then not let in to look: waiting for credentials would execute it a second time."""

    async def verify(self: Probe, target: Target, effect: Any) -> dict[str, Any] | None:
        raise AuthRefused(target.name, "log in", "no key fits")

    monkeypatch.setattr(Probe, "verify", verify)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 1})
    assert await perform(bench, task_id) == "unknown"
    assert states(await get(bench, ada, task_id)) == ["unknown"]
    assert probe.executed == [0]


async def test_a_connection_lost_in_the_middle_is_unknown(
    small_bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def execute(self: Probe, target: Target) -> dict[str, Any] | None:
        raise Unreachable(target.name, "run a command", "connection lost in the middle: gone", begun=target.id == "0")

    monkeypatch.setattr(Probe, "execute", execute)
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 2})
    await perform(small_bench, task_id)
    assert states(await get(small_bench, ada, task_id)) == ["unknown", "failed"]


async def test_killed_between_a_wave_that_waits_and_its_end(bench: Bench, probe: type[Probe]) -> None:
    """The wave's word is what the workflow remembers: the next worker parks the task, and does not end it."""
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2, "does": {0: "auth", 1: "auth"}})
    first = leg_of(bench, task_id)
    await first.take_up()
    await first.begin()
    word = await first.wave(0)
    second = leg_of(bench, task_id)
    await second.take_up()
    assert await second.begin() == 1
    second.heard(word)
    assert await second.end() == "waiting"
    task = await get(bench, ada, task_id)
    assert (task["state"], task["waiting_for"], states(task)) == ("waiting", "credentials", ["waiting"] * 2)


async def test_a_cancel_is_never_overwritten_by_a_pause(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    await leg.take_up()
    await leg.begin()
    await leg.wave(0)
    await bench.call(ada, "tasks.pause", {"id": task_id})
    leg.halt.ask("pause", "ada")
    await bench.call(ada, "tasks.cancel", {"id": task_id})
    with pytest.raises(StateConflict, match="cancelled"):
        await bench.call(ada, "tasks.pause", {"id": task_id})
    await leg.wave(1)
    assert await leg.end() == "cancelled", "the cancel came while the pause was being carried out"


async def test_a_cancel_that_meets_a_parking_ends_it(bench: Bench, probe: type[Probe]) -> None:
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2, "does": {0: "auth", 1: "auth"}})
    leg = leg_of(bench, task_id)
    await leg.take_up()
    await leg.begin()
    await leg.wave(0)
    await bench.call(ada, "tasks.cancel", {"id": task_id})
    assert await leg.end() == "cancelled"
    assert states(await get(bench, ada, task_id)) == ["skipped"] * 2


async def test_cancelled_while_it_waits_what_was_in_flight_is_unknown(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier worker had begun it, the next was not let in: nobody knows, and a cancel does not know it either."""
    monkeypatch.setattr(Probe, "resumes", True)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2, "does": {1: "hang"}})
    await _begin(bench, task_id)

    async def execute(self: Probe, target: Target) -> dict[str, Any] | None:
        raise AuthRefused(target.name, "log in", "no key fits")

    monkeypatch.setattr(Probe, "execute", execute)
    assert await perform(bench, task_id) == "waiting"
    await bench.call(ada, "tasks.cancel", {"id": task_id})
    task = await get(bench, ada, task_id)
    assert (task["state"], states(task)) == ("unknown", ["done", "unknown"])
    assert "thing-1" in task["check"][0]


async def test_a_lease_that_ran_out_while_we_slept_is_still_ours_unless_somebody_took_it(
    bench: Bench, probe: type[Probe]
) -> None:
    """A suspended machine, or a clock set forward: nobody else came, so nothing is lost."""
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 3}, waves=("1", "rest"))
    leg = leg_of(bench, task_id)
    await leg.take_up()
    await leg.begin()
    await leg.wave(0)

    def later(tx: Session) -> None:
        past = audit.now() - timedelta(hours=2)
        tx.execute(update(Lease).values(expires_at=past, heartbeat_at=past))
        taken = tx.exec(select(Lease).where(Lease.resource == "probe:2")).one()
        taken.holder, taken.token, taken.expires_at = "another", taken.token + 1, audit.now() + timedelta(seconds=30)
        tx.add(taken)

    await bench.database.write(later)
    await leg.wave(1)
    assert await leg.end() == "partial"
    assert states(await get(bench, ada, task_id)) == ["done", "done", "failed"]
    assert sorted(probe.executed) == [0, 1]
    row = await bench.database.read(lambda tx: tx.exec(select(Lease).where(Lease.resource == "probe:2")).one())
    assert (row.holder, row.released) == ("another", False)


async def test_the_commit_that_begins_a_run_may_be_answered_twice(
    small_bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database went away after the commit and before its answer: it is asked again, and that is no error."""
    from data.errors import DatabaseUnavailable

    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 1})
    leg = leg_of(small_bench, task_id)
    await leg.take_up()
    lost: list[int] = []
    real = small_bench.database.write

    async def write(work: Any) -> Any:
        answer = await real(work)
        run = await small_bench.database.read(lambda tx: tx.get(Run, task_id))
        if run is not None and not lost:
            lost.append(1)
            raise DatabaseUnavailable("the connection was lost", remedy="wait")
        return answer

    monkeypatch.setattr(small_bench.database, "write", write)
    assert await leg.begin() == 1
    assert await leg.wave(0) == "go"
    assert await leg.end() == "finished"
    assert (lost, probe.executed) == ([1], [0])
    assert await walk(leg_of(small_bench, task_id)) == "over"
