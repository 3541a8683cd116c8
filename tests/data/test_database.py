from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlmodel import Session, col, select

from data import migrate, sqlite
from data.database import Database, parse_url
from data.errors import DatabaseBusy, DatabaseUnavailable, SchemaMismatch, StaleRecord
from data.migrate import upgrade
from data.models import AuditHead, Environment, Host, HostObservation, HostTag, Role, Setting
from data.version import HEAD
from tests.data.helpers import finished, other_process, url_of
from tests.lab.postgres import MakeUrl, PostgresServer


def names(session: Session) -> list[str]:
    return sorted(session.exec(select(Host.name)).all())


def add_host(name: str) -> Host:
    return Host(name=name, host_type="PHY_HOST")


async def test_a_new_database_is_seeded(database: Database) -> None:
    def look(session: Session) -> tuple[list[str], list[str], list[str], int]:
        roles = sorted(role.name for role in session.exec(select(Role)) if role.builtin)
        rings = [ring.name for ring in session.exec(select(Environment)) if ring.level == "dev"]
        head = session.exec(select(AuditHead)).one()
        return names(session), roles, rings, head.last_seq

    assert await database.read(look) == (["local"], ["@admin", "@user"], ["default"], 0)
    local = await database.read(lambda session: session.exec(select(Host)).one())
    assert (local.local, local.host_type, local.status, local.version) == (True, "PHY_HOST", "inited", 1)
    assert database.schema_state == "current"
    assert not database.read_only


async def test_a_write_commits_and_answers_usable_objects(database: Database) -> None:
    def work(session: Session) -> Host:
        host = add_host("web-1")
        host.zabbix_groups = ["a", "б"]
        session.add(host)
        return host

    host = await database.write(work)
    assert host.id > 1
    stored = await database.read(lambda session: session.get(Host, host.id))
    assert stored is not None
    assert (stored.name, stored.zabbix_groups, stored.version) == ("web-1", ["a", "б"], 1)


async def test_an_exception_rolls_back(database: Database) -> None:
    def work(session: Session) -> None:
        session.add(add_host("web-1"))
        session.flush()
        raise KeyError("stop")

    with pytest.raises(KeyError):
        await database.write(work)
    assert await database.read(names) == ["local"]


async def test_a_broken_rule_of_the_schema_reaches_the_caller(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.write(lambda session: session.add(add_host("local")))
    with pytest.raises(IntegrityError):
        await database.write(lambda session: session.add(HostTag(host_id=999, tag="x")))
    with pytest.raises(IntegrityError):
        await database.write(lambda session: session.add(Environment(name="x", level="nonsense")))


async def test_deleting_a_host_takes_its_tags_along(database: Database) -> None:
    host = await database.write(lambda session: _added(session, "web-1", "blue"))
    await database.write(lambda session: session.delete(session.get_one(Host, host)))
    assert await database.read(lambda session: session.exec(select(HostTag)).all()) == []


def _added(session: Session, name: str, tag: str) -> int:
    host = add_host(name)
    session.add(host)
    session.flush()
    session.add(HostTag(host_id=host.id, tag=tag))
    return host.id


async def test_a_read_cannot_write(database: Database) -> None:
    def work(session: Session) -> None:
        session.add(add_host("web-1"))
        session.flush()

    with pytest.raises((DatabaseUnavailable, DBAPIError)):
        await database.read(work)
    assert await database.read(names) == ["local"]


async def test_a_read_is_one_snapshot(database: Database) -> None:
    def twice(session: Session) -> tuple[list[str], list[str]]:
        first = names(session)
        database.write_sync(lambda other: other.add(add_host("web-1")))
        return first, sorted(session.connection().execute(select(Host.name)).scalars())

    assert await database.read(twice) == (["local"], ["local"])
    assert await database.read(names) == ["local", "web-1"]


async def test_moments_keep_microseconds_and_come_back_in_utc(database: Database) -> None:
    given = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=3)))

    def work(session: Session) -> None:
        session.add(HostObservation(host_id=1, kind="units", state="ok", observed_at=given, payload=b"\x00\xff"))

    await database.write(work)
    seen = await database.read(lambda session: session.exec(select(HostObservation)).one())
    assert seen.observed_at == given
    assert seen.observed_at.isoformat() == "2026-03-29T00:30:00.123456+00:00"
    assert seen.payload == b"\x00\xff"
    later = select(HostObservation.kind).where(col(HostObservation.observed_at) > given - timedelta(microseconds=1))
    assert await database.read(lambda session: session.exec(later).all()) == ["units"]


async def test_a_moment_without_zone_is_refused(database: Database) -> None:
    naive = datetime.now(UTC).replace(tzinfo=None)
    with pytest.raises(StatementError, match="without a time zone"):
        await database.write(
            lambda session: session.add(HostObservation(host_id=1, kind="u", state="ok", observed_at=naive))
        )


@pytest.mark.parametrize("value", [None, 0, 1.10, "", "\x00\ud800 ", [1, {"b": 2, "a": 1}], {"z": 1, "a": [None]}])
async def test_json_reads_back_as_it_was_written(database: Database, value: object) -> None:
    await database.write(lambda session: session.add(Setting(key="k", value=value)))
    got = await database.read(lambda session: session.get_one(Setting, "k").value)
    assert repr(got) == repr(value)


async def test_a_change_over_a_newer_one_is_refused(database: Database) -> None:
    mine = await database.read(lambda session: session.exec(select(Host)).one())
    await database.write(lambda session: setattr(session.exec(select(Host)).one(), "cpu", 2))
    mine.cpu = 4
    with pytest.raises(StaleRecord, match="somebody else"):
        await database.write(lambda session: session.add(mine))
    assert await database.read(lambda session: session.exec(select(Host.cpu, Host.version)).one()) == (2, 2)


def test_a_write_inside_a_write_is_a_mistake(database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside"):
        database.write_sync(lambda _: database.write_sync(names))
    assert database.write_sync(names) == ["local"]


async def test_writers_of_two_processes_lose_nothing(database: Database) -> None:
    code = """
from sqlalchemy import text
add = text("UPDATE host SET cpu = coalesce(cpu, 0) + 1")
with opened() as database:
    print("ready", flush=True)
    for _ in range(40):
        database.write_sync(lambda session: session.connection().execute(add).rowcount)
"""
    other = other_process(url_of(database), database.home, code)
    assert other.stdout is not None
    await asyncio.to_thread(other.stdout.readline)
    add = text("UPDATE host SET cpu = coalesce(cpu, 0) + 1")
    await asyncio.gather(
        *(database.write(lambda session: session.connection().execute(add).rowcount) for _ in range(40))
    )
    await asyncio.to_thread(finished, other)
    assert await database.read(lambda session: session.exec(select(Host.cpu)).one()) == 80


async def test_a_held_lock_is_waited_for_and_then_named(make_url: MakeUrl, tmp_path: Path) -> None:
    url = make_url()
    lock = update(Host).values(location="held").execution_options(synchronize_session=False)
    with (
        Database.open(url, home=tmp_path) as holder,
        Database.open(url, home=tmp_path, busy_deadline=0.3) as hasty,
        Database.open(url, home=tmp_path, busy_deadline=10) as patient,
    ):
        held, release = threading.Event(), threading.Event()

        def hold(session: Session) -> None:
            session.connection().execute(lock)
            held.set()
            release.wait(10)

        holding = asyncio.create_task(holder.write(hold))
        await asyncio.to_thread(held.wait, 10)
        change = update(Host).values(cpu=7)
        with pytest.raises(DatabaseBusy) as caught:
            await hasty.write(lambda session: session.connection().execute(change).rowcount)
        assert caught.value.remedy
        waiting = asyncio.create_task(patient.write(lambda session: session.connection().execute(change).rowcount))
        assert await hasty.read(lambda session: session.exec(select(Host.cpu)).one()) is None
        release.set()
        await asyncio.gather(holding, waiting)
        assert await hasty.read(lambda session: session.exec(select(Host.cpu, Host.location)).one()) == (7, "held")


async def test_a_cancelled_write_has_ended_when_the_caller_learns_of_it(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        session.add(add_host("web-1"))
        begun.set()
        go.wait(10)

    writing = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await database.read(names) == ["local", "web-1"]


async def test_a_cancelled_write_that_waits_is_dropped(tmp_path: Path) -> None:
    with Database.open(None, home=tmp_path) as database:
        begun, go = threading.Event(), threading.Event()

        def slow(_: Session) -> None:
            begun.set()
            go.wait(10)

        first = asyncio.create_task(database.write(slow))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(database.write(lambda session: session.add(add_host("web-1"))))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        await first
        assert await database.read(names) == ["local"]


async def test_listeners_hear_only_of_announced_commits(database: Database) -> None:
    from data.feed import announce

    heard: list[int] = []
    stop = database.on_announce(lambda: heard.append(1))
    await database.write(names)
    assert heard == []
    await database.write(lambda session: announce(session, "host", 1, "updated"))
    assert heard == [1]
    stop()
    await database.write(lambda session: announce(session, "host", 1, "updated"))
    assert heard == [1]


def test_closing_twice_is_fine_and_says_nothing(make_url: MakeUrl, tmp_path: Path) -> None:
    database = Database.open(make_url(), home=tmp_path)
    database.close()
    database.close()
    with pytest.raises(RuntimeError):
        asyncio.run(database.read(names))


# --- the embedded file ---


def test_the_file_and_its_journals_are_private(tmp_path: Path) -> None:
    home = tmp_path / "a b%20?#" / "home"
    with Database.open(None, home=home) as database:
        database.write_sync(lambda session: session.add(add_host("web-1")))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert {"opsconsole.db", "opsconsole.db-wal", "opsconsole.db-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_loose_modes_are_tightened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Database.open(None, home=home).close()
    home.chmod(0o755)
    (home / "opsconsole.db").chmod(0o644)
    Database.open(None, home=home).close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "opsconsole.db").stat().st_mode) == 0o600


def test_pragmas_hold_on_every_connection(tmp_path: Path) -> None:
    def pragmas(session: Session) -> list[object]:
        wanted = ("journal_mode", "foreign_keys", "synchronous")
        return [session.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted]

    with Database.open(None, home=tmp_path / "h") as database:
        assert database.write_sync(pragmas) == ["wal", 1, 2]
        assert database.read_sync(pragmas)[:2] == ["wal", 1]


def test_the_home_of_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(DatabaseUnavailable, match="belongs to user id") as caught:
        Database.open(None, home=tmp_path)
    assert "OPSCONSOLE_HOME" in caught.value.remedy


def test_a_missing_file_is_not_made_when_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="no database"):
        Database.open(None, home=tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "opsconsole.db").write_bytes(b"not a database " * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database") as caught:
        Database.open(None, home=tmp_path)
    assert "backups" in caught.value.remedy


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:45 / /home rw - nfs4 server:/home rw
31 22 0:46 / /mnt/with\\040blank rw - fuse.sshfs me@there:/ rw
32 30 8:2 / /home/local rw - xfs /dev/sdb rw
33 22 8:3 / /over rw - ext4 /dev/sdc rw
34 22 0:47 / /over rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x", ""),
        ("/homework", ""),
        ("/home/local/x", ""),
        ("/home/me/x", "nfs4"),
        ("/mnt/with blank/x", "fuse.sshfs"),
        ("/over/x", "cifs"),
    ],
)
def test_network_file_systems_are_refused(path: str, kind: str) -> None:
    if not kind:
        sqlite.refuse_network(Path(path), MOUNTS)
        return
    with pytest.raises(DatabaseUnavailable) as caught:
        sqlite.refuse_network(Path(path), MOUNTS)
    assert kind in caught.value.message
    assert "OPSCONSOLE_DATABASE_URL" in caught.value.remedy


def test_the_file_system_of_this_machine_is_found(tmp_path: Path) -> None:
    assert sqlite.file_system_of(tmp_path)


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    Database.open(None, home=tmp_path).close()
    with sqlite3.connect(tmp_path / "opsconsole.db") as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch) as caught:
        Database.open(None, home=tmp_path)
    assert (caught.value.found, caught.value.expected) == ("9999", HEAD)
    assert "9999" in caught.value.message
    assert not (tmp_path / "backups").exists()


# --- the server ---


def test_a_url_that_means_nothing_is_not_echoed(tmp_path: Path) -> None:
    for url in ("mysql://u:secret@h/d", "secret", "sqlite://", "://secret@"):
        with pytest.raises(DatabaseUnavailable) as caught:
            Database.open(url, home=tmp_path)
        assert "secret" not in str(caught.value) + caught.value.remedy


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        Database.open("postgresql://ops:hidden@127.0.0.1:1/x", home=tmp_path)
    assert "hidden" not in repr(caught.value)
    assert "127.0.0.1:1" in caught.value.message
    assert "OPSCONSOLE_DATABASE_URL" in caught.value.remedy


def test_a_database_that_is_not_there(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        Database.open(postgres_server.url("nowhere"), home=tmp_path)


@pytest.fixture
def on_server(postgres_server: PostgresServer, postgres_copy: str, tmp_path: Path) -> Database:
    return Database.open(postgres_copy, home=tmp_path)


@pytest.fixture
def postgres_copy(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    url = postgres_server.create("opsconsole_template")
    request.addfinalizer(lambda: postgres_server.drop(url))
    return url


def test_cut_connections_are_replaced(on_server: Database, postgres_server: PostgresServer) -> None:
    with on_server as database:
        assert database.read_sync(names) == ["local"]
        database.write_sync(lambda session: session.add(add_host("web-1")))
        postgres_server.cut(url_of(database))
        assert database.read_sync(names) == ["local", "web-1"]
        postgres_server.cut(url_of(database))
        database.write_sync(lambda session: session.add(add_host("web-2")))
        assert database.read_sync(names) == ["local", "web-1", "web-2"]


def test_a_cut_in_the_middle_of_a_write_repeats_it_once(on_server: Database, postgres_server: PostgresServer) -> None:
    tries: list[int] = []

    def work(session: Session) -> None:
        session.add(add_host("web-1"))
        session.flush()
        tries.append(1)
        if len(tries) == 1:
            postgres_server.cut(url_of(on_server))
        session.add(add_host("web-2"))
        session.flush()

    with on_server as database:
        database.write_sync(work)
        assert database.read_sync(names) == ["local", "web-1", "web-2"]
    assert len(tries) == 2


def test_a_cut_during_the_commit_is_an_unknown_outcome(on_server: Database, postgres_server: PostgresServer) -> None:
    def work(session: Session) -> None:
        session.add(add_host("web-1"))
        event.listen(session, "after_flush_postexec", lambda *_: postgres_server.cut(url_of(on_server)), once=True)

    with on_server as database:
        with pytest.raises(DatabaseUnavailable) as caught:
            database.write_sync(work)
        assert caught.value.outcome_unknown
        assert "read the object again" in caught.value.remedy
        assert database.read_sync(names) == ["local"]


def test_a_serialisation_failure_is_tried_again(on_server: Database) -> None:
    tries: list[float] = []

    def work(session: Session) -> None:
        tries.append(time.monotonic())
        if len(tries) < 3:
            session.connection().execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))
        session.add(add_host("web-1"))

    with on_server as database:
        database.write_sync(work)
        assert database.read_sync(names) == ["local", "web-1"]
    assert len(tries) == 3


def test_an_empty_server_database_is_not_touched(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = postgres_server.create()
    with Database.open(url, home=tmp_path) as database:
        assert (database.schema_state, database.read_only) == ("empty", True)
        for refused in (database.write_sync, database.read_sync):
            with pytest.raises(SchemaMismatch) as caught:
                refused(names)
            assert "db upgrade" in caught.value.remedy
        assert upgrade(database, home=tmp_path) == (None, HEAD)
        database.write_sync(lambda session: session.add(add_host("web-1")))
        assert not database.read_only
        assert database.read_sync(names) == ["local", "web-1"]
    postgres_server.drop(url)


def test_an_older_server_database_is_read_until_it_is_upgraded(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = postgres_server.create()
    engine = create_engine(parse_url(url, tmp_path))
    with engine.begin() as connection:
        migrate.run(connection, "0001")
    engine.dispose()
    with Database.open(url, home=tmp_path) as database:
        assert (database.schema_state, database.read_only) == ("older", True)
        assert database.read_sync(names) == ["local"]
        with pytest.raises(SchemaMismatch, match="0001"):
            database.write_sync(lambda session: session.add(add_host("web-1")))
        with pytest.raises(SchemaMismatch, match="0001"):
            database.read_sync(lambda session: session.exec(select(AuditHead)).all())
        assert upgrade(url, home=tmp_path) == ("0001", HEAD)
        database.write_sync(lambda session: session.add(add_host("web-1")))
        assert database.read_sync(names) == ["local", "web-1"]
    postgres_server.drop(url)


def test_a_server_of_another_version_is_read_only(postgres_copy: str, tmp_path: Path) -> None:
    with Database.open(postgres_copy, home=tmp_path) as first:
        change = text("UPDATE alembic_version SET version_num = '9999'")
        first.write_sync(lambda session: session.connection().execute(change).rowcount)
    with Database.open(postgres_copy, home=tmp_path) as database:
        assert database.schema_state == "newer"
        assert database.read_sync(names) == ["local"]
        with pytest.raises(SchemaMismatch, match=f"9999.*{HEAD}"):
            database.write_sync(lambda session: session.add(add_host("web-1")))
    with pytest.raises(SchemaMismatch):
        upgrade(postgres_copy, home=tmp_path)
