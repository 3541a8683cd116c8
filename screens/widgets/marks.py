"""Which records are meant by the next action: single marks, ranges that follow the cursor, all that is shown."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from screens.widgets.rows import Rows


class Marks:
    """Marks belong to keys, so sorting, filtering and refreshing leave them alone; a record that goes loses its own.

    A range is open between `start_range` and `end_range`: everything from where it began to the cursor is marked, and
    what it leaves again gets back the mark it had.
    """

    def __init__(self, rows: Rows[Any]) -> None:
        self._rows = rows
        self.keys: set[str] = set()
        self.anchor: str | None = None
        self._before: frozenset[str] = frozenset()

    def keep(self, known: Container[str]) -> None:
        """Only the marks of known records."""
        self.keys = {key for key in self.keys if key in known}
        if self.anchor is not None and self.anchor not in known and self.anchor not in self._rows.groups:
            self.end_range()

    def discard(self, key: str) -> None:
        self.keys.discard(key)
        if key == self.anchor:
            self.end_range()

    def toggle(self, key: str) -> None:
        """Mark or unmark a record; of a group row all of its shown records, unmarked only if all were marked."""
        self.end_range()
        group = self._rows.groups.get(key)
        if group is not None:
            members = set(group.keys)
            self.keys = self.keys - members if members <= self.keys else self.keys | members
        elif key in self._rows.records:
            self.keys ^= {key}

    def mark_shown(self) -> None:
        """Mark everything the filter lets through (what it hides keeps the mark it has)."""
        self.end_range()
        rows = self._rows
        self.keys |= {key for key in rows.records if rows.visible(key)}

    def clear(self) -> None:
        self.end_range()
        self.keys = set()

    def start_range(self, key: str) -> None:
        """Open a range that begins here."""
        self.anchor, self._before = key, frozenset(self.keys)
        self.move_range(key)

    def move_range(self, key: str) -> None:
        """The range now ends here. Without an open range, or with its beginning hidden, nothing changes."""
        rows = self._rows
        first, last = rows.position(self.anchor), rows.position(key)
        if first is None or last is None:
            return
        between = rows.shown[min(first, last) : max(first, last) + 1]
        self.keys = {*self._before, *self._records(between)}

    def end_range(self) -> None:
        """Close the range; its marks stay."""
        self.anchor, self._before = None, frozenset()

    def cancel_range(self) -> None:
        """Close the range and take its marks back."""
        if self.anchor is not None:
            self.keys = {key for key in self._before if key in self._rows.records}
        self.end_range()

    def ordered(self) -> list[str]:
        """Marked keys, the shown ones first, in the order of the list."""
        shown = [key for key in self._rows.shown if key in self.keys]
        return [*shown, *sorted(self.keys.difference(shown))]

    def hidden(self) -> int:
        """How many marked records the filter hides."""
        return sum(not self._rows.visible(key) for key in self.keys)

    def _records(self, keys: Iterable[str]) -> Iterable[str]:
        for key in keys:
            group = self._rows.groups.get(key)
            if group is None:
                yield key
            elif group.folded:
                yield from group.keys
