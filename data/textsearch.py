"""Finding rows by a piece of their text with an index: SQLite FTS5 trigrams, PostgreSQL pg_trgm.

A needle of three characters or more is looked up as a case-insensitive substring. Trigrams cannot help a shorter one:
it is answered from an index over the beginnings of the first column, or, on request, by a scan.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, Table, column, func, literal_column, or_, select, table
from sqlmodel import SQLModel

TRIGRAM = 3


def is_search_object(name: str) -> bool:
    """True for tables and indexes made by `index_statements`, which no model declares."""
    return "_search" in name


def index_statements(dialect: str, name: str, columns: tuple[str, ...]) -> list[str]:
    """DDL for the text index of table `name` (its key must be the integer `id`) over `columns`.

    Migrations run it; so a change of these statements needs a migration of its own.
    """
    first, index = columns[0], f"{name}_search"
    if dialect == "postgresql":
        made = [f'CREATE INDEX {index}_{c} ON "{name}" USING gin ({c} gin_trgm_ops)' for c in columns]
        return [
            "CREATE EXTENSION IF NOT EXISTS pg_trgm",
            *made,
            f'CREATE INDEX {index}_prefix ON "{name}" (lower({first}) text_pattern_ops)',
        ]
    listed, new, old = (", ".join(prefix + c for c in columns) for prefix in ("", "new.", "old."))
    add = f"INSERT INTO {index}(rowid, {listed}) VALUES (new.id, {new});"  # noqa: S608 - names of ours
    drop = f"INSERT INTO {index}({index}, rowid, {listed}) VALUES ('delete', old.id, {old});"  # noqa: S608
    return [
        f"CREATE VIRTUAL TABLE {index} USING fts5({listed}, content='{name}', content_rowid='id', tokenize='trigram')",
        f"INSERT INTO {index}({index}) VALUES ('rebuild')",  # noqa: S608
        f'CREATE TRIGGER {index}_insert AFTER INSERT ON "{name}" BEGIN {add} END',
        f'CREATE TRIGGER {index}_delete AFTER DELETE ON "{name}" BEGIN {drop} END',
        f'CREATE TRIGGER {index}_update AFTER UPDATE OF {listed} ON "{name}" BEGIN {drop} {add} END',
        f'CREATE INDEX {index}_prefix ON "{name}" (lower({first}))',
    ]


def text_match(
    dialect: str,
    model: type[SQLModel],
    columns: tuple[str, ...],
    needle: str,
    *,
    short: Literal["prefix", "scan"] = "prefix",
) -> ColumnElement[bool]:
    """Condition: `needle` occurs in one of `columns`, all of which the table's index must cover, in any case.

    `short` says what a needle below three characters means: the beginning of the first column, from an index; or a
    substring of any column, by reading the whole table. An empty needle matches everything.
    """
    mapped: Table = model.__table__  # type: ignore[attr-defined]
    if len(needle) < TRIGRAM:
        return _short(dialect, mapped, columns, needle, scan=short == "scan")
    if dialect == "postgresql":
        return or_(*(mapped.c[name].icontains(needle, autoescape=True) for name in columns))
    index = f"{mapped.name}_search"
    quoted = '"' + needle.replace('"', '""') + '"'
    wanted = f"{{{' '.join(columns)}}} : {quoted}"
    found: Any = select(literal_column("rowid")).select_from(table(index)).where(column(index).match(wanted))
    return mapped.c.id.in_(found)


def _short(dialect: str, mapped: Table, columns: tuple[str, ...], needle: str, *, scan: bool) -> ColumnElement[bool]:
    if scan and dialect == "postgresql":
        return or_(*(mapped.c[name].icontains(needle, autoescape=True) for name in columns))
    if scan:
        return or_(*(func.instr(func.fold(mapped.c[name]), needle.casefold()) > 0 for name in columns))
    start = needle.lower()
    lowered = func.lower(mapped.c[columns[0]])
    if dialect == "postgresql":
        return lowered.startswith(start, autoescape=True)
    return (lowered >= start) & (lowered < start + "\U0010ffff")
