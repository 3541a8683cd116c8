"""Programs identify themselves by a token; only its SHA-256 is kept, so a stolen database opens nothing."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update
from sqlmodel import Session, col, select

from data.database import Database
from data.models import AuthToken, LoginSession, User
from opsconsole.engine.errors import NotSignedIn
from opsconsole.engine.identity import Identity

_REFUSED = "this token is unknown, expired or withdrawn; access.tokens.create makes a new one"
USED_EVERY = timedelta(seconds=60)
"""How exact `last_used_at` is: a program that calls ten times a second writes once a minute."""


def hash_of(value: str) -> str:
    """What the table keeps of a token. Tokens are long random texts, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(value.encode()).hexdigest()


def made() -> str:
    """A new token: 160 random bits as 40 hexadecimal digits."""
    return secrets.token_hex(20)


async def identify(database: Database, value: str, who: Identity) -> Identity:
    """The identity of the token's owner, coming from where `who` comes from. NotSignedIn says no more than needed."""
    hashed, now = hash_of(value), datetime.now(UTC)
    found = await database.read(lambda tx: _owner(tx, hashed, now))
    if found is None:
        raise NotSignedIn(reason=_REFUSED)
    username, until, used = found
    if not database.read_only and used is not None and now - used > USED_EVERY:
        await database.write(lambda tx: _note_use(tx, hashed, now))
    return replace(who, username=username, login=who.username, token=hashed, until=until)


def good(tx: Session, hashed: str, now: datetime) -> bool:
    """Whether a token or a session with this hash opens anything now."""
    return _owner(tx, hashed, now) is not None


def _owner(tx: Session, hashed: str, now: datetime) -> tuple[str, datetime | None, datetime | None] | None:
    """User name, end, and last use (None for a session, whose use is not kept)."""
    token = tx.exec(select(AuthToken).where(AuthToken.value_hash == hashed)).one_or_none()
    if token is not None:
        user = tx.get(User, token.user_id)
        if user is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        return user.username, token.expires_at, token.last_used_at or datetime.min.replace(tzinfo=UTC)
    session = tx.exec(select(LoginSession).where(LoginSession.token_hash == hashed)).one_or_none()
    user = tx.get(User, session.user_id) if session is not None and session.expires_at > now else None
    return None if session is None or user is None else (user.username, session.expires_at, None)


def _note_use(tx: Session, hashed: str, now: datetime) -> None:
    tx.execute(update(AuthToken).where(col(AuthToken.value_hash) == hashed).values(last_used_at=now))
