"""What the lab needs from the system: root, Debian or Ubuntu, namespaces, and packages, installed when missing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LAB_DIR = Path(os.environ.get("OPSCONSOLE_LAB_DIR", "/var/cache/opsconsole-lab"))
GUESTS = ("systemd-container", "debootstrap", "iproute2", "openssh-client", "util-linux")
_SLOTS = 64
SSHD = ("openssh-server", "openssh-client")


class LabMissing(Exception):
    """A part of the lab cannot be had here; the text says why."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process of this machine at a time; given back when the process dies."""
    LAB_DIR.mkdir(parents=True, exist_ok=True)
    with (LAB_DIR / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def take_slot(name: str) -> tuple[int, IO[str]]:
    """The lowest number of this name that no living process holds, and the file that holds it while it is open."""
    LAB_DIR.mkdir(parents=True, exist_ok=True)
    for slot in range(_SLOTS):
        lock = (LAB_DIR / f"{name}{slot}.lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot, lock
        lock.close()
    raise LabMissing(f"all {_SLOTS} places of the lab are taken")


def run(*argv: str, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One tool to its end; a failure names it and what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise LabMissing(f"{' '.join(argv[:4])}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done


def need_root() -> None:
    if os.geteuid() != 0:
        raise LabMissing("not root")


def ensure(packages: Sequence[str]) -> None:
    """Install what is missing, when we may."""
    if missing := [name for name in packages if not _installed(name)]:
        need_root()
        if shutil.which("apt-get") is None:
            raise LabMissing(f"not Debian, and without {', '.join(missing)}")
        with locked("apt"):
            _install([name for name in missing if not _installed(name)])


def _installed(name: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    return run("dpkg-query", "-W", "-f", "${db:Status-Status}", name, check=False).stdout == "installed"


def _install(names: list[str]) -> None:
    if not names:
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    options = ["-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]
    for argv in (["apt-get", "update", "-qq"], ["apt-get", "install", *options, *names]):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False, env=environment)
    if done.returncode:
        raise LabMissing(f"apt-get install {' '.join(names)}: {done.stderr.strip()[-300:]}")


def archive() -> tuple[str, str]:
    """`(codename, mirror)` of this machine's own distribution, from its own apt sources."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text("utf-8").splitlines() if "=" in line
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    index = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", check=False)
    for line in index.stdout.splitlines():
        mirror, _, suite = line.partition(" ")
        if suite.strip() == codename and mirror.startswith("http"):
            return codename, mirror
    raise LabMissing(f"no apt source for {codename or 'this system'}")
