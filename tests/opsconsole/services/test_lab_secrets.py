"""A password used for real, and nowhere in clear: not in the home, not in a log, not in argv or environment."""
# ruff: noqa: ASYNC220, ASYNC251  (nothing else runs in these loops)

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.base import PASSWORDS
from tests.lab.guests import Guest
from tests.opsconsole.services.conftest import MakeDesk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
PROGRAM = str(Path(sys.executable).with_name("opsconsole"))
USER, PASSWORD = next(iter(PASSWORDS.items()))
PASSPHRASE = "a long Passphrase 7"


def run(*words: str, given: str = "", fd: str | None = None) -> subprocess.CompletedProcess[str]:
    if fd is None:
        return subprocess.run([PROGRAM, *words], input=given, capture_output=True, text=True, timeout=90, check=False)
    reading, writing = os.pipe()
    os.write(writing, f"{fd}\n".encode())
    os.close(writing)
    try:
        return subprocess.run(
            [PROGRAM, *words, "--passphrase-fd", str(reading)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False, pass_fds=(reading,),
        )  # fmt: skip
    finally:
        os.close(reading)


def in_clear(secret: str, home: Path) -> list[str]:
    """Where a secret can be read: files of the home, command lines and environments of every process but ours."""
    wanted = secret.encode()
    places = [str(path) for path in home.rglob("*") if path.is_file() and wanted in path.read_bytes()]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            for part in ("cmdline", "environ"):
                try:
                    if wanted in (process / part).read_bytes():
                        places.append(str(process / part))
                except OSError:
                    continue
    return places


async def test_a_password_opens_a_host_and_is_nowhere_in_clear(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    await desk.add("byword", guest_a.address, user=USER)
    home = desk.house.home
    (desk.house.home.parent / "user" / ".ssh" / "config").write_text("Host *\n  IdentityFile none\n")
    made = run(
        "access", "credentials", "create", "lab", "password", "--username", USER, "--password-stdin", given=PASSWORD
    )
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    assert run("hosts", "set-credential", "byword", "lab").returncode == 0
    listing = subprocess.Popen(
        [PROGRAM, "services", "journal", "follow", "--host", "byword"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1.5)
        assert in_clear(PASSWORD, home) == []
    finally:
        listing.terminate()
        listing.wait(10)
    listed = run("services", "list", "--host", "byword")
    assert listed.returncode == 0, listed.stderr
    assert any(row["name"] == "work" for row in json.loads(listed.stdout)["services"])
    for shown in (run("access", "credentials", "list"), run("runs", "list"), run("audit", "records", "list")):
        assert shown.returncode == 0, shown.stderr
        assert PASSWORD not in shown.stdout
    assert in_clear(PASSWORD, home) == []


async def test_locked_secrets_let_read_and_say_how_to_go_on(desks: MakeDesk, guest_a: Guest) -> None:
    desk = await desks(guest_a)
    await desk.add("byword", guest_a.address, user=USER)
    home = desk.house.home
    run("access", "credentials", "create", "lab", "password", "--username", USER, "--password-stdin", given=PASSWORD)
    run("hosts", "set-credential", "byword", "lab")
    wrapped = run("secrets", "passphrase", fd=PASSPHRASE)
    assert wrapped.returncode == 0, wrapped.stderr
    assert not (home / "key").exists()
    locked = run("services", "list", "--host", "byword")
    assert locked.returncode == 5
    assert json.loads(locked.stderr)["error"]["code"] == "secrets_locked"
    assert run("hosts", "list").returncode == 0
    assert run("services", "list", "--host", "a").returncode == 0
    try:
        unlocked = run("unlock", "--ttl", "60", fd=PASSPHRASE)
        assert unlocked.returncode == 0, unlocked.stderr
        assert run("services", "list", "--host", "byword").returncode == 0
        assert in_clear(PASSPHRASE, home) == []
        assert in_clear(PASSWORD, home) == []
    finally:
        run("lock")
    assert run("services", "list", "--host", "byword").returncode == 5
