from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, col, select, update

from data.database import Database
from data.errors import DatabaseUnavailable
from data.feed import ChangeRow, Feed, announce, announce_all, trim
from data.models import Change, Host, utc_now
from tests.data.helpers import finished, other_process, url_of
from tests.lab.postgres import PostgresServer


@pytest.fixture
def feed(database: Database) -> Iterator[Feed]:
    opened = Feed(database)
    yield opened
    opened.close()


async def next_of(changes: AsyncIterator[list[ChangeRow]]) -> list[ChangeRow]:
    async with asyncio.timeout(10):
        return await anext(changes)


async def until(changes: AsyncIterator[list[ChangeRow]], keys: set[str]) -> list[ChangeRow]:
    """Rows until all `keys` were seen; fails when one comes twice."""
    got: list[ChangeRow] = []
    while not keys <= {row.key for row in got}:
        got += await next_of(changes)
    assert len({row.id for row in got}) == len(got)
    return got


def say(session: Session, key: str) -> None:
    announce(session, "host", key, "updated", "run-1")


async def test_changes_from_a_position_on(database: Database, feed: Feed) -> None:
    await database.write(lambda session: say(session, "before"))
    after = await feed.position()
    await database.write(lambda session: announce_all(session, "host", [1, 2], "created"))
    await database.write(lambda session: say(session, "3"))
    rows = await until(feed.changes(after), {"1", "2", "3"})
    assert [(row.entity, row.key, row.verb, row.run_id) for row in rows] == [
        ("host", "1", "created", None),
        ("host", "2", "created", None),
        ("host", "3", "updated", "run-1"),
    ]
    assert utc_now() - rows[0].at < timedelta(minutes=1)
    assert not any(row.lost for row in rows)


async def test_from_now_on_means_nothing_old(database: Database, feed: Feed) -> None:
    await database.write(lambda session: say(session, "old"))
    changes = feed.changes()
    first = asyncio.create_task(next_of(changes))
    while not first.done():
        await database.write(lambda session: say(session, "new"))
        await asyncio.sleep(0.01)
    assert {row.key for row in first.result()} == {"new"}


async def test_what_was_rolled_back_is_not_announced(database: Database, feed: Feed) -> None:
    def fail(session: Session) -> None:
        say(session, "never")
        raise KeyError

    after = await feed.position()
    with contextlib.suppress(KeyError):
        await database.write(fail)
    await database.write(lambda session: say(session, "kept"))
    assert [row.key for row in await until(feed.changes(after), {"kept"})] == ["kept"]


async def test_a_change_of_another_process_is_seen_within_a_second(database: Database, feed: Feed) -> None:
    code = """
import time
from data.feed import announce
with opened() as database:
    print("ready", flush=True)
    for line in sys.stdin:
        database.write_sync(lambda session: announce(session, "host", line.strip(), "updated"))
        print(time.time(), flush=True)
"""
    other = other_process(url_of(database), database.home, code)
    assert other.stdin is not None
    assert other.stdout is not None
    await asyncio.to_thread(other.stdout.readline)
    changes = feed.changes(await feed.position())
    for number in range(5):
        waiting = asyncio.create_task(until(changes, {str(number)}))
        other.stdin.write(f"{number}\n")
        other.stdin.flush()
        committed = float(await asyncio.to_thread(other.stdout.readline))
        await waiting
        assert time.time() - committed < 1
    await asyncio.to_thread(finished, other)


async def test_several_readers_each_get_everything(database: Database, feed: Feed) -> None:
    after = await feed.position()
    readers = [asyncio.create_task(until(feed.changes(after), {"a", "b"})) for _ in range(3)]
    for key in ("a", "b"):
        await database.write(lambda session, key=key: say(session, key))  # type: ignore[misc]
    for rows in await asyncio.gather(*readers):
        assert [row.key for row in rows] == ["a", "b"]


async def test_many_changes_come_in_order_and_complete(database: Database, feed: Feed) -> None:
    after = await feed.position()
    keys = [str(number) for number in range(1234)]
    await database.write(lambda session: announce_all(session, "host", keys, "updated"))
    assert [row.key for row in await until(feed.changes(after), set(keys))] == keys


async def test_closing_ends_the_readers(database: Database, feed: Feed) -> None:
    changes = feed.changes()
    waiting = asyncio.create_task(next_of(changes))
    await asyncio.sleep(0.05)
    feed.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


def _age(session: Session, upto: int) -> None:
    old = utc_now() - timedelta(days=2)
    session.connection().execute(update(Change).where(col(Change.id) <= upto).values(at=old))


async def test_old_rows_go_and_who_slept_is_told(database: Database, feed: Feed) -> None:
    await database.write(lambda session: say(session, "first"))
    asleep = await feed.position()
    await database.write(lambda session: announce_all(session, "host", list(range(1100)), "updated"))
    newest = await feed.position()
    await database.write(lambda session: _age(session, newest))
    assert trim(database) == 1100
    assert await database.read(lambda session: session.exec(select(Change.id)).all()) == [newest]
    changes = feed.changes(asleep)
    [marker] = await next_of(changes)
    assert marker.lost
    assert marker.id == newest
    await database.write(lambda session: say(session, "after"))
    assert [row.key for row in await until(changes, {"after"})] == ["after"]


async def test_young_rows_stay(database: Database) -> None:
    await database.write(lambda session: announce_all(session, "host", [1, 2, 3], "updated"))
    assert await asyncio.to_thread(trim, database) == 0


async def test_an_own_commit_is_seen_at_once(database: Database, feed: Feed) -> None:
    changes = feed.changes(await feed.position())
    waits = []
    for number in range(5):
        waiting = asyncio.create_task(until(changes, {str(number)}))
        await asyncio.sleep(0.01)
        await database.write(lambda session, key=str(number): say(session, key))  # type: ignore[misc]
        begun = time.monotonic()
        await waiting
        waits.append(time.monotonic() - begun)
    assert sorted(waits)[2] < 0.15


async def test_a_commit_out_of_order_is_not_missed(postgres_server: PostgresServer, database: Database) -> None:
    """An id given out early and committed late, as only PostgreSQL does."""
    if database.dialect == "sqlite":
        return
    feed, early = Feed(database), asyncio.Event()
    loop, go = asyncio.get_running_loop(), asyncio.Event()

    def slow(session: Session) -> None:
        say(session, "slow")
        loop.call_soon_threadsafe(early.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)

    after = await feed.position()
    try:
        changes = feed.changes(after)
        writing = asyncio.create_task(database.write(slow))
        await early.wait()
        await database.write(lambda session: say(session, "fast"))
        fresh = Feed(database)
        beginning = fresh.changes()
        late = asyncio.create_task(next_of(beginning))
        assert [row.key for row in await until(changes, {"fast"})] == ["fast"]
        await asyncio.sleep(0.1)
        go.set()
        await writing
        assert [row.key for row in await until(changes, {"slow"})] == ["slow"]
        assert [row.key for row in await late] == ["slow"]
        fresh.close()
    finally:
        feed.close()


async def test_the_feed_survives_a_lost_connection(
    postgres_server: PostgresServer, database: Database, feed: Feed
) -> None:
    if database.dialect == "sqlite":
        return
    changes = feed.changes(await feed.position())
    await database.write(lambda session: say(session, "1"))
    await until(changes, {"1"})
    postgres_server.cut(url_of(database))
    await database.write(lambda session: say(session, "2"))
    await until(changes, {"2"})
    await asyncio.to_thread(_other_says, database, "3")
    assert [row.key for row in await until(changes, {"3"})] == ["3"]
    assert feed.trouble is None


def _other_says(database: Database, key: str) -> None:
    with Database.open(url_of(database), home=database.home) as other:
        other.write_sync(lambda session: say(session, key))


async def test_a_restarted_server_is_found_again(
    postgres_server: PostgresServer, database: Database, feed: Feed
) -> None:
    if database.dialect == "sqlite":
        return
    changes = feed.changes(await feed.position())
    await database.write(lambda session: say(session, "1"))
    await until(changes, {"1"})
    waiting = asyncio.create_task(until(changes, {"2"}))
    await asyncio.to_thread(postgres_server.stop)
    for refused in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable) as caught:
            await refused(lambda session: session.exec(select(Host.name)).all())
        assert not caught.value.outcome_unknown
    postgres_server.start()
    assert await database.read(lambda session: session.exec(select(Host.name)).all()) == ["local"]
    await asyncio.to_thread(_other_says, database, "2")
    assert [row.key for row in await waiting] == ["2"]


async def test_readers_wait_through_trouble_and_show_it(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = feed.changes(await feed.position())
    real, broken = database.read, asyncio.Event()
    monkeypatch.setattr("data.feed._RETRY_SECONDS", 0.02)

    async def fail(_: object) -> None:
        broken.set()
        raise DatabaseUnavailable("gone", remedy="wait")

    monkeypatch.setattr(database, "read", fail)
    waiting = asyncio.create_task(until(changes, {"1"}))
    await broken.wait()
    await database.write(lambda session: say(session, "1"))
    assert isinstance(feed.trouble, DatabaseUnavailable)
    monkeypatch.setattr(database, "read", real)
    assert [row.key for row in await waiting] == ["1"]
    assert feed.trouble is None
