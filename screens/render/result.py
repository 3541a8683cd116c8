"""What came of an action on each of its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import glyph
from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Spec

ROLES: Final = {"done": "ok", "failed": "bad", "unknown": "unknown", "skipped": "muted"}
_ORDER: Final = ("failed", "unknown", "skipped", "done")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target: `state` done, failed, unknown or skipped; `why` is empty when it is done."""

    host: Safe
    name: Safe
    state: str
    why: Safe


def outcomes(results: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """Results of a call by `host/name`; a state nobody knows is unknown, never done."""
    found: dict[str, Outcome] = {}
    for result in results:
        error = result.get("error")
        why = Safe(error.get("message") or error.get("code")) if isinstance(error, Mapping) else Safe(error)
        state = str(result.get("state"))
        outcome = Outcome(
            Safe(result.get("host")), Safe(result.get("name")), state if state in ROLES else "unknown", why
        )
        found[f"{outcome.host}/{outcome.name}"] = outcome
    return found


def tally(found: Iterable[Outcome]) -> Safe:
    """`18 done, 1 failed, 1 unknown`; of one target only what became of it."""
    counts = Counter(outcome.state for outcome in found)
    if counts.total() == 1:
        return Safe(next(iter(counts)))
    order = sorted(counts, key=lambda state: -_ORDER.index(state))
    return join((Safe(f"{counts[state]} {state}") for state in order), ", ")


def progress_word(counts: Mapping[str, Any]) -> Safe:
    """How far a run is, from its targets by state: `12 of 40 done, 1 failed`; empty for no targets."""
    numbers = {state: count for state, count in counts.items() if isinstance(count, int)}
    total, done = sum(numbers.values()), numbers.get("done", 0)
    bad = [f"{numbers[state]} {state}" for state in ("failed", "unknown") if numbers.get(state)]
    return join([f"{done} of {total} done", *bad], ", ") if total else Safe("")


def worst(found: Iterable[Outcome]) -> str:
    """The role of the worst of them."""
    states = {outcome.state for outcome in found}
    return next((ROLES[state] for state in _ORDER if state in states), "ok")


SPEC: Final[Spec[Outcome]] = Spec(
    columns=(
        Column(
            "state",
            "RESULT",
            lambda o, view: Cell(Safe(f"{glyph(ROLES[o.state], view.ascii)} {o.state}"), ROLES[o.state]),
            lambda o: _ORDER.index(o.state),
            minimum=9,
            maximum=10,
        ),
        Column("host", "HOST", lambda o, view: Cell(o.host), lambda o: o.host, 4, 20),
        Column("name", "NAME", lambda o, view: Cell(o.name), lambda o: o.name, 10, 40),
        Column("why", "WHY", lambda o, view: Cell(o.why, "muted"), lambda o: o.why, 10, 80, stretch=True),
    ),
    subject=Subject(words=lambda o: f"{o.state} {o.host} {o.name} {o.why}".lower()),
    order=lambda o: (_ORDER.index(o.state), o.host, o.name),
    noun="targets",
)
