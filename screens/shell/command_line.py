"""The line after `:` at the foot of the screen, with history (up, down) and completion (tab)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from screens.frame import ConsoleModal
from screens.shell.commands import Command, Wrong, complete, parse
from screens.shell.history import History
from screens.text import Safe, content, join
from screens.widgets.filter import CleanInput
from screens.widgets.line import Line


class CommandLine(ConsoleModal[Command]):
    """The answer is a command that means something; what means nothing is said and stays to be mended."""

    DEFAULT_CSS = """
    CommandLine { align: left bottom; background: transparent; }
    CommandLine:ansi { background: transparent; }
    CommandLine > Vertical { height: 2; background: $panel; }
    CommandLine Horizontal { height: 1; }
    CommandLine Horizontal > Line { width: 2; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete", id="command.complete", priority=True),
        Binding("up", "recall(-1)", "earlier", id="command.earlier", priority=True),
        Binding("down", "recall(1)", "later", id="command.later", priority=True),
    ]

    def __init__(self, modes: Sequence[str], history: History, text: str = "") -> None:
        super().__init__()
        self._modes = list(modes)
        self._history = history
        self._start = text
        self._at = len(history.lines)
        self._draft = ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Line(id="hint")
            with Horizontal():
                yield Line(content(":"))
                yield CleanInput(self._start, select_on_focus=False, compact=True, id="line")

    def on_mount(self) -> None:
        self._input.focus()
        self._input.cursor_position = len(self._start)
        self._hint()

    @property
    def _input(self) -> CleanInput:
        return self.query_one("#line", CleanInput)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._hint()

    def _hint(self) -> None:
        found = complete(self._input.value, self._modes)
        self.query_one("#hint", Line).say(join([Safe(word) for word in found[:40]], "  "), "muted")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value.strip():
            self.dismiss(None)
            return
        try:
            command = parse(event.value, self._modes)
        except Wrong as wrong:
            self.query_one("#hint", Line).say(Safe(wrong), "warn")
            return
        self._history.add(event.value)
        self.dismiss(command)

    def action_complete(self) -> None:
        """As far as all candidates agree; a single one gets its space."""
        line = self._input.value
        found = complete(line, self._modes)
        if not found:
            self.app.bell()
            return
        before, space, _ = line.rpartition(" ")
        word = found[0] + ("" if found[0].endswith("=") else " ") if len(found) == 1 else _agreed(found)
        self._write(before + space + word)

    def action_recall(self, step: int) -> None:
        lines = self._history.lines
        if self._at == len(lines):
            self._draft = self._input.value
        self._at = min(max(self._at + step, 0), len(lines))
        self._write(self._draft if self._at == len(lines) else lines[self._at])

    def _write(self, text: str) -> None:
        self._input.value = text
        self._input.cursor_position = len(text)


def _agreed(words: Sequence[str]) -> str:
    """The letters all words begin with."""
    first, last = min(words), max(words)
    return first[
        : next((number for number, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    ]
