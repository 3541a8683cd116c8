"""A table that paints only what is on the screen: a hundred thousand rows cost the same as forty.

The library's own table measures every cell of every row (0.2 ms a row) and loses its place on a refill. Here rows live
in a view model (`rows`), a strip is made when its line is painted, the cursor belongs to a key and not to a line
number, and an update repaints the lines it touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from screens.text import Safe, fit, width
from screens.widgets.roles import CURSOR_CSS, ROLE_CLASSES, role_css
from screens.widgets.rows import Change, Rows, View, lay_out, sample

T = TypeVar("T")

MARK_CELLS = 2


class VirtualTable(ScrollView, Generic[T], can_focus=True, inherit_bindings=False):
    """A table over a `Rows` view model. Tell it what changed with `changed()`; it posts `Moved`, `Opened`, `Edited`."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor", "table--mark", *ROLE_CLASSES}
    DEFAULT_CSS = f"""
    VirtualTable {{ overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }}
    VirtualTable > .table--header {{ text-style: bold underline; }}
    VirtualTable > .table--mark {{ color: $warning; text-style: bold; }}
    VirtualTable > .table--cursor {{ text-style: reverse; }}
    VirtualTable:focus > .table--cursor {{ {CURSOR_CSS} }}
    VirtualTable:focus:nocolor > .table--cursor {{ text-style: bold reverse; }}
    {role_css("VirtualTable")}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", id="table.down", show=False),
        Binding("up,k", "move(-1)", "up", id="table.up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "page down", id="table.page_down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "page up", id="table.page_up", show=False),
        Binding("ctrl+d", "page(0.5)", "half a page down", id="table.half_down", show=False),
        Binding("ctrl+u", "page(-0.5)", "half a page up", id="table.half_up", show=False),
        Binding("g,home", "edge(-1)", "first row", id="table.first", show=False),
        Binding("G,end", "edge(1)", "last row", id="table.last", show=False),
        Binding("enter", "open", "go in", id="table.open", show=False),
        Binding("space", "mark", "mark", id="table.mark", show=False),
        Binding("*", "mark_shown", "mark all shown", id="table.mark_shown", show=False),
        Binding("U", "clear_marks", "clear marks", id="table.clear_marks", show=False),
    ]

    class Moved(Message):
        """The cursor is on another key (None: the table is empty)."""

        def __init__(self, table: VirtualTable[Any], key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

    class Opened(Message):
        """Enter or a click on the row under the cursor."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

    class Edited(Message):
        """Marks, filter or sort changed, so the title is out of date."""

        def __init__(self, table: VirtualTable[Any]) -> None:
            super().__init__()
            self.table = table

    def __init__(
        self,
        rows: Rows[T],
        *,
        ascii: bool = False,  # noqa: A002 - the name of the mode everywhere
        clock: Callable[[], float] = time.time,
        empty: str = "nothing here",
        id: str | None = None,  # noqa: A002 - the library's name
    ) -> None:
        super().__init__(id=id)
        self.rows = rows
        self.empty = Safe(empty)
        self.cursor: str | None = None
        self._index = 0
        self._ascii = ascii
        self._clock = clock
        self._view = View(clock(), ascii)
        self._layout: list[tuple[int, int]] = []
        self._layout_for: tuple[int, int] = (-1, -1)
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._styles: dict[str, Style] = {}
        self._ages: dict[str, tuple[Safe, ...]] = {}

    # What others tell the table

    def changed(self, change: Change) -> None:
        """Repaint what an update of the view model touched; the cursor stays on its key and on its screen line."""
        self._view = View(self._clock(), self._ascii)
        if not change.order:
            first, last = self._window()
            for key in change.keys:
                position = self.rows.position(key)
                if position is not None and first <= position < last:
                    self.refresh_line(position + 1)
            return
        self._ages.clear()
        line = self._index - round(self.scroll_y)
        self._resize_virtual()
        self._follow_cursor(line)
        self._layout_for = (-1, -1)
        self.refresh()
        self.post_message(self.Edited(self))

    def tick(self) -> None:
        """Repaint the age columns of the lines where what they say has changed."""
        self._view = View(self._clock(), self._ascii)
        first, last = self._window()
        spans = self._volatile_spans()
        if not spans:
            return
        left, right = spans[0][0], spans[-1][1]
        for position in range(first, last):
            key = self.rows.shown[position]
            if self._ages.get(key) not in (None, self._age_texts(key)):
                self.refresh(Region(left, position + 1 - round(self.scroll_y), right - left, 1))

    def move_to(self, key: str) -> bool:
        """Put the cursor on a key; False when the list does not show it."""
        position = self.rows.position(key)
        if position is None:
            return False
        self._go(position)
        return True

    # Painting

    def render_line(self, y: int) -> Strip:
        cells = self.scrollable_content_region.width
        self._arrange(cells)
        if y == 0:
            return self._header(cells)
        index = round(self.scroll_y) + y - 1
        if index < len(self.rows.shown):
            return self._row(self.rows.shown[index], cells)
        base = self._style("")
        if y == 1 and not self.rows.shown:
            return Strip([Segment(fit(f"  {self.empty}", cells), base + self._style("muted"))], cells)
        return Strip.blank(cells, base)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def on_resize(self, event: events.Resize) -> None:
        self._layout_for = (-1, -1)
        self._resize_virtual()
        self._show_cursor()

    def on_mount(self) -> None:
        self._resize_virtual()

    def _style(self, role: str) -> Style:
        """The style of a role, of a part (`table--header`) or, for an empty name, of the widget."""
        if role not in self._styles:
            base = self.rich_style
            name = role if "--" in role else f"role--{role}"
            self._styles[role] = base + self.get_component_rich_style(name, partial=True) if role else base
        return self._styles[role]

    def _header(self, cells: int) -> Strip:
        style = self._style("table--header")
        segments = [Segment(" " * MARK_CELLS, style)]
        for index, (number, size) in enumerate(self._layout):
            column = self.rows.spec.columns[number]
            arrow = ""
            if column.id == self.rows.sort_column:
                arrow = ("v" if self.rows.reverse else "^") if self._ascii else ("▼" if self.rows.reverse else "▲")
            gap = " " if index else ""
            segments.append(Segment(gap + fit(column.title + arrow, size, right=column.right), style))
        return Strip(segments).crop_extend(0, cells, style)

    def _row(self, key: str, cells: int) -> Strip:
        at_cursor, marked = key == self.cursor, key in self.rows.marks
        ages = self._age_texts(key)
        self._ages[key] = ages
        cache_key = (key, self.rows.version(key), self.rows.generation, self._layout_for, at_cursor, marked, ages)
        strip = self._strips.get(cache_key)
        if strip is None:
            strip = self._strips[cache_key] = self._paint(key, cells, at_cursor, marked)
        return strip

    def _paint(self, key: str, cells: int, at_cursor: bool, marked: bool) -> Strip:
        base = self._style("table--cursor" if at_cursor else "")
        record = self.rows.records[key]
        mark_style = self._style("table--mark") if marked and not at_cursor else base
        segments = [Segment("* " if marked else "  ", mark_style)]
        index = 0
        while index < len(self._layout):
            number, size = self._layout[index]
            column = self.rows.spec.columns[number]
            cell = column.cell(record, self._view)
            style = base if at_cursor or not cell.role else self._style(cell.role)
            if index:
                segments.append(Segment(" ", base))
            index += 1
            while cell.until and index < len(self._layout):
                if self.rows.spec.columns[self._layout[index][0]].id == cell.until:
                    break
                size += 1 + self._layout[index][1]
                index += 1
            segments.append(Segment(fit(cell.text, size, right=column.right), style))
        return Strip(Segment.simplify(segments)).crop_extend(0, cells, base)

    def _age_texts(self, key: str) -> tuple[Safe, ...]:
        record, columns = self.rows.records[key], self.rows.spec.columns
        return tuple(columns[i].cell(record, self._view).text for i, _ in self._layout if columns[i].volatile)

    def _volatile_spans(self) -> list[tuple[int, int]]:
        spans, left = [], MARK_CELLS
        for number, size in self._layout:
            if self.rows.spec.columns[number].volatile:
                spans.append((left, left + size))
            left += size + 1
        return spans

    def _arrange(self, cells: int) -> None:
        """Column widths for this width, measured on a sample of the rows; kept until the list or the window changes."""
        if self._layout_for[0] == cells:
            return
        columns, records = self.rows.spec.columns, self.rows.records
        natural = [column.maximum if column.volatile else width(column.title) + 1 for column in columns]
        for key in sample(self.rows.shown):
            record = records[key]
            for index, column in enumerate(columns):
                if column.volatile:
                    continue
                cell = column.cell(record, self._view)
                if not cell.until:
                    natural[index] = max(natural[index], width(cell.text))
        layout = lay_out(columns, natural, cells - MARK_CELLS)
        if layout != self._layout:
            self._layout = layout
            self._strips.clear()
        self._layout_for = (cells, 0)

    # Moving

    @property
    def page(self) -> int:
        """Rows in the window."""
        return max(self.scrollable_content_region.height - 1, 1)

    def _window(self) -> tuple[int, int]:
        first = round(self.scroll_y)
        return first, min(first + self.page, len(self.rows.shown))

    def _resize_virtual(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.rows.shown) + 1)

    def _follow_cursor(self, line: int) -> None:
        """After the order changed: find the cursor's key again and keep it on its screen line."""
        shown = self.rows.shown
        position = self.rows.position(self.cursor)
        if position is None:
            position = min(self._index, len(shown) - 1)
        if position < 0:
            self._index = 0
            self._set_cursor(None)
            return
        self._index = position
        self._set_cursor(shown[position])
        self.scroll_to(y=max(position - line, 0), animate=False)
        self._show_cursor()

    def _set_cursor(self, key: str | None) -> None:
        if key != self.cursor:
            self.cursor = key
            self.post_message(self.Moved(self, key))

    def _go(self, position: int) -> None:
        shown = self.rows.shown
        if not shown:
            return
        position = min(max(position, 0), len(shown) - 1)
        if shown[position] == self.cursor:
            return
        old, self._index = self._index, position
        self._set_cursor(shown[position])
        self.refresh_line(old + 1)
        self.refresh_line(position + 1)
        self._show_cursor()

    def _show_cursor(self) -> None:
        top, page = round(self.scroll_y), self.page
        if self._index < top:
            self.scroll_to(y=self._index, animate=False)
        elif self._index >= top + page:
            self.scroll_to(y=self._index - page + 1, animate=False)

    def action_move(self, rows: int) -> None:
        self._go(self._index + rows)

    def action_page(self, pages: float) -> None:
        self._go(self._index + round(pages * self.page))

    def action_edge(self, end: int) -> None:
        self._go(0 if end < 0 else len(self.rows.shown) - 1)

    # Marks and opening

    def action_mark(self) -> None:
        if self.cursor is not None:
            self.rows.toggle(self.cursor)
            self.refresh_line(self._index + 1)
            self.post_message(self.Edited(self))
            self._go(self._index + 1)

    def action_mark_shown(self) -> None:
        self.rows.mark_shown()
        self.refresh()
        self.post_message(self.Edited(self))

    def action_clear_marks(self) -> None:
        self.rows.clear_marks()
        self.refresh()
        self.post_message(self.Edited(self))

    def action_open(self) -> None:
        if self.cursor is not None:
            self.post_message(self.Opened(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        position = round(self.scroll_y) + event.y - 1
        if event.y >= 1 and position < len(self.rows.shown):
            again = position == self._index
            self._go(position)
            if again and event.chain > 1:
                self.action_open()
