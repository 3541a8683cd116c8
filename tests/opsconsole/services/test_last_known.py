"""What a console shows before its house is open: the same as the watch tells first, and only to who may see all."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from data import last_known as rows_of_the_file
from data.models import HostObservation
from opsconsole.backend import Backend, connect
from opsconsole.engine import dispatch, identity
from opsconsole.engine.context import Context
from opsconsole.engine.identity import Identity
from opsconsole.services import last_known
from opsconsole.services.kept import Kept, packed
from tests.opsconsole.houses import Bench

SEEN = datetime(2026, 11, 1, 12, tzinfo=UTC)
UNIT = {"unit": "nginx.service", "name": "nginx", "status": "started", "parent": None}
ERROR = {"message": "no route", "code": "host_unreachable", "data": {"remedy": "look at the cable"}}


@pytest.fixture
async def home(small_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """The home of ann, its administrator: hosts seen, broken since, never seen, set aside, and without a ring."""
    monkeypatch.setenv("OPSCONSOLE_HOME", str(tmp_path))
    monkeypatch.delenv("OPSCONSOLE_DATABASE_URL", raising=False)
    monkeypatch.setattr(identity, "who", lambda: Identity("ann", "ann", through_sudo=False))
    _change(small_bench, "delete from host")
    await small_bench.user("ann", admin=True)
    await small_bench.environment("live", "prod")
    web = await small_bench.host("web1", environment="live", tags=("edge", "blue"), status="attached")
    lost = await small_bench.host("db1", status="attached")
    await small_bench.host("aside", status="offline")
    await small_bench.host("new1", status="raw")

    def observed(tx: Session) -> None:
        payload = packed(Kept([UNIT], {"privileged": False, "version": 252, "clock_skew": 0.5}, SEEN))
        for number, state, error in ((web, "ok", None), (lost, "unreachable", ERROR)):
            tx.add(
                HostObservation(
                    host_id=number, kind="services", state=state, error=error, observed_at=SEEN, payload=payload
                )
            )

    await small_bench.database.write(observed)
    yield small_bench


async def _told(bench: Bench, count: int) -> list[dict[str, Any]]:
    """The first events of the watch itself."""
    ctx = Context(bench.house, await bench.caller("ann"))
    found: list[dict[str, Any]] = []
    async for event in dispatch.stream(ctx, "services.watch", {}):
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_it_is_what_the_watch_tells_first(home: Bench) -> None:
    events = last_known.events()
    assert [event["host"]["name"] for event in events] == ["db1", "new1", "web1"]
    assert events == await _told(home, 3)
    web = events[2]
    assert web["host"]["observed_at"] == SEEN
    assert web["host"]["cached"] is True
    assert web["host"]["level"] == "prod"
    assert web["host"]["tags"] == ["blue", "edge"]
    assert web["rows"][0]["key"] == "web1/nginx.service"
    assert events[0]["host"]["remedy"] == "look at the cable"


async def test_a_host_without_a_ring_counts_as_in_the_default_one(home: Bench) -> None:
    for change in ("update host set environment_id = null", "delete from environment where name = 'default'"):
        _change(home, change)
        assert last_known.events() == await _told(home, 3)


async def test_a_client_gives_them_once(home: Bench) -> None:
    client = connect()
    assert isinstance(client, Backend)
    assert len(client.last_known()) == 3
    assert client.last_known() == []


async def test_only_so_many_hosts_are_read(home: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_of_the_file, "MOST_HOSTS", 2)
    assert [event["host"]["name"] for event in last_known.events()] == ["db1", "new1"]


def _change(bench: Bench, statement: str) -> None:
    with sqlite3.connect(bench.house.home / "opsconsole.db") as connection:
        connection.execute(statement)


def _settings(text: str) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        (bench.house.home / "settings.toml").write_text(text, "utf-8")

    return change


def _sql(statement: str) -> Callable[[Bench], None]:
    return lambda bench: _change(bench, statement)


def _audit_key(bench: Bench) -> None:
    (bench.house.home / "audit.key").write_bytes(b"x" * 32)


def _no_audit_key(bench: Bench) -> None:
    (bench.house.home / "audit.key").unlink()


def _damaged(bench: Bench) -> None:
    bench.house.database.close()
    for name in ("opsconsole.db", "opsconsole.db-wal", "opsconsole.db-shm"):
        (bench.house.home / name).unlink(missing_ok=True)
    (bench.house.home / "opsconsole.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_sql("update user set status = 'disabled'"), id="disabled"),
        pytest.param(_sql("delete from user_role"), id="no administrator"),
        pytest.param(_sql("update user set username = 'bob'"), id="another user"),
        pytest.param(_sql("update alembic_version set version_num = '0001'"), id="older schema"),
        pytest.param(_sql("update alembic_version set version_num = '9999'"), id="newer schema"),
        pytest.param(_sql("update host_observation set payload = x'00ff'"), id="damaged observation"),
        pytest.param(_settings('mode = "team"'), id="team"),
        pytest.param(_settings("captive = true"), id="captive"),
        pytest.param(_settings('database_url = "postgresql://db.example/ops"'), id="database on a server"),
        pytest.param(_audit_key, id="another key"),
        pytest.param(_no_audit_key, id="no key"),
        pytest.param(_damaged, id="damaged file"),
    ],
)
async def test_whoever_may_not_see_all_or_where_something_is_wrong_nothing_is_shown(
    home: Bench, change: Callable[[Bench], None]
) -> None:
    assert last_known.events()
    change(home)
    assert last_known.events() == []


async def test_nothing_is_shown_through_sudo_or_with_another_database(
    home: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_known.events()
    with monkeypatch.context() as other:
        other.setattr(identity, "who", lambda: Identity("ann", "ops", through_sudo=True))
        assert last_known.events() == []
    monkeypatch.setenv("OPSCONSOLE_DATABASE_URL", "postgresql://db.example/ops")
    assert last_known.events() == []


async def test_before_the_first_start_nothing_is_there_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSCONSOLE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPSCONSOLE_DATABASE_URL", raising=False)
    assert last_known.events() == []
    assert not (tmp_path / "home").exists()


async def test_a_writer_in_the_middle_of_something_disturbs_nothing(home: Bench) -> None:
    writer = sqlite3.connect(home.house.home / "opsconsole.db", isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("delete from host_observation")
        assert len(last_known.events()[2]["rows"]) == 1
    finally:
        writer.rollback()
        writer.close()
