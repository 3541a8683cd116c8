"""Starts a worker where none lives: detached from terminal and session, with nothing of the operator's but the home."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsconsole.house import House

LOCK = "worker.lock"
LOG = "worker.log"
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_RUNTIME_DIR|VIRTUAL_ENV|PYTHON.*|OPSCONSOLE_.*|PG.*"
    r"|SSL_CERT_.*|(?:[a-z]+|[A-Z]+)_(?:proxy|PROXY)|COVERAGE.*"
)
"""What of the environment a worker needs. The rest is the operator's: his agent, his terminal, his cloud's password."""


def ensure(house: House) -> None:
    """Start one unless one is alive. Two at once do no harm: on SQLite the second finds the lock taken and ends."""
    from opsconsole.tasks import workers

    if house.database.read_sync(lambda tx: workers.living(tx, datetime.now(UTC))):
        return
    if house.database.dialect == "sqlite" and _locked(house.home):
        return
    environment = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    environment["OPSCONSOLE_HOME"] = str(house.home)
    with (house.home / LOG).open("ab") as errors:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "opsconsole", "worker"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            env=environment,
            start_new_session=True,
        )


def lock(home: Path) -> int | None:
    """The lock of the one worker of this home, held until the process ends; None when another has it."""
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _locked(home: Path) -> bool:
    descriptor = lock(home)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
