"""Programs identify themselves by a token; only its SHA-256 is kept, so a stolen database opens nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from sqlmodel import Session, select

from data.database import Database
from data.models import AuthToken, User
from opsconsole.engine.errors import NotSignedIn
from opsconsole.engine.identity import Identity

_REFUSED = "this token is unknown, expired or withdrawn; access.tokens.create makes a new one"


def hash_of(value: str) -> str:
    """What the table keeps of a token. Tokens are long random texts, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(value.encode()).hexdigest()


async def identify(database: Database, value: str, who: Identity) -> Identity:
    """The identity of the token's owner, coming from where `who` comes from. NotSignedIn says no more than needed."""

    def work(tx: Session) -> str | None:
        token = tx.exec(select(AuthToken).where(AuthToken.value_hash == hash_of(value))).one_or_none()
        if token is None or (token.expires_at is not None and token.expires_at <= datetime.now(UTC)):
            return None
        user = tx.get(User, token.user_id)
        return None if user is None else user.username

    username = await database.read(work)
    if username is None:
        raise NotSignedIn(reason=_REFUSED)
    return replace(who, username=username, login=who.username)
