"""The embedded database: one file of ours, on a disk of this machine.

Uses only the standard library, so that looking at the file costs nothing of SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from data.errors import DatabaseBusy, DatabaseUnavailable

FILE_NAME = "opsconsole.db"
KEPT_BACKUPS = 5
LOCK_SECONDS = 60.0

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "pvfs2", "smb3", "smbfs", "sshfs"}
)
"""Kinds on which shared memory or locks do not hold between machines, where SQLite's journal would be corrupted."""


def prepare_home(home: Path) -> None:
    """Make `home` (0700) or refuse one of another owner, because files made there would lock the owner out."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot use the directory {home}: {error.strerror}",
            remedy="make it, or name another one in OPSCONSOLE_HOME",
        ) from error
    if found.st_uid != os.geteuid():
        raise DatabaseUnavailable(
            f"{home} belongs to user id {found.st_uid}, we are {os.geteuid()}",
            remedy="run as the owner of that directory, or name another one in OPSCONSOLE_HOME",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        home.chmod(0o700)


def _unescape(field: str) -> str:
    for octal, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, sign)
    return field


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """Type of the file system that holds `path` (`ext4`, `nfs4`, `fuse.sshfs`), "" where the system does not tell.

    `mounts` is the text of /proc/self/mountinfo; the last of the longest mount points over the path counts.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    resolved = path.resolve()
    best, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _unescape(fields[4])
        if len(point) >= best and resolved.is_relative_to(point):
            best, found = len(point), right.split(" ", 1)[0]
    return found


def refuse_network(path: Path, mounts: str | None = None) -> None:
    """Raise DatabaseUnavailable when `path` lies on a file system that several machines can mount."""
    kind = file_system_of(path, mounts)
    if kind.removeprefix("fuse.") in NETWORK_FILE_SYSTEMS:
        raise DatabaseUnavailable(
            f"{path} is on a network file system ({kind}), which would corrupt the database",
            remedy="set OPSCONSOLE_HOME to a local disk, or OPSCONSOLE_DATABASE_URL to a PostgreSQL database",
        )


def prepare_file(path: Path, *, create: bool) -> None:
    """Make the file private before SQLite sees it: the journal files take their mode from it."""
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError as error:
        raise DatabaseUnavailable(
            f"there is no database {path}", remedy="start the console once, or check OPSCONSOLE_HOME"
        ) from error
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot open {path}: {error.strerror}", remedy="check owner and mode of the file, and OPSCONSOLE_HOME"
        ) from error
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def damaged(path: Path, error: sqlite3.Error) -> DatabaseUnavailable:
    """The error for a file SQLite cannot work with."""
    return DatabaseUnavailable(
        f"{path}: {error}",
        remedy="check disk space and permissions; if it is damaged, restore the newest copy from the backups directory",
    )


def schema_version(path: Path) -> str | None:
    """Version of the schema in the file, None when there is none; also switches the file to WAL."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return None
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise DatabaseBusy(f"{path} is locked by another program", remedy="try again in a moment") from error
        raise damaged(path, error) from error
    return None if row is None else str(row[0])


def apply_pragmas(connection: sqlite3.Connection, *, read_only: bool, busy_ms: int) -> None:
    """What every connection of ours needs. FULL, because an acknowledged audit line must survive a power cut."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.create_function("fold", 1, _fold, deterministic=True)
    if read_only:
        connection.execute("PRAGMA query_only = ON")


def _fold(value: str | float | bytes | None) -> str | float | bytes | None:
    return value.casefold() if isinstance(value, str) else value


@contextlib.contextmanager
def migration_lock(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Only one process migrates the file; the others wait here and then find it current."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DatabaseBusy(
                        f"another process has been migrating {path} for {seconds:.0f} s",
                        remedy="wait for it to finish, or end it and start again",
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def backup(path: Path, directory: Path, version: str) -> Path:
    """Copy a live database into `directory` (0600), keep the newest five copies, and answer where the copy is."""
    directory.mkdir(mode=0o700, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = directory / f"{path.stem}-{stamp}-{version}.db"
    part = copy.with_suffix(".part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.rename(copy)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise DatabaseUnavailable(
            f"no backup of {path} could be made: {error}", remedy=f"make room in {directory}; nothing was changed"
        ) from error
    for old in sorted(directory.glob(f"{path.stem}-*.db"))[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return copy
