"""A line to type into at the foot of a list: filter or find. What is pasted into it is cleaned like foreign text."""

from __future__ import annotations

from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from screens.text import Safe, content

DEBOUNCE: Final = 0.1


class CleanInput(Input):
    """The library's input, into which nothing can be pasted that the terminal would act on."""

    DEFAULT_CSS = """
    CleanInput { border: none; height: 1; padding: 0; background: $surface; }
    CleanInput:focus { border: none; }
    """

    def validate_value(self, value: str) -> str:
        return str(Safe(value))


class Prompt(CleanInput):
    """Posts `Typed` 100 ms after the last key, then `Left` with the text kept (enter) or not (esc)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave(False)", "drop", id="prompt.drop", priority=True),
        Binding("enter", "leave(True)", "keep", id="prompt.keep", priority=True),
    ]

    class Typed(Message):
        def __init__(self, prompt: Prompt, text: str) -> None:
            super().__init__()
            self.prompt = prompt
            self.text = text

    class Left(Message):
        def __init__(self, prompt: Prompt, text: str, kept: bool) -> None:
            super().__init__()
            self.prompt = prompt
            self.text = text
            self.kept = kept

    def __init__(self, purpose: str, value: str = "", hint: str = "") -> None:
        super().__init__(value=value, placeholder=str(Safe(hint)), select_on_focus=False, compact=True)
        self.purpose = purpose
        self.anew = False
        self._due: Timer | None = None

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._due is not None:
            self._due.stop()
        self._due = self.set_timer(DEBOUNCE, self._post)

    def _post(self) -> None:
        self._due = None
        self.post_message(self.Typed(self, self.value))

    def action_leave(self, kept: bool) -> None:
        if self._due is not None:
            self._due.stop()
        self.post_message(self.Left(self, self.value, kept))


def label(purpose: str) -> Content:
    """What stands before the typed text."""
    return content((f"{purpose} ", "bold"))
