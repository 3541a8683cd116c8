"""One command over an open connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR, OPEN_ADMINISTRATIVELY_PROHIBITED

from drivers.dialling import Address, Reading, Writing
from drivers.errors import ProtocolError, Refused, Unreachable
from drivers.runner import STDERR_KEPT

_HIGH_WATER = 4 * 1024 * 1024
_LOW_WATER = 1024 * 1024


class Session(asyncssh.SSHClientSession[bytes]):
    """Collects a channel's output. With `streaming` it holds back the peer when nobody reads.

    `limit` bounds the bytes of each output when not streaming.
    """

    def __init__(self, name: str, *, streaming: bool, limit: int) -> None:
        self._name = name
        self._streaming = streaming
        self._limit = limit
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._chunks: deque[bytes] = deque()
        self._errors = bytearray()
        self._size = 0
        self._paused = False
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._signalled = False
        self.exit_status: int | None = None
        self.closed = asyncio.Event()

    @property
    def stdout(self) -> bytes:
        return b"".join(self._chunks)

    @property
    def stderr(self) -> bytes:
        return bytes(self._errors)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == EXTENDED_DATA_STDERR:
            self._errors += data
            if self._streaming:
                del self._errors[:-STDERR_KEPT]
        else:
            self._chunks.append(data)
            self._size += len(data)
            self._news.set()
        if self._channel is None:
            return
        if self._streaming:
            if self._size > _HIGH_WATER and not self._paused:
                self._paused = True
                self._channel.pause_reading()
        elif max(self._size, len(self._errors)) > self._limit:
            said = f"more than {self._limit >> 20} MiB of output"
            self._failure = ProtocolError(self._name, "read the answer", said)
            self._channel.close()

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del signal, core_dumped, msg, lang
        self._signalled = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._failure is None and self.exit_status is None and not self._signalled:
            reason = getattr(exc, "reason", "") or "the connection was closed"
            self._failure = Unreachable(
                self._name,
                "run a command",
                f"connection lost in the middle: {reason}",
                remedy="its effect is not known: look at the state before doing it again",
                begun=True,
            )
        self.closed.set()
        self._news.set()

    async def wait(self) -> None:
        """Until the channel is closed; raises what went wrong with it."""
        await self.closed.wait()
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._size -= len(chunk)
                if self._paused and self._size < _LOW_WATER and self._channel is not None:
                    self._paused = False
                    self._channel.resume_reading()
                yield chunk
            if self.closed.is_set():
                if self._failure is not None:
                    raise self._failure
                return
            self._news.clear()
            await self._news.wait()

    async def end(self) -> None:
        """Signal the process, as an unprivileged sshd passes it on, and close the channel, which ends the others."""
        if self._channel is None or self.closed.is_set():
            return
        with contextlib.suppress(OSError, asyncssh.Error):
            self._channel.terminate()
        self._channel.close()
        if self._paused:
            self._channel.resume_reading()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), 2)


async def open_session(
    connection: asyncssh.SSHClientConnection, name: str, command: str, *, streaming: bool, limit: int
) -> tuple[asyncssh.SSHClientChannel[bytes], Session]:
    """Start `command`. Raises `Unreachable` when the connection is gone, `Refused` when sshd opens no more sessions."""
    session = Session(name, streaming=streaming, limit=limit)
    try:
        channel, _ = await connection.create_session(lambda: session, command, encoding=None, request_pty=False)
    except asyncssh.ChannelOpenError as error:
        if "closed" in error.reason.lower():
            raise Unreachable(name, "open a session", "the connection is closed") from None
        raise Refused(
            name,
            "open a session",
            error.reason or "sshd opens no more sessions",
            remedy="raise MaxSessions in its sshd_config, or close other views of this host",
            code="limit",
        ) from None
    except (OSError, asyncssh.Error) as error:
        said = getattr(error, "reason", "") or str(error) or "the connection is closed"
        raise Unreachable(name, "open a session", said) from None
    return channel, session


async def open_stream(connection: asyncssh.SSHClientConnection, name: str, address: Address) -> tuple[Reading, Writing]:
    """Forward to a socket of that machine. sshd does not say whether nothing listens or this login may not enter."""
    tried = f"connect to {address}"
    try:
        if address.path is not None:
            return await connection.open_unix_connection(address.path, encoding=None)
        return await connection.open_connection(address.host, address.port, encoding=None)
    except asyncssh.ChannelOpenError as error:
        said = error.reason or "nothing listens there, or this login may not enter"
        if error.code == OPEN_ADMINISTRATIVELY_PROHIBITED:
            remedy = "allow AllowTcpForwarding and AllowStreamLocalForwarding for this login in sshd_config"
            raise Refused(name, tried, said, remedy=remedy, code="privilege") from None
        raise Unreachable(name, tried, said) from None
    except (OSError, asyncssh.Error) as error:
        said = getattr(error, "reason", "") or str(error) or "the connection is closed"
        raise Unreachable(name, tried, said) from None
