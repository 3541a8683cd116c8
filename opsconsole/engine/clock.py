"""What time it is for everybody: moments that several machines compare are the database's, where it has a clock.

Two jump hosts whose clocks differ by a minute would else see each other's leases run out and each other's workers dead.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, select

_SAME = timedelta(seconds=1)


def shared(tx: Session, now: datetime) -> datetime:
    """`now` of this machine's clock as the database's clock has it. SQLite has no clock but that of this machine."""
    if tx.get_bind().dialect.name != "postgresql":
        return now
    theirs: datetime = tx.exec(select(func.clock_timestamp())).one()
    ahead = theirs - _local()
    return now if abs(ahead) < _SAME else now + ahead


def awake() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _local() -> datetime:
    return datetime.now(UTC)
