"""Who sits at the keyboard, as the kernel knows it: never from an environment variable.

Run directly, it is the login of the process. Run through sudo as a service account, it is the user who called sudo:
the login uid that sshd's PAM session fixed, else the owner of the nearest process above the root-owned `sudo`.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from opsconsole.engine.errors import NotSignedIn

_UNSET_LOGINUID = 4294967295
_MAX_ANCESTORS = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """`username` is the operator; `account` the account the process runs as; `source` the peer address of his ssh
    session when the kernel's process tree shows one, else `local`; `login` the operator who came with a token,
    which may be another user's. `token` is the hash of that token, good until `until`."""

    username: str
    account: str
    through_sudo: bool
    source: str = "local"
    login: str | None = None
    token: str | None = field(default=None, repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    name: str
    uids: tuple[int, ...]


def who(proc: Path = Path("/proc"), *, pid: int | None = None) -> Identity:
    """The operator behind process `pid` (default: this one). NotSignedIn when sudo hides him."""
    start = _process(proc, pid if pid is not None else os.getpid())
    if start is None:
        return Identity(_name(os.getuid()), _name(os.getuid()), through_sudo=False)
    account = _name(start.uids[1])
    ancestors = _ancestors(proc, start)
    sudo = next((i for i, p in enumerate(ancestors) if p.name == "sudo" and p.uids[1] == 0), None)
    if sudo is None:
        return Identity(account, account, through_sudo=False, source=_source())
    above = next((p.uids[0] for p in ancestors[sudo + 1 :] if p.name != "sudo" and p.uids[0] != 0), None)
    login = _login_uid(proc, start.pid)
    operator = login if login is not None else above
    if operator is None:
        operator = 0
    return Identity(_name(operator), account, through_sudo=True, source=_source())


def came_by_ssh(proc: Path = Path("/proc")) -> bool:
    """Whether an ssh server is among the processes above us: then its machine's network carries this session."""
    start = _process(proc, os.getpid())
    above = _ancestors(proc, start) if start is not None else []
    return any(process.name.startswith(("sshd", "dropbear")) for process in above)


def _process(proc: Path, pid: int) -> _Process | None:
    try:
        text = (proc / str(pid) / "status").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    uids = tuple(int(part) for part in fields["Uid"].split())
    return _Process(pid, int(fields["PPid"]), fields["Name"].strip(), uids)


def _ancestors(proc: Path, start: _Process) -> list[_Process]:
    found: list[_Process] = []
    parent = start.parent
    while parent > 0 and len(found) < _MAX_ANCESTORS:
        process = _process(proc, parent)
        if process is None:
            break
        found.append(process)
        parent = process.parent
    return found


def _login_uid(proc: Path, pid: int) -> int | None:
    try:
        value = int((proc / str(pid) / "loginuid").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if value == _UNSET_LOGINUID else value


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise NotSignedIn(reason=f"the user id {uid} has no name on this machine; ask its administrator") from None


def _source() -> str:
    """Where the session came from, for the record only: nothing is decided by it."""
    peer = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    return peer if peer and all(c in "0123456789abcdefABCDEF.:%" for c in peer) else "local"
