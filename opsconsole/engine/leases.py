"""Two operators never act on one thing at once: a row per resource, with holder, fence, age and expiry.

A lease is not a lock: it expires when its holder stops beating, can be seen, and can be taken over with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select, update

from data.models import Lease
from opsconsole.engine import clock
from opsconsole.engine.errors import LeaseHeld

TTL = timedelta(seconds=30)
BEAT = 10.0
_CHUNK = 500


def acquire(tx: Session, resources: Iterable[str], *, holder: str, actor: str, purpose: str, now: datetime) -> int:
    """Take all of them or none; answers the fence (the highest token). LeaseHeld names the first one that is taken."""
    fence, now = 0, clock.shared(tx, now)
    wanted = sorted(set(resources))
    _make_rows(tx, wanted, now)
    for row in _locked(tx, wanted):
        if not row.released and row.expires_at > now and row.holder != holder:
            age = int((now - row.acquired_at).total_seconds())
            raise LeaseHeld(resource=row.resource, actor=row.actor, purpose=row.purpose, age=age, holder=row.holder)
        row.holder, row.actor, row.purpose = holder, actor, purpose
        row.token += 1
        row.acquired_at, row.heartbeat_at, row.expires_at, row.released = now, now, now + TTL, False
        tx.add(row)
        fence = max(fence, row.token)
    return fence


def _locked(tx: Session, wanted: list[str]) -> Iterator[Lease]:
    """The rows in the order of their names, each locked: whoever else wants some of them waits, and never crosswise."""
    for start in range(0, len(wanted), _CHUNK):
        query = select(Lease).where(col(Lease.resource).in_(wanted[start : start + _CHUNK]))
        yield from tx.exec(query.order_by(col(Lease.resource)).with_for_update()).all()


def _make_rows(tx: Session, wanted: list[str], now: datetime) -> None:
    """Released rows where there are none yet; two who come at once both go on to wait for their lock."""
    insert = postgresql.insert if tx.get_bind().dialect.name == "postgresql" else sqlite.insert
    free = {"holder": "", "actor": "", "token": 0, "purpose": "", "released": True}
    moments = {"acquired_at": now, "heartbeat_at": now, "expires_at": now}
    rows = [{"resource": resource, **free, **moments} for resource in wanted]
    if rows:
        tx.connection().execute(insert(Lease).on_conflict_do_nothing(index_elements=["resource"]), rows)


def steal(tx: Session, resource: str, now: datetime) -> Lease | None:
    """Take a lease from its holder and leave it free; the higher token tells the holder that it is lost. None when
    there is nothing to take."""
    now = clock.shared(tx, now)
    row = tx.exec(select(Lease).where(Lease.resource == resource).with_for_update()).one_or_none()
    if row is None or row.released or row.expires_at <= now:
        return None
    row.token += 1
    row.holder, row.released, row.expires_at = "", True, now
    tx.add(row)
    return row


def beat(tx: Session, holder: str, now: datetime) -> None:
    """Still here: everything this holder has lives on for another TTL."""
    now = clock.shared(tx, now)
    tx.execute(
        update(Lease)
        .where(col(Lease.holder) == holder, col(Lease.released).is_(False))
        .values(heartbeat_at=now, expires_at=now + TTL)
    )


def release(tx: Session, holder: str) -> None:
    tx.execute(update(Lease).where(col(Lease.holder) == holder).values(released=True))


def keep(tx: Session, holder: str, resources: Iterable[str], now: datetime) -> list[str]:
    """The resources this holder has lost (stolen, or taken by another when they had run out): nothing may be done to
    them any more. What has run out and nobody has taken is the holder's still, and lives on from now."""
    wanted, now = set(resources), clock.shared(tx, now)
    rows = tx.exec(
        select(Lease).where(col(Lease.resource).in_(wanted)).order_by(col(Lease.resource)).with_for_update()
    ).all()
    mine = [row for row in rows if row.holder == holder and not row.released]
    for row in mine:
        if row.expires_at <= now:
            row.heartbeat_at, row.expires_at = now, now + TTL
            tx.add(row)
    return sorted(wanted - {row.resource for row in mine})
