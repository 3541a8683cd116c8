"""Pages of the journal, newest first, for a million lines as for ten.

Lines are numbered without gaps, all of them (`seq`) and those of each kind (`ordinal`), so a page of a whole list is a
range of numbers and its count is the highest one. Narrowed lists skip over bare keys of an index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, text
from sqlmodel import Session, col, select

from data.models import Audit
from opsconsole.engine.pages import Paged, envelope, page_of
from opsconsole.engine.registry import Json

Shape = Callable[[list[Audit]], list[Json]]
_MANY_OPERATORS = 10_000

_OPERATORS = text(
    """
    WITH RECURSIVE found(actor) AS (
        SELECT min(actor) FROM audit
        UNION ALL
        SELECT (SELECT min(actor) FROM audit WHERE audit.actor > found.actor) FROM found WHERE found.actor IS NOT NULL
    )
    SELECT actor FROM found WHERE actor IS NOT NULL LIMIT :many
    """
)
"""The distinct operators, by one jump in the index for each: a DISTINCT would walk over every line."""


def page(
    tx: Session,
    asked: Paged,
    shape: Shape,
    where: Sequence[ColumnElement[bool]],
    kind: str | None = None,
    *,
    timed: bool = False,
) -> Json:
    """One page of the lines of `kind` (None: of all) that `where` lets through.

    Where the time is bounded (`timed`) the order is an expression, or PostgreSQL would walk back over all lines by
    number to find those of one day.
    """
    if where:
        narrowed = [*where, col(Audit.kind) == kind] if kind is not None else list(where)
        order = (col(Audit.seq) + 0).desc() if timed else col(Audit.seq).desc()
        key = Audit.__table__.c.seq  # type: ignore[attr-defined]
        return page_of(tx, Audit, narrowed, [order], asked, shape, key=key)
    number = col(Audit.seq) if kind is None else col(Audit.ordinal)
    whole = [] if kind is None else [col(Audit.kind) == kind]
    count = tx.exec(select(func.max(number)).where(*whole)).one() or 0
    top = count - (asked.page - 1) * asked.page_size
    wanted = select(Audit).where(*whole, number <= top, number > top - asked.page_size).order_by(number.desc())
    rows = list(tx.exec(wanted).all()) if top > 0 else []
    return envelope(shape(rows), count, asked)


def before(tx: Session, asked: Paged, shape: Shape, where: Sequence[ColumnElement[bool]], seq: int) -> Json:
    """By key instead of by number: the lines with a lower `seq`, without a count; `next` is where to go on."""
    wanted = (
        select(Audit).where(*where, col(Audit.seq) < seq).order_by(col(Audit.seq).desc()).limit(asked.page_size + 1)
    )
    rows = list(tx.exec(wanted).all())
    more, rows = len(rows) > asked.page_size, rows[: asked.page_size]
    return {"prev": None, "next": rows[-1].seq if more else None, "count": None, "results": shape(rows)}


def by_operator(tx: Session, needle: str) -> ColumnElement[bool]:
    """Lines whose operator has `needle` in his name, in any case."""
    names = tx.execute(_OPERATORS, {"many": _MANY_OPERATORS}).scalars().all()
    return col(Audit.actor).in_([name for name in names if needle.casefold() in name.casefold()])


def between(after: Any, until: Any) -> list[ColumnElement[bool]]:
    """Both bounds count; None is no bound."""
    found: list[ColumnElement[bool]] = []
    if after is not None:
        found.append(col(Audit.at) >= after)
    if until is not None:
        found.append(col(Audit.at) <= until)
    return found
