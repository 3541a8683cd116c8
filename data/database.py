"""The one door to the records: short transactions in a few threads of our own, the same on SQLite and PostgreSQL.

A transaction is a plain function of a session. It cannot await, so none can span a network call, and it may be run a
second time after a lost lock: it must have no effect but its own statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session

from data import sqlite
from data.errors import DatabaseBusy, DatabaseUnavailable, SchemaMismatch, StaleRecord
from data.failures import Failure, classify
from data.version import HEAD, REVISIONS

T = TypeVar("T")
SchemaState = Literal["current", "older", "newer", "empty"]
Work = Callable[[Session], T]

READERS = 4
ANNOUNCED = "announced"
_RECHECK_SECONDS = 30.0


def state_of(version: str | None) -> SchemaState:
    """How a schema version found in a database stands to the one this program was written for."""
    if version is None:
        return "empty"
    if version == HEAD:
        return "current"
    return "older" if version in REVISIONS else "newer"


def mismatch(where: str, version: str | None) -> SchemaMismatch:
    """The error for a schema that is not ours, naming both versions."""
    state = state_of(version)
    remedy = {
        "empty": "make the tables with `opsconsole db upgrade`",
        "older": "run `opsconsole db upgrade` once; until then everything can be read and nothing changed",
    }.get(state, "install the newer program here; the database is not changed")
    found = "none" if version is None else version
    return SchemaMismatch(
        f"{where} has schema {found}, this program needs {HEAD}", found=version, expected=HEAD, remedy=remedy
    )


class Database:
    """Open database. Safe to share between threads and event loops of one process, never across a fork."""

    def __init__(self, url: URL, home: Path, *, busy_deadline: float, version: str | None) -> None:
        self.home = home
        self.url = url
        self.dialect = url.get_backend_name()
        self.schema_state: SchemaState = state_of(version)
        self.schema_version = version
        self._deadline = busy_deadline
        self._checked = time.monotonic()
        self._read_engine, self._write_engine = _engines(url, busy_deadline)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="data-read")
        writers = 1 if self.dialect == "sqlite" else READERS
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="data-write")
        self._one_writer: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()
        )
        self._inside = threading.local()
        self._listeners: list[Callable[[], None]] = []
        self._closed = False

    @classmethod
    def open(cls, url: str | None, *, home: Path, create: bool = True, busy_deadline: float = 10.0) -> Database:
        """Open `url` (`postgresql://…`, `sqlite:///…`) or, when None, the file of `home`; seconds for `busy_deadline`.

        A SQLite file is made when missing (unless `create` is false) and migrated after a backup when older. A
        PostgreSQL database is only looked at: with another schema version it opens read-only. Raises
        DatabaseUnavailable, DatabaseBusy, or SchemaMismatch for a SQLite file of a newer program.
        """
        target = parse_url(url, home)
        if target.get_backend_name() == "sqlite":
            version = _open_file(target, home, create=create)
            return cls(target, home, busy_deadline=busy_deadline, version=version)
        database = cls(target, home, busy_deadline=busy_deadline, version=None)
        try:
            database._look_at_schema()
        except BaseException:
            database.close()
            raise
        return database

    @property
    def where(self) -> str:
        """The database as an operator may see it: a path, or a URL without its password."""
        if self.dialect == "sqlite":
            return str(self.url.database)
        return self.url.render_as_string(hide_password=True)

    @property
    def read_only(self) -> bool:
        """True when the schema is not ours, so that every write raises SchemaMismatch."""
        return self.schema_state != "current"

    async def read(self, work: Work[T]) -> T:
        """Run `work` in one consistent, read-only snapshot on a reader thread. Raises DataError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, contextvars.copy_context().run, self.read_sync, work)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one read-write transaction and commit it. Raises DataError.

        A cancelled caller gets CancelledError only after the transaction has ended, so that it is never committed
        behind the back of the one who gave up; one still waiting for its turn is dropped.
        """
        future: Future[T] = self._writers.submit(contextvars.copy_context().run, self.write_sync, work)
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not future.cancel():
                await _until_done(waiter)
            raise

    def read_sync(self, work: Work[T]) -> T:
        """`read` in the calling thread."""
        try:
            return self._attempt(self._read_engine, work, commit=False)
        except (DBAPIError, PoolTimeout) as error:
            if classify(error) not in {Failure.GONE, Failure.RETRY}:
                raise self._translated(error) from error
        try:
            return self._attempt(self._read_engine, work, commit=False)
        except (DBAPIError, PoolTimeout) as error:
            raise self._translated(error) from error

    def write_sync(self, work: Work[T]) -> T:
        """`write` in the calling thread."""
        if getattr(self._inside, "writing", False):
            raise RuntimeError("a write inside a write: pass the session on instead")
        self._inside.writing = True
        try:
            with self._one_writer:
                result, announced = self._write_until(time.monotonic() + self._deadline, work)
        finally:
            self._inside.writing = False
        if announced:
            for listener in tuple(self._listeners):
                listener()
        return result

    def on_announce(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` (from any thread) after each commit of ours that announced; answers the way to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def connect_arguments(self) -> dict[str, Any]:
        """Arguments for a driver connection of one's own (they hold the password: never show them)."""
        return dict(self._write_engine.dialect.create_connect_args(self.url)[1])

    def close(self) -> None:
        """Finish what runs, then drop threads and connections. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True, cancel_futures=True)
        self._read_engine.dispose()
        self._write_engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Database({self.where!r}, {self.schema_state})"

    def _write_until(self, deadline: float, work: Work[T]) -> tuple[T, bool]:
        pause, reconnected = 0.005, False
        while True:
            announced: list[bool] = []
            try:
                return self._attempt(self._write_engine, self._guarded(work, announced), commit=True), bool(announced)
            except StaleDataError as error:
                raise StaleRecord(
                    "the record was changed by somebody else in the meantime", remedy="look at it again and repeat"
                ) from error
            except (DBAPIError, PoolTimeout) as error:
                failure = classify(error)
                again = failure is Failure.RETRY and time.monotonic() < deadline
                if failure is Failure.GONE and not reconnected and self.dialect != "sqlite":
                    again = reconnected = True
                if not again:
                    raise self._translated(error) from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, guards nothing
            pause = min(pause * 2, 0.1)

    def _guarded(self, work: Work[T], announced: list[bool]) -> Work[T]:
        def guarded(session: Session) -> T:
            if self.read_only or time.monotonic() - self._checked > _RECHECK_SECONDS:
                self._note_schema(_version_in(session))
                if self.read_only:
                    raise mismatch(self.where, self.schema_version)
            result = work(session)
            session.flush()
            if session.info.get(ANNOUNCED):
                announced.append(True)
            return result

        return guarded

    def _attempt(self, engine: Engine, work: Work[T], *, commit: bool) -> T:
        with Session(engine, expire_on_commit=False) as session:
            session.connection()
            result = work(session)
            if not commit:
                return result
            try:
                session.commit()
            except DBAPIError as error:
                if self.dialect != "sqlite" and classify(error) is Failure.GONE:
                    raise DatabaseUnavailable(
                        f"the connection to {self.where} broke while a change was being committed",
                        remedy="read the object again to see whether the change is there",
                        outcome_unknown=True,
                    ) from error
                raise
            return result

    def _look_at_schema(self) -> None:
        self._note_schema(self.read_sync(_version_in))

    def _note_schema(self, version: str | None) -> None:
        self._checked = time.monotonic()
        self.schema_version, self.schema_state = version, state_of(version)

    def _translated(self, error: Exception) -> Exception:
        failure = classify(error)
        if failure in {Failure.RETRY, Failure.BUSY}:
            return DatabaseBusy(
                f"{self.where} stayed locked by others for {self._deadline:.0f} s",
                remedy="try again; `opsconsole doctor` shows who holds it",
            )
        if failure is Failure.SCHEMA and self.read_only:
            return mismatch(self.where, self.schema_version)
        if failure is Failure.STANDBY and self.dialect != "sqlite":
            return DatabaseUnavailable(
                f"{self.where} accepts no changes (a standby, or set read-only)",
                remedy="use the primary server's address",
            )
        if failure is not Failure.GONE:
            return error
        cause = error.orig if isinstance(error, DBAPIError) else None
        return DatabaseUnavailable(
            f"{self.where}: {_first_line(cause)}",
            remedy="check disk space, owner and mode of the file"
            if self.dialect == "sqlite"
            else "check that the server runs and that OPSCONSOLE_DATABASE_URL is right",
        )


async def _until_done(waiter: asyncio.Future[T]) -> None:
    while not waiter.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([waiter])
    if not waiter.cancelled():
        waiter.exception()


def _first_line(error: BaseException | None) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no answer")


def _version_in(session: Session) -> str | None:
    if session.get_bind().dialect.name == "postgresql":
        found = session.connection().execute(text("SELECT to_regclass('alembic_version')")).scalar()
        if found is None:
            return None
    row = session.connection().execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def parse_url(url: str | None, home: Path) -> URL:
    """The database meant by `url`, None being the file of `home`. DatabaseUnavailable never echoes the URL."""
    if url is None:
        return URL.create("sqlite", database=str(home / sqlite.FILE_NAME))
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    name = parsed.get_backend_name() if parsed is not None else ""
    if parsed is not None and name == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite")
    if parsed is not None and name in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise DatabaseUnavailable(
        "the database URL is neither postgresql://user@host/name nor sqlite:////path",
        remedy="correct OPSCONSOLE_DATABASE_URL, or unset it to use the embedded database",
    )


def _open_file(url: URL, home: Path, *, create: bool) -> str:
    path = Path(str(url.database))
    if create or home.exists():
        sqlite.prepare_home(home)
    sqlite.refuse_network(path)
    sqlite.prepare_file(path, create=create)
    version = sqlite.schema_version(path)
    if state_of(version) in {"empty", "older"}:
        from data import migrate

        version = migrate.upgrade_file(path, home)
    if state_of(version) != "current" or version is None:
        raise mismatch(str(path), version)
    return version


def _engines(url: URL, busy_deadline: float) -> tuple[Engine, Engine]:
    if url.get_backend_name() == "sqlite":
        busy_ms = min(1000, max(1, int(busy_deadline * 1000)))
        return _sqlite_engine(url, busy_ms, read_only=True), _sqlite_engine(url, busy_ms, read_only=False)
    return _postgresql_engines(url, busy_deadline)


def _sqlite_engine(url: URL, busy_ms: int, *, read_only: bool) -> Engine:
    size = READERS if read_only else 1
    engine = create_engine(url, pool_size=size, max_overflow=0, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        sqlite.apply_pragmas(connection, read_only=read_only, busy_ms=busy_ms)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engines(url: URL, busy_deadline: float) -> tuple[Engine, Engine]:
    defaults = {
        "connect_timeout": "5",
        "application_name": f"opsconsole-{os.getpid()}",
        "options": f"-c lock_timeout={int(busy_deadline * 1000)} -c idle_in_transaction_session_timeout=60000",
    }
    arguments = {key: value for key, value in defaults.items() if key not in url.query}
    base = create_engine(url, pool_size=2 * READERS, max_overflow=0, pool_recycle=3600, connect_args=arguments)
    reader = base.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return reader, base.execution_options(isolation_level="READ COMMITTED")
