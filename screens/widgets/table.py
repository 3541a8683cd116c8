"""A table that paints only what is on the screen: a hundred thousand rows cost the same as forty.

The library's own table measures every cell of every row (0.2 ms a row) and loses its place on a refill. Here rows live
in a view model (`rows`), a strip is made when its line is painted (`painter`), the cursor belongs to a key and not to a
line number, an update repaints the lines it touched, and long sorts and filters go on between keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer

from screens.text import Safe
from screens.widgets.lineview import LineView
from screens.widgets.painter import CHANGED_FOR, Painter
from screens.widgets.roles import CURSOR_CSS, ROLE_CLASSES, role_css
from screens.widgets.rows import Change, Rows
from screens.widgets.spec import View

T = TypeVar("T")

SLICE: Final = 0.004
"""Seconds a sort or a filter goes on before keys get their turn."""
PAUSE: Final = 0.002


class VirtualTable(LineView, Generic[T], can_focus=True, inherit_bindings=False):
    """A table over a `Rows` view model. Tell it what changed with `changed()`; it posts `Moved`, `Opened`, `Edited`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--cursor",
        "table--mark",
        "table--group",
        "table--changed",
        *ROLE_CLASSES,
    }
    DEFAULT_CSS = f"""
    VirtualTable {{ overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }}
    VirtualTable > .table--header {{ text-style: bold underline; }}
    VirtualTable > .table--mark {{ color: $warning; text-style: bold; }}
    VirtualTable > .table--group {{ text-style: bold; }}
    VirtualTable > .table--changed {{ text-style: bold underline; }}
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
        Binding("left,h", "fold(True)", "fold the group", id="table.fold", show=False),
        Binding("right,l", "fold(False)", "unfold the group", id="table.unfold", show=False),
        Binding("enter", "open", "go in", id="table.open", show=False),
        Binding("space", "mark", "mark", id="table.mark", show=False),
        Binding("v", "range", "mark a range", id="table.range", show=False),
        Binding("shift+down", "extend(1)", "mark and down", id="table.extend_down", show=False),
        Binding("shift+up", "extend(-1)", "mark and up", id="table.extend_up", show=False),
        Binding("*", "mark_shown", "mark all shown", id="table.mark_shown", show=False),
        Binding("U", "clear_marks", "clear marks", id="table.clear_marks", show=False),
    ]

    class Moved(Message):
        """The cursor is on another key (None: the table is empty); a group row's key begins with `HEADING`."""

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
        """Marks, filter, sort or groups changed, so the title is out of date."""

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
        self.chosen: tuple[str, ...] = ()
        self._index = 0
        self._to_end = False
        self._to_top = False
        self._filling = False
        self._ascii = ascii
        self._clock = clock
        self.painter = Painter(rows, self._style, View(clock(), ascii))
        self._styles: dict[str, Style] = {}
        self._fading: Timer | None = None
        self._working: Timer | None = None

    # What others tell the table

    def changed(self, change: Change) -> None:
        """Repaint what an update of the view model touched; the cursor stays on its key and on its screen line."""
        now = self._look()
        if change.before:
            self.painter.set_off(change.before, now + CHANGED_FOR)
            if self.painter.lit and self._fading is None:
                self._fading = self.set_timer(CHANGED_FOR, self._fade)
        if change.order:
            self._rearranged()
        else:
            self._repaint(change.keys)
        if self.rows.working and self._working is None:
            self._working = self.set_timer(PAUSE, self._work)
        self._settled()

    def narrowed(self, change: Change) -> None:
        """Repaint after another filter: where it hides the cursor's row the cursor goes to the first that is left,
        not to whatever stands at its old place."""
        self._to_top = True
        self.changed(change)

    def remeasure(self) -> None:
        """Give the columns the room that what is in them now wants, also where no row came, went or moved."""
        self.painter.unsettle()
        self.refresh()

    def filling(self, more: bool) -> None:
        """Say that more rows are to come, or that they are all there. `G` meanwhile means the last of all of them."""
        self._filling = more
        self._settled()

    def _settled(self) -> None:
        """Once nothing more is to come the cursor belongs to its key again, whatever is added behind it."""
        if not self._filling and not self.rows.working:
            self._to_end = False
        self._to_top = self._to_top and self.rows.working

    def tick(self) -> None:
        """Repaint the age columns of the lines where what they say has changed."""
        self._look()
        span = self.painter.volatile_span()
        if span is None:
            return
        first, last = self._window()
        for position in range(first, last):
            if self.painter.aged(self.rows.shown[position]):
                self.refresh(Region(span[0], position + 1 - round(self.scroll_y), span[1] - span[0], 1))

    def move_to(self, key: str) -> bool:
        """Put the cursor on a key; False when the list does not show it."""
        position = self.rows.position(key)
        if position is None:
            return False
        self._go(position)
        return True

    def choose_columns(self, ids: Sequence[str]) -> None:
        """Show these columns in this order, whatever the width; none of them known: the usual ones."""
        spec = self.rows.spec
        self.chosen = tuple(column_id for column_id in dict.fromkeys(ids) if spec.column(column_id))
        chosen = [column for column_id in self.chosen if (column := spec.column(column_id))]
        self.painter.columns = tuple(chosen) or spec.columns
        self.painter.layout = []
        self.painter.forget()
        self.painter.unsettle()
        self.refresh()

    def now(self) -> float:
        """Unix seconds by the table's clock."""
        return self._clock()

    def _look(self) -> float:
        now = self._clock()
        self.painter.view = View(now, self._ascii)
        return now

    def _rearranged(self) -> None:
        self.painter.forget_ages()
        self.painter.unsettle()
        line = self._index - round(self.scroll_y)
        self._resize_virtual()
        self._follow_cursor(line)
        self.refresh()
        self.post_message(self.Edited(self))

    def _repaint(self, keys: frozenset[str]) -> None:
        first, last = self._window()
        for position in range(first, last):
            if self.rows.shown[position] in keys:
                self.refresh_line(position + 1)

    def _fade(self) -> None:
        """Changes that have been lit for their time go back to normal; the timer runs only while there are some."""
        self._fading = None
        self._repaint(frozenset(self.painter.fade(self._look() + 0.05)))
        if self.painter.lit:
            self._fading = self.set_timer(0.5, self._fade)

    def _work(self) -> None:
        """One slice of a long sort or filter."""
        self._working = None
        change = self.rows.run(SLICE)
        if change is not None:
            self.changed(change)
        elif self.rows.working:
            self._working = self.set_timer(PAUSE, self._work)

    # Painting

    def render_line(self, y: int) -> Strip:
        cells = self.scrollable_content_region.width
        self.painter.measure(cells)
        if y == 0:
            return self.painter.header(cells)
        index = round(self.scroll_y) + y - 1
        shown = self.rows.shown
        if index < len(shown):
            return self.painter.line(shown[index], cells, shown[index] == self.cursor)
        if y == 1 and not shown:
            return self.painter.sentence(self.empty, cells)
        return Strip.blank(cells, self._style(""))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self.painter.forget()

    def on_resize(self, event: events.Resize) -> None:
        self.painter.unsettle()
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
        position = len(shown) - 1 if self._to_end else self.rows.position(self.cursor)
        if position is None and self.cursor is not None and self.rows.group:
            position = self.rows.position(self.rows.heading_of(self.cursor))
        if position is None:
            position = min(0 if self._to_top else self._index, len(shown) - 1)
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
        self._to_end = self._to_top = False
        shown = self.rows.shown
        if not shown:
            return
        position = min(max(position, 0), len(shown) - 1)
        if shown[position] == self.cursor:
            return
        old, self._index = self._index, position
        self._set_cursor(shown[position])
        if self.rows.marking.anchor is not None:
            self.rows.marking.move_range(shown[position])
            self._marks_changed()
        else:
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
        self._to_end = end > 0 and (self._filling or self.rows.working)

    # Marks, groups and opening

    def _marks_changed(self) -> None:
        self.refresh()
        self.post_message(self.Edited(self))

    def action_mark(self) -> None:
        if self.cursor is not None:
            self.rows.marking.toggle(self.cursor)
            self._marks_changed()
            self._go(self._index + 1)

    def action_range(self) -> None:
        """Begin a range at the cursor, or end the one that is open."""
        if self.rows.marking.anchor is not None:
            self.rows.marking.end_range()
        elif self.cursor is not None:
            self.rows.marking.start_range(self.cursor)
        self._marks_changed()

    def action_extend(self, rows: int) -> None:
        """Move with a range open."""
        if self.rows.marking.anchor is None and self.cursor is not None:
            self.action_range()
        self._go(self._index + rows)

    def action_mark_shown(self) -> None:
        self.rows.marking.mark_shown()
        self._marks_changed()

    def action_clear_marks(self) -> None:
        self.rows.marking.clear()
        self._marks_changed()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where there is nothing to fold or unfold the keys are free for the screen."""
        if action != "fold":
            return super().check_action(action, parameters)
        return bool(self.rows.groups) if parameters[0] else self.cursor in self.rows.groups

    def action_fold(self, folded: bool) -> None:
        """Fold the group of the cursor away (the cursor goes to its row), or open the group the cursor is on."""
        heading = self.rows.heading_of(self.cursor) if self.cursor is not None else None
        if heading is not None and (folded or heading == self.cursor):
            self.changed(self.rows.fold(heading, folded))

    def action_open(self) -> None:
        """Go in; a group row opens or closes."""
        group = self.rows.groups.get(self.cursor or "")
        if group is not None:
            self.changed(self.rows.fold(group.heading, not group.folded))
        elif self.cursor is not None:
            self.post_message(self.Opened(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        position = round(self.scroll_y) + event.y - 1
        if event.y >= 1 and position < len(self.rows.shown):
            again = position == self._index
            self._go(position)
            if again and event.chain > 1:
                self.action_open()
