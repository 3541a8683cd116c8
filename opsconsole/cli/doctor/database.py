"""The database and the journal in it, looked at read-only."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from opsconsole.cli.doctor.finding import Finding, Place

LOW, VERY_LOW = 1 << 30, 100 << 20


def database(place: Place) -> Iterator[Finding]:
    """Reachable, of our schema, whole, with room to grow, and not on a network file system."""
    from data.database import parse_url
    from data.errors import DataError

    try:
        url = parse_url(place.url, place.home)
    except DataError as error:
        yield Finding("database", "fail", error.message, error.remedy)
        return
    if url.get_backend_name() == "sqlite":
        yield from _file(Path(str(url.database)), place.home)
    else:
        yield from _server(place)


def _file(path: Path, home: Path) -> Iterator[Finding]:
    from data import sqlite
    from data.errors import DataError

    try:
        sqlite.refuse_network(path)
    except DataError as error:
        yield Finding("database", "fail", error.message, error.remedy)
    yield from _room(home if home.exists() else home.parent)
    if not path.exists():
        yield Finding("database", "warn", f"there is no {path} yet", "nothing to do: the first start makes it")
        return
    if path.stat().st_uid != os.geteuid() or path.stat().st_mode & 0o077:
        yield Finding("database", "fail", f"{path} is not ours alone", f"chown it to this user and chmod 600 {path}")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            version = opened.execute("SELECT version_num FROM alembic_version").fetchone()
            damage = [row[0] for row in opened.execute("PRAGMA quick_check(5)")]
    except sqlite3.Error as error:
        remedy = f"check the disk; if the file is damaged, restore the newest copy in {home / 'backups'}"
        yield Finding("database", "fail", f"{path}: {error}", remedy)
        return
    yield _schema(str(path), version[0] if version else None)
    if damage == ["ok"]:
        yield Finding("database", "ok", f"{path} is whole ({path.stat().st_size >> 10} KiB)")
    else:
        yield Finding(
            "database", "fail", f"{path}: {'; '.join(damage)}", f"restore the newest copy in {home / 'backups'}"
        )


def _room(directory: Path) -> Iterator[Finding]:
    existing = next((parent for parent in (directory, *directory.parents) if parent.exists()), Path("/"))
    free = shutil.disk_usage(existing).free
    said = f"{free >> 20} MiB free under {existing}"
    if free >= LOW:
        yield Finding("disk", "ok", said)
    else:
        yield Finding("disk", "fail" if free < VERY_LOW else "warn", said, "make room: without it nothing is recorded")


def _server(place: Place) -> Iterator[Finding]:
    from data.database import Database
    from data.errors import DataError

    try:
        with Database.open(place.url, home=place.home, create=False) as opened:
            yield Finding("database", "ok", f"{opened.where} answers")
            yield _schema(opened.where, opened.schema_version)
    except DataError as error:
        yield Finding("database", "fail", error.message, error.remedy)


def _schema(where: str, version: str | None) -> Finding:
    from data.database import mismatch, state_of

    if state_of(version) == "current":
        return Finding("schema", "ok", f"{where} has schema {version}")
    error = mismatch(where, version)
    return Finding("schema", "fail", error.message, error.remedy)


_HEAD = "SELECT step, mac FROM audit_head WHERE id = 1"
_LAST = "SELECT step, mac FROM audit_step ORDER BY step DESC LIMIT 1"
_EMPTY = (0, "")


def journal(place: Place) -> Iterator[Finding]:
    """Whether the journal's end is where its head and its anchors say; `audit verify` checks every row."""
    try:
        ends = _ends(place)
    except _NotAsked:
        return
    except Exception as error:
        yield Finding("journal", "fail", f"cannot be looked at: {error}", "see what is said about the database")
        return
    head, last = ends
    if head != last:
        said = f"the head is at step {head[0]}, the last step is {last[0]}"
        yield Finding("journal", "fail", said, "run: opsconsole audit verify")
        return
    yield from _anchored(place, last[0])


class _NotAsked(Exception):
    """There is no journal yet, or not in a form this program reads; the database check has said so."""


def _ends(place: Place) -> tuple[tuple[int, str], tuple[int, str]]:
    """(step, mac) of the head and of the last step. The file is opened read-only and never migrated."""
    from data.database import Database, parse_url, state_of

    url = parse_url(place.url, place.home)
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if not path.exists():
            raise _NotAsked
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            version = opened.execute("SELECT version_num FROM alembic_version").fetchone()
            if state_of(version[0] if version else None) != "current":
                raise _NotAsked
            return opened.execute(_HEAD).fetchone() or (-1, ""), opened.execute(_LAST).fetchone() or _EMPTY
    from sqlalchemy import text

    with Database.open(place.url, home=place.home, create=False) as server:
        if server.read_only:
            raise _NotAsked
        head, last = server.read_sync(
            lambda tx: (tx.connection().execute(text(_HEAD)).first(), tx.connection().execute(text(_LAST)).first())
        )
    return (head[0], head[1]) if head else (-1, ""), (last[0], last[1]) if last else _EMPTY


def _anchored(place: Place, last: int) -> Iterator[Finding]:
    from opsconsole.engine import anchors, settings

    configured = settings.load(place.home / "settings.toml").anchors
    noted = anchors.read_home(place.home) + [anchor for target in configured for anchor in anchors.read(target)]
    ahead = [anchor for anchor in noted if anchor.step > last]
    for anchor in ahead:
        said = f"{anchor.where} knows step {anchor.step}, the journal ends at {last}: its tail was cut"
        yield Finding("journal", "fail", said, "run: opsconsole audit verify, and look for a restored older copy")
    if not ahead:
        where = f", anchored in {len(configured)} places" if configured else "; no anchor off this machine"
        yield Finding("journal", "ok", f"ends at step {last} as its head says{where}")
