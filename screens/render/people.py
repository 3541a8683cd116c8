"""Users, roles, tokens, rights, and who may what on one object, as rows of tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from screens.render.host import timestamp
from screens.render.record import moment
from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Spec, View


@dataclass(frozen=True, slots=True)
class PlainRow:
    """Cells by column, each with its role; `record` is what the house answered, everything else is safe to show."""

    order: Any
    cells: Mapping[str, tuple[Safe, str]]
    state: tuple[str, str]
    record: Mapping[str, Any] = field(default_factory=dict)

    def text(self, column: str) -> Safe:
        return self.cells.get(column, (Safe(""), ""))[0]


@dataclass(frozen=True, slots=True)
class Plain:
    """A column of such a row; widths in cells, `above` the narrowest table that shows it."""

    id: str
    title: str
    least: int
    most: int
    above: int = 0
    stretch: bool = False


def _column(plain: Plain) -> Column[PlainRow]:
    def cell(row: PlainRow, view: View) -> Cell:
        return Cell(*row.cells.get(plain.id, (Safe(""), "")))

    return Column(
        plain.id,
        plain.title,
        cell,
        lambda row: row.text(plain.id).lower(),
        plain.least,
        plain.most,
        above=plain.above,
        stretch=plain.stretch,
    )


def spec(noun: str, *columns: Plain) -> Spec[PlainRow]:
    """A table of plain rows; every column can be filtered by its id."""
    names = tuple(column.id for column in columns)

    def words(row: PlainRow) -> str:
        return " ".join(row.text(name) for name in names).lower()

    return Spec(
        columns=tuple(_column(column) for column in columns),
        subject=Subject(words=words, fields=names, field=lambda row, name: row.text(name).lower()),
        order=lambda row: row.order,
        noun=noun,
        state=lambda row: row.state,
    )


USERS: Final = spec(
    "users",
    Plain("status", "STATUS", 8, 8),
    Plain("username", "USER", 6, 24),
    Plain("roles", "ROLES", 6, 40, stretch=True),
    Plain("full_name", "NAME", 6, 28, 100),
    Plain("email", "E-MAIL", 8, 36, 70, stretch=True),
    Plain("phone", "PHONE", 6, 18, 110),
)
ROLES: Final = spec(
    "roles",
    Plain("name", "ROLE", 6, 40),
    Plain("creator", "MADE BY", 6, 24),
    Plain("users", "USERS", 5, 80, stretch=True),
)
TOKENS: Final = spec(
    "tokens",
    Plain("name", "TOKEN", 6, 28),
    Plain("user", "ACTS AS", 6, 20),
    Plain("value", "VALUE", 8, 8, 90),
    Plain("last_used_at", "LAST USED", 9, 19),
    Plain("expires_at", "EXPIRES", 7, 19),
    Plain("description", "WHAT FOR", 8, 60, 100, stretch=True),
)
RIGHTS: Final = spec(
    "rights",
    Plain("scope", "WHERE", 6, 12),
    Plain("name", "ON", 6, 40),
    Plain("flag", "RIGHT", 8, 28),
    Plain("by", "BY", 8, 60, stretch=True),
    Plain("granted_by", "GIVEN BY", 8, 24, 90),
)

Cells = dict[str, tuple[Safe, str]]


def _cells(record: Mapping[str, Any], names: Iterable[str]) -> Cells:
    return {name: (Safe(record.get(name)), "") for name in names}


def user_row(record: Mapping[str, Any]) -> PlainRow:
    enabled = record.get("status") == "enabled"
    roles = [str(role.get("name")) for role in record.get("roles") or () if isinstance(role, Mapping)]
    cells = _cells(record, ("username", "full_name", "email", "phone"))
    cells["status"] = (Safe(record.get("status")), "ok" if enabled else "muted")
    cells["roles"] = (join([Safe(role) for role in roles], ", "), "accent" if "@admin" in roles else "")
    state = ("enabled", "ok") if enabled else ("disabled", "muted")
    return PlainRow((not enabled, str(record.get("username")).lower()), cells, state, record)


def role_row(record: Mapping[str, Any], users: Iterable[str]) -> PlainRow:
    names = sorted(users)
    cells = _cells(record, ("name", "creator"))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    cells["users"] = (Safe(f"{', '.join(names[:8])}{more}"), "muted")
    state = ("used", "ok") if names else ("unused", "muted")
    return PlainRow(str(record.get("name")).lower(), cells, state, record)


def token_row(record: Mapping[str, Any], now: float) -> PlainRow:
    cells = _cells(record, ("name", "user", "value", "description"))
    end, used = timestamp(record.get("expires_at")), timestamp(record.get("last_used_at"))
    over = end is not None and end <= now
    cells["expires_at"] = (moment(end), "bad" if over else "") if end else (Safe("never"), "warn")
    cells["last_used_at"] = (moment(used), "") if used else (Safe("never"), "muted")
    return PlainRow(str(record.get("name")).lower(), cells, ("expired", "bad") if over else ("good", "ok"), record)


def right_row(place: int, record: Mapping[str, Any]) -> PlainRow:
    cells = _cells(record, ("scope", "name", "flag"))
    by = [str(word) for word in record.get("by") or ()]
    cells["by"] = (Safe(", ".join(word or "this role" for word in by)), "muted")
    cells["granted_by"] = (Safe(", ".join(str(word) for word in record.get("granted_by") or ())), "")
    scope = str(Safe(record.get("scope")))
    return PlainRow(place, cells, (scope, ""), record)


def matrix_spec(flags: Iterable[str], noun: str = "people") -> Spec[PlainRow]:
    """A column for every right on the object; the word of the kind is left off its titles."""
    titles = [(flag, flag.replace("_app", "").replace("_host", "").upper()[:10]) for flag in flags]
    return spec(
        noun,
        Plain("user", "USER", 6, 24),
        *(Plain(flag, title, max(len(title), 3), max(len(title), 3)) for flag, title in titles),
        Plain("why", "WHY", 8, 120, stretch=True),
    )


def matrix_row(place: int, record: Mapping[str, Any], ascii_only: bool) -> PlainRow:
    """A mark where he may; where the module is not switched on for him no right counts, and that is said."""
    flags = record.get("flags")
    held = {name: why for name, why in flags.items() if why} if isinstance(flags, Mapping) else {}
    on = bool(record.get("module_on"))
    mark = Safe("yes" if ascii_only else "✔")
    cells: Cells = dict.fromkeys(held, (mark, "ok" if on else "warn"))
    cells["user"] = (Safe(record.get("user")), "accent" if record.get("administrator") else "")
    reasons = list(dict.fromkeys(str(one) for why in held.values() for one in why))
    said = "" if on else "the module is not switched on for him; "
    cells["why"] = (Safe(said + ", ".join(reasons)), "muted" if on else "warn")
    return PlainRow(place, cells, ("may", "ok") if on else ("switched off", "warn"), record)


RowMaker = Callable[[Mapping[str, Any]], PlainRow]
