"""`ctrl+o`: a letter on every pane; pressing it goes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual import events
from textual.app import ComposeResult
from textual.geometry import Region
from textual.widget import Widget

from screens.frame import ConsoleModal
from screens.text import content
from screens.widgets.line import Line

LETTERS: Final = "asdfghjklqwertyuiop"


def places(widgets: Sequence[Widget], size: tuple[int, int]) -> list[tuple[str, Widget, Region]]:
    """A letter for each widget that can be seen, with where the label goes."""
    window = Region(0, 0, *size)
    seen = [widget for widget in widgets if widget.display and widget.region.intersection(window).area]
    return [(letter, widget, widget.region) for letter, widget in zip(LETTERS, seen, strict=False)]


class JumpPane(ConsoleModal[Widget]):
    """The answer is the widget to go to."""

    DEFAULT_CSS = """
    JumpPane { align: left top; background: transparent; }
    JumpPane:ansi { background: transparent; }
    JumpPane > Line { position: absolute; width: 3; color: $background; background: $warning; text-style: bold; }
    JumpPane:nocolor > Line { text-style: bold reverse; }
    """

    def __init__(self, found: Sequence[tuple[str, Widget, Region]]) -> None:
        super().__init__()
        self._found = list(found)

    def compose(self) -> ComposeResult:
        for letter, _, region in self._found:
            label = Line(content(f" {letter} "))
            label.styles.offset = (region.x, region.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        """The letters are known only now, so they cannot be bindings; any other key leaves."""
        event.stop()
        chosen = next((widget for letter, widget, _ in self._found if letter == event.character), None)
        self.dismiss(chosen)
