"""The change feed: every commit says what it changed, and every open program hears of it."""

from __future__ import annotations

from sqlalchemy import insert, text
from sqlmodel import Session

from data.database import ANNOUNCED
from data.models import Change, utc_now

CHANNEL = "opsconsole_change"


def announce(session: Session, entity: str, key: str | int, verb: str, run_id: str | None = None) -> None:
    """Say in the same transaction that `entity` `key` was `created`, `updated` or `deleted`."""
    row = {"at": utc_now(), "entity": entity, "key": str(key), "verb": verb, "run_id": run_id}
    session.connection().execute(insert(Change).values(row))
    if not session.info.get(ANNOUNCED):
        session.info[ANNOUNCED] = True
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
