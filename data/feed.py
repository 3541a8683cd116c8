"""The change feed: every commit says what it changed, and every open program hears of it.

`announce` writes a row into an outbox table within the transaction that makes the change. A `Feed` wakes up when
somebody committed (SQLite: the file's data version; PostgreSQL: a notification) and reads the new rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import delete, func, insert, select, text
from sqlmodel import Session, col

from data.database import ANNOUNCED, Database
from data.errors import DataError
from data.models import Change, Setting, utc_now
from data.watch import Watcher, watcher_for

CHANNEL = "opsconsole_change"
KEPT = timedelta(days=1)
_TRIMMED = "feed.trimmed_to"
_BATCH = 500
_LOOK_BACK = 256
_GAP_SECONDS = 60.0
_FIRST_TRIM_SECONDS = 30.0
_TRIM_SECONDS = 3600.0
_RETRY_SECONDS = 1.0
APART = 0.2
"""Seconds between two reads for what other processes commit, unless a reader asks for another measure."""

_INSERT = insert(Change)  # put together once: every change of anything executes it


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One announced change. With `lost`, rows before `id` were trimmed unread: reload everything, the rest is empty."""

    id: int
    at: datetime
    entity: str
    key: str
    verb: str
    run_id: str | None = None
    lost: bool = False


def announce(session: Session, entity: str, key: str | int, verb: str, run_id: str | None = None) -> None:
    """Say in the same transaction that `entity` `key` was `created`, `updated` or `deleted`."""
    announce_all(session, entity, [key], verb, run_id)


def announce_all(
    session: Session, entity: str, keys: Sequence[str | int], verb: str, run_id: str | None = None
) -> None:
    """`announce` for many keys of one entity in one statement."""
    if not keys:
        return
    now = utc_now()
    rows = [{"at": now, "entity": entity, "key": str(key), "verb": verb, "run_id": run_id} for key in keys]
    session.connection().execute(_INSERT, rows)
    if not session.info.get(ANNOUNCED):
        session.info[ANNOUNCED] = True
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})


def newest(session: Session) -> int:
    """Number of the newest announced change: as long as it is the same, nothing was announced."""
    return session.connection().execute(select(func.max(Change.id))).scalar() or 0


def trim(database: Database, older_than: timedelta = KEPT) -> int:
    """Delete announced rows older than `older_than` in short transactions, never the newest; answers how many."""
    removed = 0
    while True:
        count = database.write_sync(lambda session: _trim_batch(session, utc_now() - older_than))
        removed += count
        if count < _BATCH:
            return removed


def _trim_batch(session: Session, before: datetime) -> int:
    newest = select(func.max(Change.id)).scalar_subquery()
    batch = (
        select(col(Change.id))
        .where(col(Change.at) < before, col(Change.id) < newest)
        .order_by(col(Change.id))
        .limit(_BATCH)
    )
    ids = session.connection().execute(batch).scalars().all()
    if ids:
        session.connection().execute(delete(Change).where(col(Change.id).in_(ids)))
        session.merge(Setting(key=_TRIMMED, value=max(*ids, _trimmed_to(session)), updated_by="feed"))
    return len(ids)


def _trimmed_to(session: Session) -> int:
    """Highest id that was ever trimmed; 0 when none was."""
    value = session.connection().execute(select(col(Setting.value)).where(col(Setting.key) == _TRIMMED)).scalar()
    return value if isinstance(value, int) else 0


class Feed:
    """Listens for one process and hands the changes to any number of readers.

    Use it in one event loop; close it before the database. `trouble` is the last error while the database cannot be
    read, None when all is well; readers wait through it and go on by themselves.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readers: set[Callable[[bool], None]] = set()
        self._watcher: Watcher | None = None
        self._forget: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._trim_at = monotonic() + _FIRST_TRIM_SECONDS
        self.trouble: DataError | None = None

    async def changes(self, after: int | None = None, *, apart: float | None = None) -> AsyncIterator[list[ChangeRow]]:
        """Yield batches of changes as they are committed; from the id `after` on, None meaning from now.

        What this process commits is told at once, and so is the first change of another process after a while; what
        follows within `APART` seconds is told together. With `apart` seconds given, that holds for all of them.
        Ends when the feed is closed. On PostgreSQL ids of one batch may be lower than those of an earlier one, because
        transactions commit in any order; none is missed unless its transaction was open for more than a minute.
        """
        loop, woken, at_once = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def wake(own: bool) -> None:
            loop.call_soon_threadsafe(woken.set)
            if own and apart is None:
                loop.call_soon_threadsafe(at_once.set)

        self._start(wake)
        position = _Position(after, self._database.dialect)
        try:
            while not self._closed:
                woken.clear()
                at_once.clear()
                again = monotonic() + (APART if apart is None else apart)
                rows = await self._read(position)
                if rows:
                    yield rows
                if len(rows) < _BATCH and not self._closed:
                    await _wait(woken, _RETRY_SECONDS if self.trouble else None)
                    await _wait(at_once, max(0.0, again - monotonic()))
        finally:
            self._readers.discard(wake)

    async def position(self) -> int:
        """The newest id: take it before loading what a screen shows, then follow `changes` from there."""
        return await self._database.read(lambda s: s.connection().execute(select(func.max(Change.id))).scalar() or 0)

    def close(self) -> None:
        """Stop listening and end every reader."""
        self._closed = True
        if self._forget is not None:
            self._forget()
        if self._watcher is not None:
            self._watcher.close()
        self._wake_all(own=True)

    async def _read(self, position: _Position) -> list[ChangeRow]:
        try:
            rows, apply = await self._database.read(position.fetch)
        except DataError as error:
            self.trouble = error
            return []
        self.trouble = None
        apply()
        await self._trim()
        return rows

    async def _trim(self) -> None:
        if monotonic() < self._trim_at or self._database.read_only:
            return
        self._trim_at = monotonic() + _TRIM_SECONDS
        with contextlib.suppress(DataError):  # housekeeping: the next hour, or another console, does it
            if await self._database.write(lambda session: _trim_batch(session, utc_now() - KEPT)) == _BATCH:
                self._trim_at = monotonic()

    def _start(self, wake: Callable[[bool], None]) -> None:
        with self._lock:
            self._readers.add(wake)
            if self._watcher is None and not self._closed:
                self._forget = self._database.on_announce(lambda: self._wake_all(own=True))
                self._watcher = watcher_for(self._database, CHANNEL, self._wake_all)
                self._watcher.start()

    def _wake_all(self, *, own: bool = False) -> None:
        for wake in tuple(self._readers):
            try:
                wake(own)
            except RuntimeError:
                self._readers.discard(wake)  # its event loop is gone


class _Position:
    """How far one reader has read.

    PostgreSQL gives out ids before the commit, so a lower id may appear after a higher one: ids left out are looked
    for again for a minute (most belong to transactions that were rolled back).
    """

    def __init__(self, after: int | None, dialect: str) -> None:
        self._after = after
        self._ordered = dialect == "sqlite"
        self._looked_back = self._ordered
        self._gaps: dict[int, float] = {}

    def fetch(self, session: Session) -> tuple[list[ChangeRow], Callable[[], None]]:
        """New rows, and the step that counts them as read: apart, since a transaction may run twice."""
        first, last = session.connection().execute(select(func.min(Change.id), func.max(Change.id))).one()
        after, gaps, now = self._after, dict(self._gaps), monotonic()
        if after is None:
            after = last or 0
        if not self._looked_back:
            gaps |= dict.fromkeys(self._missing(session, after), now)
        lost = self._after is not None and first is not None and after < first - 1 and after < _trimmed_to(session)
        if lost:
            marker = ChangeRow(last, utc_now(), "", "", "", None, lost=True)
            return [marker], lambda: self._move(last, {}, looked_back=self._ordered)
        wanted = col(Change.id) > after
        if gaps:
            wanted = wanted | col(Change.id).in_(list(gaps))
        columns = select(Change.id, Change.at, Change.entity, Change.key, Change.verb, Change.run_id)  # type: ignore[call-overload]
        found = session.connection().execute(columns.where(wanted).order_by(Change.id).limit(_BATCH))
        rows = [ChangeRow(*row) for row in found]
        seen = {row.id for row in rows}
        reached = max(after, max(seen, default=after))
        if not self._ordered:
            gaps |= dict.fromkeys((i for i in range(after + 1, reached) if i not in seen), now)
        gaps = {i: since for i, since in gaps.items() if i not in seen and now - since < _GAP_SECONDS}
        return rows, lambda: self._move(reached, gaps)

    def _move(self, after: int, gaps: dict[int, float], *, looked_back: bool = True) -> None:
        self._after, self._gaps, self._looked_back = after, gaps, looked_back

    @staticmethod
    def _missing(session: Session, after: int) -> list[int]:
        start = max(1, after - _LOOK_BACK)
        query = select(Change.id).where(col(Change.id) >= start, col(Change.id) <= after)  # type: ignore[call-overload]
        present = set(session.connection().execute(query).scalars())
        return [i for i in range(start, after + 1) if i not in present]


async def _wait(woken: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
