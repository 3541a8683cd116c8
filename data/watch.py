"""Notices that somebody committed: one thread per process, one connection of its own."""

from __future__ import annotations

import contextlib
import os
import select
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.database import Database
from data.inotify import drain, writes_to

if TYPE_CHECKING:
    import psycopg

SQLITE_POLL_SECONDS = 0.2
"""Between two looks where nothing tells us of writes, and for a second after each write that is not committed yet."""
SAFETY_POLL_SECONDS = 5.0
_SQLITE_SAFETY_SECONDS = 2.0
_TOGETHER_SECONDS = 0.004
"""Writes that come closer than this are looked at together."""
_SETTLED_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0


class Watcher:
    """A thread that calls `changed` (from itself) after commits of others, and once after each reconnection."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._stop = threading.Event()
        self._pipe = os.pipe()
        self._thread = threading.Thread(target=self._run, name="data-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and its connection; returns when it has ended."""
        self._stop.set()
        self._interrupt()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        for end in self._pipe:
            with contextlib.suppress(OSError):
                os.close(end)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._watch()
            self._stop.wait(_RECONNECT_SECONDS)

    def _watch(self) -> None:
        """Watch until the connection fails or `close` is called."""
        raise NotImplementedError

    def _ready(self, *descriptors: int, seconds: float) -> list[int]:
        """Which of these can be read within so many seconds; none, at once, when `close` is called."""
        poll = select.poll()  # not select(): a console with many connections has descriptors above 1024
        for descriptor in (*descriptors, self._pipe[0]):
            poll.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
        return [] if self._pipe[0] in ready else ready

    def _interrupt(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._pipe[1], b"x")


class SqliteWatcher(Watcher):
    """Reads the file's data version, which changes with every commit of another connection.

    The kernel tells when the journal is written to; a commit counts a moment later, when it is on the disk, so looks
    follow at growing distances. Where the kernel tells nothing, the version is looked at several times a second.
    """

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self._path = path

    def _watch(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path)) as connection:
            last = self._look(connection, None)
            # As long as our connection is open nobody takes the journal away.
            with writes_to(f"{self._path}-wal") as writes:
                pause, settled = SQLITE_POLL_SECONDS, 0.0
                while not self._stop.is_set():
                    last = self._look(connection, last)
                    if writes is None:
                        self._stop.wait(SQLITE_POLL_SECONDS)
                    elif self._ready(writes, seconds=pause):
                        self._stop.wait(_TOGETHER_SECONDS)
                        drain(writes)
                        pause, settled = _TOGETHER_SECONDS, time.monotonic() + _SETTLED_SECONDS
                    elif time.monotonic() < settled:
                        pause = min(pause * 2, SQLITE_POLL_SECONDS)
                    else:
                        pause = _SQLITE_SAFETY_SECONDS

    def _look(self, connection: sqlite3.Connection, last: object) -> object:
        version: object = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != last:
            self._changed()
        return version


class PostgresqlWatcher(Watcher):
    """Listens on a channel; looks every few seconds anyway, in case the network swallowed a notification."""

    def __init__(self, arguments: dict[str, Any], channel: str, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self._arguments = arguments
        self._channel = channel

    def _watch(self) -> None:
        import psycopg

        arguments = {"connect_timeout": 5} | self._arguments
        with (
            contextlib.suppress(psycopg.Error, OSError),
            psycopg.connect(**arguments, autocommit=True) as connection,
        ):
            connection.execute(f'LISTEN "{self._channel}"')
            self._changed()
            while not self._stop.is_set():
                self._next(connection)

    def _next(self, connection: psycopg.Connection[Any]) -> None:
        if self._ready(connection.fileno(), seconds=SAFETY_POLL_SECONDS):
            for _ in connection.notifies(timeout=0):
                continue
        elif not self._stop.is_set():
            connection.execute("SELECT 1")
        self._changed()


def watcher_for(database: Database, channel: str, changed: Callable[[], None]) -> Watcher:
    """The watcher that fits the database."""
    if database.dialect == "sqlite":
        return SqliteWatcher(str(database.url.database), changed)
    return PostgresqlWatcher(database.connect_arguments(), channel, changed)
