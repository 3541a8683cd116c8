"""What needs attention as rows of one table, and the line that says all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from screens.render.host import glyph, span, state_word, timestamp
from screens.text import Safe, content, join
from screens.widgets.groups import severity
from screens.widgets.query import Subject
from screens.widgets.roles import CONTENT_STYLES
from screens.widgets.rows import Cell, Column, Grouping, Spec, View

SECTIONS: Final = {
    "reviews": "reviews of break-glass",
    "approvals": "approvals",
    "runs": "runs nobody knows the end of",
    "tasks": "tasks",
    "timers": "timers",
    "notices": "what could not be told",
    "services": "failed services",
    "vpn": "VPN",
    "leases": "held for long",
    "access": "access",
    "hosts": "hosts",
    "journal": "journal",
}
ROLES: Final = {"red": "bad", "amber": "warn", "unknown": "unknown", "busy": "busy", "ok": "ok"}
_TALLIED: Final = {
    "bad": "to act on",
    "warn": "to look at",
    "unknown": "unknown",
    "busy": "under way",
    "ok": "in order",
}
WORDS: Final = (("red", "to act on"), ("amber", "to look at"), ("unknown", "unknown"))
_ORDER: Final = {title: place for place, title in enumerate(SECTIONS.values())}
_RANK: Final = {role: place for place, role in enumerate(ROLES.values())}


@dataclass(frozen=True, slots=True)
class HomeRow:
    """One item of `home.show`. `record` and `key` are as given; everything else is safe to show. `since`, `due` and
    `seen` are Unix seconds."""

    key: str
    kind: str
    section: Safe
    role: str
    state: Safe
    what: Safe
    who: Safe
    why: Safe
    on: Safe
    environment: Safe
    level: str
    since: float | None
    due: float | None
    seen: float | None
    place: int
    operations: frozenset[str]
    record: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.record.get("id") or "")

    @property
    def name(self) -> str:
        """As given, to ask with and never to show."""
        return str(self.record.get("name") or "")


def parse_home(answer: Mapping[str, Any]) -> dict[str, HomeRow]:
    """The items of an answer by key, in its order; a level nobody has heard of counts as unknown."""
    found: dict[str, HomeRow] = {}
    for section in answer.get("sections") or ():
        for row in _rows(section, len(found)):
            found.setdefault(row.key, row)
    return found


def _rows(section: Mapping[str, Any], first: int) -> Iterator[HomeRow]:
    word = str(section.get("id") or "")
    items = section.get("items") or ()
    title = SECTIONS.get(word, str(Safe(word)))
    for place, record in enumerate(items, start=first):
        kind, state = str(record.get("kind") or ""), str(record.get("state") or "")
        shown = state_word(state)[0] if kind == "host" else state
        names = [Safe(name) for name in record.get("on") or ()]
        yield HomeRow(
            key=":".join((word, kind, str(record.get("id")), str(record.get("name")), state)),
            kind=kind,
            section=Safe(title),
            role=ROLES.get(str(record.get("level")), "unknown"),
            state=Safe(shown),
            what=Safe(_hosts(record, shown) if kind == "host" and word == "hosts" else record.get("what")),
            who=Safe(record.get("who")),
            why=Safe(record.get("why")),
            on=join(names, ", "),
            environment=Safe(record.get("environment") or record.get("environment_level")),
            level=str(record.get("environment_level") or ""),
            since=timestamp(record.get("since")),
            due=timestamp(record.get("due")),
            seen=timestamp(record.get("observed_at")),
            place=place,
            operations=frozenset(str(name) for name in record.get("operations") or ()),
            record=record,
        )


def _hosts(record: Mapping[str, Any], word: str) -> str:
    number = record.get("number")
    return f"{number} {'host' if number == 1 else 'hosts'} {word}"


def more_of(answer: Mapping[str, Any]) -> Safe:
    """Which sections hold more than is shown, with how many there are; empty when all is shown."""
    parts = []
    for section in answer.get("sections") or ():
        count, shown = section.get("count") or 0, sum(int(one.get("number") or 1) for one in section.get("items") or ())
        if section.get("more") or count > shown:
            title = SECTIONS.get(str(section.get("id")), str(Safe(section.get("id"))))
            parts.append(f"{title} ({'over ' if section.get('more') else ''}{count})")
    return Safe(f"more than is shown of {', '.join(parts)}" if parts else "")


def headline(answer: Mapping[str, Any] | None, rows: Mapping[str, HomeRow], plain: bool) -> Content:
    """All of it in one line: how much there is of what, or, calmly, that there is nothing."""
    if answer is None:
        return content((f"{glyph('busy', plain)} asking …", "dim"))
    needing = answer.get("needing")
    counts = needing if isinstance(needing, Mapping) else {}
    parts: list[str | tuple[str, str]] = []
    for level, word in WORDS:
        number = counts.get(level)
        if isinstance(number, int) and number:
            role = ROLES[level]
            parts.append((f" {glyph(role, plain)} {number} {word} ", CONTENT_STYLES[role]))
    if not parts:
        parts.append((f" {glyph('ok', plain)} nothing needs your attention ", CONTENT_STYLES["ok"]))
    up = sum(_number(row) for row in rows.values() if _is_host(row) and (row.role == "ok" or row.state == _NO_SYSTEMD))
    total = sum(_number(row) for row in rows.values() if _is_host(row))
    if total:
        parts.append((f" · hosts {up}/{total} up", "dim"))
    return content(*parts)


_NO_SYSTEMD: Final = state_word("unsupported")[0]
"""Such a host is up, as in the other headers; it only shows no units."""


def _is_host(row: HomeRow) -> bool:
    return row.section == SECTIONS["hosts"]


def _number(row: HomeRow) -> int:
    number = row.record.get("number")
    return number if isinstance(number, int) else 1


def _state(row: HomeRow, view: View) -> Cell:
    return Cell(Safe(f"{glyph(row.role, view.ascii)} {row.state}"), row.role)


def when(row: HomeRow, now: float) -> Cell:
    """When it ends, or how long ago it began or was seen: `in 5d`, `2h`, `seen 3m`."""
    if row.due is not None and (row.since is None or row.due > now):
        left = row.due - now
        return Cell(Safe(f"in {span(left)}" if left > 0 else f"{span(-left)} ago"), "warn" if left < 86400 else "muted")
    if row.seen is not None:
        return Cell(Safe(f"seen {span(now - row.seen)}"), "muted")
    if row.kind == "host":
        return Cell(Safe("never"), "unknown")
    return Cell(Safe("" if row.since is None else span(now - row.since)), "muted")


def _when(row: HomeRow, view: View) -> Cell:
    return when(row, view.now)


def _why(row: HomeRow, view: View) -> Cell:
    return Cell(join([part for part in (row.why, row.on) if part], " · "), "muted")


def _text(name: str, role: str = "") -> Any:
    return lambda row, view: Cell(getattr(row, name), role)


def _field(row: HomeRow, name: str) -> str:
    return str({"state": row.state, "by": row.who, "what": row.what}.get(name, row.section)).lower()


SPEC: Final[Spec[HomeRow]] = Spec(
    columns=(
        Column("state", "STATE", _state, lambda row: (_RANK[row.role], row.state), minimum=14, maximum=20),
        Column(
            "environment",
            "ENV",
            lambda row, view: Cell(row.environment, {"prod": "bad", "stage": "warn"}.get(row.level, "")),
            lambda row: row.environment,
            4,
            10,
        ),
        Column("what", "WHAT", _text("what"), lambda row: row.what.lower(), 12, 70, stretch=True),
        Column("who", "BY", _text("who"), lambda row: row.who, 3, 12),
        Column("when", "WHEN", _when, lambda row: row.since or row.due or 0, 4, 9, volatile=True, right=True),
        Column("why", "WHY", _why, lambda row: row.why, 12, 30, above=110),
    ),
    subject=Subject(
        words=lambda row: " ".join((row.section, row.state, row.what, row.who, row.why, row.on)).lower(),
        fields=("section", "state", "by", "what"),
        field=_field,
        environments=lambda row: (row.environment.lower(),) if row.environment else (),
    ),
    order=lambda row: (_RANK[row.role], row.place),
    noun="items",
    state=lambda row: (_TALLIED[row.role], row.role),
    groupings=(
        Grouping(
            "section",
            "section",
            lambda row: row.section,
            first=lambda tally, title: (min(map(severity, tally), default=9), _ORDER.get(title, 99)),
        ),
    ),
    notable=lambda old, new: (old.role, old.state) != (new.role, new.state),
)


def detail(row: HomeRow) -> Safe:
    """All of a row in one line: the columns have not always room for it."""
    return join([part for part in (row.what, row.why, row.on, row.who) if part], " · ")
