"""Where the operator has been: back, forward and the last place, as in a browser, over all modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

KEPT: Final = 50


@dataclass(frozen=True)
class Place:
    """A screen by mode and name; `again` makes it anew when it was closed (None: the root of its mode)."""

    mode: str
    name: str
    depth: int
    again: Callable[[], Any] | None = field(default=None, compare=False)


@dataclass
class Trail:
    """The places in order and the one the operator is at."""

    places: list[Place] = field(default_factory=list)
    at: int = -1
    before: Place | None = None

    def visit(self, place: Place) -> None:
        """The operator is here now. Going on from the middle of the trail forgets what lay ahead."""
        current = self.current
        if current == place:
            return
        self.before = current
        for step in (-1, 1):
            if 0 <= self.at + step < len(self.places) and self.places[self.at + step] == place:
                self.at += step
                return
        del self.places[self.at + 1 :]
        self.places.append(place)
        del self.places[:-KEPT]
        self.at = len(self.places) - 1

    @property
    def current(self) -> Place | None:
        return self.places[self.at] if 0 <= self.at < len(self.places) else None

    def neighbour(self, step: int) -> Place | None:
        """The place one step back (-1) or forward (1)."""
        wanted = self.at + step
        return self.places[wanted] if 0 <= wanted < len(self.places) else None
