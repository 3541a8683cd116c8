"""A real PostgreSQL server on loopback for one test run, and databases that are copies of a migrated one.

The server is a child of the test process and dies with it. Where it cannot be had, the tests that need it are skipped
and the reason is added to `SKIPPED`.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from psycopg import sql

from data.database import Database
from data.migrate import upgrade

SKIPPED: list[str] = []
ACCOUNT = "labops"
_TEMPLATE = "opsconsole_template"
_INITDB = ("-U", "ops", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
_names = itertools.count(1)


class ServerMissing(Exception):
    """PostgreSQL cannot be started here; the text says why."""


class PostgresServer:
    """One server in a directory of its own, as a user that is not root, without fsync."""

    def __init__(self) -> None:
        self._programs = _programs()
        self.directory = Path(tempfile.mkdtemp(prefix="opsc-pg-", dir=_roomy_memory()))
        self.port = _free_port()
        self._prefix = _as_account(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        made = subprocess.run(
            [*self._prefix, str(self._programs / "initdb"), "-D", str(self.directory / "data"), *_INITDB],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if made.returncode:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ServerMissing(f"initdb failed: {made.stderr.strip()[-300:]}")

    def start(self) -> None:
        """Start and wait for an answer. Main thread only: the server dies with the thread that started it."""
        log = (self.directory / "log").open("ab")
        options = [f"-p{self.port}", f"-k{self.directory}", "-clisten_addresses=127.0.0.1", "-cfsync=off"]
        options += ["-cshared_buffers=32MB", "-cmax_connections=200", "-csynchronous_commit=off"]
        options += ["-cmax_wal_size=64MB", "-cmin_wal_size=32MB"]
        self._process = subprocess.Popen(
            [*self._prefix, str(self._programs / "postgres"), "-D", str(self.directory / "data"), *options],
            stdout=log,
            stderr=log,
            cwd="/",
        )
        log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerMissing(f"the server does not answer: {error}") from error
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop at once, cutting every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop and delete the server's directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, name: str) -> str:
        """URL of the database `name`."""
        return f"postgresql://ops@127.0.0.1:{self.port}/{name}"

    def run(self, statement: sql.Composed) -> None:
        """Execute one statement outside of any transaction, as the owner of the server."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def create(self, template: str = "template0") -> str:
        """Make a database with a new name and answer its URL."""
        name = f"t{next(_names)}"
        self.run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete the database of `url`, whoever still uses it."""
        name = sql.Identifier(url.rsplit("/", 1)[1])
        self.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def cut(self, url: str) -> None:
        """End every connection to the database of `url`, as an administrator or a restart would."""
        name = sql.Literal(url.rsplit("/", 1)[1])
        self.run(sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name))


def _roomy_memory() -> str:
    """A directory in memory: copying a database takes 0.02 s there and 0.35 s on a disk. Else /tmp."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return str(memory)
    return "/tmp"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise ServerMissing("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    return Path(on_path).parent


def _as_account(directory: Path) -> list[str]:
    """Prefix that runs a command as another user than root and ends it when the test process dies."""
    dies = ["setpriv", "--pdeathsig", "INT"]
    if shutil.which("setpriv") is None:
        raise ServerMissing("setpriv (util-linux) is not installed")
    if os.geteuid() != 0:
        return [*dies, "--"]
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            account = pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise ServerMissing(f"cannot make the user {ACCOUNT}: {made.stderr.strip()}") from None
    os.chown(directory, account.pw_uid, account.pw_gid)
    return [*dies, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The running server, with a migrated template database."""
    try:
        server = PostgresServer()
    except ServerMissing as missing:
        _skip(str(missing))
    try:
        try:
            server.start()
        except ServerMissing as missing:
            _skip(str(missing))
        server.run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(_TEMPLATE)))
        upgrade(server.url(_TEMPLATE), home=tmp_path_factory.mktemp("template"))
        yield server
    finally:
        server.remove()


def _skip(reason: str) -> NoReturn:
    SKIPPED.append(f"PostgreSQL: {reason}")
    pytest.skip(f"PostgreSQL: {reason}")


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of one migrated database shared by the session; take `make_url` for one of your own."""
    url = postgres_server.create(_TEMPLATE)
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sqlite-template")
    upgrade(None, home=home)
    return home / "opsconsole.db"


MakeUrl = Callable[..., str | None]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeUrl]:
    """Makes a database of its own for the test: `make_url()` migrated, `make_url(empty=True)` without tables.

    Answers a URL for `Database.open(url, home=tmp_path)`; None, on SQLite, means the file of that home.
    """
    if request.param == "sqlite":

        def make_file(*, empty: bool = False) -> str | None:
            if not empty:
                tmp_path.chmod(0o700)
                shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "opsconsole.db")
            return None

        yield make_file
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    made: list[str] = []

    def make_database(*, empty: bool = False) -> str:
        made.append(server.create("template0" if empty else _TEMPLATE))
        return made[-1]

    yield make_database
    for url in made:
        server.drop(url)


@pytest.fixture
def database(make_url: MakeUrl, tmp_path: Path) -> Iterator[Database]:
    """A migrated, seeded database; the test runs once on SQLite and once on PostgreSQL."""
    with Database.open(make_url(), home=tmp_path) as opened:
        yield opened
