from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import keyagent
from data.errors import SecretsLocked
from data.keyagent import agent_status, fetch_key, forget, start_agent
from data.keyring import KeyRing

KEY = bytes(range(100, 132))
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(params=["short", "long"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path if request.param == "short" else tmp_path / ("d" * 100) / ("e" * 100)
    path.mkdir(parents=True, exist_ok=True)
    yield path
    forget(path)


def ended(pid: int) -> bool:
    """The process is gone, or dead and only waits for its parent's notice."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_the_key_is_held_and_forgotten(home: Path) -> None:
    assert fetch_key(home) is None
    assert agent_status(home) is None
    assert not forget(home)
    status = start_agent(home, KEY, 60)
    assert 50 < status.expires_in <= 60
    assert fetch_key(home) == KEY
    assert forget(home)
    assert fetch_key(home) is None
    assert ended(status.pid)


def test_the_agent_ends_by_itself(home: Path) -> None:
    status = start_agent(home, KEY, 0.3)
    assert ended(status.pid)
    assert fetch_key(home) is None
    assert [path.name for path in (home / "run").iterdir()] == ["key.lock"]


def test_a_new_agent_takes_the_place_of_the_old(home: Path) -> None:
    first = start_agent(home, KEY, 60)
    second = start_agent(home, bytes(32), 60)
    assert fetch_key(home) == bytes(32)
    assert first.pid != second.pid
    assert ended(first.pid)


def test_nothing_of_the_key_is_in_sight(home: Path) -> None:
    status = start_agent(home, KEY, 60)
    process = Path(f"/proc/{status.pid}")
    assert KEY not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert KEY.hex().encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"OPSCONSOLE" not in (process / "environ").read_bytes()
    assert os.getsid(status.pid) != os.getsid(0)
    assert stat.S_IMODE((home / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "run" / "key.sock").stat().st_mode) == 0o600


def test_it_is_not_our_child_and_survives_us(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from data.keyagent import start_agent;"
        "print(start_agent(Path(sys.argv[1]), bytes(range(100, 132)), 60).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, check=True, text=True, timeout=30
    )
    assert fetch_key(tmp_path) == KEY
    status = agent_status(tmp_path)
    assert status is not None
    assert status.pid == int(done.stdout)
    forget(tmp_path)


ASK_AS_ANYBODY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    try:
        client.sendall(b"GET\\n")
        print("got", len(client.recv(100)))
    except (BrokenPipeError, ConnectionResetError):
        print("got 0")
"""


def test_another_user_gets_nothing() -> None:
    """Even when every mode on the way to the socket lets him through."""
    if os.geteuid() != 0:
        pytest.skip("changing the user needs root")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        home = Path(name)
        start_agent(home, KEY, 60)
        address = home / "run" / "key.sock"
        for path, mode in ((home, 0o755), (home / "run", 0o755), (address, 0o666)):
            path.chmod(mode)
        asked = subprocess.run(
            [*AS_NOBODY, "/usr/bin/python3", "-c", ASK_AS_ANYBODY, str(address)],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert asked.stdout == "got 0\n"
        assert fetch_key(home) == KEY
        forget(home)


def test_an_agent_of_another_user_is_not_believed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_agent(home, KEY, 60)
    with monkeypatch.context() as patch:
        patch.setattr(keyagent, "_peer_uid", lambda _: os.geteuid() + 1)
        assert fetch_key(home) is None


def test_a_silent_or_rude_client_does_not_stop_it(tmp_path: Path) -> None:
    start_agent(tmp_path, KEY, 60)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
        silent.connect(str(tmp_path / "run" / "key.sock"))
        rude.connect(str(tmp_path / "run" / "key.sock"))
        rude.sendall(b"\xff" * 5000)
        assert fetch_key(tmp_path) == KEY
    forget(tmp_path)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run" / "key.sock"))
    assert fetch_key(tmp_path) is None
    start_agent(tmp_path, KEY, 60)
    assert fetch_key(tmp_path) == KEY
    forget(tmp_path)


def test_an_agent_that_cannot_start_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run" / "key.sock").mkdir(parents=True)
    with pytest.raises(SecretsLocked, match="did not start"):
        start_agent(tmp_path, KEY, 60)


@pytest.mark.parametrize(("key", "ttl"), [(b"short", 60), (KEY, 0), (KEY, -1), (KEY, 10**9)])
def test_nonsense_is_refused(tmp_path: Path, key: bytes, ttl: float) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        start_agent(tmp_path, key, ttl)


def test_the_ring_asks_the_agent(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    key = ring.data_key()
    ring.to_passphrase("secret")
    start_agent(tmp_path, ring.unlock("secret"), 60)
    assert ring.data_key() == key
    forget(tmp_path)
    with pytest.raises(SecretsLocked):
        ring.data_key()
