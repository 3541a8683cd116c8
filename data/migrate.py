"""Brings a database to the schema of this program: SQLite files by themselves, PostgreSQL on command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from data import sqlite
from data.database import Database, mismatch, parse_url, state_of
from data.errors import DatabaseUnavailable
from data.version import HEAD

_ADVISORY_LOCK = 0x6F707363  # "opsc"


def upgrade(target: Database | str | None, *, home: Path) -> tuple[str | None, str]:
    """Migrate the database and answer (version before, version now). Does nothing when it is current.

    Several processes may call it at once: one works, the others wait. Raises DatabaseUnavailable, DatabaseBusy, and
    SchemaMismatch when the database is newer than this program.
    """
    url = target.url if isinstance(target, Database) else parse_url(target, home)
    if url.get_backend_name() == "sqlite":
        sqlite.prepare_home(home)
        path = Path(str(url.database))
        sqlite.refuse_network(path)
        sqlite.prepare_file(path, create=True)
        before = sqlite.schema_version(path)
        return before, upgrade_file(path, home)
    return _upgrade_server(url)


def upgrade_file(path: Path, home: Path) -> str:
    """Migrate one SQLite file after copying it into `home`/backups; answers the version it has now."""
    with sqlite.migration_lock(path):
        version = sqlite.schema_version(path)
        state = state_of(version)
        if state == "newer":
            raise mismatch(str(path), version)
        if state == "older" and version is not None:
            sqlite.backup(path, home / "backups", version)
        if state != "current":
            engine = _file_engine(path)
            try:
                with engine.connect() as connection, connection.begin():
                    run(connection)
                    _check_references(connection, path)
            finally:
                engine.dispose()
    return HEAD


def run(connection: Connection, revision: str = "head") -> None:
    """Apply the migrations up to `revision` within the transaction of `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _file_engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        sqlite.apply_pragmas(connection, read_only=False, busy_ms=30000)
        connection.execute("PRAGMA foreign_keys = OFF")  # rebuilding a table must not cascade into its children

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _check_references(connection: Connection, path: Path) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise DatabaseUnavailable(
            f"{path}: a row of table {broken[0]} would refer to a missing row of {broken[2]}",
            remedy="nothing was changed; restore the newest backup or report the fault",
        )


def _upgrade_server(url: URL) -> tuple[str | None, str]:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            before = _server_version(connection)
            if state_of(before) == "newer":
                raise mismatch(url.render_as_string(hide_password=True), before)
            if state_of(before) != "current":
                run(connection)
            return before, HEAD
    except DBAPIError as error:
        first = str(error.orig).strip().splitlines()[0]
        raise DatabaseUnavailable(
            f"{url.render_as_string(hide_password=True)}: the schema was not upgraded: {first}",
            remedy="nothing was changed; the role needs the right to make tables and the extension pg_trgm",
        ) from error
    finally:
        engine.dispose()


def _server_version(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])
