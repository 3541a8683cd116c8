"""What every screen has in common that is one list: the table of its pane, the row under the cursor, and its clock."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.events import ScreenResume

from screens.frame import ConsoleScreen
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.table import VirtualTable

R = TypeVar("R")


class ListScreen(ConsoleScreen, Generic[R]):
    """Makes `rows` when it is made and `pane` in `compose`; `tick` is called often, and whenever it is on top again."""

    EVERY: ClassVar[float] = 1.0
    """Seconds between two ticks."""
    rows: Rows[R]
    pane: ListPane[R]

    def on_mount(self) -> None:
        self.table.focus()
        self.pane.retitle()
        self.set_interval(self.EVERY, self.tick)
        self.tick()

    @on(ScreenResume)
    def _back_again(self) -> None:
        self.tick()

    @property
    def table(self) -> VirtualTable[R]:
        return self.pane.table

    @property
    def current(self) -> R | None:
        """The row under the cursor."""
        return self.rows.records.get(self.table.cursor or "")

    def tick(self) -> None:
        """Repaint ages, and read what is due while somebody looks."""
        raise NotImplementedError
