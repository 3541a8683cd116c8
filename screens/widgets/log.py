"""A log that follows: bounded memory, one paint per 100 ms however fast lines come, filter, find, wrap.

Each line shows its time, a letter for its level and, when there are several, its host and unit. Scrolling up stops the
following and the title then counts what came since.
"""

from __future__ import annotations

import time
from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from screens.text import Safe, fit, join, width, wrap
from screens.widgets.lines import LETTERS, LogBuffer, LogLine
from screens.widgets.roles import ROLE_CLASSES, role_css

PAINT_EVERY: Final = 0.1
SOURCE_CELLS: Final = 24
SIDE_STEP: Final = 16
_SOURCES: Final = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta", "bright_blue")
_SOURCE_CSS: Final = "\n".join(f"LogView > .log--source{i} {{ color: ansi_{c}; }}" for i, c in enumerate(_SOURCES))
_LEVEL_ROLES: Final = ("bad", "bad", "bad", "bad", "warn", "accent", "", "muted", "")


class LogView(ScrollView, can_focus=True, inherit_bindings=False):
    """Feed it `LogLine`s with `feed()`, in batches of any size. It posts `Edited` when its summary changed."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--time",
        "log--found",
        *(f"log--source{number}" for number in range(len(_SOURCES))),
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
        self.buffer = LogBuffer(capacity)
        self.following = True
        self.new_lines = 0
        self.found = ""
        self.sources = sources
        self.wrapping = False
        self._left = 0
        self._incoming: list[LogLine] = []
        self._flush_due = False
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._styles: dict[str, Style] = {}
        self._names: dict[str, int] = {}
        self._at: tuple[int, Safe] = (-1, Safe(""))

    # Ingest

    def feed(self, lines: list[LogLine]) -> None:
        """Take lines; they appear with the next paint, at most 100 ms later."""
        self._incoming.extend(lines)
        extra = len(self._incoming) - 2 * self.buffer.capacity
        if extra > 0:
            del self._incoming[:extra]
            self.buffer.lost += extra
        if not self._flush_due:
            self._flush_due = True
            self.set_timer(PAINT_EVERY, self.flush)

    def flush(self) -> None:
        """Bring in what was fed; called by the timer."""
        self._flush_due = False
        lines, self._incoming = self._incoming, []
        if not lines:
            return
        grown = self.buffer.extend(lines)
        self._resize_virtual()
        if self.following:
            self._to_end()
        else:
            self.new_lines += grown.added
            if grown.dropped:
                self.scroll_to(y=max(self.scroll_y - grown.dropped, 0), animate=False)
        self.refresh()
        self.post_message(self.Edited(self))

    def clear(self) -> None:
        """Forget everything, as if opened anew."""
        self.buffer = LogBuffer(self.buffer.capacity, filter=self.buffer.filter)
        self.buffer.set_filter(self.buffer.filter, self.buffer.errors_only)
        self._incoming.clear()
        self._strips.clear()
        self._relayout()

    def summary(self) -> Safe:
        """The log in one line: how many lines, what the filter hides, what was dropped, whether it follows."""
        buffer = self.buffer
        hidden = len(buffer) - buffer.shown
        parts = [f"{len(buffer)} lines"]
        reasons = ["errors only"] if buffer.errors_only else []
        reasons += [f"/{buffer.filter}"] if buffer.filter else []
        if reasons:
            parts.append(f"{' '.join(reasons)} hides {hidden}")
        if buffer.dropped + buffer.lost:
            parts.append(f"{buffer.dropped + buffer.lost} older dropped")
        if self.found:
            parts.append(f"find {self.found}")
        parts.append("following" if self.following else f"{self.new_lines} new lines below (G)")
        return join((Safe(part) for part in parts), " · ")

    # Filter and find

    def set_filter(self, text: str) -> None:
        """Show only the lines the filter text means."""
        self.buffer.set_filter(text, self.buffer.errors_only)
        self._relayout()

    def set_find(self, text: str) -> None:
        """Look for a text; goes to its last occurrence, `n` and `N` go on."""
        self.found = str(Safe(text.strip()))
        self._strips.clear()
        self.refresh()
        if self.found:
            self._find_from(self.buffer.dropped + len(self.buffer), -1)
        self.post_message(self.Edited(self))

    def _find_from(self, start: int, step: int) -> None:
        number = self.buffer.find(self.found, start, step)
        row = None if number is None else self.buffer.row_of(number)
        if row is None:
            self.app.bell()
            return
        self._found_at = number
        self._scroll(row - self._height // 2)

    _found_at: int | None = None

    # Painting

    def render_line(self, y: int) -> Strip:
        cells = self.scrollable_content_region.width
        place = self.buffer.at_row(round(self.scroll_y) + y)
        if place is None:
            return Strip.blank(cells, self._style(""))
        number, part = place
        key = (number, part, cells, self._left)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._paint(self.buffer.line(number), part, cells)
        return strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def on_resize(self, event: events.Resize) -> None:
        self._strips.clear()
        self._relayout()

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            component = name if "--" in name else f"role--{name}"
            base = self.rich_style
            self._styles[name] = base + self.get_component_rich_style(component, partial=True) if name else base
        return self._styles[name]

    def _paint(self, line: LogLine, part: int, cells: int) -> Strip:
        base = self._style("")
        message = self._style(_LEVEL_ROLES[line.priority])
        prefix = self._prefix(line)
        start = sum(width(text) for text, _ in prefix)
        if self.wrapping:
            pieces = wrap(line.text, max(cells - start, 20))
            text = pieces[part]
            if part:
                prefix = [(Safe(" " * start), base)]
        else:
            text = line.text
        segments = [Segment(piece, style) for piece, style in prefix]
        segments += self._marked(text, message)
        strip = Strip(segments)
        if self._left and not self.wrapping:
            strip = strip.crop(self._left)
        return strip.crop_extend(0, cells, base)

    def _prefix(self, line: LogLine) -> list[tuple[Safe, Style]]:
        level = self._style(_LEVEL_ROLES[line.priority])
        parts = [(self._time(line.at), self._style("log--time")), (Safe(f" {LETTERS[line.priority]} "), level)]
        if self.sources:
            name = join((line.host, line.source), "/") if line.host and line.source else line.host or line.source
            parts.append((fit(name, SOURCE_CELLS), self._style(f"log--source{self._source(name)}")))
            parts.append((Safe(" "), self._style("")))
        return parts

    def _source(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names) % len(_SOURCES))

    def _time(self, at: float | None) -> Safe:
        if at is None:
            return Safe("        ")
        if self._at[0] != int(at):
            self._at = (int(at), Safe(time.strftime("%H:%M:%S", time.localtime(at))))
        return self._at[1]

    def _marked(self, text: Safe, style: Style) -> list[Segment]:
        """The text with every occurrence of what is looked for set off."""
        if not self.found:
            return [Segment(text, style)]
        segments: list[Segment] = []
        wanted, low, start = self.found.lower(), text.lower(), 0
        while len(low) == len(text) and (hit := low.find(wanted, start)) >= 0:
            segments.append(Segment(text[start:hit], style))
            segments.append(Segment(text[hit : hit + len(wanted)], style + self._style("log--found")))
            start = hit + len(wanted)
        return [*segments, Segment(text[start:], style)]

    def _rows_of(self, line: LogLine) -> int:
        cells = max(self.scrollable_content_region.width - 11 - (SOURCE_CELLS + 1 if self.sources else 0), 20)
        if line.text.isascii():
            return max(-(-len(line.text) // cells), 1)
        return len(wrap(line.text, cells))

    # Moving

    @property
    def _height(self) -> int:
        return max(self.scrollable_content_region.height, 1)

    def _resize_virtual(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self.buffer.rows)

    def _relayout(self) -> None:
        """Rows anew after a filter, a wrap or another width; the line at the top stays at the top."""
        place = self.buffer.at_row(round(self.scroll_y))
        self.buffer.set_layout(self._rows_of if self.wrapping else None)
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

    def _scroll(self, row: int) -> None:
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
        self._scroll(round(self.scroll_y) + rows)

    def action_page(self, pages: float) -> None:
        self._scroll(round(self.scroll_y) + round(pages * self._height))

    def action_edge(self, end: int) -> None:
        self._scroll(0 if end < 0 else self.buffer.rows)

    def action_aside(self, steps: int) -> None:
        self._left = max(self._left + steps * SIDE_STEP, 0)
        self.refresh()

    def action_follow(self) -> None:
        if self.following:
            self.following = False
            self.post_message(self.Edited(self))
        else:
            self.action_edge(1)

    def action_wrap(self) -> None:
        self.wrapping = not self.wrapping
        self._left = 0
        self._strips.clear()
        self._relayout()

    def action_errors(self) -> None:
        self.buffer.set_filter(self.buffer.filter, not self.buffer.errors_only)
        self._relayout()

    def action_find_next(self, step: int) -> None:
        if self.found:
            start = self._found_at if self._found_at is not None else self.buffer.dropped
            self._find_from(start, step)
