"""The pane beside (in a narrow window below) the services table: one service or host in full, following the cursor."""

from __future__ import annotations

import time
from typing import ClassVar, Final, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static
from textual.worker import Worker

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import Console, report_worker
from screens.render.service import Item
from screens.render.service_detail import detail_text
from screens.services_actions import Target
from screens.text import Safe, content

VIEWS: Final = {
    "properties": "services.get",
    "unit file": "services.unit_file",
    "dependencies": "services.dependencies",
}
"""What the pane can show, and the operation that knows it."""


class DetailPane(VerticalScroll):
    """Closed until asked for. What the table knows is there at once, the rest when the host has answered."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    DetailPane { display: none; width: 45%; border-left: solid $primary; padding: 0 1; scrollbar-size-vertical: 1; }
    DetailPane.-open { display: block; }
    .-narrow DetailPane { width: 100%; height: 50%; border-left: none; border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", id="detail.down", show=False),
        Binding("k", "scroll_up", "up", id="detail.up", show=False),
    ]

    def __init__(self, *, ascii: bool = False) -> None:  # noqa: A002 - the name of the mode everywhere
        super().__init__()
        self._ascii = ascii
        self._item: Item | None = None
        self._asked: tuple[str, Target] | None = None
        self._data: Json | None = None
        self.view = "properties"
        self.text = ""

    def compose(self) -> ComposeResult:
        yield Static(content(""), markup=False)

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def toggle(self, view: str = "properties") -> None:
        """Open with this view, change to it, or close when it is the one shown."""
        self.set_class(not self.is_open or view != self.view, "-open")
        self.view = view

    def close(self) -> None:
        self.remove_class("-open")

    def present(self, item: Item | None, client: Client | None) -> None:
        """Show this row; asks the host only for services."""
        target = item.service.target if item and item.service else None
        asked = (self.view, target) if target else None
        if asked != self._asked:
            self._data = None
            self.scroll_home(animate=False)
        self._item, self._asked = item, asked
        self.paint()
        if asked is None or client is None or item is None or not item.host.up:
            return
        if self._data is None or self.view == "properties":
            self.ask(client, asked)

    def paint(self) -> None:
        """Write what is known."""
        text = content("")
        if self._item is not None:
            text = detail_text(self._item, self._data, time.time(), self._ascii, self.view)
        self.text = text.plain
        self.query_one(Static).update(text)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        report_worker(cast(Console, self.app), event)

    @work(group="detail", exclusive=True, exit_on_error=False)
    async def ask(self, client: Client, asked: tuple[str, Target]) -> None:
        view, (host, name) = asked
        try:
            data = await client.call(VIEWS[view], {"host": host, "name": name})
        except OperationFailed as error:
            data = {"not known": str(Safe(error.message))}
        if asked == self._asked:
            self._data = data
            self.paint()
