"""Plain sshd processes on loopback, each with an address and a host key of its own, logging in to this machine.

There is no systemd behind them where the tests run in a container: they are the hosts without systemd.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.packages import SSHD, LabMissing, ensure, need_root, run, take_slot

ACCOUNT = "opslabssh"
_PORT = 2222
_CONFIG = """\
ListenAddress {address}:{port}
HostKey {directory}/hk
PidFile none
AuthorizedKeysFile {farm}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 100:30:300
MaxSessions {sessions}
PrintMotd no
PrintLastLog no
LogLevel INFO
Subsystem sftp internal-sftp
SetEnv LAB_NODE={name} SHLVL=2
{more}
"""


@dataclass
class Node:
    """One sshd. `known_hosts` is the line to know it by."""

    name: str
    address: str
    port: int
    directory: Path
    user: str
    key: Path
    known_hosts: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "/usr/sbin/sshd",
                    "-D",
                    "-e",
                    "-f",
                    str(self.directory / "sshd_config"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LabMissing(f"sshd: {(self.directory / 'log').read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the listener and every session of it."""
        if self.process is None:
            return
        for pid in _children(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def stop_listening(self) -> None:
        """New connections are refused; the open ones go on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def cut(self) -> int:
        """Kill the sessions that are open now, as a broken network would; the listener goes on. Says how many."""
        assert self.process is not None
        sessions = _children(self.process.pid)
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        return len(sessions)

    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), timeout=1).close()
            return True
        return False


class SshFarm:
    """`node()` gives one more host; all end with `close()`. Addresses are 127.20.x.y, one x per process."""

    def __init__(self) -> None:
        need_root()
        ensure(SSHD)
        self._net, self._lock = take_slot("farm")
        # Not below LAB_DIR: every directory above must be open to the account that logs in.
        self.directory = Path(tempfile.gettempdir()) / f"opsconsole-sshd-{self._net}"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o755)
        self.user = account()
        self.key = self.directory / "id"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        shutil.copy(self.key.with_suffix(".pub"), self.directory / "authorized_keys")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.nodes: list[Node] = []

    def node(self, *, sessions: int = 100, more: str = "") -> Node:
        """A new sshd, running. `more` is appended to its configuration."""
        number = len(self.nodes) + 1
        directory = self.directory / f"n{number}"
        directory.mkdir()
        node = Node(f"n{number}", f"127.20.{self._net}.{number}", _PORT, directory, self.user, self.key)
        self.nodes.append(node)
        self.new_host_key(node)
        values = {"address": node.address, "port": node.port, "directory": directory, "farm": self.directory}
        config = _CONFIG.format(**values, name=node.name, sessions=sessions, more=more)
        (directory / "sshd_config").write_text(config, "ascii")
        node.start()
        return node

    def new_host_key(self, node: Node) -> None:
        """As after a reinstallation; takes effect with the next start."""
        for stale in node.directory.glob("hk*"):
            stale.unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node.name, "-f", str(node.directory / "hk"))
        public = (node.directory / "hk.pub").read_text("ascii").split()
        node.known_hosts = f"[{node.address}]:{node.port} {public[0]} {public[1]}"

    def close(self) -> None:
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()


def account() -> str:
    """A login without password and with a plain shell; `*`, as sshd refuses an account locked by `!`."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT).pw_name
    run(
        "useradd",
        "--system",
        "--no-create-home",
        "--home-dir",
        "/",
        "--shell",
        "/bin/sh",
        "-p",
        "*",
        ACCOUNT,
        check=False,
    )
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError:
        raise LabMissing(f"cannot make the user {ACCOUNT}") from None


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = [int(word) for word in (task / "children").read_text("ascii").split()]
            found += [other for child in children for other in (child, *_children(child))]
    return found
