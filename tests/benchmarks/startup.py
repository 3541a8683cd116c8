"""Wall time of short commands, and of the console up to its first frame."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare, process
from tests.benchmarks.peers import MINIMAL_APP, SQLITE_HOSTS, SQLITE_SERVICES

PROGRAM = str(Path(sys.executable).with_name("opsconsole"))
_HOSTS, _UNITS = 25, 100
_FRAME_SECONDS = 20.0
_ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[?2048$p": b"\x1b[?2048;0$y", b"\x1b[c": b"\x1b[?62;22c"}


async def _fill(house: House) -> None:
    await places.add_hosts(house, places.made_up(_HOSTS))
    await places.add_observations(house, _UNITS)


def commands(home: Path, rounds: int) -> Table:
    """Commands that need no database, and two that read it."""
    places.inside(home, _fill)
    env, database = clean_environment(home), str(home / "console" / "opsconsole.db")
    given = home / "cached.json"
    given.write_text('{"cached": true}', "ascii")

    def run(*argv: str, holds: bytes = b"") -> Work:
        return lambda: process(argv, env=env, check=lambda out: holds in out)

    select_hosts = "select * from host order by id limit 10"
    sides: dict[str, Work] = {
        "python -c pass": run(sys.executable, "-c", "pass"),
        "opsconsole --version": run(PROGRAM, "--version", holds=b"opsconsole"),
        "opsconsole ops": run(PROGRAM, "ops", holds=b"services.list"),
        "python -c 'import sqlmodel'": run(sys.executable, "-c", "import sqlmodel"),
        "opsconsole hosts list": run(PROGRAM, "hosts", "list", holds=b"web00009"),
        "opsconsole call services.list, cached": run(
            PROGRAM, "call", "services.list", "--input", str(given), holds=b"unit-099"
        ),
        "sqlite3 hosts": run("sqlite3", "-readonly", "-json", database, select_hosts, holds=b"web00009"),
        "python sqlite3 hosts": run(sys.executable, "-c", SQLITE_HOSTS, database, holds=b"web00009"),
        "python sqlite3 services": run(sys.executable, "-c", SQLITE_SERVICES, database, holds=b"unit-099"),
    }
    pairs = [
        Pair("opsconsole --version", "python -c pass"),
        Pair("opsconsole ops", "python -c pass"),
        Pair("opsconsole hosts list", "python -c 'import sqlmodel'"),
        Pair("opsconsole hosts list", "python sqlite3 hosts"),
        Pair("opsconsole hosts list", "sqlite3 hosts"),
        Pair("opsconsole call services.list, cached", "python -c 'import sqlmodel'"),
        Pair("opsconsole call services.list, cached", "python sqlite3 services"),
    ]
    note = f"Whole processes, byte code compiled. The database holds {_HOSTS} hosts with {_UNITS} units each."
    return compare("commands", note, sides, pairs, rounds=rounds)


def first_frame(home: Path, rounds: int) -> Table:
    """From exec to the last byte of the first frame that shows everything, in a pseudo-terminal of 120x40."""
    places.inside(home, _fill)
    env = clean_environment(home) | {"TERM": "xterm-256color"}
    minimal = [sys.executable, "-c", MINIMAL_APP]
    sides: dict[str, Work] = {
        "minimal Textual app": lambda: until_shown(minimal, [b"hello there", b"leave"], env),
        "opsconsole": lambda: until_shown([PROGRAM], [b"SERVICE", b"help", b"journal"], env),
        "opsconsole, last known rows": lambda: until_shown([PROGRAM], [b"web00000", b"unit-0"], env),
    }
    pairs = [
        Pair("opsconsole", "minimal Textual app", 1.25),
        Pair("opsconsole, last known rows", "minimal Textual app", 3.0),
    ]
    note = (
        "Exec to the frame in which header, table and footer stand, terminal queries answered; and to the first rows of"
        f"\n{_HOSTS} hosts as they were last seen. The minimal app is a Static and a Footer."
    )
    return compare("first frame", note, sides, pairs, rounds=rounds)


def until_shown(argv: Sequence[str], words: Sequence[bytes], env: Mapping[str, str]) -> Sample:
    """Seconds until every one of `words` was written. The child is killed afterwards; its CPU is not told."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    start = time.perf_counter()
    child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=dict(env), start_new_session=True)
    os.close(slave)
    seen = b""
    try:
        while not all(word in seen for word in words):
            ready, _, _ = select.select([master], [], [], _FRAME_SECONDS)
            new = b""
            with contextlib.suppress(OSError):  # how a pseudo-terminal says that the child has gone
                new = os.read(master, 65536) if ready else b""
            if not new:
                raise RuntimeError(f"{argv[0]} never showed {words!r}: {seen[-300:]!r}")
            for query, answer in _ANSWERS.items():
                if query in new:
                    os.write(master, answer)
            seen += new
        return Sample(time.perf_counter() - start)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        os.close(master)
