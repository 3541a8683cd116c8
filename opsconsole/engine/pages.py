"""The page style of lists: page and page_size in; prev, next (page numbers), count and results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, Field
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, SQLModel, select

from opsconsole.engine.registry import Input, Json

M = TypeVar("M", bound=SQLModel)
PAGE_SIZE_MAX = 200


class Paged(Input):
    """Base of the input of every list in page style."""

    page: Annotated[int, Field(ge=1, le=10_000_000, validation_alias=AliasChoices("page", "page_number"))] = 1
    page_size: Annotated[int, Field(ge=1, le=PAGE_SIZE_MAX)] = 10


def page_of(
    tx: Session,
    model: type[M],
    where: Sequence[ColumnElement[bool]],
    order: Sequence[Any],
    asked: Paged,
    shape: Callable[[list[M]], list[Json]],
    *,
    key: Any = None,
    options: Sequence[Any] = (),
) -> Json:
    """One page of `model`. The keys are looked up first and only the rows of the page are read.

    A page above the last is empty with the right count. `shape` turns the rows of the page into JSON, in order;
    `options` say what of a row need not be read.
    """
    identity = key if key is not None else model.__table__.c.id  # type: ignore[attr-defined]
    count = tx.exec(select(func.count()).select_from(model).where(*where)).one()
    start = (asked.page - 1) * asked.page_size
    wanted = select(identity).where(*where).order_by(*order).offset(start).limit(asked.page_size)
    keys = list(tx.exec(wanted).all()) if start < count else []
    name = identity.name
    rows = (
        {getattr(row, name): row for row in tx.exec(select(model).where(identity.in_(keys)).options(*options))}
        if keys
        else {}
    )
    return envelope(shape([rows[k] for k in keys]), count, asked)


def envelope(results: list[Json], count: int, asked: Paged) -> Json:
    """The answer of a page list."""
    last = max(1, -(-count // asked.page_size))
    return {
        "prev": min(asked.page - 1, last) if asked.page > 1 else None,
        "next": asked.page + 1 if asked.page < last else None,
        "count": count,
        "results": results,
    }


def contains(tx: Session, column: Any, needle: str) -> ColumnElement[bool]:
    """Case-insensitive substring in any script, for tables too small to need a text index."""
    if tx.get_bind().dialect.name == "postgresql":
        found: ColumnElement[bool] = column.icontains(needle, autoescape=True)
        return found
    return func.instr(func.fold(column), needle.casefold()) > 0
