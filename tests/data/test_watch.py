from __future__ import annotations

import asyncio
import contextlib
import select
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import watch
from data.database import Database
from data.feed import Feed, announce
from data.inotify import drain, writes_to


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    path = tmp_path / "some.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE thing (number)")
        yield path, connection


def seen_after_commits(path: Path, connection: sqlite3.Connection, count: int) -> int:
    """How many of so many commits the watcher told, each awaited for a while before the next."""
    told = threading.Event()
    watcher = watch.SqliteWatcher(str(path), told.set)
    watcher.start()
    found = 0
    try:
        time.sleep(1.2)  # whatever the beginning tells is told by now, and it looks seldom again
        for number in range(count):
            told.clear()
            connection.execute("INSERT INTO thing VALUES (?)", [number])
            found += told.wait(20)
    finally:
        watcher.close()
    return found


def test_every_commit_of_another_connection_is_told(file: tuple[Path, sqlite3.Connection]) -> None:
    assert seen_after_commits(*file, 10) == 10


def test_without_word_of_the_kernel_it_looks_by_itself(
    file: tuple[Path, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def deaf(path: str) -> Iterator[None]:
        yield None

    monkeypatch.setattr(watch, "writes_to", deaf)
    assert seen_after_commits(*file, 5) == 5


def test_a_lost_word_of_the_kernel_delays_and_hides_nothing(
    file: tuple[Path, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "nobody-writes-here"
    other.touch()

    @contextlib.contextmanager
    def elsewhere(path: str) -> Iterator[int | None]:
        with writes_to(str(other)) as descriptor:
            yield descriptor

    monkeypatch.setattr(watch, "writes_to", elsewhere)
    assert seen_after_commits(*file, 2) == 2


def test_the_kernel_tells_of_writes_once(tmp_path: Path) -> None:
    path = tmp_path / "written"
    path.touch()
    with writes_to(str(path)) as descriptor:
        assert descriptor is not None
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert not poll.poll(0)
        path.write_bytes(b"x")
        assert poll.poll(10_000)
        drain(descriptor)
        drain(descriptor)
        assert not poll.poll(0)


def test_a_file_that_is_not_there_cannot_be_told_of(tmp_path: Path) -> None:
    with writes_to(str(tmp_path / "none")) as descriptor:
        assert descriptor is None


async def test_a_patient_reader_gets_together_what_came_together(database: Database) -> None:
    feed = Feed(database)
    changes = feed.changes(await feed.position(), apart=2.0)
    batches: list[list[str]] = []
    try:
        first = asyncio.ensure_future(anext(changes))
        await database.write(lambda session: announce(session, "host", "first", "updated"))
        batches.append([row.key for row in await asyncio.wait_for(first, 10)])
        for number in range(20):
            await database.write(lambda session, n=number: announce(session, "host", n, "updated"))  # type: ignore[misc]
        while "19" not in batches[-1]:
            batches.append([row.key for row in await asyncio.wait_for(anext(changes), 10)])
        assert [key for batch in batches for key in batch] == ["first", *(str(number) for number in range(20))]
        assert len(batches) < 10
    finally:
        feed.close()
