"""The first events of `services.watch`, had without opening the house: what a console shows while that is imported."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

from data import last_known
from data.errors import DataError
from opsconsole.engine import identity, locations, settings
from opsconsole.engine.errors import ConsoleError
from opsconsole.services.kept import host_json, placed, remedy_of, unpacked


def events() -> list[dict[str, Any]]:
    """What the watch will tell first, for the administrator of his own home: he may see every host.

    Empty for everybody else (a team, a service account behind sudo, a database on a server, whoever is no
    administrator) and whenever something is wrong: then the house says what, a moment later.
    """
    try:
        home = locations.home()
        configured = settings.load(home / "settings.toml")
        who = identity.who()
        shared = configured.mode != "personal" or configured.captive or who.through_sudo
        if shared or locations.database_url(configured.database_url):
            return []
        return [_event(seen) for seen in last_known.services(home, who.username)]
    except (sqlite3.Error, OSError, ValueError, KeyError, zlib.error, DataError, ConsoleError):
        return []


def _event(seen: last_known.Seen) -> dict[str, Any]:
    kept = unpacked(seen.payload)
    state, remedy = seen.state or "connecting", remedy_of(seen.error)
    return {
        "event": "host",
        "host": host_json(seen, state, kept, error=seen.error, remedy=remedy, cached=True),
        "rows": [placed(row, seen) for row in kept.rows],
    }
