"""How one line of a table looks: the row's cells in their columns, a group row, the header; strips are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from screens.text import Safe, clip, fit, join, width
from screens.widgets.groups import Group
from screens.widgets.layout import lay_out, sample
from screens.widgets.rows import Rows
from screens.widgets.spec import Cell, Column, View

T = TypeVar("T")

MARK_CELLS: Final = 2
CHANGED_FOR: Final = 3.0
"""Seconds a changed cell stays set off."""


class Painter(Generic[T]):
    """Makes strips for keys. `style` gives the style of a role, of a part, or, for an empty name, of the widget.

    `view` and `columns` are set by the table; after another order, width or choice of columns it calls `unsettle`.
    """

    def __init__(self, rows: Rows[T], style: Callable[[str], Style], view: View) -> None:
        self.rows = rows
        self.view = view
        self.columns: Sequence[Column[T]] = rows.spec.columns
        self.layout: list[tuple[int, int]] = []
        self._style = style
        self._cells = -1
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)
        self._ages: dict[str, tuple[Safe, ...]] = {}
        self._fresh: dict[str, tuple[T, float]] = {}

    # What is stale

    def unsettle(self) -> None:
        """Measure the columns anew with the next paint."""
        self._cells = -1

    def forget(self) -> None:
        """Nothing painted before is good any more."""
        self._strips.clear()
        self._ages.clear()

    def forget_ages(self) -> None:
        self._ages.clear()

    def set_off(self, before: Mapping[str, T], until: float) -> None:
        """Cells that differ from these former records light up until then; a second change keeps the first record."""
        notable, records = self.rows.spec.notable, self.rows.records
        for key, old in before.items():
            if notable(old, records[key]):
                self._fresh[key] = (self._fresh[key][0] if key in self._fresh else old, until)

    def fade(self, now: float) -> list[str]:
        """Keys whose changes are old news at this time."""
        over = [key for key, (_, until) in self._fresh.items() if until <= now]
        for key in over:
            del self._fresh[key]
        return over

    @property
    def lit(self) -> bool:
        """Whether anything is set off."""
        return bool(self._fresh)

    def aged(self, key: str) -> bool:
        """Whether an age column of a painted row says something else by now."""
        return key in self.rows.records and self._ages.get(key) not in (None, self._age_texts(key))

    def volatile_span(self) -> tuple[int, int] | None:
        """First and last cell of the columns that change with the clock."""
        spans, left = [], MARK_CELLS
        for number, size in self.layout:
            if self.columns[number].volatile:
                spans.append((left, left + size))
            left += size + 1
        return (spans[0][0], spans[-1][1]) if spans else None

    # Lines

    def measure(self, cells: int) -> None:
        """Column widths for this width, from a sample of the rows; kept until the list or the window changes."""
        if self._cells == cells:
            return
        natural = [column.maximum if column.volatile else width(column.title) + 1 for column in self.columns]
        records = self.rows.records
        for key in sample(self.rows.shown):
            record = records.get(key)
            if record is None:
                continue
            for index, column in enumerate(self.columns):
                if not column.volatile and not (cell := column.cell(record, self.view)).until:
                    natural[index] = max(natural[index], width(cell.text))
        layout = lay_out(self.columns, natural, cells - MARK_CELLS)
        if layout != self.layout:
            self.layout = layout
            self.forget()
        self._cells = cells

    def header(self, cells: int) -> Strip:
        style = self._style("table--header")
        segments = [Segment(" " * MARK_CELLS, style)]
        for index, (number, size) in enumerate(self.layout):
            column = self.columns[number]
            title = Safe(column.title)
            if column.id == self.rows.sort_column:
                arrow = ("v" if self.rows.reverse else "^") if self.view.ascii else ("▼" if self.rows.reverse else "▲")
                title = join([clip(title, size - 1), Safe(arrow)])
            gap = " " if index else ""
            segments.append(Segment(gap + fit(title, size, right=column.right), style))
        return Strip(segments).crop_extend(0, cells, style)

    def sentence(self, text: Safe, cells: int) -> Strip:
        """What an empty table says."""
        style = self._style("")
        return Strip([Segment(fit(f"  {text}", cells), style + self._style("muted"))], cells)

    def line(self, key: str, cells: int, at_cursor: bool) -> Strip:
        """The strip of a row or of a group row."""
        group = self.rows.groups.get(key)
        if group is not None:
            return self._group(group, cells, at_cursor)
        marked = key in self.rows.marks
        ages = self._ages[key] = self._age_texts(key)
        kept = (key, self.rows.version(key), self.rows.generation, cells, at_cursor, marked, ages, key in self._fresh)
        strip = self._strips.get(kept)
        if strip is None:
            strip = self._strips[kept] = self._row(key, cells, at_cursor, marked)
        return strip

    def _row(self, key: str, cells: int, at_cursor: bool, marked: bool) -> Strip:
        base = self._style("table--cursor" if at_cursor else "")
        record = self.rows.records[key]
        before = self._fresh[key][0] if key in self._fresh else None
        segments = [Segment("* " if marked else "  ", self._style("table--mark") if marked and not at_cursor else base)]
        index = 0
        while index < len(self.layout):
            number, size = self.layout[index]
            column = self.columns[number]
            cell = column.cell(record, self.view)
            style = base if at_cursor or not cell.role else self._style(cell.role)
            if before is not None and not column.volatile and column.cell(before, self.view).text != cell.text:
                style += self._style("table--changed")
            if index:
                segments.append(Segment(" ", base))
            index, size = self._span(cell, index + 1, size)
            segments.append(Segment(fit(cell.text, size, right=column.right), style))
        room = cells - MARK_CELLS - sum(size + 1 for _, size in self.layout) + 1
        segments.append(Segment(" " * room, base))
        return Strip(Segment.simplify(segments), cells)

    def _span(self, cell: Cell, index: int, size: int) -> tuple[int, int]:
        """The column after a cell that covers its neighbours, and its width with theirs."""
        while cell.until and index < len(self.layout) and self.columns[self.layout[index][0]].id != cell.until:
            size += 1 + self.layout[index][1]
            index += 1
        return index, size

    def _group(self, group: Group, cells: int, at_cursor: bool) -> Strip:
        base = self._style("table--cursor" if at_cursor else "table--group")
        worst = group.tally.worst()
        style = base if at_cursor or worst is None else base + self._style_of_role(worst[1])
        sign = ("+" if group.folded else "-") if self.view.ascii else ("▸" if group.folded else "▾")
        marked = sum(key in self.rows.marks for key in group.keys) if self.rows.marks else 0
        head = join([Safe("* " if marked else "  "), Safe(sign), Safe(" "), group.value or Safe("(none)")])
        said = [Safe(f"{len(group.keys)}"), group.tally.words(), Safe(f"{marked} marked" if marked else "")]
        tail = join([part for part in said if part], " · ")
        room = max(cells - width(tail) - 3, cells // 3)
        head = fit(head, min(width(head), room))
        return Strip([Segment(head, base), Segment("  ", base), Segment(tail, style)]).crop_extend(0, cells, base)

    def _style_of_role(self, role: str) -> Style:
        return self._style(role) if role else Style.null()

    def _age_texts(self, key: str) -> tuple[Safe, ...]:
        record: Any = self.rows.records[key]
        return tuple(self.columns[i].cell(record, self.view).text for i, _ in self.layout if self.columns[i].volatile)
