"""One line of text on the screen: titles, hints, messages."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from screens.text import Safe, content
from screens.widgets.roles import CONTENT_STYLES


class Line(Widget):
    """A line that shows `Content` made by `screens.text`; it repaints only when that differs."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, text: Content | None = None, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._text = text or content("")

    @property
    def text(self) -> str:
        """What is shown, plain."""
        return self._text.plain

    def show(self, text: Content) -> None:
        if text != self._text:
            self._text = text
            self.refresh()

    def say(self, text: Safe, role: str = "") -> None:
        """One text in one role."""
        self.show(content((text, CONTENT_STYLES[role])))

    def render(self) -> Content:
        return self._text


class Sentence(Line):
    """A text of as many lines as it needs: what somebody has to read to its end."""

    DEFAULT_CSS = "Sentence { height: auto; text-wrap: wrap; }"

    def show(self, text: Content) -> None:
        if text != self._text:
            super().show(text)
            self.refresh(layout=True)
