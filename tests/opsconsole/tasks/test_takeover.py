"""Who may take what from whom: workers, attached processes, clocks that differ, timers, and what ends with a task."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select, update

from data.errors import DatabaseUnavailable, SchemaMismatch
from data.models import Approval, Job, Task
from data.models import Worker as WorkerRow
from opsconsole.cli import waiting, working
from opsconsole.engine import audit, clock, execute, holder, leases
from opsconsole.engine.context import Context
from opsconsole.engine.errors import LeaseHeld
from opsconsole.engine.plan import Target
from opsconsole.house import House
from opsconsole.tasks import attached, jobs, spawn, workers
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.output import Superseded
from opsconsole.tasks.troubles import Trouble
from opsconsole.tasks.worker import Worker
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import Probe
from tests.opsconsole.tasks.conftest import MAY, leg_of, perform, submit, until
from tests.opsconsole.tasks.test_second_person import ask, task_of, wary

__all__ = ["wary"]


async def test_an_attached_task_is_never_a_workers(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first moment it belongs to the process that asked: a worker would be refused where only he is let in."""
    seen: list[Any] = []

    async def look(house: House, task_id: str, executor: str) -> None:
        def both(tx: Session) -> tuple[list[str], list[str]]:
            now = audit.now()
            return workers.claim(tx, "worker", 10, now), workers.orphans(tx, "worker", now)

        seen.append(await house.database.write(both))
        task = await house.database.read(lambda tx: tx.get(Task, task_id))
        assert task is not None
        seen.append((task.state, task.executor_id == executor))
        await real(house, task_id, executor)

    real = attached.perform_here
    monkeypatch.setattr(attached, "perform_here", look)
    ada = await bench.user("ada", MAY)
    task_id = await submit(bench, ada, {"count": 2}, attached=True)
    assert seen == [([], []), ("running", True)]
    assert (await bench.call(ada, "tasks.get", {"id": task_id}))["state"] == "finished"
    assert await bench.database.read(lambda tx: workers.living(tx, audit.now())) == []


async def test_an_attached_task_heeds_a_cancel(small_bench: Bench, tmp_path: Path) -> None:
    ada = await small_bench.user("ada", admin=True)
    data = {"hosts": ["local"], "steps": [f"echo x > {tmp_path}/begun; sleep 60", f"echo x > {tmp_path}/second"]}
    call = small_bench.call(ada, "hosts.execute", data, confirm="local", reason="test", task=TaskOptions(attached=True))
    working = asyncio.ensure_future(call)

    async def begun() -> str | None:
        if not (tmp_path / "begun").exists():
            return None
        return await small_bench.database.read(lambda tx: tx.exec(select(Task.id)).first())

    task_id = await until(begun)
    await small_bench.call(ada, "tasks.cancel", {"id": task_id})
    await asyncio.wait_for(working, 30)
    assert (await small_bench.call(ada, "tasks.get", {"id": task_id}))["state"] == "cancelled"
    assert not (tmp_path / "second").exists()


async def test_a_machine_with_a_wrong_clock_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jump hosts on one database, one of them two hours ahead: leases and heartbeats go by the database's clock."""
    if bench.database.dialect != "postgresql":
        pytest.skip("one machine, one clock")
    now = audit.now()
    elsewhere = {**holder.here(), "host": "another"}

    def begin(tx: Session) -> None:
        leases.acquire(tx, ["x"], holder="a", actor="a", purpose="work", now=now)
        tx.add(WorkerRow(id="theirs", holder=elsewhere, started_at=now, heartbeat_at=now))
        tx.add(Task(id="t", operation="probe.act", actor="a", actor_id=1, state="running", executor_id="theirs"))

    await bench.database.write(begin)
    wrong = timedelta(hours=2)
    monkeypatch.setattr(clock, "_local", lambda: datetime.now(UTC) + wrong)
    with pytest.raises(LeaseHeld):
        await bench.database.write(
            lambda tx: leases.acquire(tx, ["x"], holder="b", actor="b", purpose="", now=now + wrong)
        )
    assert await bench.database.write(lambda tx: workers.orphans(tx, "ours", now + wrong)) == []
    await bench.database.write(lambda tx: workers.beat(tx, "theirs", now + wrong))
    monkeypatch.setattr(clock, "_local", lambda: datetime.now(UTC))
    assert await bench.database.write(lambda tx: workers.orphans(tx, "ours", audit.now())) == []

    def silent(tx: Session) -> list[str]:
        tx.execute(update(WorkerRow).values(heartbeat_at=audit.now() - 2 * workers.DEAD_AFTER))
        return workers.orphans(tx, "ours", audit.now())

    assert await bench.database.write(silent) == ["t"]


async def test_what_was_asked_for_while_a_worker_ended_has_a_worker(small_bench: Bench, probe: type[Probe]) -> None:
    started: list[House] = []
    small_bench.house.wake_worker = started.append
    ada = await small_bench.user("ada", MAY)
    idle = Worker(small_bench.house, stay=False)
    await idle.see_off()
    assert started == []
    await small_bench.database.write(lambda tx: workers.register(tx, idle.id, audit.now(), stay=False))
    await submit(small_bench, ada, {"count": 1})
    started.clear()
    await idle.see_off()
    assert started == [small_bench.house]
    told = Worker(small_bench.house, stay=True)
    told.stop()
    await told.see_off()
    assert len(started) == 1


async def test_what_somebody_is_at_work_on_needs_no_worker(bench: Bench, probe: type[Probe]) -> None:
    """Else a worker would be started again and again beside an attached task, find nothing, and go."""
    ada = await bench.user("ada", MAY)
    assert not await bench.database.read(workers.anything_pending)
    task_id = await submit(bench, ada, {"count": 1})
    assert await bench.database.read(workers.anything_pending)

    def take(tx: Session) -> None:
        workers.register(tx, "me", audit.now(), stay=False, attached=True)
        tx.execute(update(Task).where(Task.id == task_id).values(state="running", executor_id="me"))  # type: ignore[arg-type]

    await bench.database.write(take)
    assert not await bench.database.read(workers.anything_pending)
    await bench.database.write(lambda tx: workers.end(tx, "me", audit.now()))
    assert await bench.database.read(workers.anything_pending)


async def test_a_worker_of_before_an_upgrade_goes(small_bench: Bench) -> None:
    worker = Worker(small_bench.house, stay=True)
    assert not worker._over()

    async def write() -> None:
        raise SchemaMismatch("newer", found="9999", expected="0001", remedy="")

    await worker._guarded(write())
    assert worker._over()


async def test_a_worker_whose_row_was_cleared_away_is_there_again(small_bench: Bench) -> None:
    worker = Worker(small_bench.house, stay=False)
    await small_bench.database.write(worker._still_here)
    await small_bench.database.write(worker._still_here)
    rows = await small_bench.database.read(lambda tx: [row.id for row in tx.exec(select(WorkerRow)).all()])
    assert rows == [worker.id]


async def test_what_is_ours_and_nobody_is_at_work_on_is_begun_again(
    small_bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claimed, and then the workflows' own database failed: the task must not stay "running" with nobody at work."""
    from opsconsole.tasks import workflow

    calls: list[str] = []

    async def start(task_id: str, leg: int, *, again: bool) -> bool:
        calls.append(task_id)
        if len(calls) == 1:
            raise OSError("database is locked")
        return True

    monkeypatch.setattr(workflow, "start", start)
    ada = await small_bench.user("ada", MAY)
    first, second = [await submit(small_bench, ada, {"count": 1, "resource": name}) for name in "ab"]
    worker = Worker(small_bench.house, stay=False)
    await worker._take()
    assert calls == [first, second]
    worker._begun[first] -= 60.0
    await worker._take()
    assert calls == [first, second, first]


async def test_a_timer_that_hangs_is_broken_off(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else no other timer runs any more here, and after half an hour a second worker runs it beside this one."""

    async def hang(self: jobs.Timer, house: House) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(jobs.Timer, "run", hang)
    monkeypatch.setattr(jobs, "_LONGEST", 0.05)
    ran = await asyncio.wait_for(jobs.run_due(small_bench.house, "w"), 20)
    assert len(ran) == len(jobs.TIMERS)
    rows = await small_bench.database.read(jobs.all_rows)
    assert all("broken off" in (row.last_error or "") for row in rows)


async def test_a_clock_that_was_set_back_does_not_silence_the_timers(
    small_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: jobs.Timer, house: House) -> None:
        return None

    monkeypatch.setattr(jobs.Timer, "run", nothing)
    await jobs.run_due(small_bench.house, "w")
    assert await jobs.run_due(small_bench.house, "w") == []
    ahead = audit.now() + timedelta(days=2)
    await small_bench.database.write(lambda tx: tx.execute(update(Job).values(next_due=ahead)))
    assert len(await jobs.run_due(small_bench.house, "w")) == len(jobs.TIMERS)
    assert await jobs.run_due(small_bench.house, "w") == []


async def test_a_cancelled_task_takes_its_request_with_it(bench: Bench, wary: type[Probe]) -> None:
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    asked = await ask(bench, ada, password="geheim")
    assert (await bench.call(bob, "approvals.count"))["to_decide"] == 1
    await bench.call(ada, "tasks.cancel", {"id": (await task_of(bench, ada))["id"]})
    row = await bench.database.read(lambda tx: tx.get(Approval, asked["approval_id"]))
    assert row is not None and (row.state, row.sealed) == ("withdrawn", None)
    assert (await bench.call(bob, "approvals.count"))["to_decide"] == 0


async def test_an_approved_task_does_what_was_approved(bench: Bench, wary: type[Probe]) -> None:
    """The plan's digest knows nothing of a secret: the approval is held against the whole input."""
    ada, bob = await bench.user("ada", MAY), await bench.user("bob", MAY)
    started: list[House] = []
    bench.house.wake_worker = started.append
    asked = await ask(bench, ada, password="approved")
    task = await task_of(bench, ada)
    assert started == []
    await bench.call(bob, "approvals.approve", {"id": asked["approval_id"]}, confirm="yes")
    assert started == [bench.house], "his approval begins it, also where no worker lives"
    other = await bench.house.seal(b'[[["password"], "other"]]', context=f"task:{task['id']}")
    await bench.database.write(lambda tx: tx.execute(update(Task).values(sealed=other)))
    await perform(bench, task["id"])
    ended = await task_of(bench, ada)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "approval_invalid")
    assert wary.executed == []


async def test_who_waits_for_a_task_that_waits_for_him_is_told(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"does": {0: "auth"}})
    assert await perform(small_bench, task_id) == "waiting"
    with pytest.raises(waiting.TaskWaits, match="credentials"):
        await asyncio.wait_for(waiting.to_its_end(Context(small_bench.house, ada), task_id), 20)


async def test_asleep_between_the_fence_and_the_effect(
    small_bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was suspended right after "in flight" was committed wakes up hours later: it looks again first."""
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 1})
    leg = leg_of(small_bench, task_id)
    await leg.take_up()
    await leg.begin()
    slept = [0.0, 3600.0, 3600.0, 3600.0]
    monkeypatch.setattr(clock, "awake", lambda: slept.pop(0) if len(slept) > 1 else slept[0])
    real = execute.start_target

    def start(tx: Session, work: Any, position: int, target: Target) -> list[str]:
        found = real(tx, work, position, target)
        tx.execute(update(Task).values(attempt=7))
        return found

    monkeypatch.setattr(execute, "start_target", start)
    with pytest.raises(Superseded):
        await leg.wave(0)
    assert probe.executed == []


async def test_what_is_in_the_way_is_no_bug_and_ends_nothing(small_bench: Bench, probe: type[Probe]) -> None:
    ada = await small_bench.user("ada", MAY)
    task_id = await submit(small_bench, ada, {"count": 1})
    leg = leg_of(small_bench, task_id)
    await leg.take_up()

    async def away() -> str:
        raise DatabaseUnavailable("geheim", remedy="wait")

    with pytest.raises(Trouble, match=r"^DatabaseUnavailable$"):
        await leg.guarded(away())
    assert (await small_bench.call(ada, "tasks.get", {"id": task_id}))["state"] == "running"
    assert await perform(small_bench, task_id) == "finished"


async def test_a_worker_inherits_nothing_of_the_operators(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda *_, env, **__: given.append(env))
    for name in ("AWS_SECRET_ACCESS_KEY", "OS_PASSWORD", "SSH_AUTH_SOCK", "VAULT_TOKEN"):
        monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    await asyncio.to_thread(spawn.ensure, small_bench.house)
    [environment] = given
    assert "geheim" not in environment.values()
    assert environment["OPSCONSOLE_HOME"] == str(small_bench.house.home)
    assert environment["https_proxy"] == "http://proxy:3128"
    assert environment["PATH"]


def test_the_unit_names_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a worker of the unit works on the database that is meant, or does not start."""
    monkeypatch.delenv("OPSCONSOLE_DATABASE_URL", raising=False)
    assert "EnvironmentFile" not in working.unit_text()
    monkeypatch.setenv("OPSCONSOLE_DATABASE_URL", "postgresql://u:geheim@db/x")
    assert "EnvironmentFile=" in working.unit_text()
    assert "geheim" not in working.unit_text()


async def test_what_was_just_asked_for_is_left_to_who_has_less_to_do(bench: Bench, probe: type[Probe]) -> None:
    """For a moment: a worker that only seems to be alive must not keep tasks waiting."""
    ada = await bench.user("ada", MAY)
    write = bench.database.write
    for name in ("busy", "idle"):
        await write(lambda tx, name=name: workers.register(tx, name, audit.now(), stay=True))  # type: ignore[misc]
    first = await submit(bench, ada, {"resource": "a"})
    assert await write(lambda tx: workers.claim(tx, "busy", 10, audit.now())) == [first]
    second = await submit(bench, ada, {"resource": "b"})
    assert await write(lambda tx: workers.claim(tx, "busy", 10, audit.now())) == []
    assert await write(lambda tx: workers.claim(tx, "idle", 10, audit.now())) == [second]
    third = await submit(bench, ada, {"resource": "c"})
    assert await write(lambda tx: workers.claim(tx, "busy", 10, audit.now())) == [third]
    fourth = await submit(bench, ada, {"resource": "d"})
    assert await write(lambda tx: workers.claim(tx, "busy", 10, audit.now())) == []
    later = audit.now() + timedelta(seconds=2)
    assert await write(lambda tx: workers.claim(tx, "busy", 10, later)) == [fourth]
