from __future__ import annotations

from typing import Literal

import pytest
from sqlalchemy import Select, delete, text, update
from sqlmodel import Session, col, select

from data.database import Database
from data.models import Host
from data.textsearch import text_match

HOSTS = {
    "web-frontend-01": "Edge router, floor 2",
    "WEB-backend": "Сервер базы данных",
    "db_1": '100% "quoted" \\ path',
    "dbx1": None,
    "x": "tiny",
}


@pytest.fixture
def filled(database: Database) -> Database:
    def work(session: Session) -> None:
        for name, description in HOSTS.items():
            session.add(Host(name=name, host_type="PHY_HOST", description=description))

    database.write_sync(work)
    return database


def find(database: Database, needle: str, short: Literal["prefix", "scan"] = "prefix") -> set[str]:
    condition = text_match(database.dialect, Host, ("name", "description"), needle, short=short)
    return set(database.read_sync(lambda session: session.exec(select(Host.name).where(condition)).all())) - {"local"}


@pytest.mark.parametrize(
    ("needle", "names"),
    [
        ("front", {"web-frontend-01"}),
        ("WEB-", {"web-frontend-01", "WEB-backend"}),
        ("FLOOR 2", {"web-frontend-01"}),
        ("БАЗЫ", {"WEB-backend"}),
        ("db_", {"db_1"}),
        ("100%", {"db_1"}),
        ('"quoted"', {"db_1"}),
        ("\\ pa", {"db_1"}),
        ("nowhere", set()),
        ("name : web", set()),
        ("* OR web", set()),
    ],
)
def test_a_substring_in_any_case(filled: Database, needle: str, names: set[str]) -> None:
    assert find(filled, needle) == names


@pytest.mark.parametrize(
    ("needle", "prefix", "scan"),
    [
        ("", set(HOSTS), {"web-frontend-01", "WEB-backend", "db_1", "dbx1", "x"}),
        ("we", {"web-frontend-01", "WEB-backend"}, {"web-frontend-01", "WEB-backend"}),
        ("X", {"x"}, {"x", "dbx1"}),
        ("b_", set(), {"db_1"}),
        ("БА", set(), {"WEB-backend"}),
        ("0%", set(), {"db_1"}),
    ],
)
def test_a_short_needle(filled: Database, needle: str, prefix: set[str], scan: set[str]) -> None:
    assert find(filled, needle) == prefix
    assert find(filled, needle, "scan") == scan


def test_the_index_follows_changes(filled: Database) -> None:
    change = update(Host).where(col(Host.name) == "x").values(description="now a storage box")
    filled.write_sync(lambda session: session.connection().execute(change).rowcount)
    assert find(filled, "storage") == {"x"}
    assert find(filled, "tiny") == set()
    removal = delete(Host).where(col(Host.name) == "x")
    filled.write_sync(lambda session: session.connection().execute(removal).rowcount)
    assert find(filled, "storage") == set()


def test_only_the_asked_columns_count(filled: Database) -> None:
    condition = text_match(filled.dialect, Host, ("description",), "web")
    assert filled.read_sync(lambda session: session.exec(select(Host.name).where(condition)).all()) == []


def _plan(database: Database, needle: str) -> str:
    condition = text_match(database.dialect, Host, ("name", "description"), needle)
    query: Select[*tuple[object, ...]] = select(col(Host.id)).where(condition)

    def explain(session: Session) -> str:
        connection = session.connection()
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        if database.dialect == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        word = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN"
        return str(connection.exec_driver_sql(f"{word} {compiled}".replace("%", "%%")).all())

    return database.read_sync(explain)


def test_an_index_is_used(filled: Database) -> None:
    sqlite = filled.dialect == "sqlite"
    assert ("VIRTUAL TABLE INDEX" if sqlite else "host_search_name") in _plan(filled, "front")
    assert "host_search_prefix" in _plan(filled, "we")
