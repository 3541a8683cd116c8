"""Tasks: how soon a worker begins, how many it gets through, how late a line is seen, and what waiting costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func
from sqlmodel import Session, col, select

from data.migrate import upgrade
from data.models import Task, TaskOutput, Worker
from drivers import detached
from drivers.detached import JobSpec
from drivers.local import LocalRunner
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare
from tests.benchmarks.terminal import TICKS, Terminal
from tests.lab.postgres import PostgresServer

TASKS = int(os.environ.get("OPSCONSOLE_BENCH_TASKS", "1000"))
LINES, CONSOLES, IDLE_SECONDS = 300, 20, 20.0
_PROGRAM = [sys.executable, "-P", "-m", "opsconsole"]


@contextmanager
def workers(home: Path, count: int, url: str | None = None) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that stay, and are there when this begins."""
    env = clean_environment(home) | ({"OPSCONSOLE_DATABASE_URL": url} if url else {})
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    children = [subprocess.Popen([*_PROGRAM, "worker", "--stay"], env=env, **quiet) for _ in range(count)]  # type: ignore[call-overload]
    try:
        with house_of(home, url) as (runner, house):
            alive = select(func.count()).select_from(Worker).where(col(Worker.ended_at).is_(None))
            _until(lambda: runner.run(house.database.read(lambda tx: tx.exec(alive).one())) >= count)
        yield children
    finally:
        for child in children:
            child.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(30)
            child.kill()


@contextmanager
def house_of(home: Path, url: str | None = None) -> Iterator[tuple[asyncio.Runner, House]]:
    with asyncio.Runner() as runner:
        place = home / "console"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        house = House.open(place, url) if url else House.open(place)
        try:
            yield runner, house
        finally:
            runner.run(house.close())


def _until(holds: Callable[[], object], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError("waited in vain")
        time.sleep(0.02)


async def submit(ctx: Context, script: str) -> str:
    """One task of one step on this machine, consented to by its plan."""
    given = {"hosts": ["local"], "steps": [script]}
    answer = await dispatch.call(ctx, "hosts.execute", given, Consent(confirm="local", reason="benchmark"))
    return str(answer["task_id"])


async def until(house: House, read: Callable[[Session], object], pause: float) -> None:
    """Look into the database until there is something."""
    async with asyncio.timeout(1200):
        while True:
            if await house.database.read(read):
                return
            await asyncio.sleep(pause)


async def _first_byte(house: House, ctx: Context) -> None:
    task_id = await submit(ctx, "echo begun")
    query = select(TaskOutput.id).where(TaskOutput.task_id == task_id).limit(1)
    await until(house, lambda tx: tx.exec(query).first(), 0.005)


async def _alone(number: list[int]) -> Sample:
    """The same script, started and read by the driver, with no task around it."""
    number[0] += 1
    runner, name = LocalRunner(), f"bench-{os.getpid()}-{number[0]}"
    wall, cpu = time.perf_counter(), time.process_time()
    await detached.start(runner, JobSpec(name, b"echo begun"))
    async for piece in detached.follow(runner, name):
        if piece.data:
            break
    sample = Sample(time.perf_counter() - wall, time.process_time() - cpu)
    await detached.stop(runner, name, grace=0)
    await detached.remove(runner, name)
    return sample


def first_byte(home: Path, rounds: int) -> Table:
    """From a confirmed task to the first byte its script has printed, in the console's database."""
    number = [0]
    with workers(home, 1), house_of(home) as (runner, house):
        ctx = runner.run(places.context(house))

        def timed(work: Callable[[], object]) -> Sample:
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            return Sample(time.perf_counter() - wall, time.process_time() - cpu)

        sides: dict[str, Work] = {
            "task": lambda: timed(lambda: runner.run(_first_byte(house, ctx))),
            "driver alone": lambda: runner.run(_alone(number)),
        }
        note = (
            "hosts.execute of `echo` on this machine by a worker that waits, SQLite: plan, rows, pick-up, detached\n"
            "start, first output in the database. The peer starts the same script without a task, and reads it."
        )
        return compare("task, first byte", note, sides, [Pair("task", "driver alone")], rounds=rounds)


async def _many(house: House, ctx: Context) -> None:
    """All at once; each its own commands, for the same ones never run twice at once on a host."""
    mine = [await submit(ctx, f"true {number} {time.time_ns()}") for number in range(TASKS)]
    last = select(func.count()).select_from(Task).where(col(Task.id).in_(mine), Task.state == "finished")
    await until(house, lambda tx: tx.exec(last).one() == len(mine), 0.1)


def throughput(home: Path, rounds: int) -> Table:
    """Many short tasks, from the first submission to the last end."""
    server = PostgresServer()
    try:
        server.start()
        url = server.create()
        upgrade(url, home=home / "pg")
        table = Table("tasks, throughput", _throughput_note(), {}, load=(os.getloadavg()[0], 0.0))
        for name, database, count in (("one worker, SQLite", None, 1), ("two workers, PostgreSQL", url, 2)):
            place = home / ("pg" if database else "sqlite")
            place.mkdir(mode=0o700, exist_ok=True)
            with workers(place, count, database) as children, house_of(place, database) as (runner, house):
                ctx = runner.run(places.context(house))
                for _ in range(rounds):
                    cpu, wall = sum(map(cpu_of, children)), time.perf_counter()
                    runner.run(_many(house, ctx))
                    sample = Sample(time.perf_counter() - wall, sum(map(cpu_of, children)) - cpu)
                    table.samples.setdefault(name, []).append(sample)
        table.pairs = (Pair("two workers, PostgreSQL", "one worker, SQLite"),)
        table.load = (table.load[0], os.getloadavg()[0])
        return table
    finally:
        server.remove()


def _throughput_note() -> str:
    return (
        f"{TASKS} tasks of one step (`true`) on this machine, all waiting at once, four at a time on a host,\n"
        "from the first submission to the last end; the CPU is that of the workers alone."
    )


def cpu_of(child: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{child.pid}/stat").read_bytes().rsplit(b") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def line_delay(home: Path, rounds: int) -> Table:
    """How old a line is when it is read: by the driver, and through worker and database by `tasks follow`."""
    script = f"i=0; while [ $i -lt {LINES} ]; do date +%s.%N; i=$((i+1)); sleep 0.03; done"
    table = Table("tasks, age of a line", _delay_note(), {}, load=(os.getloadavg()[0], 0.0))
    with workers(home, 1), house_of(home) as (runner, house):
        ctx = runner.run(places.context(house))
        for number in range(rounds):
            found = runner.run(_driver_ages(script, number))
            quantiles(table, "driver", found)
            task_id = runner.run(submit(ctx, script))
            quantiles(table, "tasks follow", _follow_ages(home, task_id))
    table.pairs = (Pair("tasks follow, p99", "driver, p99"),)
    table.load = (table.load[0], os.getloadavg()[0])
    return table


def _delay_note() -> str:
    return f"{LINES} lines, one each 30 ms, which say when they were written; goal for the 99th percentile: 300 ms."


def quantiles(table: Table, side: str, ages: list[float], shares: tuple[float, ...] = (0.5, 0.99)) -> None:
    """Add one sample per share of the ages, the largest being 1.0."""
    ages = sorted(ages)
    for share in shares:
        name = {0.5: "median", 1.0: "max"}.get(share, f"p{share * 100:g}")
        sample = Sample(ages[min(len(ages) - 1, int(len(ages) * share))])
        table.samples.setdefault(f"{side}, {name}", []).append(sample)


async def _driver_ages(script: str, number: int) -> list[float]:
    runner, name, ages, rest = LocalRunner(), f"bench-ages-{os.getpid()}-{number}", [], b""
    await detached.start(runner, JobSpec(name, script.encode()))
    async for piece in detached.follow(runner, name):
        now = time.time()
        *lines, rest = (rest + piece.data).split(b"\n")
        ages += [now - float(line) for line in lines]
    await detached.remove(runner, name)
    return ages


def _follow_ages(home: Path, task_id: str) -> list[float]:
    ages: list[float] = []
    argv = [*_PROGRAM, "tasks", "follow", task_id]
    with subprocess.Popen(argv, env=clean_environment(home), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        for line in child.stdout:
            now, event = time.time(), json.loads(line)
            if event["event"] == "output":
                ages += [now - float(word) for word in event["text"].split()]
    # The first ones were written before anybody could be there to see them.
    return ages[LINES // 3 :]


def idle(home: Path, rounds: int) -> Table:
    """CPU that a waiting worker and open consoles use, in seconds of nothing happening."""
    del rounds
    table = Table("tasks, idle", _idle_note(), {}, load=(os.getloadavg()[0], 0.0))
    with workers(home, 1) as (worker,), contextlib.ExitStack() as stack:
        table.samples["a worker"] = [_idle_of([lambda: cpu_of(worker)], lambda: time.sleep(IDLE_SECONDS))]
        env = clean_environment(home)
        consoles = [stack.enter_context(Terminal(_PROGRAM, env)) for _ in range(CONSOLES)]
        _drain(consoles, 30.0)
        sample = _idle_of([console.cpu for console in consoles], lambda: _drain(consoles, IDLE_SECONDS))
        table.samples[f"{CONSOLES} consoles"] = [sample]
        beside = _idle_of([lambda: cpu_of(worker)], lambda: _drain(consoles, IDLE_SECONDS))
        table.samples[f"a worker beside {CONSOLES} consoles"] = [beside]
    table.load = (table.load[0], os.getloadavg()[0])
    return table


def _idle_note() -> str:
    return f"{IDLE_SECONDS:g} s in which nobody does anything, one SQLite file; the CPU column is what it cost."


def _idle_of(clocks: list[Callable[[], float]], wait: Callable[[], None]) -> Sample:
    before, wall = sum(clock() for clock in clocks), time.perf_counter()
    wait()
    return Sample(time.perf_counter() - wall, sum(clock() for clock in clocks) - before)


def _drain(consoles: list[Terminal], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for console in consoles:
            console.read(0.05 / len(consoles))
