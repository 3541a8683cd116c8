"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware in, aware UTC out, microseconds kept.

    A naive value is a programming error and raises ValueError, because guessing its zone would corrupt the record.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a time zone cannot be stored: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """The text SQLite keeps is read in one step: it is half of what fetching a row with some moments costs."""
        return _of_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _of_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


JSON_TYPE: JSON[Any] = JSON(none_as_null=True)
"""Free JSON as text, kept byte for byte on both databases: what is signed must read back as it was written.

In-place changes are not noticed: assign a new object.
"""

BIG_ID = BigInteger().with_variant(Integer(), "sqlite")
"""64 bit on both; SQLite numbers only a plain INTEGER key by itself."""


class Record(SQLModel):
    """Base of every table. Its validator is built on first use only, since tables are not built from input."""

    model_config = {"defer_build": True}


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
