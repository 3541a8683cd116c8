"""Tasks as rows of a table, one of them in a line, and its output as lines of a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import glyph, span, timestamp
from screens.render.result import progress_word
from screens.text import Safe, join, width
from screens.widgets.lines import NO_LEVEL, LogLine
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Spec, View

ROLES: Final = {
    "pending": "busy",
    "waiting": "warn",
    "running": "busy",
    "paused": "warn",
    "finished": "ok",
    "partial": "bad",
    "failed": "bad",
    "timeout": "bad",
    "cancelled": "muted",
    "unknown": "unknown",
}
OPEN: Final = ("running", "waiting", "paused", "pending")
WANTED: Final = {"pause": "pauses when what is under way has ended", "cancel": "being cancelled"}
_LEVELS: Final = {"failed": 3, "unknown": 4}
STATES: Final = {"in_flight": "begun"}
"""What a state of a target is called where people read it."""
LONGEST: Final = 16 * 1024
"""Characters of a line without an end that are kept back until its end comes."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A row of `tasks.list`. `seconds` is how long it took, or had taken when it was read."""

    id: str
    state: str
    summary: Safe
    operation: Safe
    who: Safe
    waits: Safe
    progress: Safe
    short: Safe
    attempt: int
    created: float | None
    started: float | None
    seconds: float | None
    usual: float | None
    error: Safe

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def role(self) -> str:
        return ROLES.get(self.state, "unknown")


def parse_task(record: Mapping[str, Any]) -> TaskRow:
    """A row from an answer; nothing in it is trusted."""
    targets, error = record.get("targets"), record.get("error")
    said = error.get("message") if isinstance(error, Mapping) else error
    seconds, usual = record.get("seconds"), record.get("usual_seconds")
    wanted, waiting, attempt = str(record.get("wanted") or ""), record.get("waiting_for"), record.get("attempt")
    waits = f"waits for {waiting}" if waiting else WANTED.get(wanted, "") if state_of(record) in OPEN else ""
    return TaskRow(
        id=str(record.get("id") or ""),
        state=state_of(record),
        summary=Safe(record.get("summary")),
        operation=Safe(record.get("operation")),
        who=Safe(record.get("operator")),
        waits=Safe(waits),
        progress=progress_word(targets) if isinstance(targets, Mapping) else Safe(""),
        short=short_progress(targets) if isinstance(targets, Mapping) else Safe(""),
        attempt=attempt if isinstance(attempt, int) else 0,
        created=timestamp(record.get("created_at")),
        started=timestamp(record.get("started_at")),
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
        usual=float(usual) if isinstance(usual, (int, float)) else None,
        error=Safe(said),
    )


def state_of(record: Mapping[str, Any]) -> str:
    """The state of a task; one that is not said is unknown."""
    return str(Safe(record.get("state") or "unknown"))


def short_progress(counts: Mapping[str, Any]) -> Safe:
    """How far it is, for a narrow column: `2/12, 1 failed`. What failed is never what is cut off."""
    numbers = {state: count for state, count in counts.items() if isinstance(count, int)}
    bad = [f"{numbers[state]} {state}" for state in ("failed", "unknown") if numbers.get(state)]
    total = sum(numbers.values())
    return join([f"{numbers.get('done', 0)}/{total}", *bad], ", ") if total else Safe("")


def elapsed(task: TaskRow, now: float) -> Safe:
    """How long it took, or has taken beside what earlier ones took: `40s of ~2m`."""
    seconds = task.seconds
    if task.open and task.started is not None:
        seconds = max(now - task.started, 0.0)
    if seconds is None:
        return Safe("")
    usual = f" of ~{span(task.usual)}" if task.open and task.usual is not None else ""
    return Safe(f"{span(seconds)}{usual}")


def state_cell(task: TaskRow, view: View) -> Cell:
    return Cell(join([Safe(glyph(task.role, view.ascii)), Safe(task.state)], " "), task.role)


def _targets(task: TaskRow, view: View) -> Cell:
    return Cell(task.waits, "warn") if task.waits else Cell(task.short)


def _age(task: TaskRow, view: View) -> Cell:
    return Cell(Safe(span(view.now - task.created) if task.created is not None else ""), "muted")


def _took(task: TaskRow, view: View) -> Cell:
    """Twice as long as usual is worth a look."""
    slow = task.open and task.started is not None and task.usual and view.now - task.started > 2 * task.usual
    return Cell(elapsed(task, view.now), "warn" if slow else "")


def headline(task: TaskRow, now: float) -> Safe:
    """A task in one line."""
    parts = [Safe(task.state), task.waits, task.progress, elapsed(task, now), task.error]
    return join([part for part in parts if part], " · ")


class OutputLines:
    """Pieces of output as whole lines; the last one of a target is kept back until its end comes."""

    def __init__(self) -> None:
        self._open: dict[tuple[object, object], str] = {}

    def of(self, event: Mapping[str, Any]) -> list[LogLine]:
        """The lines an `output` event completes."""
        stream = (event.get("position"), event.get("step"))
        *whole, rest = f"{self._open.pop(stream, '')}{event.get('text') or ''}".split("\n")
        while len(rest) > LONGEST:
            whole.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        if rest:
            self._open[stream] = rest
        return [self._line(event, text) for text in whole]

    def left(self) -> list[LogLine]:
        """What never got its end."""
        found = [LogLine(None, Safe(""), Safe(""), NO_LEVEL, Safe(text)) for text in self._open.values()]
        self._open.clear()
        return found

    def _line(self, event: Mapping[str, Any], text: str) -> LogLine:
        host, source = _from(event)
        return LogLine(timestamp(event.get("at")), host, source, NO_LEVEL, Safe(text.removesuffix("\r")))


class TargetNews:
    """What became of each target, said once whenever it is something else than before, at the time it became so."""

    def __init__(self) -> None:
        self._told: dict[object, str] = {}

    def of(self, results: Iterable[Mapping[str, Any]]) -> list[LogLine]:
        """Lines as from the target itself."""
        news = []
        for result in results:
            state, error = str(result.get("state")), result.get("error")
            if state in ("waiting", "planned", self._told.get(result.get("position"))):
                continue
            self._told[result.get("position")] = state
            said = error.get("message") if isinstance(error, Mapping) else error
            check = result.get("check") if state == "unknown" else None
            host, source = _from(result)
            said = Safe(said).removeprefix(f"{host}: ")
            text = join([Safe(STATES.get(state, state)), *(Safe(part) for part in (said, check) if part)], " · ")
            at = timestamp(result.get("finished_at")) or timestamp(result.get("started_at"))
            news.append(LogLine(at, host, source, _LEVELS.get(state, NO_LEVEL), Safe(f"— {text}")))
        return news


def _from(event: Mapping[str, Any]) -> tuple[Safe, Safe]:
    """Host and name of a target; a name that is the host's own is said once."""
    host, name = Safe(event.get("host")), Safe(event.get("name"))
    return host, name if name != host else Safe("")


def source_cells(results: Iterable[Mapping[str, Any]]) -> int:
    """How wide the longest name of a target is."""
    names = (join([part for part in _from(result) if part], "/") for result in results)
    return max((width(name) for name in names), default=0)


SPEC: Final[Spec[TaskRow]] = Spec(
    columns=(
        Column("state", "STATE", state_cell, lambda task: task.state, 11, 12),
        Column("what", "WHAT", lambda task, view: Cell(task.summary), lambda task: task.summary, 12, 70, stretch=True),
        Column("targets", "TARGETS", _targets, lambda task: task.progress, 14, 26, above=70),
        Column("took", "TOOK", _took, lambda task: task.seconds or 0.0, 4, 11, volatile=True, right=True),
        Column("by", "BY", lambda task, view: Cell(task.who), lambda task: task.who, 3, 12, above=90),
        Column("age", "AGE", _age, lambda task: -(task.created or 0.0), 3, 4, volatile=True, right=True),
    ),
    subject=Subject(
        words=lambda task: f"{task.summary} {task.operation} {task.who} {task.state}".lower(),
        fields=("state", "by", "operation"),
        field=lambda task, name: str({"state": task.state, "by": task.who}.get(name, task.operation)).lower(),
    ),
    order=lambda task: (not task.open, -(task.created or 0.0), task.id),
    noun="tasks",
    state=lambda task: (task.state, task.role),
)
