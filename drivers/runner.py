"""Running a command on a machine, whichever way leads there.

`Runner` is what the systemd and journal drivers stand on: `LocalRunner` and `SshRunner` are interchangeable.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from drivers.errors import DriverError, Refused, Unsupported

MAX_OUTPUT = 64 * 1024 * 1024
"""Bytes of stdout, and of stderr, one `run` may return; more raises `ProtocolError` and ends the command."""

STDERR_KEPT = 64 * 1024
"""Bytes of stderr a `stream` keeps (the last ones)."""

_SUDO_REFUSALS = (
    b"a password is required",
    b"a terminal is required",
    b"no tty present",
    b"is not in the sudoers file",
    b"is not allowed to execute",
    b"may not run sudo",
    b"account validation failure",
    b"effective uid is not 0",
)
_SUDO_MISSING = (b"sudo: not found", b"sudo: command not found", b"sudo: No such file")


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished command. `exit_status` is None when a signal ended it; `duration` is seconds seen from here."""

    exit_status: int | None
    stdout: bytes
    stderr: bytes
    duration: float

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


class Stream(Protocol):
    """The output of a running command: iterate it for stdout in chunks as they come (any size, any split).

    When the iteration ends by itself, `exit_status` is set (None after a signal); `stderr` holds the last
    `STDERR_KEPT` bytes seen so far at any time. A connection lost in the middle raises `Unreachable`.
    """

    @property
    def exit_status(self) -> int | None: ...

    @property
    def stderr(self) -> bytes: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@runtime_checkable
class Runner(Protocol):
    """Runs POSIX sh command lines on one machine. Raises only `drivers.errors`."""

    @property
    def name(self) -> str:
        """What the operator calls this machine; errors carry it."""
        ...

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        """Run `command` to its end; `timeout` in seconds covers connecting too.

        With `become` the command must be one simple command (no pipe, no list, no redirection): it gets `sudo -n`
        in front where we are not root, so that a sudoers line for just this program is enough.
        Raises `TimedOut` (the effect is then unknown), `Refused` when sudo says no, `ProtocolError` above `MAX_OUTPUT`.
        """
        ...

    def stream(self, command: str, *, become: bool = False) -> AbstractAsyncContextManager[Stream]:
        """Run `command` and read its output as it comes; leaving the context ends the command."""
        ...

    async def fresh(self) -> None:
        """Prove that a NEW way in can be made now (a new connection and login); raises when not."""
        ...


def quote_argv(argv: Iterable[str]) -> str:
    """One POSIX sh command line that runs `argv` as it is. A NUL byte raises ValueError."""
    words = list(argv)
    if not words:
        raise ValueError("an empty argv is no command")
    if any("\0" in word for word in words):
        raise ValueError("a command cannot contain a NUL byte")
    return shlex.join(words)


def become_root(command: str) -> str:
    """A command line that runs the simple command `command` as root, asking sudo only where we are not root."""
    return f'LC_ALL=C; export LC_ALL; if [ "$(id -u)" = 0 ]; then exec {command}; else exec sudo -n -- {command}; fi'


def check_sudo(host: str, command: str, done: Completed) -> None:
    """Raise `Refused` (or `Unsupported`) when it was sudo that answered and not the command."""
    if done.exit_status in (0, None):
        return
    if error := sudo_refusal(host, command, done.stderr):
        raise error


def sudo_refusal(host: str, command: str, stderr: bytes) -> DriverError | None:
    program = command.split(None, 1)[0] if command.strip() else "the command"
    for line in stderr.splitlines():
        if any(text in line for text in _SUDO_MISSING):
            return Unsupported(host, "become root", "there is no sudo", remedy="log in as root, or install sudo")
        by_sudo = line.startswith((b"sudo:", b"Sorry, user", b"sorry, user")) or b"sudoers file" in line
        if by_sudo and any(text in line for text in _SUDO_REFUSALS):
            return Refused(
                host,
                f"sudo -n {program}",
                line.decode("utf-8", "replace")[:200],
                remedy=f"add a NOPASSWD line for {program} to the sudoers of this user, or log in as root",
                code="privilege",
            )
    return None


async def lines(chunks: AsyncIterable[bytes], *, limit: int) -> AsyncIterator[tuple[bytes, bool]]:
    """Split chunks into lines without their newline; each comes with whether it was cut at `limit` bytes.

    The rest of an overlong line is dropped, so memory stays bounded whatever the peer sends. A last line
    without newline is given too.
    """
    head: list[bytes] = []
    size = 0
    cut = False
    async for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            yield _joined(head, chunk[start:end], size, limit), cut or size + end - start > limit
            head, size, cut, start = [], 0, False, end + 1
        rest = chunk[start:]
        if rest and not cut:
            head.append(rest[: limit - size])
            cut = size + len(rest) > limit
            size += len(head[-1])
    if head:
        yield b"".join(head), cut


def _joined(head: list[bytes], tail: bytes, size: int, limit: int) -> bytes:
    return tail[:limit] if not head else b"".join([*head, tail[: max(0, limit - size)]])
