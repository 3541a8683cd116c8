"""The directory a demo lives in: made for it, and taken away with it. Nothing of the user's own is read or written."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opsconsole.demo.catalogue import FLEET, Machine

if TYPE_CHECKING:
    import asyncssh

PREFIX = "opsconsole-demo-"
_SETTINGS = """# The demo's own settings.
ssh_files = "home"
connect_timeout = 4.0
snapshot_timeout = 10.0
deadman_seconds = 20
"""
_SSH_CONFIG = """Host *
    IdentityFile "{home}/id_ed25519"
    IdentitiesOnly yes
    IdentityAgent /dev/null
"""


def make(*, read_only: bool = False) -> Path:
    """A private directory with the settings of a demo."""
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    (home / "settings.toml").write_text(_SETTINGS + f"read_only = {str(read_only).lower()}\n", "utf-8")
    return home


def is_ours(home: Path) -> bool:
    """Whether this is a directory `make` made; nothing else is ever removed."""
    return home.name.startswith(PREFIX) and home.is_dir() and home.stat().st_uid == os.geteuid()


def remove(home: Path) -> None:
    """Take the directory away; only reports of bugs stay, whose place somebody was told. May be called by several."""
    import shutil

    if not is_ours(home):
        return
    reports = {home / "log"}
    if not any(path.exists() for path in reports):
        shutil.rmtree(home, ignore_errors=True)
        return
    for path in set(home.iterdir()) - reports:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def bind() -> dict[str, socket.socket]:
    """One socket on a free port of 127.0.0.1 per host. Clients may connect at once and wait until the server takes
    them; on the port of the host that refuses nobody listens, and it stays ours."""
    sockets = {}
    for plan in FLEET:
        sock = sockets[plan.name] = socket.socket()
        sock.bind(("127.0.0.1", 0))
        if plan.way != "refuses":
            sock.listen(64)
    return sockets


def write_keys(home: Path, plans: Mapping[int, Machine], client: asyncssh.SSHKey, host_key: str) -> None:
    """The client's key, and what ssh has to know to use it and to trust the hosts."""
    _private(home / "id_ed25519", client.export_private_key("openssh"))
    config = _SSH_CONFIG.format(home=str(home).replace("%", "%%"))
    _private(home / "ssh_config", config.encode("utf-8", "surrogateescape"))
    known = "".join(f"[127.0.0.1]:{port} {host_key}\n" for port in plans)
    _private(home / "known_hosts", known.encode("ascii"))


def _private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
