"""Real systemd as PID 1, with sshd, in namespaces of its own; any number of guests, side by side with other runs.

Every test process owns a numbered slot (a file lock): its bridge, subnet, namespaces and directories carry the number,
so a new owner can clear away whatever a killed one left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.base import USERS, base_tree
from tests.lab.packages import LAB_DIR, LabMissing, need_root, run, take_slot

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_WANTED = 8192
_MANY = 10
_BOOT = r"""
set -e
for h in $HIERARCHIES; do echo $$ > $h/$NAME/cgroup.procs; done
mkdir -p /run/systemd/nspawn; mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o lowerdir=$BASE,upperdir=$DISK/upper,workdir=$DISK/work $DISK/root
exec systemd-nspawn -q -D $DISK/root -M $NAME --hostname=$GUEST --register=no --keep-unit --boot --console=pipe \
  --network-namespace-path=/run/netns/$NAME --capability=CAP_NET_ADMIN --resolv-conf=off $BINDS systemd.show_status=1
"""


def _program() -> list[Path]:
    """What a guest needs to run this very program itself: the tree, its environment, and a Python not of the system."""
    places = [Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)]
    return [path for index, path in enumerate(places) if not path.is_relative_to("/usr") and path not in places[:index]]


def _hierarchies() -> list[Path]:
    top = Path("/sys/fs/cgroup")
    return (
        [top]
        if (top / "cgroup.procs").exists()
        else [path for path in (top / "systemd", top / "unified") if path.is_dir()]
    )


@dataclass
class Guest:
    """One machine. `key` is a private key file every user of it accepts; `known_hosts` the line to know it by."""

    name: str
    address: str
    lab: GuestLab = field(repr=False)
    known_hosts: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        return 22

    @property
    def key(self) -> Path:
        return self.lab.key

    @property
    def disk(self) -> Path:
        return self.lab.directory / self.name

    @property
    def unique(self) -> str:
        """Name of its namespace, link and cgroup on this machine."""
        return f"opsl{self.lab.slot}{self.name}"

    def start(self) -> None:
        """Boot and wait until it is up (`running`, or `degraded`, as units made to fail are there)."""
        self.lab.boot(self)

    def stop(self) -> None:
        """Orderly shutdown; the disk stays."""
        self.lab.end(self, signal.SIGTERM)

    def kill(self) -> None:
        """Power loss; the disk stays."""
        self.lab.end(self, signal.SIGKILL)

    def ssh(self, command: str, *, user: str = "root", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """OpenSSH's own client, as an independent witness."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        argv = ["ssh", "-F", "none", "-i", str(self.key), *options, "-o", "BatchMode=yes", f"{user}@{self.address}"]
        return subprocess.run(
            [*argv, command], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )

    def sh(self, command: str, *, timeout: float = 60) -> str:
        """stdout of a command as root; a failure is an error."""
        done = self.ssh(command, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {command}: status {done.returncode}: {done.stderr}")
        return done.stdout


class GuestLab:
    """The slot of this process: a bridge with a subnet, and the guests on it."""

    def __init__(self) -> None:
        need_root()
        self.base = base_tree()
        self.slot, self._lock = take_slot("slot")
        self.directory = LAB_DIR / f"slot{self.slot}"
        self.key = self.directory / "id_ed25519"
        self.bridge = f"opslab{self.slot}"
        self.guests: dict[str, Guest] = {}
        self._clean()
        self.directory.mkdir(parents=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self._old_inotify: str | None = None
        try:
            run("ip", "link", "add", self.bridge, "type", "bridge")
            run("ip", "addr", "add", self.address(1) + "/24", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
        except LabMissing:
            self.close()
            raise

    def address(self, host: int) -> str:
        return f"10.77.{self.slot}.{host}"

    def dead_address(self) -> str:
        """An address that swallows every packet: a neighbour whose hardware address nobody has."""
        address = self.address(250)
        run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:fa", "dev", self.bridge, "nud", "permanent")
        return address

    def guest(self, name: str) -> Guest:
        """A new guest, booted. `name` is at most 6 letters or digits."""
        if len(self.guests) == _MANY:
            self._old_inotify = _raise_inotify()
        guest = Guest(name, self.address(len(self.guests) + 10), self)
        self.guests[name] = guest
        upper = guest.disk / "upper"
        for part in ("upper/etc/ssh", "work", "root"):
            (guest.disk / part).mkdir(parents=True, exist_ok=True)
        (upper / "etc/hostname").write_text(f"{name}\n", "ascii")
        host_key = upper / "etc/ssh/ssh_host_ed25519_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(host_key))
        public = host_key.with_suffix(".pub").read_text("ascii").split()
        guest.known_hosts = f"{guest.address} {public[0]} {public[1]}"
        self._authorize(upper)
        guest.start()
        return guest

    def _authorize(self, upper: Path) -> None:
        homes = {"root": upper / "root"} | {name: upper / "home" / name for name in USERS}
        for name, home in homes.items():
            status = (self.base / home.relative_to(upper)).stat()
            ssh = home / ".ssh"
            ssh.mkdir(parents=True)
            shutil.copy(self.key.with_suffix(".pub"), ssh / "authorized_keys")
            for path in (home, ssh, ssh / "authorized_keys"):
                os.chown(path, status.st_uid, status.st_gid)
                path.chmod(0o600 if path.is_file() else 0o700)
            if name != "root":
                (upper / "home").chmod(0o755)

    def boot(self, guest: Guest) -> None:
        unique = guest.unique
        run("ip", "netns", "add", unique)
        run("ip", "link", "add", unique, "type", "veth", "peer", "name", "host0", "netns", unique)
        run("ip", "link", "set", unique, "master", self.bridge, "up")
        run("ip", "-n", unique, "addr", "add", guest.address + "/24", "dev", "host0")
        run("ip", "-n", unique, "link", "set", "host0", "up")
        run("ip", "-n", unique, "link", "set", "lo", "up")
        for hierarchy in _hierarchies():
            (hierarchy / unique).mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "NAME": unique,
            "GUEST": guest.name,
            "DISK": str(guest.disk),
            "BASE": str(self.base),
            "BINDS": " ".join(f"--bind-ro={path}" for path in _program()),
            "HIERARCHIES": " ".join(map(str, _hierarchies())),
        }
        with (guest.disk / "console.log").open("ab") as log:
            guest.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "--propagation", "private", "sh", "-c", _BOOT],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._wait(guest)

    def _wait(self, guest: Guest) -> None:
        deadline = time.monotonic() + 60
        while not _answers(guest.address, guest.port):
            ended = guest.process is None or guest.process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = (guest.disk / "console.log").read_text("utf-8", "replace")[-500:]
                raise LabMissing(f"guest {guest.name} does not boot: {said}")
            time.sleep(0.02)
        state = guest.ssh("systemctl is-system-running --wait").stdout.strip()
        if state not in ("running", "degraded"):
            raise LabMissing(f"guest {guest.name} is {state or 'silent'} after its boot")

    def end(self, guest: Guest, how: signal.Signals) -> None:
        if guest.process is not None:
            guest.process.send_signal(how)
            try:
                guest.process.wait(30)
            except subprocess.TimeoutExpired:
                guest.process.kill()
                guest.process.wait(10)
            guest.process = None
        _forget(guest.unique)

    def close(self) -> None:
        """End all guests and take everything away that was made."""
        for guest in self.guests.values():
            guest.kill()
        self._clean()
        if self._old_inotify is not None:
            _INOTIFY.write_text(self._old_inotify, "ascii")
        self._lock.close()

    def _clean(self) -> None:
        prefix = f"opsl{self.slot}"
        names = {path.name for path in Path("/run/netns").glob(f"{prefix}[a-z]*")}
        names.update(path.name for top in _hierarchies() for path in top.glob(f"{prefix}[a-z]*"))
        for name in names:
            _forget(name)
        run("ip", "link", "del", self.bridge, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def _raise_inotify() -> str | None:
    """Every guest needs a few instances; the usual 128 end at about 22 guests."""
    old = _INOTIFY.read_text("ascii").strip()
    if int(old) >= _INOTIFY_WANTED:
        return None
    _INOTIFY.write_text(str(_INOTIFY_WANTED), "ascii")
    return old


def _answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _forget(unique: str) -> None:
    """Kill what is left in its cgroups, and take cgroups, namespace and link away."""
    for hierarchy in _hierarchies():
        top = hierarchy / unique
        deadline = time.monotonic() + 5
        while top.is_dir() and time.monotonic() < deadline:
            left = list(_processes(top))
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for path in sorted(_directories(top), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
            if left:
                time.sleep(0.02)
    if (Path("/run/netns") / unique).exists():
        run("ip", "netns", "del", unique, check=False)
    if (Path("/sys/class/net") / unique).exists():
        run("ip", "link", "del", unique, check=False)


def _directories(top: Path) -> list[Path]:
    """It and all below; cgroups that vanish while we look are left out."""
    return [Path(path) for path, _, _ in os.walk(top)]


def _processes(top: Path) -> Iterator[int]:
    for directory in _directories(top):
        path = directory / "cgroup.procs"
        with contextlib.suppress(OSError):
            yield from (int(pid) for pid in path.read_text("ascii").split() if int(pid) > 0)
