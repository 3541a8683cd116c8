"""A question of a driver to the person: an unknown host key, a password, a code. Secrets are never shown."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from opsconsole.client import Question
from screens.frame import ConsoleModal, too_small
from screens.text import Safe, content, join, paragraphs
from screens.widgets.filter import CleanInput
from screens.widgets.line import Line
from screens.widgets.plan import ARM_AFTER


class QuestionPane(ConsoleModal[str]):
    """The answer is what was typed; None after esc. A host key is accepted by the word yes and by nothing else."""

    CONFIRMS = True
    DEFAULT_CSS = "QuestionPane Input { margin: 0 0 0 2; border: none; height: 1; padding: 0; background: $boost; }"

    def __init__(self, question: Question, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.question = question
        self._clock = clock
        self._since = clock()

    def compose(self) -> ComposeResult:
        question = self.question
        with Vertical(classes="dialog"):
            yield Line(content((join([Safe(question.host), Safe("asks")], " "), "bold")))
            for text in paragraphs(question.prompt, lines=12):
                yield Static(content(text), markup=False)
            for name, value in question.details.items():
                yield Static(content((f"  {Safe(name)}: ", "dim"), (Safe(value), "bold")), markup=False)
            if question.kind == "host_key":
                yield Static(
                    content(
                        "Compare it with what the host's owner says. Type yes to trust it, esc to leave the host out."
                    ),
                    markup=False,
                )
            if question.kind == "secret":
                yield Input(password=True, placeholder="not shown", compact=True, id="answer")
            else:
                yield CleanInput(placeholder="yes" if question.kind == "host_key" else "", compact=True, id="answer")
            yield Line(id="wrong")

    def on_mount(self) -> None:
        self._since = self._clock()
        self.query_one("#answer", Input).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._clock() - self._since < ARM_AFTER or too_small(self):
            return
        typed = event.value
        if self.question.kind == "host_key":
            if typed.strip().lower() in ("yes", "no"):
                self.dismiss(typed.strip().lower())
            else:
                self.query_one("#wrong", Line).say(Safe("Expected yes or no; esc gives up."), "warn")
            return
        self.dismiss(typed)
