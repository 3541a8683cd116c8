"""OpenVPN's management interface: a few commands in one short conversation.

It serves one client at a time, so a conversation is never held: connect, ask, quit. Lines that begin with `>` are
notices and may stand anywhere between the answers. The socket is reached through the machine's ssh connection; where
this login may not open it, a few lines of Python do so over there as root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from drivers.dialling import Address, Dialler, Reading, Writing
from drivers.errors import AuthRefused, DriverError, ProtocolError, Refused, TimedOut, Unreachable, Unsupported
from drivers.openvpn_relay import RELAY, WAITED
from drivers.openvpn_status import Status, parse_status
from drivers.runner import Runner, quote_argv

MAX_ANSWER = 48 * 1024 * 1024
_MAX_NOTICES = 500
_GREETING = b">INFO:OpenVPN Management Interface"
_PROMPT = b"ENTER PASSWORD:"
GREETING_SECONDS = 4.0
"""A daemon that serves somebody else accepts the connection and says nothing: so long is waited."""

_ONCE_MORE = 0.5
"""A second, short wait: when it was us who stood still, the greeting is there by now."""

PasswordSource = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one command. `error` is the daemon's text after `ERROR:`, None when it did not refuse."""

    lines: tuple[str, ...] = ()
    success: str | None = None
    error: str | None = None


@dataclass(slots=True)
class Transcript:
    """Reads the bytes of a conversation, however they are split."""

    host: str
    greeted: bool = False
    asks_password: bool = False
    wrong_password: bool = False
    answers: list[Answer] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _lines: list[str] = field(default_factory=list)
    _size: int = 0

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises `ProtocolError` for what is no management interface, or no end of an answer."""
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise ProtocolError(self.host, "read the management interface", f"more than {MAX_ANSWER >> 20} MiB")
        *whole, self._rest = (self._rest + data).split(b"\n")
        for raw in whole:
            self._line(raw.rstrip(b"\r"))
        if not self.greeted and self._rest.endswith(_PROMPT):
            self.asks_password, self._rest = True, b""

    def _line(self, raw: bytes) -> None:
        if not self.greeted:
            self._before_greeting(raw.removeprefix(_PROMPT))
            return
        text = raw.decode("utf-8", "replace")
        if text.startswith(">"):
            self.notices = [*self.notices[-_MAX_NOTICES:], text[:2000]]
        elif text.startswith("SUCCESS:"):
            self._end(success=text[8:].strip())
        elif text.startswith("ERROR:"):
            self._end(error=text[6:].strip())
        elif text == "END":
            self._end()
        else:
            self._lines.append(text)

    def _before_greeting(self, raw: bytes) -> None:
        if raw.startswith(_GREETING):
            self.greeted = True
        elif raw.startswith(b"ERROR: bad password"):
            self.wrong_password = True
        elif raw and not raw.startswith((b">", b"SUCCESS: password")):
            said = raw[:60].decode("ascii", "replace")
            raise ProtocolError(self.host, "read the management interface", f"something else listens there: {said!r}")

    def _end(self, success: str | None = None, error: str | None = None) -> None:
        self.answers.append(Answer(tuple(self._lines), success, error))
        self._lines = []


async def converse(
    runner: Runner,
    address: Address,
    commands: Sequence[str],
    *,
    timeout: float,
    password: PasswordSource | None = None,
) -> Transcript:
    """Ask `commands` one after the other and hang up; one answer each, in order.

    `password` is asked only when the daemon wants one. Raises `Refused` (`busy`) when another program holds the
    interface, `AuthRefused` without the right password, `Unreachable` when nothing listens, `TimedOut`.
    """
    if any(sign in command for command in commands for sign in "\r\n\0"):
        raise ValueError("a command is one line")
    try:
        async with asyncio.timeout(timeout):
            if isinstance(runner, Dialler):
                try:
                    reader, writer = await runner.dial(address)
                except (Unreachable, Refused) as error:
                    if address.path is None:
                        raise
                    return await _relayed(runner, address, commands, timeout, password, error)
                try:
                    return await _direct(runner.name, address, commands, password, reader, writer)
                finally:
                    writer.close()
            return await _relayed(runner, address, commands, timeout, password, None)
    except TimeoutError:
        raise TimedOut(runner.name, f"ask {address}", f"no answer within {timeout:g} s") from None


async def _direct(
    name: str,
    address: Address,
    commands: Sequence[str],
    password: PasswordSource | None,
    reader: Reading,
    writer: Writing,
) -> Transcript:
    seen = Transcript(name)
    tried = f"ask {address}"
    for seconds in (GREETING_SECONDS, _ONCE_MORE):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (seen.greeted or seen.asks_password):
                    await _more(seen, reader, tried)
    if not (seen.greeted or seen.asks_password):
        raise busy(name, tried)
    if seen.asks_password:
        writer.write((await _secret(name, tried, password) + "\n").encode())
        while not seen.greeted:
            await _more(seen, reader, tried)
            if seen.wrong_password:
                raise wrong_password(name, tried)
    for number, command in enumerate(commands, start=1):
        writer.write(command.encode() + b"\n")
        while len(seen.answers) < number:
            await _more(seen, reader, tried)
    with contextlib.suppress(OSError, TimeoutError):
        # Until it has hung up, it would leave the next one waiting.
        async with asyncio.timeout(1):
            writer.write(b"quit\n")
            while await reader.read(65536):
                pass
    return seen


async def _more(seen: Transcript, reader: Reading, tried: str) -> None:
    try:
        data = await reader.read(65536)
    except OSError as error:
        raise Unreachable(seen.host, tried, f"connection lost: {error}") from None
    if not data:
        if seen.wrong_password:
            raise wrong_password(seen.host, tried)
        raise Unreachable(seen.host, tried, "the daemon hung up in the middle", remedy="see whether it still runs")
    seen.feed(data)


async def _secret(name: str, tried: str, password: PasswordSource | None) -> str:
    given = await password() if password is not None else None
    if given is None or any(sign in given for sign in "\r\n\0"):
        raise AuthRefused(
            name,
            tried,
            "it asks for a password, and the server's configuration names no file we can read it from",
            remedy="name a password file in its management line",
        )
    return given


def wrong_password(name: str, tried: str) -> AuthRefused:
    return AuthRefused(name, tried, "the password is wrong", remedy="restart the daemon if its file was changed")


def busy(name: str, tried: str) -> Refused:
    return Refused(
        name,
        tried,
        "another program holds the management interface, which serves one at a time",
        remedy="end that program, or ask again when it is done",
        code="busy",
    )


async def _relayed(
    runner: Runner,
    address: Address,
    commands: Sequence[str],
    timeout: float,
    password: PasswordSource | None,
    first: DriverError | None,
) -> Transcript:
    """The same by Python on that machine. `first` is why the straight way failed; it is told when this one cannot."""
    tried = f"ask {address}"
    given: str | None = None
    for _ in range(2):
        seen = Transcript(runner.name)
        asked = {
            "path": address.path,
            "host": address.host,
            "port": address.port,
            "password": given,
            "commands": list(commands),
            "greeting": GREETING_SECONDS,
        }
        command = quote_argv(["python3", "-I", "-c", RELAY])
        try:
            done = await runner.run(command, stdin=json.dumps(asked).encode(), timeout=timeout, become=True)
        except (Refused, Unsupported) as error:
            raise first or error from error
        if done.exit_status == 127:
            raise first or Unsupported(runner.name, tried, "there is no python3", remedy="install python3")
        if done.exit_status == WAITED:
            raise busy(runner.name, tried)
        seen.feed(done.stdout)
        if seen.wrong_password:
            raise wrong_password(runner.name, tried)
        if len(seen.answers) >= len(commands):
            return seen
        if given is None and seen.asks_password:
            given = await _secret(runner.name, tried, password)
            continue
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(runner.name, tried, said[-1][:200] if said else "the daemon hung up in the middle")
    raise wrong_password(runner.name, tried)


@dataclass(frozen=True, slots=True)
class Look:
    """What a daemon says of itself. `state` is its word (CONNECTED when it serves)."""

    version: str
    pid: int | None
    state: str
    since: datetime | None
    status: Status
    notices: tuple[str, ...] = ()


async def look(runner: Runner, address: Address, *, timeout: float, password: PasswordSource | None = None) -> Look:
    """Version, process, state and sessions in one conversation. Raises `ProtocolError` when the status has no end."""
    said = await converse(runner, address, ("version", "pid", "state", "status 3"), timeout=timeout, password=password)
    version, pid, state, status = said.answers[:4]
    when, _, rest = (state.lines[-1] if state.lines else "").partition(",")
    number = (pid.success or "").partition("pid=")[2]
    return Look(
        version=next((line.partition(": ")[2][:60] for line in version.lines if line.startswith("OpenVPN V")), ""),
        pid=int(number) if number.isascii() and number.isdigit() and len(number) < 10 else None,
        state=rest.partition(",")[0][:40],
        since=datetime.fromtimestamp(int(when), UTC) if when.isascii() and when.isdigit() and len(when) < 12 else None,
        status=_status(runner.name, address, status),
        notices=tuple(said.notices),
    )


async def status(runner: Runner, address: Address, *, timeout: float, password: PasswordSource | None = None) -> Status:
    """The sessions alone."""
    said = await converse(runner, address, ("status 3",), timeout=timeout, password=password)
    return _status(runner.name, address, said.answers[0])


def _status(name: str, address: Address, answer: Answer) -> Status:
    if answer.error is not None:
        raise ProtocolError(name, f"ask {address} for its status", answer.error[:200])
    found = parse_status("\n".join(answer.lines) + "\nEND\n")
    if not found.title:
        raise ProtocolError(name, f"ask {address} for its status", "the answer is no status")
    return found


async def kill(
    runner: Runner,
    address: Address,
    client_ids: Sequence[int],
    *,
    timeout: float,
    password: PasswordSource | None = None,
) -> dict[int, str | None]:
    """End sessions by client id; per id the daemon's refusal, or None.

    By number only: `kill NAME` would end every session of that name, and the daemon reads a text that is no number
    as client 0. A session stays in the status for some seconds while its client is told.
    """
    if any(number < 0 for number in client_ids):
        raise ValueError("a client id is not negative")
    said = await converse(
        runner, address, [f"client-kill {number}" for number in client_ids], timeout=timeout, password=password
    )
    return {number: answer.error for number, answer in zip(client_ids, said.answers, strict=True)}
