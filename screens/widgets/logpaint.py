"""How a line of a log looks: time, level, source, text, what is looked for set off; in exactly so many cells."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from screens.text import Safe, fit, join, width, wrap
from screens.widgets.lines import LETTERS, LogLine

SOURCE_CELLS: Final = 24
SHORTEST_SOURCE: Final = 4
TIME_CELLS: Final = 8
HEAD_CELLS: Final = TIME_CELLS + 3
SOURCES: Final = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta", "bright_blue")
LEVEL_ROLES: Final = ("bad", "bad", "bad", "bad", "warn", "accent", "", "muted", "")
NARROWEST: Final = 20
NO_TIME: Final = Safe(" " * TIME_CELLS)


class LinePainter:
    """Makes strips for lines and keeps the last ones. `style` gives a style by role or component name."""

    def __init__(self, style: Callable[[str], Style], *, sources: bool) -> None:
        self.found = ""
        self.wrapping = False
        self.aside = 0
        self.sources = sources
        self.source_cells = SOURCE_CELLS
        self._style = style
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._names: dict[str, tuple[Safe, int]] = {}
        self._second: tuple[int, Safe] = (-1, NO_TIME)

    def forget(self) -> None:
        """Nothing painted before is good any more."""
        self._strips.clear()

    def fit(self, cells: int) -> bool:
        """Give names so many cells, as far as they may have; whether that is another width than before."""
        wanted = min(max(cells, SHORTEST_SOURCE), SOURCE_CELLS)
        if wanted == self.source_cells:
            return False
        self.source_cells = wanted
        self._names.clear()
        self.forget()
        return True

    def rows_of(self, line: LogLine, cells: int) -> int:
        """Rows the line takes when it is wrapped in a window so wide."""
        room = self.room(cells)
        if line.text.isascii():
            return max(-(-len(line.text) // room), 1)
        return len(wrap(line.text, room))

    def strip(self, number: int, part: int, line: Callable[[int], LogLine], cells: int) -> Strip:
        """Row `part` of the line with this number; `line` is asked for it only if it was not painted lately."""
        kept = (number, part, cells, self.aside)
        strip = self._strips.get(kept)
        if strip is None:
            strip = self._strips[kept] = self._paint(line(number), part, cells)
        return strip

    def room(self, cells: int) -> int:
        """Cells of the text of a line in a window so wide."""
        return max(cells - HEAD_CELLS - (self.source_cells + 1 if self.sources else 0), NARROWEST)

    def _paint(self, line: LogLine, part: int, cells: int) -> Strip:
        head = self._head(line)
        text = line.text
        if self.wrapping:
            room = self.room(cells)
            text = wrap(text, room)[part]
            if part:
                head = [Segment(" " * (cells - room), self._style(""))]
        elif self.aside:
            return self._beside(head, text, line, cells)
        used = sum(len(segment.text) for segment in head)
        if width(text) > cells - used:
            return Strip(head + self._marked(text, line)).crop_extend(0, cells, self._style(""))
        blank = " " * (cells - used - width(text))
        return Strip([*head, *self._marked(text, line), Segment(blank, self._style(""))], cells)

    def _beside(self, head: list[Segment], text: Safe, line: LogLine, cells: int) -> Strip:
        """A line pushed to the left, its head as well."""
        every = Strip(head + self._marked(text, line))
        return every.crop(self.aside).crop_extend(0, cells, self._style(""))

    def _head(self, line: LogLine) -> list[Segment]:
        """Time, level and source; all of them in as many characters as cells."""
        level = LETTERS[line.priority]
        segments = [
            Segment(self._time(line.at), self._style("log--time")),
            Segment(f" {level} ", self._style(LEVEL_ROLES[line.priority])),
        ]
        if self.sources:
            name, colour = self._source(line)
            segments += [Segment(name, self._style(f"log--source{colour}")), Segment(" ", self._style(""))]
        return segments

    def _source(self, line: LogLine) -> tuple[Safe, int]:
        name = join((line.host, line.source), "/") if line.host and line.source else line.host or line.source
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = (fit(name, self.source_cells), len(self._names) % len(SOURCES))
        return known

    def _time(self, at: float | None) -> Safe:
        if at is None:
            return NO_TIME
        if self._second[0] != int(at):
            self._second = (int(at), _clock(at))
        return self._second[1]

    def _marked(self, text: Safe, line: LogLine) -> list[Segment]:
        """The text with every occurrence of what is looked for set off."""
        style = self._style(LEVEL_ROLES[line.priority])
        if not self.found:
            return [Segment(text, style)]
        segments: list[Segment] = []
        wanted, low, start = self.found.lower(), text.lower(), 0
        while len(low) == len(text) and (hit := low.find(wanted, start)) >= 0:
            segments.append(Segment(text[start:hit], style))
            segments.append(Segment(text[hit : hit + len(wanted)], style + self._style("log--found")))
            start = hit + len(wanted)
        return [*segments, Segment(text[start:], style)]


def _clock(at: float) -> Safe:
    try:
        return Safe(time.strftime("%H:%M:%S", time.localtime(at)))
    except (OverflowError, ValueError, OSError):
        return Safe("?".center(TIME_CELLS))
