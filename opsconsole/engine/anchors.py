"""Heads of the journal kept outside its database, so that a cut tail can be seen.

`file:PATH` appends a line to a file (on another machine's mount), `syslog` sends one to the local syslog, which a site
forwards; `git:PATH` commits one into a work tree. The home keeps the newest head by itself after every write.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import syslog
from pathlib import Path
from typing import Any

from opsconsole.engine.audit_verify import Anchor
from opsconsole.engine.canonical import dumps
from opsconsole.engine.errors import InvalidParameter

_HOME_FILE = "audit.anchor"


def note_at_home(home: Path, *, step: int, last_seq: int, mac: str) -> None:
    """Keep the newest head beside the database. Two writers may come out of order: the higher step stays."""
    path = home / _HOME_FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = _parse(file.read())
        if known is not None and known["step"] >= step:
            return
        file.seek(0)
        file.write(json.dumps({"step": step, "last_seq": last_seq, "mac": mac}) + "\n")
        file.truncate()


def read_home(home: Path) -> list[Anchor]:
    path = home / _HOME_FILE
    known = _parse(path.read_text("utf-8")) if path.exists() else None
    return [] if known is None else [Anchor(str(path), known["step"], known["last_seq"], known["mac"])]


def send(target: str, head: dict[str, Any]) -> None:
    """Write one head to one configured place; InvalidParameter when the place is of no known form."""
    kind, _, rest = target.partition(":")
    line = dumps(head)
    if kind == "file" and rest:
        with Path(rest).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    elif kind == "syslog":
        syslog.openlog("opsconsole", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_NOTICE, f"audit head {line}")
    elif kind == "git" and rest:
        with (Path(rest) / _HOME_FILE).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        git = ["git", "-C", rest, "-c", "user.name=opsconsole", "-c", "user.email=opsconsole@localhost"]
        subprocess.run([*git, "add", _HOME_FILE], check=True, capture_output=True, timeout=30)
        subprocess.run(
            [*git, "commit", "-q", "-m", f"audit head {head['step']}"], check=True, capture_output=True, timeout=30
        )
    else:
        raise InvalidParameter(field="anchors", reason=f"{target!r} is not file:PATH, git:PATH or syslog")


def read(target: str) -> list[Anchor]:
    """What a place still knows (the newest line that can be read); syslog cannot be read back."""
    kind, _, rest = target.partition(":")
    path = {"file": Path(rest), "git": Path(rest) / _HOME_FILE}.get(kind)
    if path is None or not path.exists():
        return []
    known = [parsed for line in path.read_text("utf-8").splitlines() if (parsed := _parse(line)) is not None]
    return [Anchor(target, entry["step"], entry["last_seq"], entry["mac"]) for entry in known[-1:]]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"step", "last_seq", "mac"} <= value.keys() else None
