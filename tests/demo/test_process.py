"""The demo as a program: it starts, leaves nothing behind however it ends, and touches nothing of the user's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opsconsole.demo import place

WAIT = 90.0
Run = Callable[..., subprocess.Popen[bytes]]


def program(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "opsconsole", *words]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home of somebody whose ssh files would break every connection, and whose console has a home of its own."""
    home = tmp_path / "user"
    ssh = home / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    (ssh / "config").write_text("Host *\n  ProxyCommand /bin/false\n  User nobody\n")
    (ssh / "known_hosts").write_text(
        "* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    )
    (ssh / "id_ed25519").write_text("not a key\n")
    (home / "console").mkdir()
    (home / "tmp").mkdir()
    return home


@pytest.fixture
def run(user: Path) -> Iterator[Run]:
    """Start the program as that user; what still runs at the end is ended."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*words: str, **options: object) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "HOME": str(user),
            "OPSCONSOLE_HOME": str(user / "console"),
            "OPSCONSOLE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "SSH_AUTH_SOCK": str(user / "agent"),
            "TMPDIR": str(user / "tmp"),
        }
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(program(*words), env=environment, **(pipes | options))  # type: ignore[call-overload]
        children.append(child)
        return child  # type: ignore[no-any-return]

    yield start
    for child in children:
        if child.poll() is None:
            child.terminate()
            child.wait(WAIT)


def served(child: subprocess.Popen[bytes]) -> Path:
    """The home a `demo --serve` prints."""
    assert child.stdout is not None
    first = child.stdout.readline().decode()
    assert first.startswith("export OPSCONSOLE_HOME="), first
    assert child.stdout.readline() == b"unset OPSCONSOLE_DATABASE_URL\n"
    return Path(first.strip().partition("=")[2])


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file with size and time of its last change."""
    found = {path: path.lstat() for path in directory.rglob("*") if "tmp" not in path.relative_to(directory).parts}
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found.items()}


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_headless_commands_use_it_and_nothing_of_the_user_is_touched(run: Run, user: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(user / "agent"))
        agent.listen()
        agent.setblocking(False)
        before = listing(user)
        serving = run("demo", "--serve")
        home = served(serving)
        assert home.stat().st_mode & 0o777 == 0o700
        patient = (home / "settings.toml").read_text().replace("snapshot_timeout = 10.0", "snapshot_timeout = 60.0")
        (home / "settings.toml").write_text(patient)
        elsewhere = os.environ | {"HOME": str(user), "OPSCONSOLE_HOME": str(home), "SSH_AUTH_SOCK": str(user / "agent")}
        asked = [
            subprocess.run(program(*words), env=elsewhere, capture_output=True, timeout=WAIT, check=False)
            for words in (
                ["services", "get", "nginx", "--host", "web-1"],
                ["services", "restart", "nginx", "--host", "dev-app-1", "--confirm", "yes"],
                ["services", "get", "nginx", "--host", "web-4"],
            )
        ]
        assert [done.returncode for done in asked] == [0, 0, 6], [done.stderr for done in asked]
        assert json.loads(asked[0].stdout)["status"] == "started"
        serving.terminate()
        assert serving.wait(WAIT) == 0
        assert not home.exists()
        assert listing(user) == before
        with pytest.raises(BlockingIOError):
            agent.accept()


def test_a_killed_demo_takes_fleet_and_directory_with_it(run: Run) -> None:
    serving = run("demo", "--serve")
    home = served(serving)
    (server,) = children_of(serving.pid)
    serving.kill()
    serving.wait(WAIT)
    until(lambda: gone(server), "the fleet ends")
    assert not home.exists()


def test_a_fleet_that_dies_is_reported(run: Run) -> None:
    serving = run("demo", "--serve")
    home = served(serving)
    (server,) = children_of(serving.pid)
    os.kill(server, signal.SIGKILL)
    _, said = serving.communicate(timeout=WAIT)
    assert serving.returncode == 1
    assert "ended by itself" in json.loads(said.splitlines()[-1])["error"]["message"]
    assert not home.exists()


def test_serving_read_only(run: Run) -> None:
    home = served(run("demo", "--serve", "--readonly"))
    done = subprocess.run(
        program("services", "start", "nginx", "--host", "web-1"),
        env=os.environ | {"OPSCONSOLE_HOME": str(home)},
        capture_output=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 3, done.stderr


def test_wrong_words_and_help(run: Run, user: Path) -> None:
    wrong = run("demo", "--what")
    assert json.loads(wrong.communicate(timeout=WAIT)[1])["error"]["field"] == "--what"
    assert wrong.returncode == 2
    assert b"--serve" in run("demo", "--help").communicate(timeout=WAIT)[0]
    assert list((user / "tmp").iterdir()) == []


def test_a_captive_console_has_no_demo(run: Run, user: Path) -> None:
    (user / "console" / "settings.toml").write_text("captive = true\n")
    refused = run("demo", "--serve")
    assert json.loads(refused.communicate(timeout=WAIT)[1])["error"]["code"] == "not_supported"
    assert refused.returncode == 2


def test_only_our_own_directories_are_removed_and_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    place.remove(tmp_path)
    place.remove(tmp_path / f"{place.PREFIX}missing")
    assert (tmp_path / "file").exists()
    home = place.make()
    place.remove(home)
    assert not home.exists()
    home = place.make()
    (home / "log").mkdir()
    (home / "log" / "errors.log").touch()
    (home / "backups").mkdir()
    place.remove(home)
    assert [path.name for path in home.rglob("*")] == ["log", "errors.log"]


@pytest.mark.parametrize("words", [(), ("--ascii",)], ids=["plain", "ascii"])
def test_the_console_shows_it_and_cleans_up(run: Run, user: Path, words: tuple[str, ...]) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    console = run("demo", *words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = bytearray()

    def shows(word: bytes) -> bool:
        with contextlib.suppress(OSError):
            if select.select([master], [], [], 0.05)[0]:
                seen.extend(os.read(master, 65536))
        return word in seen

    try:
        until(lambda: shows(b"apparmor"), "rows of the fleet")
        assert len(list((user / "tmp").glob(f"{place.PREFIX}*"))) == 1
        if words:
            seen.decode("ascii")
        os.write(master, b"q")
        until(lambda: shows(b"\x1b[?1049l") and console.poll() is not None, "the end")
    finally:
        os.close(master)
    assert console.returncode == 0
    assert list((user / "tmp").glob(f"{place.PREFIX}*")) == []
