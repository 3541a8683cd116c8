"""The answer of a read as text: JSON that can be scrolled, filtered and searched, with nothing raw in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from screens.frame import ConsoleScreen
from screens.shell.dump import safe_json
from screens.text import Safe
from screens.widgets.header import HeaderLine
from screens.widgets.lines import NO_LEVEL, LogLine
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.status import StatusLine


class AnswerScreen(ConsoleScreen):
    """Shows what an operation answered."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="answer.back", show=False),
    ]

    def __init__(self, operation: str, answer: Any) -> None:
        super().__init__()
        self._operation = operation
        self._answer = answer
        self.lines = [Safe(line) for line in json.dumps(safe_json(answer), ensure_ascii=False, indent=2).split("\n")]
        self.pane = LogPane(LogView(sources=False), operation)

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        log = self.pane.log_view
        log.feed([LogLine(None, Safe(""), Safe(""), NO_LEVEL, line) for line in self.lines])
        log.flush()
        log.action_edge(-1)
        log.focus()

    def place(self) -> list[Safe]:
        return [Safe(self._operation)]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: AnswerScreen(self._operation, self._answer)

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()
