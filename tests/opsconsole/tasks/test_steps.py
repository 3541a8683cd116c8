"""Steps on a host (this machine) at the worst moment: cancelled, taken over, vanished, garbled, too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select, update

from data.models import RunTarget, TaskOutput
from drivers import detached
from drivers.detached import JobSpec
from drivers.errors import AuthRefused, ProtocolError, Unreachable
from drivers.local import LocalRunner
from opsconsole.engine import leases
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.ids import uuid7
from opsconsole.tasks import handle, output
from tests.opsconsole.houses import Bench
from tests.opsconsole.tasks.conftest import leg_of, perform, until, walk

RUNNER = LocalRunner("local")


class Desk:
    def __init__(self, bench: Bench, caller: Caller) -> None:
        self.bench, self.caller = bench, caller
        self.ids: list[str] = []

    async def begin(self, *steps: str) -> str:
        data = {"hosts": ["local"], "steps": list(steps)}
        answer = await self.bench.call(self.caller, "hosts.execute", data, confirm="local", reason="test")
        self.ids.append(answer["task_id"])
        return str(answer["task_id"])

    async def get(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.bench.call(self.caller, "tasks.get", {"id": task_id})
        return found

    async def printed(self, task_id: str) -> str:
        query = select(TaskOutput.data).where(TaskOutput.task_id == task_id).order_by(col(TaskOutput.id))
        return b"".join(await self.bench.database.read(lambda tx: list(tx.exec(query).all()))).decode()

    async def dies_in(self, task_id: str, text: str) -> None:
        """A worker that is killed when the step has printed this."""
        first = asyncio.ensure_future(perform(self.bench, task_id))

        async def seen() -> bool:
            return text in await self.printed(task_id)

        await until(seen)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    async def clear(self) -> None:
        for one in await detached.leftovers(RUNNER):
            if one.name[:36] in self.ids:
                await detached.stop(RUNNER, one.name, grace=0)
                await detached.remove(RUNNER, one.name)


@pytest.fixture
async def desk(small_bench: Bench) -> AsyncIterator[Desk]:
    small_bench.house.wake_worker = lambda house: None
    desk = Desk(small_bench, await small_bench.user("ada", admin=True))
    yield desk
    await desk.clear()


async def test_cancelled_while_no_worker_lives_it_is_stopped_by_the_next(desk: Desk, tmp_path: Path) -> None:
    """Its worker died, then it was cancelled: what runs on the host must not go on behind the word "cancelled"."""
    effect = tmp_path / "effect"
    task_id = await desk.begin(f"echo begun; sleep 4; echo x > {effect}")
    await desk.dies_in(task_id, "begun")
    await desk.bench.call(desk.caller, "tasks.cancel", {"id": task_id})
    assert await perform(desk.bench, task_id) == "cancelled"
    [row] = (await desk.get(task_id))["results"]
    assert (row["state"], "was stopped and is gone" in row["error"]["message"]) == ("cancelled", True)
    assert (await detached.look(RUNNER, f"{task_id}-0-1")).state == "absent"
    await asyncio.sleep(4)
    assert not effect.exists()


async def test_what_vanished_is_not_begun_again(desk: Desk, tmp_path: Path) -> None:
    """Another login, a wiped host, another console's sweep: absent is no proof that it never ran."""
    effect = tmp_path / "effect"
    task_id = await desk.begin(f"echo x >> {effect}; sleep 300")
    first = asyncio.ensure_future(perform(desk.bench, task_id))

    async def marked() -> bool:
        query = select(RunTarget.progress).where(RunTarget.run_id == task_id)
        rows = await desk.bench.database.read(lambda tx: list(tx.exec(query).all()))
        return bool(rows and (rows[0] or {}).get("begun")) and effect.exists()

    await until(marked)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await detached.stop(RUNNER, f"{task_id}-0-1", grace=0)
    await detached.remove(RUNNER, f"{task_id}-0-1")
    assert await perform(desk.bench, task_id) == "unknown"
    assert effect.read_text("utf-8") == "x\n"
    assert "knows nothing of it any more" in (await desk.get(task_id))["results"][0]["error"]["message"]


@pytest.mark.parametrize("how", ["protocol", "auth"])
async def test_what_cannot_be_looked_at_is_not_failed(desk: Desk, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Begun, and then the file there was truncated, or nobody lets us in any more."""
    real = detached.follow

    def error() -> Exception:
        if how == "auth":
            return AuthRefused("local", "log in", "no key fits")
        return ProtocolError("local", "read the output", "it has 3 bytes, and had 7 before")

    async def broken(*_: Any, **__: Any) -> AsyncIterator[Any]:
        if how:
            raise error()
        yield None

    monkeypatch.setattr(detached, "follow", broken)
    task_id = await desk.begin("echo hello; sleep 0.5; exit 0")
    ended = await perform(desk.bench, task_id)
    task = await desk.get(task_id)
    if how == "protocol":
        assert (ended, task["results"][0]["state"]) == ("unknown", "unknown")
        return
    assert (ended, task["waiting_for"], task["results"][0]["state"]) == ("waiting", "credentials", "in_flight")
    monkeypatch.setattr(detached, "follow", real)
    await desk.bench.call(desk.caller, "tasks.resume", {"id": task_id})
    assert await perform(desk.bench, task_id) == "finished"
    assert await desk.printed(task_id) == "hello\n"


async def test_a_stolen_lease_keeps_the_next_step_from_beginning(desk: Desk, tmp_path: Path) -> None:
    effect = tmp_path / "effect"
    task_id = await desk.begin("echo one; sleep 1.5", f"echo x > {effect}")
    running = asyncio.ensure_future(perform(desk.bench, task_id))

    async def begun() -> bool:
        return "one" in await desk.printed(task_id)

    await until(begun)

    def steal(tx: Session) -> None:
        [name] = [row["resource"] for row in held]
        assert leases.steal(tx, name, leases_now()) is not None

    from opsconsole.engine.audit import now as leases_now

    held = await desk.bench.call(desk.caller, "leases.list")
    await desk.bench.database.write(steal)
    assert await running == "failed"
    assert "was taken over" in (await desk.get(task_id))["results"][0]["error"]["message"]
    assert not effect.exists()


async def test_a_step_that_ended_by_itself_is_not_called_cancelled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancel comes while it ends: between our look and our stop it is over, with its own status."""
    real = detached.stop

    async def late(runner: Any, name: str, **more: Any) -> Any:
        async with asyncio.timeout(20):
            while (await detached.look(runner, name)).state == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return await real(runner, name, **more)

    monkeypatch.setattr(detached, "stop", late)
    task_id = await desk.begin("echo begun; sleep 1; echo whole")
    leg = leg_of(desk.bench, task_id)
    running = asyncio.ensure_future(walk(leg))

    async def begun() -> bool:
        return "begun" in await desk.printed(task_id)

    await until(begun)
    leg.halt.ask("cancel", "ada")
    assert await running == "finished"
    assert await desk.printed(task_id) == "begun\nwhole\n"


async def test_what_outlives_a_stop_is_not_called_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = detached.stop

    async def undead(*given: Any, **more: Any) -> Any:
        return replace(await real(*given, **more), processes=1)

    monkeypatch.setattr(detached, "stop", undead)
    task_id = await desk.begin("echo begun; sleep 60")
    leg = leg_of(desk.bench, task_id)
    running = asyncio.ensure_future(walk(leg))

    async def begun() -> bool:
        return "begun" in await desk.printed(task_id)

    await until(begun)
    leg.halt.ask("cancel", "ada")
    assert await running == "unknown"


async def test_a_start_that_never_answers_can_be_cancelled_and_never_begins(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = asyncio.Event()

    async def slow(*_: Any, **__: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.05)
        raise Unreachable("local", "start", "no answer")

    monkeypatch.setattr(detached, "start", slow)
    task_id = await desk.begin(f"echo x > {tmp_path}/effect")
    leg = leg_of(desk.bench, task_id)
    running = asyncio.ensure_future(walk(leg))
    await begun.wait()
    leg.halt.ask("cancel", "ada")
    assert await asyncio.wait_for(running, 20) == "unknown", "a start may still be on its way"


async def test_a_start_that_never_answers_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(*_: Any, **__: Any) -> Any:
        raise Unreachable("local", "start", "no answer")

    monkeypatch.setattr(detached, "start", slow)
    monkeypatch.setattr(handle, "_LOST_SECONDS", 0.5)
    task_id = await desk.begin("true")
    assert await asyncio.wait_for(perform(desk.bench, task_id), 20) == "unknown"


async def test_output_that_is_not_copied_is_said_to_be_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the limit is the task's, not the worker's: who takes over does not copy as much again."""
    monkeypatch.setattr(output, "KEPT", 100_000)
    task_id = await desk.begin(
        "head -c 150000 /dev/zero | tr '\\0' a; echo; sleep 1; head -c 150000 /dev/zero | tr '\\0' b"
    )
    await desk.dies_in(task_id, "aaaaaaaaaa\n")
    assert await perform(desk.bench, task_id) == "finished"
    said = await desk.printed(task_id)
    assert said.count("a") < 250_000
    assert "b" not in said.rpartition("-- ")[0]
    assert f"is on local in /var/lib/opsconsole-jobs/{task_id}-0-1/out" in said
    there = await detached.look(RUNNER, f"{task_id}-0-1", limit=0)
    assert (there.state, there.size) == ("exited", 300_001)


async def test_what_the_host_could_not_store_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = detached.look

    async def full(*given: Any, **more: Any) -> Any:
        return replace(await real(*given, **more), output_cut=True)

    monkeypatch.setattr(detached, "look", full)
    task_id = await desk.begin("echo half")
    await perform(desk.bench, task_id)
    assert await desk.printed(task_id) == "half\n-- local could not store all that was printed (its disk was full)\n"


async def test_bytes_that_are_no_text_and_no_lines(desk: Desk) -> None:
    """Empty, no newline at the end, NUL, half a character, one line of a megabyte: each byte once."""
    task_id = await desk.begin("true", "printf '\\0\\377\\303'; sleep 0.3; printf '\\251'; printf x")
    assert await perform(desk.bench, task_id) == "finished"
    query = select(TaskOutput).where(TaskOutput.task_id == task_id).order_by(col(TaskOutput.id))
    rows = await desk.bench.database.read(lambda tx: list(tx.exec(query).all()))
    assert {row.step for row in rows} == {2}
    assert b"".join(row.data for row in rows) == b"\0\xff\xc3\xa9x"
    long = await desk.begin("head -c 1000000 /dev/zero | tr '\\0' l")
    assert await perform(desk.bench, long) == "finished"
    assert await desk.printed(long) == "l" * 1_000_000


async def test_a_worker_that_slept_takes_nothing_back(desk: Desk, tmp_path: Path) -> None:
    """Stopped (SIGSTOP, a suspended machine) between two steps and taken over: it begins no step more."""
    effects = tmp_path / "effects"
    task_id = await desk.begin(f"echo 1 >> {effects}; echo one; sleep 1", f"echo 2 >> {effects}")
    slow = leg_of(desk.bench, task_id)
    running = asyncio.ensure_future(walk(slow))

    async def begun() -> bool:
        return "one" in await desk.printed(task_id)

    await until(begun)
    assert await perform(desk.bench, task_id) == "finished"
    with pytest.raises(output.Superseded):
        await running
    assert effects.read_text("utf-8") == "1\n2\n"
    assert await desk.printed(task_id) == "one\n"
    await desk.bench.database.write(lambda tx: tx.execute(update(RunTarget).values(progress=None)))


async def test_jobs_of_another_console_are_left_alone(desk: Desk) -> None:
    """Two homes manage one host: what this database does not know is not what nobody needs any more."""
    theirs = JobSpec(f"{uuid7()}-0-1", b"sleep 300")
    dead = JobSpec(f"{uuid7()}-0-1", b"true")
    for spec in (theirs, dead):
        await detached.start(RUNNER, spec)
        desk.ids.append(spec.name[:36])
    async for _ in detached.follow(RUNNER, dead.name):
        pass
    with pytest.raises(StateConflict, match="of other consoles are left alone"):
        await desk.bench.plan(desk.caller, "tasks.sweep", {"hosts": ["local"]})
    plan = await desk.bench.plan(desk.caller, "tasks.sweep", {"hosts": ["local"], "foreign": True})
    names = [target["name"] for target in plan["targets"]]
    assert dead.name in names and theirs.name not in names
    assert "no task of this database has begun it" in plan["targets"][names.index(dead.name)]["warnings"]
    assert (await detached.look(RUNNER, theirs.name, limit=0)).state == "running"


async def test_the_same_steps_are_not_begun_beside_those_nobody_knows_the_end_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unknown, for the host was silent for long; its step runs on, and a retry must not run beside it."""
    real, effect = detached.follow, tmp_path / "effect"

    async def broken(*_: Any, **__: Any) -> AsyncIterator[Any]:
        if effect:
            raise ProtocolError("local", "read the output", "it is no file any more")
        yield None

    monkeypatch.setattr(detached, "follow", broken)
    task_id = await desk.begin(f"echo x >> {effect}; sleep 4")
    assert await perform(desk.bench, task_id) == "unknown"
    monkeypatch.setattr(detached, "follow", real)
    again = await desk.bench.call(desk.caller, "tasks.retry", {"id": task_id}, confirm="local", reason="again")
    desk.ids.append(again["task_id"])
    assert await perform(desk.bench, again["task_id"]) == "failed"
    assert "still run on local" in (await desk.get(again["task_id"]))["results"][0]["error"]["message"]
    assert effect.read_text("utf-8") == "x\n"
    async for _ in detached.follow(RUNNER, f"{task_id}-0-1"):
        pass
    third = await desk.bench.call(desk.caller, "tasks.retry", {"id": task_id}, confirm="local", reason="again")
    desk.ids.append(third["task_id"])
    assert await perform(desk.bench, third["task_id"]) == "finished"
    assert effect.read_text("utf-8") == "x\nx\n"


async def test_consent_is_to_the_machine_and_not_to_its_name(desk: Desk, tmp_path: Path) -> None:
    """Somebody gives the host another address between the consent and the start: that is another machine."""
    from data.models import Host

    bench = desk.bench
    await bench.host("web1", address="192.0.2.1")
    await bench.user("bob", admin=True)
    data = {"hosts": ["web1"], "steps": ["true"]}
    before = (await bench.plan(desk.caller, "hosts.execute", data))["digest"]
    for name, value in (("address", "192.0.2.2"), ("ssh_port", 2222), ("ssh_user", "root")):
        change = {name: value}
        await bench.database.write(
            lambda tx, change=change: tx.execute(update(Host).where(col(Host.name) == "web1").values(**change))  # type: ignore[misc]
        )
        after = (await bench.plan(desk.caller, "hosts.execute", data))["digest"]
        assert after != before, name
        before = after


async def test_the_plan_says_who_did_not_let_us_in(desk: Desk) -> None:
    """Said, and tried all the same; the consent to it holds when the host comes back."""
    from data.models import HostObservation, utc_now

    bench = desk.bench
    ids = {name: await bench.host(name) for name in ("web1", "web2", "plain")}
    states = {"web1": "ok", "web2": "timeout", "plain": "unsupported"}
    data = {"hosts": [*states], "steps": ["true"]}
    before = await bench.plan(desk.caller, "hosts.execute", data)
    rows = [
        HostObservation(host_id=ids[name], kind="services", state=state, observed_at=utc_now())
        for name, state in states.items()
    ]
    await bench.database.write(lambda tx: tx.add_all(rows))
    plan = await bench.plan(desk.caller, "hosts.execute", data)
    said = {target["name"]: target.get("warnings") for target in plan["targets"]}
    assert "did not let us in at the last look" in said.pop("web2")[0]
    assert not any(said.values())
    assert plan["digest"] == before["digest"]
