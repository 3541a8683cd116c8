from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import Select, select, text
from sqlmodel import Session, col

from data.database import Database
from data.feed import announce_all
from data.models import Change, Host
from data.pages import CursorPage, Keyset, Order, cursor_page, keyset_page, numbered_page

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def filled(database: Database) -> Database:
    """Hosts with ids 2..41 beside the local one; `location` repeats, so that it needs the id to be an order."""

    def work(session: Session) -> None:
        for number in range(40):
            made = START + timedelta(microseconds=number // 3)
            row = Host(name=f"h{number:02}", host_type="PHY_HOST", created_at=made, location=f"r{number % 4}")
            session.add(row)
        local = session.get_one(Host, 1)
        local.location, local.created_at = "r9", START

    database.write_sync(work)
    return database


def hosts() -> Select[*tuple[Any, ...]]:
    return select(col(Host.id), col(Host.name), col(Host.location), col(Host.created_at))


ORDERS = {
    "up": (Order(col(Host.created_at)), Order(col(Host.id))),
    "down": (Order(col(Host.created_at), descending=True), Order(col(Host.id), descending=True)),
    "mixed": (Order(col(Host.location), descending=True), Order(col(Host.name))),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("size", [1, 7, 41, 50])
async def test_keyset_pages_make_up_the_whole_list(filled: Database, name: str, size: int) -> None:
    order = ORDERS[name]
    got: list[int] = []
    after: tuple[Any, ...] | None = None
    while True:
        keyset = Keyset(order, after, size)
        page = await filled.read(lambda session, keyset=keyset: keyset_page(session, hosts(), keyset))  # type: ignore[misc]
        assert len(page.rows) <= size
        got += [row.id for row in page.rows]
        after = page.after
        if after is None:
            break
    rows = await filled.read(lambda session: session.connection().execute(hosts()).all())
    expected = {
        "up": sorted(rows, key=lambda row: (row.created_at, row.id)),
        "down": sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True),
        "mixed": sorted(sorted(rows, key=lambda row: row.name), key=lambda row: row.location, reverse=True),
    }[name]
    assert got == [row.id for row in expected]


async def test_a_keyset_that_makes_no_sense(filled: Database) -> None:
    for bad in (Keyset((), None, 5), Keyset(ORDERS["up"], None, 0), Keyset(ORDERS["up"], (1,), 5)):
        with pytest.raises(ValueError, match=r"keyset|values"):
            await filled.read(lambda session, bad=bad: keyset_page(session, hosts(), bad))  # type: ignore[misc]


async def test_cursor_pages_walk_both_ways(filled: Database) -> None:
    def walk_to(cursor: int, session: Session) -> CursorPage:
        return cursor_page(session, hosts(), col(Host.id), cursor=cursor)

    async def walk(direction: str, cursor: int | None) -> list[list[int]]:
        pages = []
        while cursor is not None:
            page = await filled.read(partial(walk_to, cursor))
            assert page.current == cursor
            pages.append([row.id for row in page.rows])
            cursor = page.next if direction == "next" else page.previous
        return pages

    forward = await walk("next", 0)
    assert [len(page) for page in forward] == [15, 15, 11]
    assert list(chain(*forward)) == list(range(1, 42))
    assert await walk("previous", forward[1][-1]) == forward[::-1]


async def test_the_cursor_document_has_the_printed_shape(filled: Database) -> None:
    one = hosts().where(col(Host.name) == "local")
    page = await filled.read(lambda session: cursor_page(session, one, col(Host.id)))
    assert page.document("clients", lambda row: {"id": row.id}) == {
        "cursor": {"current": 0, "next": None, "previous": None},
        "clients": [{"id": 1}],
    }


async def test_numbered_pages(filled: Database) -> None:
    order = (Order(col(Host.name), descending=True),)

    async def page(number: int, size: int) -> dict[str, Any]:
        found = await filled.read(
            lambda session: numbered_page(session, hosts(), col(Host.id), order, page=number, page_size=size)
        )
        return found.document(lambda row: row.name)

    assert await page(1, 3) == {"prev": None, "next": 2, "count": 41, "results": ["local", "h39", "h38"]}
    assert await page(14, 3) == {"prev": 13, "next": None, "count": 41, "results": ["h01", "h00"]}
    assert await page(99, 3) == {"prev": 14, "next": None, "count": 41, "results": []}
    assert (await page(1, 200))["results"][-1] == "h00"


async def test_an_empty_list_has_one_empty_page(filled: Database) -> None:
    none = hosts().where(col(Host.name) == "nobody")
    found = await filled.read(lambda session: numbered_page(session, none, col(Host.id), (Order(col(Host.id)),)))
    assert found.document(str) == {"prev": None, "next": None, "count": 0, "results": []}


@pytest.mark.parametrize(("page", "size"), [(0, 10), (1, 0), (1, 201), (-1, 10)])
async def test_page_numbers_out_of_range(filled: Database, page: int, size: int) -> None:
    with pytest.raises(ValueError, match="page_size"):
        await filled.read(lambda session: numbered_page(session, hosts(), col(Host.id), (), page=page, page_size=size))


@pytest.mark.parametrize(("cursor", "size"), [(-1, 15), (0, 0), (0, 201)])
async def test_cursors_out_of_range(filled: Database, cursor: int, size: int) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await filled.read(lambda session: cursor_page(session, hosts(), col(Host.id), cursor=cursor, size=size))


async def test_skipping_reads_only_an_index(tmp_path: Any) -> None:
    with Database.open(None, home=tmp_path) as database:
        await database.write(lambda session: announce_all(session, "host", list(range(3000)), "updated"))
        plan = text("EXPLAIN QUERY PLAN SELECT id FROM change ORDER BY at, id LIMIT 10 OFFSET 2000")
        rows = await database.read(lambda session: session.connection().execute(plan).all())
        assert "COVERING INDEX ix_change_at" in str(rows)
        order = (Order(col(Change.at)), Order(col(Change.id)))
        page = await database.read(
            lambda session: numbered_page(session, select(Change), col(Change.id), order, page=300)
        )
        assert [row[0].key for row in page.rows] == [str(number) for number in range(2990, 3000)]
