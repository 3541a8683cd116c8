"""A log that follows: bounded memory, few paints however fast lines come, filter, find, levels, wrap, jumps in time.

Each line shows its time, a letter for its level and, when there are several sources, the host and unit it came from;
those are then merged by time. Scrolling up stops the following and the title then counts what came since.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, Final

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from screens.text import Safe, join, wrap
from screens.widgets.lines import ERROR, NO_LEVEL, REORDER, Growth, Kept, LogBuffer, LogLine, level_words
from screens.widgets.lineview import LineView
from screens.widgets.logpaint import SOURCES, LinePainter
from screens.widgets.roles import ROLE_CLASSES, role_css

PAINT_EVERY: Final = 0.028
SAY_EVERY: Final = 0.2
"""Seconds between two titles while lines come."""
SIDE_STEP: Final = 16
_SOURCE_CSS: Final = "\n".join(f"LogView > .log--source{i} {{ color: ansi_{c}; }}" for i, c in enumerate(SOURCES))


class LogView(LineView, can_focus=True, inherit_bindings=False):
    """Feed it lines with `feed()`, in batches of any size. It posts `Edited` when its summary changed.

    With `sources` every line names where it comes from, and lines are put in order of their times.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--time",
        "log--found",
        *(f"log--source{number}" for number in range(len(SOURCES))),
        *ROLE_CLASSES,
    }
    DEFAULT_CSS = f"""
    LogView {{ overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }}
    LogView > .log--time {{ text-style: dim; }}
    LogView > .log--found {{ text-style: reverse; }}
    {_SOURCE_CSS}
    {role_css("LogView")}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll(1)", "down", id="log.down", show=False),
        Binding("up,k", "scroll(-1)", "up", id="log.up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "page down", id="log.page_down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "page up", id="log.page_up", show=False),
        Binding("ctrl+d", "page(0.5)", "half a page down", id="log.half_down", show=False),
        Binding("ctrl+u", "page(-0.5)", "half a page up", id="log.half_up", show=False),
        Binding("g,home", "edge(-1)", "oldest", id="log.first", show=False),
        Binding("G,end", "edge(1)", "newest, and follow", id="log.last", show=False),
        Binding("left,h", "aside(-1)", "left", id="log.left", show=False),
        Binding("right,l", "aside(1)", "right", id="log.right", show=False),
        Binding("f", "follow", "follow", id="log.follow"),
        Binding("w", "wrap", "wrap", id="log.wrap"),
        Binding("e", "errors", "errors only", id="log.errors"),
        Binding("m", "on(60)", "a minute on", id="log.minute_on", show=False),
        Binding("M", "on(-60)", "a minute back", id="log.minute_back", show=False),
        Binding("H", "on(-3600)", "an hour back", id="log.hour_back", show=False),
        Binding("L", "on(3600)", "an hour on", id="log.hour_on", show=False),
        Binding("n", "find_next(1)", "next match", id="log.find_next", show=False),
        Binding("N", "find_next(-1)", "previous match", id="log.find_previous", show=False),
    ]

    class Edited(Message):
        """What `summary()` says has changed."""

        def __init__(self, log: LogView) -> None:
            super().__init__()
            self.log_view = log

    def __init__(self, *, capacity: int = 100_000, sources: bool = True, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.buffer = LogBuffer(capacity, by_time=sources)
        self.following = True
        self.new_lines = 0
        self._incoming: list[Kept] = []
        self._flush_due = False
        self._flushed = 0.0
        self._say_due = False
        self._said = 0.0
        self._found_at: int | None = None
        self._styles: dict[str, Style] = {}
        self.painter = LinePainter(self._style, sources=sources)

    # Ingest

    def feed(self, lines: Sequence[Kept]) -> None:
        """Take lines; they appear with the next paint, a moment later."""
        self._incoming.extend(lines)
        extra = len(self._incoming) - 2 * self.buffer.capacity
        if extra > 0:
            del self._incoming[:extra]
            self.buffer.lost += extra
        if not self._flush_due:
            self._flush_due = True
            wait = self._flushed + PAINT_EVERY - time.monotonic()
            self.set_timer(max(wait, 0.001), self.flush)

    def note(self, text: Safe, source: Safe, priority: int) -> None:
        """A sentence of the console among the lines, to be read to its end also where lines are not wrapped."""
        room = self.painter.room(self.scrollable_content_region.width or self.app.size.width)
        parts = [text] if self.painter.wrapping else wrap(text, room)
        self.feed([LogLine(None, Safe(""), source, priority, part) for part in parts])

    def flush(self) -> None:
        """Bring in what was fed; called by the timer."""
        self._flush_due, self._flushed = False, time.monotonic()
        lines, self._incoming = self._incoming, []
        if lines:
            top = self._top()
            self._grown(self.buffer.extend(lines), top)

    def _grown(self, grown: Growth, top: tuple[int, LogLine] | None) -> None:
        """Show what the buffer took in; the line that was at the top stays there unless the end is followed."""
        if grown.mixed:
            self.painter.forget()
        self._resize_virtual()
        if self.following:
            self._to_end()
        else:
            self.new_lines += grown.added
            row = None if top is None or not grown.mixed else self._row_like(*top)
            if row is not None:
                self.scroll_to(y=row, animate=False)
            elif grown.dropped:
                self.scroll_to(y=max(self.scroll_y - grown.dropped, 0), animate=False)
        self.refresh()
        self._say_soon()

    def _top(self) -> tuple[int, LogLine] | None:
        """The line at the top of the window, unless the end is followed."""
        place = None if self.following else self.buffer.at_row(round(self.scroll_y))
        return None if place is None else (place[0], self.buffer.line(place[0]))

    def _row_like(self, number: int, line: LogLine) -> int | None:
        """Where a line went that had this number before others were put in front of it."""
        buffer = self.buffer
        for candidate in range(number, min(number + REORDER, buffer.first + len(buffer))):
            if buffer.line(candidate) == line:
                return buffer.row_of(candidate)
        return None

    def _say_soon(self) -> None:
        """The title at once, then not again for a while."""
        if self._say_due:
            return
        wait = self._said + SAY_EVERY - time.monotonic()
        if wait <= 0:
            self._say()
        else:
            self._say_due = True
            self.set_timer(wait, self._say)

    def _say(self) -> None:
        self._say_due, self._said = False, time.monotonic()
        self.post_message(self.Edited(self))

    def clear(self) -> None:
        """Forget everything, as if opened anew."""
        old = self.buffer
        self.buffer = LogBuffer(old.capacity, old.most_bytes, old.by_time, old.read)
        self.buffer.set_filter(old.filter, old.priority)
        self._incoming.clear()
        self.painter.forget()
        self._found_at = None
        self._relayout()

    def summary(self) -> Safe:
        """The log in one line: how many lines, what the filter hides, what was dropped, whether it follows."""
        buffer = self.buffer
        hidden = len(buffer) - buffer.shown
        parts = ["1 line" if len(buffer) == 1 else f"{len(buffer)} lines"]
        reasons = [level_words(buffer.priority)] if buffer.priority < NO_LEVEL else []
        reasons += [f"/{buffer.filter}"] if buffer.filter else []
        if reasons:
            parts.append(f"{' '.join(reasons)} hides {hidden}")
        if buffer.dropped + buffer.lost:
            parts.append(f"{buffer.dropped + buffer.lost} older dropped")
        if self.painter.found:
            parts.append(f"find {self.painter.found}")
        parts.append("following" if self.following else f"{self.new_lines} new lines below (G)")
        return join((Safe(part) for part in parts), " · ")

    # Filter and find

    def set_filter(self, text: str) -> None:
        """Show only the lines the filter text means."""
        self.buffer.set_filter(text, self.buffer.priority)
        self._relayout()

    def set_priority(self, priority: int) -> None:
        """Show only this level and what is more urgent; `NO_LEVEL` shows everything."""
        self.buffer.set_filter(self.buffer.filter, priority)
        self._relayout()

    def go_to_time(self, at: float) -> bool:
        """Put the first line that is not older at the top; False where no line has a time."""
        number = self.buffer.at_time(at)
        row = None if number is None else self.buffer.row_of(number)
        if row is None:
            return False
        self.scroll_row(row)
        return True

    @property
    def top_time(self) -> float | None:
        """The time of the line at the top of the window, or of the next one that has one."""
        place = self.buffer.at_row(round(self.scroll_y))
        return None if place is None else self.buffer.time_of(self.buffer.shown_index(place[0]))

    @property
    def found(self) -> str:
        """What is looked for; empty for nothing."""
        return self.painter.found

    def set_find(self, text: str) -> None:
        """Look for a text; goes to its last occurrence, `n` and `N` go on."""
        self.painter.found = str(Safe(text.strip()))
        self.painter.forget()
        self.refresh()
        if self.painter.found:
            self._find_from(self.buffer.first + len(self.buffer), -1)
        self.post_message(self.Edited(self))

    def _find_from(self, start: int, step: int) -> None:
        self.go_to_line(self.buffer.find(self.painter.found, start, step))

    def go_to_line(self, number: int | None) -> None:
        """Put a found line into the middle of the window; a bell for None."""
        row = None if number is None else self.buffer.row_of(number)
        if row is None:
            self.app.bell()
            return
        self._found_at = number
        self.scroll_row(row - self._height // 2)

    def in_window(self) -> list[Safe]:
        """The texts of the lines on the screen."""
        top, buffer = round(self.scroll_y), self.buffer
        places = (buffer.at_row(row) for row in range(top, top + self._height))
        return [buffer.line(number).text for number in dict.fromkeys(place[0] for place in places if place)]

    def current(self) -> list[Safe]:
        """The text of the line that was found last or else of the lowest one on the screen; none of an empty log."""
        found, buffer = self._found_at, self.buffer
        if found is not None and buffer.row_of(found) is not None:
            return [buffer.line(found).text]
        return self.in_window()[-1:]

    # Painting

    def render_line(self, y: int) -> Strip:
        cells = self.scrollable_content_region.width
        place = self.buffer.at_row(round(self.scroll_y) + y)
        if place is None:
            return Strip.blank(cells, self._style(""))
        return self.painter.strip(*place, self.buffer.line, cells)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self.painter.forget()

    def on_resize(self, event: events.Resize) -> None:
        self.painter.forget()
        self._relayout()

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            component = name if "--" in name else f"role--{name}"
            base = self.rich_style
            self._styles[name] = base + self.get_component_rich_style(component, partial=True) if name else base
        return self._styles[name]

    def _rows_of(self, line: LogLine) -> int:
        return self.painter.rows_of(line, self.scrollable_content_region.width)

    # Moving

    @property
    def _height(self) -> int:
        return max(self.scrollable_content_region.height, 1)

    def _resize_virtual(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self.buffer.rows)

    def _relayout(self) -> None:
        """Rows anew after a filter, a wrap or another width; the line at the top stays at the top."""
        place = self.buffer.at_row(round(self.scroll_y))
        self.buffer.set_layout(self._rows_of if self.painter.wrapping else None)
        self._resize_virtual()
        if self.following:
            self._to_end()
        elif place is not None:
            self.scroll_to(y=self.buffer.row_of(place[0]) or 0, animate=False)
        self.refresh()
        self.post_message(self.Edited(self))

    def _to_end(self) -> None:
        self.scroll_to(y=max(self.buffer.rows - self._height, 0), animate=False)
        self.new_lines = 0

    def scroll_row(self, row: int) -> None:
        """Put a screen row at the top; at the very end the log is followed again."""
        bottom = max(self.buffer.rows - self._height, 0)
        self.following = row >= bottom
        self.scroll_to(y=min(max(row, 0), bottom), animate=False)
        if self.following:
            self.new_lines = 0
        self.post_message(self.Edited(self))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        bottom = round(new_value) >= self.buffer.rows - self._height
        if new_value < old_value and not bottom:
            self.following = False
        elif new_value > old_value and bottom and not self.following:
            self.following, self.new_lines = True, 0
            self.post_message(self.Edited(self))

    def action_scroll(self, rows: int) -> None:
        self.scroll_row(round(self.scroll_y) + rows)

    def action_page(self, pages: float) -> None:
        self.scroll_row(round(self.scroll_y) + round(pages * self._height))

    def action_edge(self, end: int) -> None:
        self.scroll_row(0 if end < 0 else self.buffer.rows)

    def action_aside(self, steps: int) -> None:
        self.painter.aside = max(self.painter.aside + steps * SIDE_STEP, 0)
        self.refresh()

    def action_follow(self) -> None:
        if self.following:
            self.following = False
            self.post_message(self.Edited(self))
        else:
            self.action_edge(1)

    def action_wrap(self) -> None:
        self.painter.wrapping = not self.painter.wrapping
        self.painter.aside = 0
        self.painter.forget()
        self._relayout()

    def fit_sources(self, cells: int) -> None:
        """Names take no more room than the longest of them."""
        if self.painter.fit(cells):
            self._relayout()

    def action_errors(self) -> None:
        self.set_priority(NO_LEVEL if self.buffer.priority == ERROR else ERROR)

    def action_on(self, seconds: int) -> None:
        """So much later (or earlier) than the line at the top."""
        at = self.top_time
        if at is None or not self.go_to_time(at + seconds):
            self.app.bell()

    def action_find_next(self, step: int) -> None:
        if self.painter.found:
            start = self._found_at if self._found_at is not None else self.buffer.first
            self._find_from(start, step)
