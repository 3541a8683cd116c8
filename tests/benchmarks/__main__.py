"""`python -m tests.benchmarks [NAME…] [--rounds N] [--json FILE]`: the tables, one JSON line after each."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import (
    applications,
    fleet,
    journal_pages,
    places,
    records,
    screens,
    ssh_hosts,
    startup,
    task_screen,
    tasks,
    vpn,
)
from tests.benchmarks.measure import Table, as_json_line
from tests.lab.packages import LabMissing

Benchmark = Callable[[Path, int], Table]
BENCHMARKS: dict[str, tuple[Benchmark, int]] = {
    "commands": (startup.commands, 15),
    "first-frame": (startup.first_frame, 15),
    "host-pages": (records.host_pages, 9),
    "cached-services": (records.cached_services, 5),
    "journal": (records.journal, 3),
    "journal-pages": (journal_pages.pages, 5),
    "application-tree": (applications.tree, 5),
    "application-open": (applications.opened, 3),
    "application-names": (applications.names, 5),
    "ssh": (ssh_hosts.commands, 9),
    "services": (fleet.services, 5),
    "tables": (screens.tables, 5),
    "log-end": (screens.log_end, 5),
    "log-follow": (screens.log_follow, 1),
    "memory": (screens.memory, 3),
    "task-first-byte": (tasks.first_byte, 9),
    "task-throughput": (tasks.throughput, 1),
    "task-lines": (tasks.line_delay, 3),
    "task-painted": (task_screen.painted_lines, 3),
    "task-idle": (tasks.idle, 1),
    "vpn-bundles": (vpn.bundles, 5),
    "vpn-crl": (vpn.crl, 5),
    "vpn-clients": (vpn.clients, 5),
}
"""Name → what to run, and in how many rounds."""


def run(name: str, rounds: int | None = None) -> Table:
    """One benchmark in a directory of its own. Raises `LabMissing` where its hosts cannot be had."""
    work, usual = BENCHMARKS[name]
    with tempfile.TemporaryDirectory(prefix="opsc-bench-") as directory:
        home = Path(directory)
        home.chmod(0o700)
        return work(home, rounds or usual)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    packages = ("textual", "asyncssh", "sqlmodel", "sqlalchemy", "pydantic", "cryptography")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, help="measured rounds of each; every one has its own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    places.compile_all()
    on = machine()
    print(json.dumps(on), flush=True)
    tables: list[Table] = []
    missing = 0
    for name in asked.names or BENCHMARKS:
        try:
            tables.append(table := run(name, asked.rounds))
        except LabMissing as reason:
            print(f"\n== {name}: not measured here: {reason}", flush=True)
            missing += 1
            continue
        print(f"\n{table.text()}\n{as_json_line(table)}", flush=True)
    if asked.json is not None:
        found = {"machine": on, "benchmarks": [table.as_json() for table in tables]}
        asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
