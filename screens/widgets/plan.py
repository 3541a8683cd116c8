"""The plan of a change as a dialog, with what has to be typed to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from screens.frame import ConsoleModal, too_small
from screens.render.plan import BREAK_GLASS, Answer, Ladder, as_task, asks, judge, ladder, level_of, plan_text
from screens.text import Safe, content
from screens.widgets.filter import CleanInput
from screens.widgets.line import Line, Sentence

STYLES: Final = {"prod": "bold reverse $error", "stage": "bold reverse $warning", "dev": "bold reverse $success"}
ARM_AFTER: Final = 0.3
"""Seconds a plan is on the screen before Enter counts, so that a key meant for what was there before cannot confirm."""


class PlanPane(ConsoleModal[Answer]):
    """Shows a plan and asks for what its rung wants; the answer is an `Answer`, or None after esc."""

    AROUND = 9
    CONFIRMS = True

    DEFAULT_CSS = """
    PlanPane .body { height: auto; }
    PlanPane > .dialog.-stage { border: round $warning; }
    PlanPane .what { max-height: 3; }
    PlanPane .says { height: auto; padding: 0; }
    PlanPane CleanInput { margin: 0 0 0 2; background: $boost; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "confirm", "do it", id="plan.confirm"),
        Binding("down,j", "scroll(1)", "down", id="plan.down", show=False),
        Binding("up,k", "scroll(-1)", "up", id="plan.up", show=False),
        Binding("pagedown", "scroll(10)", "page down", id="plan.page_down", show=False),
        Binding("pageup", "scroll(-10)", "page up", id="plan.page_up", show=False),
    ]

    def __init__(
        self,
        plan: Mapping[str, Any],
        notice: Safe | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self._as_task = task
        self.step: Ladder = ladder(plan)
        self._notice = notice
        self._clock = clock
        self._since = clock()

    def compose(self) -> ComposeResult:
        environment, level = Safe(self.plan.get("environment")), level_of(self.plan)
        with Vertical(classes="dialog" + (f" -{level}" if level else "")):
            yield Sentence(
                content(
                    (f" {environment}{'' if level in environment else f' {level}'} ", STYLES.get(level, "reverse"))
                    if environment
                    else "",
                    (f" {Safe(self.plan.get('summary'))}", "bold"),
                ),
                classes="what",
            )
            if self._notice:
                yield Sentence(content((self._notice, "$warning")))
            if said := as_task(self._as_task):
                yield Sentence(content((said, "$accent")))
            with VerticalScroll(classes="body", can_focus=False):
                yield Static(plan_text(self.plan, self.console.ascii), markup=False)
            yield Static(content((asks(self.step), "bold")), markup=False, classes="says", id="asks")
            if self.step.takes_word:
                hint = "type it here" if self.step.rung < 4 else f"{BREAK_GLASS}, or nothing"
                yield CleanInput(placeholder=hint, id="expect", compact=True)
            if self.step.takes_reason:
                yield CleanInput(placeholder="reason", id="reason", compact=True)
            yield Line(id="wrong")

    def on_mount(self) -> None:
        self._since = self._clock()
        first = "#reason" if self.step.rung == 4 else "CleanInput"
        for field in list(self.query(first).results(CleanInput))[:1]:
            field.focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        fields = list(self.query(CleanInput))
        if event.input is not fields[-1] and not fields[-1].value:
            fields[-1].focus()
            return
        self.action_confirm()

    def action_confirm(self) -> None:
        """Close with the answer, or say what is expected."""
        if self._clock() - self._since < ARM_AFTER or too_small(self):
            return
        verdict = judge(self.step, self._typed("#expect"), self._typed("#reason"))
        if isinstance(verdict, Answer):
            self.dismiss(verdict)
        else:
            self.query_one("#wrong", Line).say(verdict, "warn")
            right = self._typed("#expect").strip() in ({"", BREAK_GLASS} if self.step.rung == 4 else {self.step.expect})
            wrong = "#reason" if right else "#expect"
            for field in self.query(wrong).results(CleanInput):
                field.focus()

    def _typed(self, selector: str) -> str:
        fields = self.query(selector).results(CleanInput)
        return next((field.value for field in fields), "")

    def action_scroll(self, rows: int) -> None:
        self.query_one(".body", VerticalScroll).scroll_relative(y=rows, animate=False)
        self.call_after_refresh(self._say_rest)

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._say_rest)

    def _say_rest(self) -> None:
        """In the frame: how much of the plan is still below, so that nobody takes the window for all of it."""
        body = self.query_one(".body", VerticalScroll)
        below = round(body.max_scroll_y - body.scroll_y)
        said = f" {below} more line{'s' if below > 1 else ''}: PgDn " if below > 0 else ""
        self.query_one(".dialog", Vertical).border_subtitle = content(said)
