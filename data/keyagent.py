"""Holds the unlocked data key for a while, so that a passphrase is typed once and not per command.

Run as `python -P -m data.keyagent HOME SECONDS` with the key on standard input. It answers on a 0600 socket to
processes of its own user, and ends by itself. One request per connection: GET, STATUS or FORGET, one line each.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import SecretsLocked

KEY_BYTES = 32
LONGEST_TTL = 7 * 24 * 3600
_PATH_LIMIT = 107
_CLIENT_SECONDS = 3.0
_SERVER_SECONDS = 1.0
_PR_SET_DUMPABLE = 4
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """A living agent: its process id and the seconds it will still hold the key."""

    pid: int
    expires_in: float


def fetch_key(home: Path) -> bytes | None:
    """The key from the agent of `home`, None when there is no agent."""
    answer = _ask(home, b"GET")
    return answer if len(answer) == KEY_BYTES else None


def agent_status(home: Path) -> AgentStatus | None:
    """What the agent of `home` says of itself, None when there is none."""
    answer = _ask(home, b"STATUS")
    if not answer:
        return None
    fields = json.loads(answer)
    return AgentStatus(int(fields["pid"]), float(fields["expires_in"]))


def forget(home: Path) -> bool:
    """End the agent of `home`; True when there was one. Returns after it has gone."""
    there = _ask(home, b"FORGET") == b"OK"
    deadline = time.monotonic() + _CLIENT_SECONDS
    while there and time.monotonic() < deadline:
        try:
            with _alone(home):
                break
        except BlockingIOError:
            time.sleep(0.01)
    return there


def start_agent(home: Path, key: bytes, ttl: float) -> AgentStatus:
    """Start a detached agent that holds `key` for `ttl` seconds, replacing an older one. Raises SecretsLocked."""
    if len(key) != KEY_BYTES or not 0 < ttl <= LONGEST_TTL:
        raise ValueError(f"a key of {KEY_BYTES} bytes and 0 < ttl <= {LONGEST_TTL} s are needed")
    forget(home)
    _directory(home)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "data.keyagent", str(home.resolve()), str(ttl)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        start_new_session=True,
    )
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("no pipes to the key agent")
    with child.stdin as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(key)
    with child.stdout as said:
        ready = said.readline() == b"ready\n"
    child.wait()
    status = agent_status(home) if ready else None
    if status is None:
        raise SecretsLocked(
            f"the key agent did not start in {home}", remedy="check that the run directory there is ours and not full"
        )
    return status


def serve(home: Path, key: bytearray, ttl: float) -> None:
    """Answer until the time is over or FORGET comes; then wipe the key and remove the socket."""
    ends = _clock() + ttl
    try:
        with _alone(home), _listening(home) as listener:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            _let_go_of_output()
            with selectors.DefaultSelector() as selector:
                selector.register(listener, selectors.EVENT_READ)
                while (left := ends - _clock()) > 0:
                    if selector.select(min(left, 10.0)) and _answer(listener, key, ends):
                        return
    finally:
        key[:] = bytes(len(key))


def _answer(listener: socket.socket, key: bytearray, ends: float) -> bool:
    """Serve one connection; True when it asked us to end."""
    with contextlib.suppress(OSError):
        client, _ = listener.accept()
        with client:
            client.settimeout(_SERVER_SECONDS)
            if _peer_uid(client) != os.geteuid():
                return False
            request = client.recv(16).strip()
            if request == b"GET" and _clock() < ends:
                client.sendall(key)
            elif request == b"STATUS":
                client.sendall(json.dumps({"pid": os.getpid(), "expires_in": ends - _clock()}).encode())
            elif request == b"FORGET":
                client.sendall(b"OK")
                return True
    return False


def _ask(home: Path, request: bytes) -> bytes:
    try:
        with _address(home) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_CLIENT_SECONDS)
            client.connect(address)
            if _peer_uid(client) != os.geteuid():
                return b""
            client.sendall(request + b"\n")
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while part := client.recv(4096):
                answer += part
            return answer
    except OSError:
        return b""


def _peer_uid(connection: socket.socket) -> int:
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _directory(home: Path) -> Path:
    directory = home / "run"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise SecretsLocked(f"{directory} belongs to somebody else", remedy="remove it, or run as its owner")
    directory.chmod(0o700)
    return directory


@contextlib.contextmanager
def _address(home: Path) -> Iterator[str]:
    """Address of the socket; a path too long for the kernel is reached through a descriptor of its directory."""
    path = home / "run" / "key.sock"
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _listening(home: Path) -> Iterator[socket.socket]:
    path = home / "run" / "key.sock"
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with _address(home) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(address)
            os.umask(before)
            listener.listen(16)
            yield listener
            path.unlink(missing_ok=True)
    finally:
        os.umask(before)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """The lock an agent holds for its whole life; BlockingIOError while another one has it."""
    descriptor = os.open(_directory(home) / "key.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps: a closed lid must not stretch the time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _harden() -> None:
    """No core file and no debugger of the same user gets at the key."""
    import ctypes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _let_go_of_output() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


def main() -> int:
    """Entry point of the detached process; exit status 1 when it cannot serve."""
    _harden()
    key = bytearray(sys.stdin.buffer.read(KEY_BYTES + 1))
    if len(key) != KEY_BYTES:
        return 1
    if os.fork():
        os._exit(0)  # the one who started us waits for this process only
    try:
        serve(Path(sys.argv[1]), key, float(sys.argv[2]))
    except (OSError, SecretsLocked):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
