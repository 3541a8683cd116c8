"""Limits on what can be guessed or abused: a password, a code, mails that somebody has sent to others."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, select

from data.models import Attempt
from opsconsole.engine.errors import TooManyAttempts

LIMITS: Final[dict[str, tuple[int, timedelta]]] = {
    "password": (5, timedelta(minutes=15)),
    "code": (10, timedelta(minutes=15)),
    "forget": (3, timedelta(hours=1)),
    "forget_by": (10, timedelta(hours=1)),
}
"""Per purpose: how many tries within how long."""


def take(tx: Session, purpose: str, subject: str, now: datetime) -> None:
    """Count one try, before it is made, so that tries made side by side count too. TooManyAttempts when it is one too
    many; those refused do not count."""
    limit, within = LIMITS[purpose]
    subject = subject.casefold()[:255]
    tx.exec(delete(Attempt).where(col(Attempt.purpose) == purpose, col(Attempt.at) <= now - within))
    known = tx.exec(
        select(Attempt.at).where(Attempt.purpose == purpose, Attempt.subject == subject).order_by(col(Attempt.at))
    ).all()
    if len(known) >= limit:
        wait = known[len(known) - limit] + within - now
        raise TooManyAttempts(retry_after=max(1, round(wait.total_seconds())))
    tx.add(Attempt(purpose=purpose, subject=subject, at=now))
    tx.flush()


def forgive(tx: Session, purpose: str, subject: str) -> None:
    """A right one clears what went before."""
    tx.exec(delete(Attempt).where(col(Attempt.purpose) == purpose, col(Attempt.subject) == subject.casefold()[:255]))
