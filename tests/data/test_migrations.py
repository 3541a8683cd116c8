from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SAWarning
from sqlmodel import SQLModel, select

from data import migrate, sqlite
from data.database import Database
from data.errors import DatabaseBusy, DatabaseUnavailable
from data.migrations.settings import options
from data.models import Host
from data.version import HEAD, REVISIONS
from tests.data.helpers import finished, other_process
from tests.lab.postgres import MakeUrl

SCRIPTS = Path(migrate.__file__).with_name("migrations")


def test_the_constants_name_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    directory = ScriptDirectory.from_config(config)
    assert directory.get_heads() == [HEAD]
    assert [script.revision for script in reversed(list(directory.walk_revisions()))] == list(REVISIONS)


def test_the_migrated_schema_is_that_of_the_models(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # it cannot reflect indexes over expressions
        context = MigrationContext.configure(connection, opts=options())
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_the_comparison_would_notice_a_missing_column(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.begin() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        connection.exec_driver_sql("ALTER TABLE setting DROP COLUMN updated_by")
        context = MigrationContext.configure(connection, opts=options())
        found = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert [change[0] for change in found] == ["add_column"]


def test_several_processes_may_bring_up_an_empty_database_at_once(make_url: MakeUrl, tmp_path: Path) -> None:
    url = make_url(empty=True)
    code = """
from data.migrate import upgrade
sys.stdin.readline()
before, now = upgrade(sys.argv[1] or None, home=Path(sys.argv[2]))
with opened() as database:
    print(before, now, database.schema_state)
"""
    children = [other_process(url, tmp_path / "home", code) for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert {finished(child).split()[1:] == [HEAD, "current"] for child in children} == {True}
    with Database.open(url, home=tmp_path / "home") as database:
        assert database.read_sync(lambda session: session.exec(select(Host.name)).all()) == ["local"]


def test_upgrading_a_current_database_does_nothing(make_url: MakeUrl, tmp_path: Path) -> None:
    url = make_url()
    assert migrate.upgrade(url, home=tmp_path) == (HEAD, HEAD)
    assert not (tmp_path / "backups").exists()


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A file as the first version left it, with a host in it."""
    path = tmp_path / "opsconsole.db"
    sqlite.prepare_file(path, create=True)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.run(connection, REVISIONS[0])
        connection.exec_driver_sql("UPDATE host SET location = 'kept'")
    engine.dispose()
    return path


def test_an_older_file_is_copied_and_migrated(older: Path, tmp_path: Path) -> None:
    with Database.open(None, home=tmp_path) as database:
        assert database.schema_state == "current"
        assert database.read_sync(lambda session: session.exec(select(Host.location)).all()) == ["kept"]
    [copy] = (tmp_path / "backups").iterdir()
    assert copy.name.endswith(f"-{REVISIONS[0]}.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sqlite.schema_version(copy) == REVISIONS[0]


def test_a_failing_migration_leaves_the_file_as_it_was(
    older: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = migrate.run

    def break_down(connection: Connection) -> None:
        real(connection)
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "run", break_down)
        with pytest.raises(RuntimeError, match="half way"):
            Database.open(None, home=tmp_path)
    assert sqlite.schema_version(older) == REVISIONS[0]
    with closing(sqlite3.connect(older)) as file:
        assert file.execute("SELECT name FROM sqlite_master WHERE name = 'audit'").fetchall() == []
    Database.open(None, home=tmp_path).close()
    assert sqlite.schema_version(older) == HEAD


def test_a_migration_that_would_orphan_rows_is_undone(
    older: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = migrate.run

    def orphan(connection: Connection) -> None:
        real(connection)
        connection.exec_driver_sql("INSERT INTO host_tag VALUES (999, 'x')")

    monkeypatch.setattr(migrate, "run", orphan)
    with pytest.raises(DatabaseUnavailable, match="host_tag"):
        Database.open(None, home=tmp_path)
    assert sqlite.schema_version(older) == REVISIONS[0]


def test_five_backups_are_kept(older: Path, tmp_path: Path) -> None:
    copies = [sqlite.backup(older, tmp_path / "backups", "0000") for _ in range(7)]
    assert sorted((tmp_path / "backups").iterdir()) == copies[2:]


def test_a_migration_that_takes_too_long_elsewhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / "opsconsole.db"
    with (
        sqlite.migration_lock(path),
        pytest.raises(DatabaseBusy, match="migrating"),
        sqlite.migration_lock(path, seconds=0.05),
    ):
        pytest.fail("the lock was given twice")
