"""The user's and the system's ssh files, as the ssh driver reads them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from drivers.ssh_types import SshEndpoint, SshFiles
from opsconsole.cli.doctor.finding import Finding, Place

_HOST_LINE = re.compile(r"^\s*host\s*[\s=]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_MOST_HOSTS = 200


def ssh(place: Place) -> Iterator[Finding]:
    """Readable config, options we pass over, known hosts, and something to log in with."""
    files = SshFiles.of_system(place.user_home, own=place.home / "known_hosts")
    present = [path for path in files.config if path.exists()]
    unreadable = [path for path in present if not os.access(path, os.R_OK)]
    for path in unreadable:
        yield Finding("ssh config", "fail", f"{path} cannot be read", f"give this user the right to read {path}")
    if not unreadable:
        yield from _options(files, present)
    known = [path for path in (*files.known_hosts, files.own_known_hosts) if path.exists()]
    lines = sum(1 for path in known for line in _text(path).splitlines() if line.strip() and line[:1] != "#")
    if lines:
        yield Finding("known hosts", "ok", f"{lines} keys in {', '.join(str(path) for path in known)}")
    else:
        yield Finding("known hosts", "warn", "no host key is known", "accept keys in the console, or with hosts.trust")
    yield _login(files.identities)


def _options(files: SshFiles, present: list[Path]) -> Iterator[Finding]:
    from drivers import ssh_config
    from drivers.errors import DriverError

    names = [name for path in present for line in _HOST_LINE.findall(_text(path)) for name in line.split()]
    plain = [name for name in dict.fromkeys(names) if not set("*?!") & set(name)][:_MOST_HOSTS]
    ignored: dict[str, list[str]] = {}
    try:
        for name in plain or ["localhost"]:
            for option in ssh_config.load(SshEndpoint(name), None, files).ignored:
                ignored.setdefault(option, []).append(name)
    except DriverError as error:
        yield Finding("ssh config", "fail", f"{error.tried}: {error.message}", error.remedy)
        return
    where = ", ".join(str(path) for path in present) or "no ssh_config"
    yield Finding("ssh config", "ok", f"{where}: {len(plain)} hosts by name")
    for option, hosts in sorted(ignored.items()):
        shown = ", ".join(hosts[:3]) + (" and more" if len(hosts) > 3 else "")
        yield Finding("ssh config", "warn", f"{option} is passed over ({shown})", "do not rely on it here")


def _login(identities: tuple[Path, ...]) -> Finding:
    keys = [path for path in identities if path.exists()]
    agent = os.environ.get("SSH_AUTH_SOCK")
    if agent:
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(2)
                peer.connect(agent)
            return Finding("ssh login", "ok", "an ssh-agent answers")
        except OSError as error:
            said = f"SSH_AUTH_SOCK names {agent}, which does not answer ({error.strerror or error})"
            return Finding("ssh login", "warn", said, "start a new agent, or unset SSH_AUTH_SOCK")
    if keys:
        return Finding("ssh login", "ok", f"{', '.join(path.name for path in keys)}; no agent")
    return Finding(
        "ssh login", "warn", "neither an agent nor a key file", "make a key with ssh-keygen, or add a credential"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
