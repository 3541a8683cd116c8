"""A line of the journal as a row, and its fields with what differs as a table of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import timestamp
from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Spec, View

KINDS: Final = {
    "": "everything",
    "operation": "operations",
    "host": "hosts",
    "application": "applications",
    "dns": "DNS",
    "module_grant": "module grants",
    "resource_grant": "object grants",
}
_NEAR: Final = 300 * 86400.0
ROLES: Final = {"done": "ok", "failed": "bad", "refused": "warn", "unknown": "unknown", "skipped": "muted"}


@dataclass(frozen=True, slots=True)
class RecordRow:
    """`record` is what the house answered; all else is safe to show."""

    number: int
    at: float
    operator: Safe
    operation: Safe
    target: Safe
    result: str
    what: Safe
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Thing:
    """An object anywhere in the console, as the journal knows it."""

    kind: str
    id: str
    name: str


def parse(record: Mapping[str, Any]) -> RecordRow:
    """A row of `audit.records.list` or `audit.history`."""
    target = _mapping(record.get("target"))
    number = record.get("id")
    return RecordRow(
        number=number if isinstance(number, int) else 0,
        at=timestamp(record.get("op_time")) or 0.0,
        operator=Safe(record.get("operator")),
        operation=Safe(record.get("operation_id")),
        target=_on(target, _mapping(record.get("op_detail")).get("host")),
        result=str(Safe(record.get("result"))),
        what=_what(record),
        record=record,
    )


def _on(target: Mapping[str, Any], host: object) -> Safe:
    """What it was done to: `host web-1`, and of what is on a host also where: `service web-1/nginx`."""
    kind, name = Safe(target.get("kind")), Safe(target.get("name"))
    if host and kind != "host" and name:
        name = join([Safe(host), name], "/")
    return join([part for part in (kind, name) if part], " ")


def thing_of(record: Mapping[str, Any]) -> Thing | None:
    """The object a line is about."""
    target = _mapping(record.get("target"))
    if not target.get("kind") or not (target.get("id") or target.get("name")):
        return None
    return Thing(str(target["kind"]), str(target.get("id") or ""), str(target.get("name") or ""))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _what(record: Mapping[str, Any]) -> Safe:
    """The reason, what was said, or which fields differ: whatever tells most."""
    detail = _mapping(record.get("op_detail"))
    grant = " ".join(str(detail[name]) for name in ("action", "perm_name", "authorized_target_name") if name in detail)
    said = detail.get("error") or detail.get("message") or grant or detail.get("text") or _differing(record)
    return join([part for part in (Safe(record.get("reason")), Safe(said)) if part], " · ")


def _differing(record: Mapping[str, Any]) -> str:
    before, after = _mapping(record.get("before")), _mapping(record.get("after"))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {short(before.get(name))} → {short(after.get(name))}" for name in names[:6])


def short(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def lately(at: float, now: float) -> Safe:
    """Date and time for a narrow column: the year only where it would not be plain."""
    if not at:
        return Safe("")
    plain = -_NEAR < now - at < _NEAR
    return Safe(time.strftime("%m-%d %H:%M:%S" if plain else "%Y-%m-%d %H:%M", time.localtime(at)))


def moment(at: float) -> Safe:
    return Safe(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "")


def _field(row: RecordRow, name: str) -> str:
    values = {
        "operator": row.operator,
        "operation": row.operation,
        "target": row.target,
        "result": row.result,
        "kind": Safe(row.record.get("kind")),
    }
    return values.get(name, Safe("")).lower()


SPEC: Final[Spec[RecordRow]] = Spec(
    columns=(
        Column("at", "WHEN", lambda row, view: Cell(lately(row.at, view.now)), lambda row: row.at, 14, 16),
        Column("operator", "WHO", lambda row, view: Cell(row.operator), lambda row: row.operator, 5, 16),
        Column(
            "result",
            "RESULT",
            lambda row, view: Cell(Safe(row.result), ROLES.get(row.result, "unknown")),
            lambda row: row.result,
            7,
            8,
        ),
        Column("operation", "OPERATION", lambda row, view: Cell(row.operation), lambda row: row.operation, 12, 30),
        Column("target", "ON", lambda row, view: Cell(row.target), lambda row: row.target, 10, 36, stretch=True),
        Column(
            "what",
            "WHAT",
            lambda row, view: Cell(row.what, "muted"),
            lambda row: row.what,
            10,
            120,
            above=100,
            stretch=True,
        ),
    ),
    subject=Subject(
        words=lambda row: f"{row.operator} {row.operation} {row.target} {row.result} {row.what}".lower(),
        fields=("operator", "operation", "target", "result", "kind"),
        field=_field,
    ),
    order=lambda row: -row.number,
    noun="records",
    state=lambda row: (row.result, ROLES.get(row.result, "unknown")),
)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field of a record; of one that changed also what it was before."""

    place: int
    group: str
    name: Safe
    before: Safe
    after: Safe
    changed: bool
    whole: Any


def fields_of(record: Mapping[str, Any]) -> dict[str, FieldRow]:
    """Who, when, where and why; then what differs before and after; then what else was noted."""
    found = list(_facts(record))
    before, after = _mapping(record.get("before")), _mapping(record.get("after"))
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        whole = {"before": old, "after": new}
        found.append((name, "change", Safe(short(old)), Safe(short(new)), old != new, whole))
    for name, value in _mapping(record.get("op_detail")).items():
        if value is not None:
            found.append((name, "noted", Safe(short(value)), Safe(""), False, value))
    return {
        str(place): FieldRow(place, group, Safe(name), old, new, changed, whole)
        for place, (name, group, old, new, changed, whole) in enumerate(found)
    }


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Safe, Safe, bool, Any]]:
    target = _mapping(record.get("target"))
    facts = {
        "record": record.get("id"),
        "when": f"{moment(timestamp(record.get('op_time')) or 0.0)} ({record.get('op_time')})",
        "who": record.get("operator"),
        "from": record.get("source"),
        "operation": record.get("operation_id"),
        "on": f"{_on(target, _mapping(record.get('op_detail')).get('host'))} ({target.get('id') or 'no id'})",
        "environment": record.get("environment"),
        "result": record.get("result"),
        "error": record.get("error"),
        "reason": record.get("reason"),
        "run": record.get("run_id"),
        "incident": record.get("incident_id"),
        "chain step": record.get("step"),
    }
    for name, value in facts.items():
        if value is not None:
            yield name, "record", Safe(value), Safe(""), False, value


def _before(row: FieldRow, view: View) -> Cell:
    if row.group == "change":
        return Cell(row.before, "bad" if row.changed else "muted")
    return Cell(row.before, until="the end")


FIELDS: Final[Spec[FieldRow]] = Spec(
    columns=(
        Column(
            "sign",
            "",
            lambda row, view: Cell(Safe("~" if row.changed else ""), "warn"),
            lambda row: not row.changed,
            1,
            1,
        ),
        Column("name", "FIELD", lambda row, view: Cell(row.name), lambda row: row.name, 6, 16),
        Column("before", "BEFORE", _before, lambda row: row.before, 30, 120, stretch=True),
        Column(
            "after",
            "AFTER",
            lambda row, view: Cell(row.after, "ok" if row.changed else "muted"),
            lambda row: row.after,
            28,
            120,
            stretch=True,
        ),
    ),
    subject=Subject(words=lambda row: f"{row.name} {row.before} {row.after}".lower()),
    order=lambda row: row.place,
    noun="fields",
)
