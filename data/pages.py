"""Pages of a list: by key for screens, and the two shapes documents print.

A page by key costs the same at the end of a million rows as at the beginning. Numbered pages cannot do that; they skip
over bare keys of an index and fetch whole rows only for the page (a late lookup).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import ColumnElement, Row, Select, SQLColumnExpression, and_, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

AnySelect: TypeAlias = Select[*tuple[Any, ...]]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]
R = TypeVar("R")

CURSOR_SIZE = 15
PAGE_SIZE = 10
LARGEST_PAGE = 200


@dataclass(frozen=True, slots=True)
class Order:
    """One column of an order. No column may hold nulls; the last one of a list of them must be unique."""

    column: SQLColumnExpression[Any]
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Keyset:
    """`size` rows after the row whose order columns have the values `after`; None means from the beginning."""

    order: tuple[Order, ...]
    after: tuple[Any, ...] | None = None
    size: int = 50


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """Rows, each ending with its order columns, and the values to continue `after`; None when these were the last."""

    rows: Sequence[AnyRow]
    after: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class CursorPage:
    """A page whose cursor is the id before its first row, 0 at the beginning; each row ends with its key."""

    current: int
    next: int | None
    previous: int | None
    rows: Sequence[AnyRow]

    def document(self, plural: str, render: Callable[[AnyRow], R]) -> dict[str, Any]:
        """The printed shape: `cursor` and the rows under their plural name."""
        cursor = {"current": self.current, "next": self.next, "previous": self.previous}
        return {"cursor": cursor, plural: [render(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """A page by number; `prev` and `next` are page numbers, `count` is that of all matching rows."""

    prev: int | None
    next: int | None
    count: int
    rows: Sequence[AnyRow] = field(default_factory=list)

    def document(self, render: Callable[[AnyRow], R]) -> dict[str, Any]:
        """The printed shape: prev, next, count, results."""
        results = [render(row) for row in self.rows]
        return {"prev": self.prev, "next": self.next, "count": self.count, "results": results}


def keyset_page(session: Session, statement: AnySelect, keyset: Keyset) -> KeysetPage:
    """Rows of `statement` in the order of `keyset`, which replaces any order of its own."""
    if keyset.size < 1 or not keyset.order:
        raise ValueError("a keyset needs an order and a size of at least 1")
    keys: list[Any] = [part.column.label(f"keyset_{number}") for number, part in enumerate(keyset.order)]
    wanted = statement.add_columns(*keys).order_by(None).order_by(*_clauses(keyset.order)).limit(keyset.size + 1)
    if keyset.after is not None:
        wanted = wanted.where(_beyond(keyset.order, keyset.after))
    found = session.execute(wanted).all()
    rows = found[: keyset.size]
    more = len(found) > keyset.size
    return KeysetPage(rows, tuple(rows[-1][-len(keys) :]) if more else None)


def cursor_page(
    session: Session,
    statement: AnySelect,
    key: SQLColumnExpression[int],
    *,
    cursor: int = 0,
    size: int = CURSOR_SIZE,
    largest: int = LARGEST_PAGE,
) -> CursorPage:
    """Rows of `statement` with `key` (a positive, unique integer) above `cursor`, ascending. Raises ValueError."""
    if cursor < 0 or not 1 <= size <= largest:
        raise ValueError(f"cursor must be 0 or more and size 1..{largest}")
    keyed = statement.add_columns(key.label("cursor_key")).order_by(None)
    found = session.execute(keyed.where(key > cursor).order_by(key).limit(size + 1)).all()
    rows = found[:size]
    before = statement.with_only_columns(key).order_by(None).where(key <= cursor).order_by(key.desc()).limit(size + 1)
    behind = session.execute(before).scalars().all()
    previous = None if not behind else behind[size] if len(behind) > size else 0
    return CursorPage(cursor, int(rows[-1][-1]) if len(found) > size else None, previous, rows)


def numbered_page(
    session: Session,
    statement: AnySelect,
    key: SQLColumnExpression[Any],
    order: Sequence[Order],
    *,
    page: int = 1,
    page_size: int = PAGE_SIZE,
) -> NumberedPage:
    """Page `page` (from 1) of `statement`, whose rows the unique `key` tells apart. Raises ValueError.

    A page above the last has no rows and the right count. An index over the filtered columns, the order and the key
    makes the skipping cheap.
    """
    if page < 1 or not 1 <= page_size <= LARGEST_PAGE:
        raise ValueError(f"page must be 1 or more and page_size 1..{LARGEST_PAGE}")
    narrow = statement.with_only_columns(key).order_by(None)
    count = session.execute(select(func.count()).select_from(narrow.subquery())).scalar_one()
    last = -(-count // page_size)
    rows: Sequence[AnyRow] = []
    if page <= last:
        skipped = narrow.order_by(*_clauses(order)).limit(page_size).offset((page - 1) * page_size)
        keys = session.execute(skipped).scalars().all()
        rows = session.execute(statement.where(key.in_(keys)).order_by(None).order_by(*_clauses(order))).all()
    prev = min(page - 1, last)
    return NumberedPage(prev or None, page + 1 if page < last else None, count, rows)


def _clauses(order: Sequence[Order]) -> list[ColumnElement[Any]]:
    return [part.column.desc() if part.descending else part.column.asc() for part in order]


def _beyond(order: Sequence[Order], after: Sequence[Any]) -> ColumnElement[bool]:
    """Rows after the given values; one row comparison where the database can use an index for it."""
    if len(order) != len(after):
        raise ValueError(f"{len(order)} values are needed to continue, {len(after)} were given")
    values = [
        literal(value, cast(ColumnElement[Any], part.column).type) for part, value in zip(order, after, strict=True)
    ]
    directions = {part.descending for part in order}
    if len(directions) == 1:
        left, right = tuple_(*(part.column for part in order)), tuple_(*values)
        return left < right if directions == {True} else left > right
    steps: list[ColumnElement[bool]] = []
    for number, part in enumerate(order):
        same = [order[i].column == values[i] for i in range(number)]
        further = part.column < values[number] if part.descending else part.column > values[number]
        steps.append(and_(*same, further))
    return or_(*steps)
