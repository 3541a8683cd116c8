"""Short names for the columns of the migrations. Frozen: old migrations depend on what they mean."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
MOMENT = sa.DateTime(timezone=True)
TEXT = sa.String()
INTEGER = sa.Integer()
FLAG = sa.Boolean()
BYTES = sa.LargeBinary()


def must(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns that always have a value."""
    return [sa.Column(name, kind, nullable=False) for name in names]


def may(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns that may be null."""
    return [sa.Column(name, kind, nullable=True) for name in names]


def refers(table: str, column: str, to: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    """A reference of `table`.`column` to the column `to`."""
    return sa.ForeignKeyConstraint([column], [to], name=f"fk_{table}_{column}", ondelete="CASCADE" if cascade else None)
