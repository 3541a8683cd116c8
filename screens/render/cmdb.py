"""A node of the application tree as a row: product line, application or instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.spec import Cell, Column, Spec, View

INDENT: Final = 2
NOTHING: Final = Safe("")
ROLES: Final = {
    "running": "ok",
    "stopped": "warn",
    "restarting": "busy",
    "updating": "busy",
    "reverting": "busy",
    "unreachable": "bad",
}
_WORST: Final = ("unreachable", "stopped", "restarting", "updating", "reverting", "running")
_MARKS: Final = {True: ("▾", "v"), False: ("▸", ">"), None: ("·", "-")}


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One line. `path` sorts it under its parents; `open` is None for what cannot be opened; `states` counts the
    instances below by state, None while that is not known yet."""

    key: str
    path: tuple[tuple[int, str, int], ...]
    kind: str
    id: int
    name: Safe
    full_name: Safe
    open: bool | None
    applications: int | None = None
    states: Mapping[str, int] | None = None
    status: str = ""
    note: Safe = NOTHING
    match: bool = False

    @property
    def depth(self) -> int:
        return len(self.path) - 1


def worst(states: Mapping[str, int]) -> str:
    """The state that needs somebody first; empty without instances."""
    return next((word for word in _WORST if states.get(word)), next(iter(states), ""))


def states_of(row: TreeRow) -> Mapping[str, int]:
    return {row.status: 1} if row.kind == "instance" else row.states or {}


def _name(row: TreeRow, view: View) -> Cell:
    mark = _MARKS[row.open][1 if view.ascii else 0]
    role = "accent" if row.match else {"production": "accent", "instance": "muted"}.get(row.kind, "")
    return Cell(join([Safe(" " * (INDENT * row.depth) + mark), row.name], " "), role)


def _state(row: TreeRow, view: View) -> Cell:
    if row.kind != "instance" and row.states is None:
        return Cell(Safe("…"), "muted")
    states = states_of(row)
    word = worst(states)
    if not word:
        return Cell(Safe("no instance"), "muted")
    return Cell(Safe(word), ROLES.get(word, "unknown"))


def _instances(row: TreeRow, view: View) -> Cell:
    if row.kind == "instance":
        return Cell(Safe(""))
    states = states_of(row)
    words = [f"{states[word]} {word}" for word in sorted(states, key=_rank)]
    return Cell(Safe(", ".join(words)), "muted")


def _rank(word: str) -> int:
    return _WORST.index(word) if word in _WORST else len(_WORST)


def _applications(row: TreeRow, view: View) -> Cell:
    return Cell(Safe("" if row.applications is None else str(row.applications)), "muted")


SPEC: Final[Spec[TreeRow]] = Spec(
    columns=(
        Column("tree", "APPLICATION", _name, lambda row: row.path, minimum=20, maximum=200, stretch=True),
        Column("apps", "BELOW", _applications, lambda row: row.applications or 0, 5, 7, right=True),
        Column("state", "WORST", _state, lambda row: _rank(worst(states_of(row))), minimum=11, maximum=12),
        Column("instances", "INSTANCES", _instances, lambda row: sum(states_of(row).values()), 30, 40, above=100),
        Column("note", "NOTE", lambda row, view: Cell(row.note, "warn"), lambda row: row.note, 10, 24, above=110),
    ),
    subject=Subject(words=lambda row: row.full_name.lower()),
    order=lambda row: row.path,
    noun="lines",
)


def note_of(node: Mapping[str, Any]) -> Safe:
    """What stands in the way, or what version an instance has."""
    if node.get("kind") == "instance":
        sight = node.get("host_state")
        host = "" if sight in (None, "ok") else f"host {Safe(sight)}"
        return join([part for part in (Safe(node.get("version")), Safe(host)) if part], " · ")
    words = ["protected"] if node.get("protected") else []
    words += ["maintenance"] if node.get("maintenance") else []
    return Safe(", ".join(words))
