"""Requests for a second person and reviews as rows of one table, and one of them in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from screens.render.host import glyph, span, timestamp
from screens.render.plan import plan_text
from screens.text import Safe, content, join
from screens.widgets.query import Subject
from screens.widgets.roles import CONTENT_STYLES
from screens.widgets.rows import Cell, Column, Spec, View

NOTHING: Final = Safe("")
_RANK: Final = {"to approve": 0, "to review": 1, "approved": 2, "waiting": 3, "in review": 4}
_ROLES: Final = {
    "to approve": "warn",
    "to review": "bad",
    "approved": "ok",
    "waiting": "busy",
    "in review": "warn",
    "self-closed": "warn",
    "rejected": "bad",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request (`approval`) or the review of a break-glass (`review`). `word` is its state for this operator; all but
    `record` and `id` is safe to show."""

    id: str
    review: bool
    word: str
    mine: bool
    may: bool
    because: Safe
    summary: Safe
    operation: Safe
    who: Safe
    reason: Safe
    level: Safe
    at: float | None
    expires: float | None
    record: Mapping[str, Any]

    @property
    def key(self) -> str:
        return f"{'review' if self.review else 'approval'}:{self.id}"

    @property
    def open(self) -> bool:
        return self.word in _RANK


def parse_approval(record: Mapping[str, Any]) -> Asked:
    """A row of `approvals.list`."""
    state, may, mine = str(record.get("state") or ""), record.get("may_decide") is True, record.get("mine") is True
    words = {"pending": "to approve" if may else "waiting", "approved": "approved", "used": "done"}
    return Asked(
        id=str(record.get("id") or ""),
        review=False,
        word=words.get(state, str(Safe(state)) or "unknown"),
        mine=mine,
        may=may,
        because=Safe(record.get("because")),
        summary=Safe(record.get("summary")),
        operation=Safe(record.get("operation")),
        who=Safe(record.get("requester")),
        reason=Safe(record.get("reason")),
        level=Safe(record.get("level")),
        at=timestamp(record.get("requested_at")),
        expires=timestamp(record.get("expires_at")),
        record=record,
    )


def parse_review(record: Mapping[str, Any]) -> Asked:
    """A row of `reviews.list`."""
    may, closed = record.get("may_close") is True, record.get("state") == "closed"
    over = "self-closed" if record.get("self_closed") is True else "reviewed"
    return Asked(
        id=str(record.get("id") or ""),
        review=True,
        word=over if closed else "to review" if may else "in review",
        mine=False,
        may=may,
        because=Safe(record.get("because")),
        summary=Safe(record.get("summary")),
        operation=Safe(record.get("operation")),
        who=Safe(record.get("who")),
        reason=Safe(record.get("reason")),
        level=Safe(record.get("level")),
        at=timestamp(record.get("opened_at")),
        expires=None,
        record=record,
    )


def role_of(row: Asked) -> str:
    """How loud a state is: what is over, or waits for others, is quiet."""
    quiet = row.word == "approved" and not row.mine
    return "muted" if quiet else _ROLES.get(row.word, "muted")


def _state(row: Asked, view: View) -> Cell:
    role = role_of(row)
    return Cell(Safe(f"{glyph(role, view.ascii)} {row.word}"), role)


def _age(row: Asked, view: View) -> Cell:
    return Cell(Safe("" if row.at is None else span(view.now - row.at)), "muted")


def _left(row: Asked, view: View) -> Cell:
    if row.expires is None or not row.open:
        return Cell(NOTHING)
    left = row.expires - view.now
    return Cell(Safe("over" if left <= 0 else span(left)), "warn" if left < 3600 else "muted")


def _text(name: str, role: str = "") -> Any:
    return lambda row, view: Cell(getattr(row, name), role)


def _words(row: Asked) -> str:
    parts = (row.word, row.summary, row.operation, row.who, row.reason, row.level)
    return " ".join(parts).lower()


SPEC: Final[Spec[Asked]] = Spec(
    columns=(
        Column("state", "STATE", _state, lambda row: (_RANK.get(row.word, 9), row.word), minimum=12, maximum=13),
        Column(
            "level",
            "ENV",
            lambda row, view: Cell(row.level, {"prod": "bad", "stage": "warn"}.get(row.level, "")),
            lambda row: row.level,
            4,
            8,
        ),
        Column("summary", "WHAT", _text("summary"), lambda row: row.summary.lower(), 12, 60, stretch=True),
        Column("who", "BY", _text("who"), lambda row: row.who, 3, 16),
        Column("age", "AGE", _age, lambda row: -(row.at or 0), 3, 4, volatile=True, right=True),
        Column("left", "LEFT", _left, lambda row: row.expires or 0, 4, 4, volatile=True, right=True),
        Column("reason", "REASON", _text("reason", "muted"), lambda row: row.reason, 8, 60, above=90, stretch=True),
        Column("operation", "OPERATION", _text("operation", "muted"), lambda row: row.operation, 9, 32, above=130),
    ),
    subject=Subject(
        words=_words,
        fields=("state", "by", "operation"),
        field=lambda row, name: str({"state": row.word, "by": row.who}.get(name, row.operation)).lower(),
        environments=lambda row: (row.level.lower(),),
    ),
    order=lambda row: (_RANK.get(row.word, 9), -(row.at or 0)),
    noun="requests",
    state=lambda row: (row.word, role_of(row)),
)


def detail_text(row: Asked, found: Mapping[str, Any] | None, now: float, plain: bool) -> Content:
    """One of them in full: what is asked, by whom and why, what became of it, and the plan as it is now."""
    role = role_of(row)
    lines = [
        content(
            (f"{glyph(role, plain)} {Safe(row.word)}", f"bold {CONTENT_STYLES[role]}".strip()),
            "  ",
            (row.summary, "bold"),
        ),
        _pair("operation", row.operation),
        _pair("done by" if row.review else "asked for by", join([row.who, Safe(_since(row.at, now))], ", ")),
        _pair("because", row.reason),
    ]
    record = {**row.record, **(found or {})}
    if not row.review:
        lines += _of_request(row, record, now)
    elif record.get("closed_by"):
        how = "closed by himself" if record.get("self_closed") is True else "closed by"
        lines.append(_pair(how, join([Safe(record["closed_by"]), Safe(record.get("note"))], ": ")))
    elif record.get("may_self_close") is True:
        lines.append(content(("nobody else could close it: you may, and it is kept as self-closed", "dim")))
    if record.get("task_id"):
        lines.append(_pair("task", Safe(record["task_id"])))
    elif record.get("run_id"):
        lines.append(_pair("run", Safe(record["run_id"])))
    if row.open and row.because and not row.mine:
        lines.append(content((row.because, "dim")))
    lines.append(Content(""))
    lines += _plan(record, plain) if not row.review else _run(record.get("run"))
    return Content("\n").join(lines)


def _of_request(row: Asked, record: Mapping[str, Any], now: float) -> list[Content]:
    lines = [_pair("needs a second person", Safe(record.get("why")))]
    names = [Safe(name) for name in record.get("eligible") or ()]
    if row.open and names:
        lines.append(_pair("could decide", join(names, ", ")))
    if record.get("decided_by"):
        said = join([Safe(part) for part in (record["decided_by"], record.get("decision_reason")) if part], ": ")
        lines.append(_pair("decided by", said))
    if row.open and row.expires is not None:
        left = row.expires - now
        lines.append(_pair("expires", Safe("now" if left <= 0 else f"in {span(left)}")))
    given = record.get("input")
    if isinstance(given, Mapping) and given:
        lines.append(_pair("input", join([Safe(f"{name}={value}") for name, value in given.items()], "  ")))
    return lines


def _plan(record: Mapping[str, Any], plain: bool) -> list[Content]:
    """The plan as it is now, where it could be made again; else the one that was asked for."""
    fresh = record.get("fresh")
    kept = record.get("plan")
    if not isinstance(fresh, Mapping):
        return [content(("planning it again …", "dim"))] if not isinstance(kept, Mapping) else [plan_text(kept, plain)]
    now, error = fresh.get("plan"), fresh.get("error")
    if isinstance(now, Mapping):
        same = fresh.get("same") is True
        words = (
            "planned again just now: it is still the same"
            if same
            else "planned again just now: IT IS NOT WHAT WAS ASKED FOR"
        )
        role = "ok" if same else "bad"
        return [content((f"{glyph(role, plain)} {words}", CONTENT_STYLES[role])), plan_text(now, plain)]
    message = error.get("message") if isinstance(error, Mapping) else None
    head = content((join([Safe("as it was planned then;"), Safe(message)], " "), "dim"))
    return [head, plan_text(kept, plain)] if isinstance(kept, Mapping) else [head]


def _run(run: object) -> list[Content]:
    """What became of it, as far as the operator may see."""
    if not isinstance(run, Mapping):
        return []
    results = run.get("results")
    lines = [_pair("it ended", Safe(run.get("state")))]
    for result in results[:200] if isinstance(results, list) else ():
        where = join([Safe(part) for part in dict.fromkeys((result.get("host"), result.get("name"))) if part], "/")
        lines.append(content("  ", (where, "bold"), f"  {Safe(result.get('state'))}"))
    return lines


def _since(at: float | None, now: float) -> str:
    return "" if at is None else f"{span(now - at)} ago"


def _pair(label: str, value: Safe) -> Content:
    return content((f"{label}: ", "dim"), value)
