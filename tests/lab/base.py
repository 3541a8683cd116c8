"""The read-only tree all systemd guests boot from: built once per machine, kept between runs, shared by processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from tests.lab import units
from tests.lab.packages import GUESTS, LAB_DIR, LabMissing, archive, ensure, locked, need_root, run

_INCLUDE = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "procps", "sudo", "python3",
    "libpam-systemd",
)  # fmt: skip
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
UseDNS no
MaxStartups 200:30:400
MaxSessions 20
PasswordAuthentication yes
KbdInteractiveAuthentication no
"""
_SUDOERS = "admin1 ALL=(root) NOPASSWD: /usr/bin/systemctl, /usr/bin/journalctl, /usr/bin/systemd-run\n"
PASSWORDS = {"pwuser": "lab-Pass 1"}
USERS = {"ops": "", "admin1": "", "reader": "systemd-journal", "pwuser": ""}
"""Accounts and their groups: `ops` may nothing, `admin1` has sudo for three programs, `reader` reads the journal."""


def base_tree() -> Path:
    """The tree, built now if it is not there (about a minute). Raises `LabMissing`."""
    need_root()
    ensure(GUESTS)
    codename, mirror = archive()
    sources = [Path(__file__).read_bytes(), Path(units.__file__).read_bytes()]
    version = hashlib.sha256(b"".join(sources)).hexdigest()[:10]
    tree = LAB_DIR / f"base-{codename}-{version}"
    if tree.is_dir():
        return tree
    with locked("base"):
        if not tree.is_dir():
            _build(tree, codename, mirror)
    return tree


def _build(tree: Path, codename: str, mirror: str) -> None:
    packages = LAB_DIR / f"debootstrap-{codename}-{hashlib.sha256(repr(_INCLUDE).encode()).hexdigest()[:10]}"
    building = LAB_DIR / f"building-{os.getpid()}"
    for stale in LAB_DIR.glob("building-*"):
        shutil.rmtree(stale)
    try:
        if not packages.is_dir():
            include = f"--include={','.join(_INCLUDE)}"
            run("debootstrap", "--variant=minbase", include, codename, str(building), mirror, timeout=1200)
            for stale in [*building.glob("var/cache/apt/archives/*.deb"), *building.glob("var/lib/apt/lists/*_*")]:
                stale.unlink()
            building.rename(packages)
        run("cp", "-a", "--reflink=auto", str(packages), str(building), timeout=300)
        _configure(building)
        building.rename(tree)
    except OSError as error:
        raise LabMissing(f"cannot build the guests' tree: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for stale in LAB_DIR.glob(f"base-{codename}-*"):
        # Another checkout may be running its guests from a younger one.
        if stale != tree and time.time() - stale.stat().st_ctime > 86400:
            shutil.rmtree(stale, ignore_errors=True)


def _configure(root: Path) -> None:
    (root / "etc/machine-id").write_text("", "ascii")
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    (root / "etc/ssh/sshd_config.d/lab.conf").write_text(_SSHD, "ascii")
    for name, groups in USERS.items():
        extra = ["-G", groups] if groups else []
        run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "-p", "*", *extra, name)
    for name, password in PASSWORDS.items():
        run("chroot", str(root), "sh", "-c", f"echo '{name}:{password}' | chpasswd")
    sudoers = root / "etc/sudoers.d/lab"
    sudoers.write_text(_SUDOERS, "ascii")
    sudoers.chmod(0o440)
    system = root / "etc/systemd/system"
    for name, text in units.UNITS.items():
        (system / name).write_text(text, "utf-8")
    wants = system / "multi-user.target.wants"
    for name in units.ENABLED:
        (wants / name).symlink_to(f"/etc/systemd/system/{name}")
    for name in units.ENABLED_INSTANCES:
        (wants / name).symlink_to("/etc/systemd/system/work@.service")
    (system / units.MASKED).symlink_to("/dev/null")
    (root / "etc/labwork").mkdir()
    (root / "etc/labwork/fromconfig.conf").write_text("", "ascii")
