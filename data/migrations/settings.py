"""What the migration run and the schema comparison have in common."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String
from sqlmodel import SQLModel

import data.models  # noqa: F401 - fills the metadata
from data.models import UtcDateTime
from data.textsearch import is_search_object


def options() -> dict[str, Any]:
    """Keyword arguments for `context.configure` and `MigrationContext.configure(opts=…)`."""
    return {
        "target_metadata": SQLModel.metadata,
        "render_as_batch": True,
        "transactional_ddl": True,
        "compare_type": True,
        "include_name": _include_name,
        "render_item": _render_item,
    }


def _include_name(name: str | None, kind: str, parents: Any) -> bool:
    return not (kind in {"table", "index"} and name is not None and is_search_object(name))


def _render_item(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, BigInteger):
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    if isinstance(item, JSON):
        return "sa.JSON(none_as_null=True)"
    return "sa.String()" if isinstance(item, String) or type(item).__name__ == "AutoString" else False
