"""The pane beside (in a narrow window below) a table of the VPN screens: one row in full, following the cursor."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from screens.text import content


class SidePane(VerticalScroll):
    """Closed until asked for."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    SidePane { display: none; width: 45%; border-left: solid $primary; padding: 0 1; scrollbar-size-vertical: 1; }
    SidePane.-open { display: block; }
    .-narrow SidePane { width: 100%; height: 60%; border-left: none; border-top: solid $primary; }
    .beside { height: 1fr; }
    .-narrow .beside { layout: vertical; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "down", id="side.down", show=False),
        Binding("k", "scroll_up", "up", id="side.up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._of = ""

    def compose(self) -> ComposeResult:
        yield Static(content(""), markup=False)

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def show(self, key: str, text: Content) -> None:
        """Write it; another row begins at its top."""
        if key != self._of:
            self._of = key
            self.scroll_home(animate=False)
        self.text = text.plain
        self.query_one(Static).update(text)
