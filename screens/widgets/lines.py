"""A bounded log without a terminal: what is kept, what the filter shows, which screen row is which line.

Lines have running numbers that never change: whoever holds one still means the same line after old ones were dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from screens.text import Safe
from screens.widgets.query import Subject, matcher

T = TypeVar("T")

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
LETTERS = "PACEWNID "
"""One letter per syslog priority (0 is a panic), so that a level needs no colour; the last is for none given."""
NO_LEVEL = len(LEVELS)
ERROR = 3


class LogLine(NamedTuple):
    """One line: Unix seconds or None, where it comes from, its syslog priority (`NO_LEVEL`: none given), the text."""

    at: float | None
    host: Safe
    source: Safe
    priority: int
    text: Safe


class Growth(NamedTuple):
    """Screen rows that came at the end and went at the beginning."""

    added: int
    dropped: int


class Ring(Generic[T]):
    """A list that forgets its beginning cheaply and is still indexed in constant time."""

    __slots__ = ("_items", "_start")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    def __getitem__(self, index: int) -> T:
        return self._items[self._start + index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items[self._start :])

    def extend(self, items: Iterable[T]) -> None:
        self._items.extend(items)

    def drop(self, count: int) -> None:
        """Forget the first `count` items; memory is given back in steps."""
        self._start += count
        if self._start > 1024 and self._start * 2 > len(self._items):
            del self._items[: self._start]
            self._start = 0


def level(value: object) -> int:
    """A syslog priority from whatever a journal says."""
    return value if isinstance(value, int) and 0 <= value < NO_LEVEL else NO_LEVEL


def _field(line: LogLine, name: str) -> str:
    return {"host": line.host.lower(), "unit": line.source.lower(), "level": (*LEVELS, "")[line.priority]}.get(name, "")


SUBJECT: Subject[LogLine] = Subject(
    words=lambda line: f"{line.host} {line.source} {line.text}".lower(),
    fields=("host", "unit", "level"),
    field=_field,
)


@dataclass
class LogBuffer:
    """The newest `capacity` lines, filtered, and laid out in rows of `cells` (0: one row per line)."""

    capacity: int = 100_000
    dropped: int = 0
    lost: int = 0
    filter: str = ""
    errors_only: bool = False
    lines: Ring[LogLine] = field(default_factory=Ring)
    _shown: Ring[int] | None = None
    _ends: Ring[int] | None = None
    _base: int = 0
    _matches: Callable[[LogLine], bool] | None = None
    _rows_of: Callable[[LogLine], int] | None = None

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def shown(self) -> int:
        """Lines the filter lets through."""
        return len(self.lines) if self._shown is None else len(self._shown)

    @property
    def rows(self) -> int:
        """Screen rows of all shown lines."""
        if self._ends is None:
            return self.shown
        return (self._ends[len(self._ends) - 1] - self._base) if len(self._ends) else 0

    def line(self, number: int) -> LogLine:
        """The line with this running number."""
        return self.lines[number - self.dropped]

    def at_row(self, row: int) -> tuple[int, int] | None:
        """Running number of the line on a screen row, and which of its rows that is."""
        if not 0 <= row < self.rows:
            return None
        if self._ends is None:
            return self._number(row), 0
        absolute = row + self._base
        index = _bisect(self._ends, absolute)
        start = self._ends[index - 1] if index else self._base
        return self._number(index), absolute - start

    def row_of(self, number: int) -> int | None:
        """First screen row of the line with this number; None when it is not shown."""
        index = self._index(number)
        if index is None:
            return None
        if self._ends is None:
            return index
        return (self._ends[index - 1] if index else self._base) - self._base

    def extend(self, lines: list[LogLine]) -> Growth:
        """Add lines; beyond the capacity the oldest go and are counted."""
        before = self.rows
        unseen = max(len(lines) - self.capacity, 0)
        kept = lines[unseen:] if unseen else lines
        gone = self._forget(max(len(self.lines) + len(kept) - self.capacity, 0))
        self.dropped += unseen
        first = self.dropped + len(self.lines)
        self.lines.extend(kept)
        self._show(first, kept)
        return Growth(self.rows - (before - gone), gone)

    def set_filter(self, text: str, errors_only: bool = False) -> None:
        """Show only what the text means; with `errors_only` only priorities up to error."""
        self.filter, self.errors_only = text.strip(), errors_only
        test = matcher(self.filter, SUBJECT)
        if errors_only:
            inner = test
            test = lambda line: (  # noqa: E731 - two conditions as one
                line.priority <= ERROR and (inner is None or inner(line))
            )
        self._matches = test
        self._rebuild()

    def set_layout(self, rows_of: Callable[[LogLine], int] | None) -> None:
        """How many rows a line takes; None when every line takes one."""
        self._rows_of = rows_of
        self._rebuild()

    def find(self, text: str, start: int, step: int) -> int | None:
        """Number of the next shown line with the text in it, going `step` (1 or -1) from line number `start`."""
        wanted = text.lower()
        index = self._nearest(start)
        while 0 <= index < self.shown:
            number = self._number(index)
            if (number - start) * step > 0 and wanted in SUBJECT.words(self.line(number)):
                return number
            index += step
        return None

    def _number(self, index: int) -> int:
        return self.dropped + index if self._shown is None else self._shown[index]

    def _nearest(self, number: int) -> int:
        """Index among the shown of this line, or of the first one after it."""
        if self._shown is None:
            return min(max(number - self.dropped, 0), len(self.lines) - 1)
        low, high = 0, len(self._shown)
        while low < high:
            middle = (low + high) // 2
            if self._shown[middle] < number:
                low = middle + 1
            else:
                high = middle
        return min(low, len(self._shown) - 1)

    def _index(self, number: int) -> int | None:
        index = self._nearest(number)
        return index if 0 <= index < self.shown and self._number(index) == number else None

    def _forget(self, count: int) -> int:
        """Drop the oldest lines; returns how many screen rows went."""
        if count <= 0:
            return 0
        self.lines.drop(count)
        self.dropped += count
        gone = count
        if self._shown is not None:
            gone = 0
            while gone < len(self._shown) and self._shown[gone] < self.dropped:
                gone += 1
            self._shown.drop(gone)
        if self._ends is None or gone == 0:
            return gone
        last = self._ends[gone - 1]
        rows, self._base = last - self._base, last
        self._ends.drop(gone)
        return rows

    def _show(self, first: int, lines: list[LogLine]) -> None:
        matches = self._matches
        shown = lines
        if self._shown is not None and matches is not None:
            hits = [(first + index, line) for index, line in enumerate(lines) if matches(line)]
            self._shown.extend(number for number, _ in hits)
            shown = [line for _, line in hits]
        if self._ends is not None and self._rows_of is not None:
            end = self._ends[len(self._ends) - 1] if len(self._ends) else self._base
            ends = []
            for line in shown:
                end += self._rows_of(line)
                ends.append(end)
            self._ends.extend(ends)

    def _rebuild(self) -> None:
        self._shown = None if self._matches is None else Ring()
        self._ends = None if self._rows_of is None else Ring()
        self._base = 0
        if self._shown is not None or self._ends is not None:
            self._show(self.dropped, list(self.lines))


def _bisect(ends: Ring[int], value: int) -> int:
    """First index whose end is beyond the value."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low
