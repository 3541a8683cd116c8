"""Notices that somebody committed: one thread per process, one connection of its own."""

from __future__ import annotations

import contextlib
import os
import select
import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.database import Database

if TYPE_CHECKING:
    import psycopg

SQLITE_POLL_SECONDS = 0.2
SAFETY_POLL_SECONDS = 5.0
_RECONNECT_SECONDS = 1.0


class Watcher:
    """A thread that calls `changed` (from itself) after commits of others, and once after each reconnection."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._stop = threading.Event()
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

    def _run(self) -> None:
        while not self._stop.is_set():
            self._watch()
            self._stop.wait(_RECONNECT_SECONDS)

    def _watch(self) -> None:
        """Watch until the connection fails or `close` is called."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Wake the thread up from its wait."""


class SqliteWatcher(Watcher):
    """Reads the file's data version, which changes with every commit of another connection."""

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self._path = path

    def _watch(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path)) as connection:
            last: object = None
            while not self._stop.is_set():
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != last:
                    last = version
                    self._changed()
                self._stop.wait(SQLITE_POLL_SECONDS)


class PostgresqlWatcher(Watcher):
    """Listens on a channel; looks every few seconds anyway, in case the network swallowed a notification."""

    def __init__(self, arguments: dict[str, Any], channel: str, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self._arguments = arguments
        self._channel = channel
        self._pipe = os.pipe()

    def close(self) -> None:
        super().close()
        for end in self._pipe:
            with contextlib.suppress(OSError):
                os.close(end)

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
        poll = select.poll()  # not select(): a console with many connections has descriptors above 1024
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._pipe[0], select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(SAFETY_POLL_SECONDS * 1000)]
        if self._pipe[0] in ready:
            return
        if ready:
            for _ in connection.notifies(timeout=0):
                continue
        else:
            connection.execute("SELECT 1")
        self._changed()

    def _interrupt(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._pipe[1], b"x")


def watcher_for(database: Database, channel: str, changed: Callable[[], None]) -> Watcher:
    """The watcher that fits the database."""
    if database.dialect == "sqlite":
        return SqliteWatcher(str(database.url.database), changed)
    return PostgresqlWatcher(database.connect_arguments(), channel, changed)
