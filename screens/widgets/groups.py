"""Groups of rows and counts of their states: what a group row and a title say about many records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from screens.text import Safe, join
from screens.widgets.arrange import Steps, pieces

T = TypeVar("T")
State = tuple[str, str]
"""A word and its role."""

HEADING: Final = "\0"
"""Keys of group rows begin with it; keys of records never do."""

_SEVERITY: Final = {"bad": 0, "warn": 1, "unknown": 2, "busy": 3, "accent": 4, "": 5, "ok": 6, "muted": 7}
ALARMING: Final = ("bad", "warn", "unknown")
MOST_STATES: Final = 5


def severity(state: State) -> int:
    """0 is worst; an unheard-of role counts as unknown."""
    return _SEVERITY.get(state[1], _SEVERITY["unknown"])


class Tally(Counter[State]):
    """How many records are in which state."""

    def take(self, state: State | None, count: int = 1) -> None:
        """Count one more (or, with -1, one less); None is no state at all."""
        if state is None:
            return
        self[state] += count
        if not self[state]:
            del self[state]

    def ordered(self) -> list[tuple[State, int]]:
        """Worst first; equally bad ones by how many there are."""
        return sorted(self.items(), key=lambda item: (severity(item[0]), -item[1], item[0]))

    def worst(self) -> State | None:
        return min(self, key=severity, default=None)

    def words(self, roles: Sequence[str] = ()) -> Safe:
        """`4 error 2 stopped`; only these roles if any are given."""
        parts = [f"{count} {word}" for (word, role), count in self.ordered() if not roles or role in roles]
        more = " …" if len(parts) > MOST_STATES else ""
        return join([Safe(" ".join(parts[:MOST_STATES])), Safe(more)])


@dataclass
class Group:
    """The shown records that have one value in common, in the order of the list."""

    value: Safe
    keys: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    folded: bool = False

    @property
    def heading(self) -> str:
        return HEADING + self.value


def gather(
    keys: Sequence[str],
    records: Mapping[str, T],
    value: Callable[[T], str],
    states: Mapping[str, State],
    first: Callable[[Collection[State], str], Any] | None = None,
) -> Steps[dict[str, Group]]:
    """Groups by heading key, by name or by what `first` says of the states in one."""
    groups: dict[str, Group] = {}
    for piece in pieces(keys):
        for key in piece:
            if key not in records:
                continue
            name = Safe(value(records[key]))
            group = groups.get(name)
            if group is None:
                group = groups[name] = Group(name)
            group.keys.append(key)
            group.tally.take(states.get(key))
        yield
    ordered = sorted(groups.values(), key=lambda group: group.value)
    if first is not None:
        ordered.sort(key=lambda group: first(group.tally, group.value))
    return {group.heading: group for group in ordered}
