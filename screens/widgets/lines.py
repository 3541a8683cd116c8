"""A bounded log without a terminal: what is kept, what the filter shows, which screen row is which line.

Lines have running numbers that never change: whoever holds one still means the same line after old ones were dropped.
Lines of a file are kept as the bytes they are and made printable when they are looked at, so that a hundred thousand
in a second cost no more than their place in a list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from screens.text import Safe
from screens.widgets.query import Subject, matcher
from screens.widgets.ring import Ring, Weights

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
LETTERS = "PACEWNID "
"""One letter per syslog priority (0 is a panic), so that a level needs no colour; the last is for none given."""
NO_LEVEL = len(LEVELS)
ERROR = 3
MOST_BYTES: Final = 64 * 1024 * 1024
REORDER: Final = 5000
"""How many of the newest lines a late one may still be put before."""


class LogLine(NamedTuple):
    """One line: Unix seconds or None, where it comes from, its syslog priority (`NO_LEVEL`: none given), the text."""

    at: float | None
    host: Safe
    source: Safe
    priority: int
    text: Safe


_TEXT = itemgetter(4)
Kept = LogLine | bytes
NOTHING = Safe("")


class Growth(NamedTuple):
    """Screen rows that came at the end and went at the beginning; `mixed` if lines came between known ones."""

    added: int
    dropped: int
    mixed: bool = False


def level(value: object) -> int:
    """A syslog priority from whatever a journal says."""
    return value if isinstance(value, int) and 0 <= value < NO_LEVEL else NO_LEVEL


def level_words(priority: int) -> str:
    """How a least urgent level that is shown is said."""
    return "errors only" if priority == ERROR else f"{LEVELS[priority]} and worse"


def plain(raw: bytes) -> LogLine:
    """A line of bytes of which nothing is known."""
    return LogLine(None, NOTHING, NOTHING, NO_LEVEL, Safe(raw))


def _field(line: LogLine, name: str) -> str:
    return {"host": line.host.lower(), "unit": line.source.lower(), "level": (*LEVELS, "")[line.priority]}.get(name, "")


SUBJECT: Subject[LogLine] = Subject(
    words=lambda line: f"{line.host} {line.source} {line.text}".lower(),
    fields=("host", "unit", "level"),
    field=_field,
)


@dataclass
class LogBuffer:
    """The newest `capacity` lines (and at most `most_bytes` of them), filtered, and laid out in screen rows.

    `priority` is the least urgent level that is shown; `NO_LEVEL` shows everything, also what has no level. With
    `by_time` lines of several sources are put in order of their times as they come.
    """

    capacity: int = 100_000
    most_bytes: int = MOST_BYTES
    by_time: bool = False
    read: Callable[[bytes], LogLine] = plain
    first: int = 0
    dropped: int = 0
    lost: int = 0
    filter: str = ""
    priority: int = NO_LEVEL
    lines: Ring[Kept] = field(default_factory=Ring)
    _weights: Weights = field(default_factory=Weights)
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
        kept = self.lines[number - self.first]
        return self.read(kept) if isinstance(kept, bytes) else kept

    def at_row(self, row: int) -> tuple[int, int] | None:
        """Running number of the line on a screen row, and which of its rows that is."""
        if not 0 <= row < self.rows:
            return None
        if self._ends is None:
            return self._number(row), 0
        absolute = row + self._base
        index = bisect_right(self._ends, absolute)
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

    # Lines come and go

    def extend(self, lines: Sequence[Kept]) -> Growth:
        """Add lines; beyond the capacity the oldest go and are counted."""
        before = self.rows
        unseen = max(len(lines) - self.capacity, 0)
        kept = lines[unseen:] if unseen else lines
        gone = self.forget(max(len(self.lines) + len(kept) - self.capacity, 0))
        self.first += unseen
        self.dropped += unseen
        late: Sequence[Kept] = ()
        if self.by_time:
            kept, late = self._in_time(kept)
        self._append(kept)
        gone += self._shed()
        return Growth(self.rows - (before - gone), gone, bool(late))

    def prepend(self, lines: Sequence[Kept]) -> int:
        """Put lines before the oldest, as a file read backwards does; how many screen rows that are."""
        before = self.rows
        self.first -= len(lines)
        self.lines.prepend(lines)
        self._weights.prepend(len(lines), _weight(lines))
        shown = self._matching(self.first, lines)
        if self._shown is not None:
            self._shown.prepend([number for number, _ in shown])
        if self._ends is not None and self._rows_of is not None:
            counts = [self._rows_of(line) for _, line in shown]
            self._base -= sum(counts)
            self._ends.prepend(_sums(self._base, counts))
        return self.rows - before

    def forget(self, count: int) -> int:
        """Drop the oldest lines, counting them; how many screen rows went."""
        if count <= 0:
            return 0
        self._weights.drop(count)
        self.lines.drop(count)
        self.first += count
        self.dropped += count
        gone = count
        if self._shown is not None:
            gone = bisect_left(self._shown, self.first)
            self._shown.drop(gone)
        if self._ends is None or gone == 0:
            return gone
        last = self._ends[gone - 1]
        rows, self._base = last - self._base, last
        self._ends.drop(gone)
        return rows

    def forget_end(self, count: int) -> None:
        """Take the newest lines off again."""
        end = self.first + len(self.lines) - count
        self._weights.drop_end(count)
        self.lines.drop_end(count)
        gone = count
        if self._shown is not None:
            gone = len(self._shown) - bisect_left(self._shown, end)
            self._shown.drop_end(gone)
        if self._ends is not None:
            self._ends.drop_end(gone)

    def _append(self, lines: Sequence[Kept]) -> None:
        first = self.first + len(self.lines)
        self.lines.extend(lines)
        self._weights.append(len(lines), _weight(lines))
        self._show(first, lines)

    def _shed(self) -> int:
        """Drop the oldest beyond the bound of memory."""
        gone = 0
        while self._weights.total > self.most_bytes and (count := self._weights.oldest(len(self.lines))):
            gone += self.forget(count)
        return gone

    def _in_time(self, lines: Sequence[Kept]) -> tuple[list[LogLine], list[LogLine]]:
        """The lines by time; what is newer than the oldest of them is taken off and put between them.

        A line without a time stays behind the one it came after. The second list is what was taken off.
        """
        made = [self.read(line) if isinstance(line, bytes) else line for line in lines]
        fresh = _timed(made, self._time_before(len(self.lines)))
        if not fresh:
            return [], []
        oldest, back, number = min(at for at, _ in fresh), 0, self.first + len(self.lines)
        while back < min(len(self.lines), REORDER):
            at = self.line(number - back - 1).at
            if at is not None and at <= oldest:
                break
            back += 1
        taken = [self.line(number - back + index) for index in range(back)]
        self.forget_end(back)
        merged = sorted([*_timed(taken, self._time_before(len(self.lines))), *fresh], key=lambda pair: pair[0])
        return [line for _, line in merged], taken

    def _time_before(self, index: int) -> float:
        """The time of the nearest line with one before this place; of the beginning of time if there is none."""
        for earlier in range(index - 1, max(index - REORDER, 0) - 1, -1):
            at = self.line(self.first + earlier).at
            if at is not None:
                return at
        return float("-inf")

    # What is shown

    def set_filter(self, text: str, priority: int = NO_LEVEL) -> None:
        """Show only what the text means, and of that only this level and what is more urgent."""
        self.filter, self.priority = text.strip(), priority
        test = matcher(self.filter, SUBJECT)
        if priority < NO_LEVEL:
            inner = test
            test = lambda line: (  # noqa: E731 - two conditions as one
                line.priority <= priority and (inner is None or inner(line))
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

    def at_time(self, at: float) -> int | None:
        """Number of the first shown line that is not older, the last if all are; None where no line has a time.

        Taken as sorted: in a log where clocks were set back it is one of the places where that time was passed.
        """
        low, high = 0, self.shown
        while low < high:
            middle = (low + high) // 2
            time = self.time_of(middle, high)
            if time is not None and time < at:
                low = middle + 1
            else:
                high = middle
        if self.time_of(0, self.shown) is None:
            return None
        return self._number(min(low, self.shown - 1))

    def time_of(self, index: int, end: int | None = None) -> float | None:
        """The time of a shown line, or of the first one after it that has one."""
        for number in range(index, self.shown if end is None else end):
            at = self.line(self._number(number)).at
            if at is not None:
                return at
        return None

    def shown_index(self, number: int) -> int:
        """Place among the shown lines of this line or of the first one after it."""
        return self._nearest(number)

    def _number(self, index: int) -> int:
        return self.first + index if self._shown is None else self._shown[index]

    def _nearest(self, number: int) -> int:
        """Index among the shown of this line, or of the first one after it."""
        if self._shown is None:
            return min(max(number - self.first, 0), len(self.lines) - 1)
        return min(bisect_left(self._shown, number), len(self._shown) - 1)

    def _index(self, number: int) -> int | None:
        index = self._nearest(number)
        return index if 0 <= index < self.shown and self._number(index) == number else None

    def _matching(self, first: int, lines: Sequence[Kept]) -> list[tuple[int, LogLine]]:
        """Shown ones among these lines with their numbers; nothing is read if neither filter nor wrap needs it."""
        if self._matches is None and self._rows_of is None:
            return []
        every = [
            (first + index, self.read(line) if isinstance(line, bytes) else line) for index, line in enumerate(lines)
        ]
        return every if (matches := self._matches) is None else [pair for pair in every if matches(pair[1])]

    def _show(self, first: int, lines: Sequence[Kept]) -> None:
        shown = self._matching(first, lines)
        if self._shown is not None:
            self._shown.extend(number for number, _ in shown)
        if self._ends is not None and self._rows_of is not None:
            end = self._ends[len(self._ends) - 1] if len(self._ends) else self._base
            self._ends.extend(_sums(end, [self._rows_of(line) for _, line in shown]))

    def _rebuild(self) -> None:
        self._shown = None if self._matches is None else Ring()
        self._ends = None if self._rows_of is None else Ring()
        self._base = 0
        if self._shown is not None or self._ends is not None:
            self._show(self.first, list(self.lines))


def _weight(lines: Sequence[Kept]) -> int:
    """Characters or bytes of the texts; counted in bulk, as this is done for every line that comes."""
    if lines and type(lines[0]) is bytes:
        return sum(map(len, lines))
    return len("".join(map(_TEXT, lines)))


def _sums(start: int, counts: Sequence[int]) -> list[int]:
    """Running ends of rows that begin at `start`."""
    ends = []
    for count in counts:
        start += count
        ends.append(start)
    return ends


def _timed(lines: Sequence[LogLine], before: float) -> list[tuple[float, LogLine]]:
    """Each line with its time, or with that of the line before it."""
    timed = []
    for line in lines:
        before = before if line.at is None else line.at
        timed.append((before, line))
    return timed
