"""One host of a pool: its connection, who is connecting, how it failed last, how many sessions are open."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from drivers import ssh_config
from drivers.errors import AuthRefused, DriverError, HostKeyChanged, HostKeyUnknown, Refused, TimedOut, Unreachable
from drivers.ssh_login import Login
from drivers.ssh_types import PoolState, SshCredential, SshEndpoint, SshFiles

Key = tuple[SshEndpoint, SshCredential | None, Any]
Opened = tuple[asyncssh.SSHClientConnection, Login]

_FIRST_PAUSE, _LAST_PAUSE = 2.0, 60.0
_CONFIG_CHECKED = 2.0


class Host:
    """Shared by all runners of the same endpoint, credential and way there."""

    def __init__(
        self,
        key: Key,
        endpoint: SshEndpoint,
        credential: SshCredential | None,
        via: Host | None,
        sessions: int,
        kept_for_runs: int,
    ) -> None:
        self.key = key
        self.endpoint = endpoint
        self.credential = credential
        self.via = via
        self.ignored: tuple[str, ...] = ()
        self._sessions = asyncio.Semaphore(sessions)
        self._most_streams = max(1, sessions - kept_for_runs)
        self._streams = 0
        self._connection: asyncssh.SSHClientConnection | None = None
        self._login: Login | None = None
        self._connecting: asyncio.Task[Opened] | None = None
        self._failure: DriverError | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._since = time.monotonic()
        self._settings: tuple[tuple[object, ...], ssh_config.HostSettings] | None = None
        self._settings_checked = 0.0

    def state(self) -> PoolState:
        if self._alive() is not None:
            return PoolState("connected", self._since)
        if self._connecting is not None:
            return PoolState("connecting", self._since)
        if self._failure is not None:
            return PoolState("failed", self._since, str(self._failure), self._retry_at)
        return PoolState("idle", self._since)

    def settings(self, files: SshFiles) -> ssh_config.HostSettings:
        """Parsed once, and again when a file of `files.config` has changed (included files are not watched)."""
        now = time.monotonic()
        if self._settings is None or now - self._settings_checked > _CONFIG_CHECKED:
            stamp = tuple(_stamp(path) for path in files.config)
            if self._settings is None or self._settings[0] != stamp:
                user = (self.credential.username if self.credential else None) or self.endpoint.user
                self._settings = (stamp, ssh_config.load(self.endpoint, user, files))
                self.ignored = self._settings[1].ignored
            self._settings_checked = now
        return self._settings[1]

    def forget_failure(self) -> None:
        self._failure, self._failures, self._retry_at = None, 0, 0.0

    async def connection(self, opener: Callable[[], Awaitable[Opened]]) -> asyncssh.SSHClientConnection:
        """The live connection; else the one just being made; else `opener` makes one for everybody who waits."""
        if alive := self._alive():
            return alive
        if self._connecting is None:
            if self._failure is not None and (left := self._retry_at - time.monotonic()) > 0:
                raise _again(self._failure, left)
            self._since = time.monotonic()
            self._connecting = asyncio.create_task(self._connect(opener))
            self._connecting.add_done_callback(_look_at)
        connecting = self._connecting
        try:
            # A caller that gives up must not take the connection away from the others.
            connection, _ = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled() and not _being_cancelled():
                raise Unreachable(self.endpoint.name, "connect", "the console is closing its connections") from None
            raise
        return connection

    async def _connect(self, opener: Callable[[], Awaitable[Opened]]) -> Opened:
        try:
            self._connection, self._login = opened = await opener()
        except DriverError as error:
            self._failed(error)
            raise
        finally:
            self._connecting = None
            self._since = time.monotonic()
        self.forget_failure()
        return opened

    def _failed(self, error: DriverError) -> None:
        self._failure = error
        waits = isinstance(error, Unreachable | TimedOut | AuthRefused)
        if not waits or isinstance(error, HostKeyUnknown | HostKeyChanged):
            self._retry_at = 0.0
            return
        pause = min(_LAST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._retry_at = time.monotonic() + pause * random.uniform(0.75, 1.25)  # noqa: S311 - it only spreads retries

    def _alive(self) -> asyncssh.SSHClientConnection | None:
        if self._connection is None or self._login is None:
            return None
        if self._login.lost.is_set() or self._connection.is_closed():
            self._connection = self._login = None
        return self._connection

    @asynccontextmanager
    async def session_slot(self) -> AsyncIterator[None]:
        async with self._sessions:
            yield

    @asynccontextmanager
    async def stream_slot(self) -> AsyncIterator[None]:
        """Streams stay open for hours; some sessions are left for commands."""
        if self._streams >= self._most_streams:
            raise Refused(
                self.endpoint.name,
                "open a stream",
                f"{self._streams} are open already",
                remedy="close another live view of this host",
                code="limit",
            )
        self._streams += 1
        try:
            async with self._sessions:
                yield
        finally:
            self._streams -= 1

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if (connection := self._alive()) is not None:
            connection.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.wait_closed(), 2)
            connection.abort()


def _stamp(path: Any) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _again(error: DriverError, seconds: float) -> DriverError:
    """The same failure, said to be remembered and not tried again."""
    return type(error)(
        error.host, error.tried, f"{error.message} (not tried again for {seconds:.0f} s)", remedy=error.remedy
    )


def _look_at(task: asyncio.Task[Opened]) -> None:
    """Without this a failure that everybody stopped waiting for would be reported as a bug at exit."""
    if not task.cancelled():
        task.exception()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
