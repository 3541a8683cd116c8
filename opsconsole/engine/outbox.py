"""What is to be told outside, written with the decision itself and sent until it is taken or given up.

`put` writes a row per channel in the transaction of what it tells of. Whoever did it tries at once (`send`); after that
any living worker, `opsconsole tick` or open console does (`send_due`). A row is claimed by moving its next try on, so a
sender that dies in it only delays it: it may be told twice, never not at all. Its id goes out with it and stays the
same, so that a receiver can drop the second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlmodel import Session, col, delete, select, update

from data.errors import DataError
from data.feed import announce
from data.models import Notice
from drivers.errors import DriverError
from opsconsole.engine import audit, notify
from opsconsole.engine.bugs import note
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.ids import uuid7

if TYPE_CHECKING:
    from opsconsole.house import House

BACK_OFF: Final = (60, 60, 120, 300, 900, 1800, 3600, 7200, 14400, 28800)
"""Seconds after each try until the next one: eleven tries in about sixteen hours."""
TRIES: Final = len(BACK_OFF) + 1
NOT_OURS: Final = timedelta(hours=24)
"""One whose channel this house does not have is left to others so long."""
KEPT: Final = timedelta(days=14)
_AT_ONCE: Final = 50
_MAX_ERROR: Final = 500
_sending: set[asyncio.Task[Any]] = set()


def put(tx: Session, house: House, event: str, about: Any, *, actor_id: int | None = None) -> None:
    """Write what is to be told of `about` (with its `id`), once for every way this house tells. `actor_id` is whose
    doing it is, who sees it when it cannot be told."""
    now = audit.now()
    for name, channel in notify.CHANNELS.items():
        to = channel.to(house)
        if to is not None:
            body = notify.message(event, about)
            tx.add(
                Notice(
                    id=uuid7(), channel=name, event=event, about=str(about["id"]), body=body, recipients=to,
                    actor_id=actor_id, created_at=now, next_at=now,
                )
            )  # fmt: skip
    tx.flush()


async def send(house: House, about: str, event: str) -> str | None:
    """Try at once what was just put; answers what went wrong, for the operator. It is tried again by itself."""
    try:
        waits = select(Notice).where(Notice.about == about, Notice.event == event, Notice.attempts == 0)
        rows = await house.database.read(lambda tx: _apart(tx, tx.exec(waits)))
        return "; ".join([wrong for row in rows if (wrong := await _try(house, row))]) or None
    except DataError as error:
        return error.message


async def send_due(house: House) -> dict[str, Any]:
    """Try everything that is due, the oldest first; answers how many were told and how many were not."""
    if house.database.read_only:
        return {"told": 0, "not_told": 0}
    told = failed = 0
    while True:
        due = select(Notice).where(Notice.state == "waiting", Notice.next_at <= audit.now())
        oldest = due.order_by(col(Notice.next_at)).limit(_AT_ONCE)
        rows = await house.database.read(lambda tx, query=oldest: _apart(tx, tx.exec(query)))  # type: ignore[misc]
        for row in rows:
            wrong = await _try(house, row)
            told, failed = (told, failed + 1) if wrong else (told + 1, failed)
        if len(rows) < _AT_ONCE:
            return {"told": told, "not_told": failed}


def any_due(tx: Session) -> bool:
    """One indexed look: is there anything for `send_due`?"""
    due = select(Notice.id).where(Notice.state == "waiting", Notice.next_at <= audit.now()).limit(1)
    return tx.exec(due).first() is not None


def send_soon(house: House) -> None:
    """The same beside whatever goes on here: an open console is somebody who is alive, too."""
    if _sending:
        return
    task = asyncio.ensure_future(_quietly(house))
    _sending.add(task)
    task.add_done_callback(_sending.discard)


async def _quietly(house: House) -> None:
    try:
        await send_due(house)
    except DataError as error:
        note(error)


def trim(tx: Session, now: datetime) -> None:
    """Forget what was told, or given up, long ago."""
    tx.execute(delete(Notice).where(col(Notice.state) != "waiting", col(Notice.created_at) < now - KEPT))


def _apart(tx: Session, found: Iterable[Notice]) -> list[Notice]:
    rows = list(found)
    for row in rows:
        tx.expunge(row)
    return rows


async def _try(house: House, row: Notice) -> str | None:
    """One try, when nobody else has it. Answers why it was not told; None when it was, or somebody else is at it."""
    channel = notify.CHANNELS.get(row.channel)
    if channel is None or channel.to(house) is None:
        wrong = f"no {row.channel} is set up here any more"
        await house.database.write(lambda tx: _not_ours(tx, row, wrong))
        return wrong
    if not await house.database.write(lambda tx: _claim(tx, row)):
        return None
    left, wrong = await _sent(house, channel, row)
    await house.database.write(lambda tx: _written(tx, row, left, wrong))
    return wrong or None


async def _sent(house: House, channel: notify.Channel, row: Notice) -> tuple[list[str], str]:
    try:
        return await channel.send(house, row.id, row.body, row.recipients)
    except DriverError as error:
        return row.recipients, translate(error).message
    except ConsoleError as error:
        return row.recipients, error.message
    except Exception as error:
        note(error)
        return row.recipients, f"a bug of ours ({type(error).__name__})"


def _claim(tx: Session, row: Notice) -> bool:
    now = audit.now()
    later = now + timedelta(seconds=BACK_OFF[min(row.attempts, len(BACK_OFF) - 1)])
    mine = (col(Notice.id) == row.id) & (col(Notice.state) == "waiting") & (col(Notice.attempts) == row.attempts)
    found: Any = tx.execute(update(Notice).where(mine).values(attempts=row.attempts + 1, next_at=later))
    return bool(found.rowcount)


def _written(tx: Session, row: Notice, left: list[str], wrong: str) -> None:
    """What became of the try; who was told already is not told again."""
    kept = tx.get(Notice, row.id)
    if kept is None or kept.state != "waiting":
        return
    kept.last_error = wrong[:_MAX_ERROR] or None
    if not wrong:
        kept.state, kept.sent_at = "sent", audit.now()
    else:
        kept.recipients = left
        if kept.attempts >= TRIES:
            kept.state = "given_up"
    tx.add(kept)
    announce(tx, "notice", kept.id, "updated")


def _not_ours(tx: Session, row: Notice, wrong: str) -> None:
    """Another house of the same database may have what this one lacks; look again in a while, and not for ever."""
    now = audit.now()
    kept = tx.get(Notice, row.id)
    if kept is not None and kept.state == "waiting":
        kept.next_at = now + timedelta(seconds=BACK_OFF[3])
        if kept.created_at < now - NOT_OURS:
            kept.state, kept.last_error = "given_up", wrong
            announce(tx, "notice", kept.id, "updated")
        tx.add(kept)
