"""What a form is typed into: a line, several lines, a choice. All of it is cleaned like foreign text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.document._document import EditResult
from textual.document._edit import Edit
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import TextArea

from screens.text import content, paragraphs
from screens.widgets.filter import CleanInput

_MANY_LINES = 20_000


class Entry(CleanInput):
    """One line. Known choices are completed while typing (right arrow takes the completion)."""

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(value=value, placeholder=placeholder, compact=True, select_on_focus=False, id=id)

    def offer(self, choices: Sequence[str]) -> None:
        self.suggester = SuggestFromList(choices, case_sensitive=False)


class Area(TextArea):
    """Several lines; tab goes on to the next field."""

    DEFAULT_CSS = """
    Area { height: 3; border: none; padding: 0; background: $boost; scrollbar-size: 1 1; }
    Area:focus { border: none; }
    """

    def __init__(self, text: str = "", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(clean(text), compact=True, tab_behavior="focus", id=id)

    def edit(self, edit: Edit) -> EditResult:
        """The one way text comes in, typed or pasted."""
        return super().edit(replace(edit, text=clean(edit.text)) if edit.text else edit)


def clean(text: str) -> str:
    """Foreign text of several lines, each of them safe."""
    return "\n".join(paragraphs(text, lines=_MANY_LINES))


class Pick(Widget, can_focus=True):
    """One of a few: arrows or space turn it, a letter jumps to the next choice that begins with it."""

    DEFAULT_CSS = """
    Pick { height: 1; width: 1fr; background: $boost; }
    Pick:focus { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "next", id="pick.next", show=False),
        Binding("left", "turn(-1)", "previous", id="pick.previous", show=False),
    ]

    class Changed(Message):
        def __init__(self, pick: Pick) -> None:
            super().__init__()
            self.pick = pick

        @property
        def control(self) -> Pick:
            return self.pick

    def __init__(self, choices: Sequence[str], value: str = "", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.choices = list(choices)
        self.value = value if value in self.choices else self.choices[0]

    def render(self) -> Content:
        number = self.choices.index(self.value) + 1
        return content(
            ("< ", "dim"), (self.value or "not given", "" if self.value else "dim"), (" >", "dim"),
            (f"  {number} of {len(self.choices)}", "dim"),
        )  # fmt: skip

    def choose(self, value: str) -> None:
        if value in self.choices and value != self.value:
            self.value = value
            self.refresh()
            self.post_message(self.Changed(self))

    def action_turn(self, steps: int) -> None:
        self.choose(self.choices[(self.choices.index(self.value) + steps) % len(self.choices)])

    def on_key(self, event: events.Key) -> None:
        """Letters are known only from the choices, so they cannot be bindings."""
        letter = (event.character or "").lower()
        if not letter.isprintable() or not letter or letter == " ":
            return
        start = self.choices.index(self.value) + 1
        for choice in self.choices[start:] + self.choices[:start]:
            if choice.lower().startswith(letter):
                event.stop()
                self.choose(choice)
                return
