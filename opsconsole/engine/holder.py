"""Which process is doing something, in a way that a reused pid or a reboot cannot fake."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any


def _start_of(pid: int) -> int | None:
    """Clock ticks after boot at which a process started; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


@lru_cache(maxsize=1)
def _machine() -> str:
    """The machine itself: names are given twice (`localhost`, clones), and its installation has an id of its own."""
    try:
        return Path("/etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@lru_cache(maxsize=1)
def _pids() -> str:
    """Which numbering of processes we see: a container has its own, beside that of its machine."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def here() -> dict[str, Any]:
    """This process, as a run row keeps it."""
    place = {"host": socket.gethostname(), "machine": _machine(), "boot_id": _boot_id(), "pids": _pids()}
    return {**place, "pid": os.getpid(), "start": _start_of(os.getpid())}


def is_dead(holder: dict[str, Any]) -> bool | None:
    """True: certainly gone. False: alive. None: on another machine, or in a container whose processes we do not see;
    only its heartbeat can tell."""
    if holder.get("host") != socket.gethostname() or holder.get("machine", _machine()) != _machine():
        return None
    if holder.get("boot_id") != _boot_id():
        return True if _machine() else None
    if holder.get("pids", _pids()) != _pids():
        return None
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return None
    start = _start_of(pid)
    return start is None or start != holder.get("start")
