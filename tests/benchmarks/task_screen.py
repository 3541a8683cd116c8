"""How old a line of a task is when it is painted: written on a host behind sshd, read in a console on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from data.migrate import upgrade
from data.models import Environment, Host
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Sample, Table, clean_environment
from tests.benchmarks.tasks import cpu_of, house_of, quantiles, until, workers
from tests.benchmarks.terminal import Terminal
from tests.lab.postgres import PostgresServer
from tests.lab.sshfarm import Node, SshFarm

LINES = int(os.environ.get("OPSCONSOLE_BENCH_LINES", "600"))
PAUSE = 0.05
_HOST = "web"
_PROGRAM = [sys.executable, "-P", "-m", "opsconsole"]
_LINE = re.compile(rb"<(\d+) (\d+\.\d+)>")
_SETTINGS = 'ssh_files = "home"\n'
_SSH_CONFIG = 'Host *\n    IdentityFile "{key}"\n    IdentitiesOnly yes\n    IdentityAgent /dev/null\n'
# It begins when a console looks at it, and says so in each line: which one it is, and when it was written.
_SCRIPT = """\
n=0
until [ -e {start} ]; do [ $((n += 1)) -lt 600 ] || exit 1; sleep 0.1; done
i=0
while [ $i -lt {lines} ]; do i=$((i + 1)); echo "<$i $(date +%s.%N)>"; sleep {pause}; done
"""


def painted_lines(home: Path, rounds: int) -> Table:
    """From the write on the host to the bytes on the terminal of a console that has the task open."""
    table = Table("tasks, age of a line on the screen", _note(), {}, load=(os.getloadavg()[0], 0.0))
    farm, server = SshFarm(), PostgresServer()
    try:
        server.start()
        for name, url in (("SQLite", None), ("PostgreSQL", server.create())):
            place = home / name
            place.mkdir(mode=0o700)
            _prepare(place, farm.node(), url)
            with workers(place, 1, url) as (worker,), house_of(place, url) as (runner, house):
                ctx = runner.run(places.context(house))
                for _ in range(rounds):
                    start = farm.directory / f"start-{time.monotonic_ns()}"
                    task_id = runner.run(_submit(ctx, start))
                    cpu, wall = cpu_of(worker), time.perf_counter()
                    with Terminal(_PROGRAM, clean_environment(place) | _database(url)) as console:
                        before = _open(console)
                        quantiles(table, name, _ages(console, start), (0.5, 0.99, 1.0))
                        spent = console.cpu() - before
                    seconds = time.perf_counter() - wall
                    table.samples.setdefault(f"{name}, console", []).append(Sample(seconds, spent))
                    table.samples.setdefault(f"{name}, worker", []).append(Sample(seconds, cpu_of(worker) - cpu))
                    runner.run(_ended(house, task_id))
        table.load = (table.load[0], os.getloadavg()[0])
        return table
    finally:
        server.remove()
        farm.close()


def _note() -> str:
    return (
        f"{LINES} lines, one each {PAUSE * 1000:.0f} ms and a little, written by a detached step behind a real sshd;\n"
        "age when its text is written to the terminal (120x40) of a console that shows the task. Goal for the 99th\n"
        "percentile: 300 ms. The rows of console and worker are the whole time, and the CPU they used in it."
    )


def _database(url: str | None) -> dict[str, str]:
    return {"OPSCONSOLE_DATABASE_URL": url} if url else {}


def _prepare(place: Path, node: Node, url: str | None) -> None:
    """A home that knows one host behind sshd, and how to log in to it."""
    home = place / "console"
    home.mkdir(mode=0o700, parents=True)
    (home / "settings.toml").write_text(_SETTINGS, "ascii")
    (home / "ssh_config").write_text(_SSH_CONFIG.format(key=node.key), "ascii")
    (home / "known_hosts").write_text(f"{node.known_hosts}\n", "ascii")
    if url:
        upgrade(url, home=home)
    with house_of(place, url) as (runner, house):
        runner.run(places.caller(house))
        runner.run(house.database.write(lambda tx: _add(tx, node)))


def _add(tx: Session, node: Node) -> None:
    ring = tx.exec(select(Environment)).first()
    here: dict[str, Any] = {"address": node.address, "ssh_port": node.port, "ssh_user": node.user}
    tx.add(Host(name=_HOST, host_type="VM", status="attached", environment_id=ring.id if ring else None, **here))


async def _submit(ctx: Context, start: Path) -> str:
    script = _SCRIPT.format(start=shlex.quote(str(start)), lines=LINES, pause=PAUSE)
    given = {"hosts": [_HOST], "steps": [script], "description": "lines that say when"}
    answer = await dispatch.call(ctx, "hosts.execute", given, Consent(confirm=_HOST, reason="benchmark"))
    return str(answer["task_id"])


async def _ended(house: House, task_id: str) -> None:
    from data.models import Task

    await until(house, lambda tx: tx.exec(select(Task.state).where(Task.id == task_id)).one() == "finished", 0.1)


def _open(console: Terminal) -> float:
    """Open the tasks, and the one on top; answers the CPU the console had used when it stood there."""
    console.until(lambda: b"services" in console.tail.lower())
    console.rest(1.0)
    os.write(console.master, b"t")
    console.until(lambda: b"lines that say when" in console.tail)
    console.rest(0.5)
    os.write(console.master, b"\r")
    console.until(lambda: b"running" in console.tail)
    console.rest(1.5)
    return console.cpu()


def _ages(console: Terminal, start: Path) -> list[float]:
    """Seconds from each line's own time to the read of the bytes that show it, up to the last line.

    A line that scrolled away before anybody could see it is as old as the first one after it that was painted.
    """
    ages: dict[int, float] = {}
    with _there(start):
        end, rest, last = time.monotonic() + 60 + LINES * PAUSE * 3, b"", 0
        while last < LINES:
            if time.monotonic() > end:
                raise RuntimeError(f"{last} of {LINES} lines were painted: {console.tail[-800:]!r}")
            new = console.read(0.5)
            now, rest = time.time(), rest[-4096:] + new
            for number, written in sorted((int(found[1]), float(found[2])) for found in _LINE.finditer(rest)):
                if number > last:
                    # Lines between were written one pause apart.
                    ages |= {n: now - written + (number - n) * PAUSE for n in range(last + 1, number)}
                    ages[number], last = now - written, number
    return list(ages.values())


@contextmanager
def _there(path: Path) -> Iterator[None]:
    path.touch()
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
