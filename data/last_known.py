"""What was last seen of the fleet, read from the embedded database with the standard library alone.

Opening the database as everybody else does costs half a second of imports. This is the one read that does not wait for
them; it opens the file read-only, changes nothing, and answers nothing at all wherever it is not sure.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from data import sqlite
from data.keyfiles import read_private
from data.keyring import fingerprint
from data.version import HEAD

MOST_HOSTS = 100
"""More than fill a screen; the others come with the first real answer."""

_SCHEMA = "SELECT version_num FROM alembic_version"
_KEY = "SELECT value FROM setting WHERE key = 'audit_key'"
_ADMINISTRATOR = """
SELECT 1 FROM user JOIN user_role ON user_role.user_id = user.id JOIN role ON role.id = user_role.role_id
WHERE user.username = ? AND user.status = 'enabled' AND role.name = '@admin'"""
_HOSTS = """
SELECT host.id, host.name, coalesce(own.name, seeded.name), coalesce(own.level, seeded.level, 'prod'),
       seen.state, seen.error, seen.payload
FROM host
LEFT JOIN environment AS own ON own.id = host.environment_id
LEFT JOIN environment AS seeded ON seeded.name = 'default'
LEFT JOIN host_observation AS seen ON seen.host_id = host.id AND seen.kind = 'services'
WHERE host.status <> 'offline' ORDER BY host.name LIMIT ?"""
_TAGS = "SELECT tag FROM host_tag WHERE host_id = ? ORDER BY tag"


class Seen(NamedTuple):
    """A host and what was last seen of its services. `state` is None where nothing was; `payload` as it is kept."""

    id: int
    name: str
    environment: str | None
    level: str
    tags: tuple[str, ...]
    state: str | None
    error: dict[str, Any] | None
    payload: bytes | None


def services(home: Path, username: str) -> list[Seen]:
    """Hosts by name, at most `MOST_HOSTS`, for an enabled administrator, who may see every host.

    Nothing for anybody else, without a file, with a schema that is not ours, in a home that is not ours, or when the
    journal is signed with another key. Raises sqlite3.Error, OSError and DataError.
    """
    path = home / sqlite.FILE_NAME
    key = read_private(home / "audit.key")
    if key is None or not path.exists() or home.stat().st_uid != os.geteuid():
        return []
    sqlite.refuse_network(path)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        if connection.execute(_SCHEMA).fetchone() != (HEAD,):
            return []
        if connection.execute(_KEY).fetchone() != (json.dumps(fingerprint(key)),):
            return []
        if connection.execute(_ADMINISTRATOR, (username,)).fetchone() is None:
            return []
        return [_seen(connection, row) for row in connection.execute(_HOSTS, (MOST_HOSTS,)).fetchall()]


def _seen(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Seen:
    number, name, environment, level, state, error, payload = row
    tags = tuple(tag for (tag,) in connection.execute(_TAGS, (number,)))
    return Seen(number, name, environment, level, tags, state, json.loads(error) if error else None, payload)
