"""What comes of a change: the seconds while it runs, then target by target, the failed ones first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from screens.frame import ConsoleModal
from screens.render.host import span
from screens.render.result import SPEC, Outcome
from screens.text import Safe, content
from screens.widgets.line import Line
from screens.widgets.rows import Rows
from screens.widgets.table import VirtualTable


class BusyPane(ConsoleModal[None]):
    """A change is running. Esc leaves it running: nothing that was begun is cancelled by a key."""

    def __init__(self, label: Safe, targets: int) -> None:
        super().__init__()
        self._label = label
        self._targets = targets
        self._since = time.monotonic()

    def compose(self) -> ComposeResult:
        several = f" · {self._targets} targets" if self._targets > 1 else ""
        with Vertical(classes="dialog"):
            yield Line(content((f"{self._label}{several}", "bold")))
            yield Line(id="seconds")
            yield Line(id="progress")
            yield Line(content(("esc leaves it running; the result is said below and kept under !", "dim")))

    def on_mount(self) -> None:
        self._tick()
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        self.query_one("#seconds", Line).say(Safe(f"running for {span(time.monotonic() - self._since)}"), "busy")

    def progress(self, text: Safe) -> None:
        """How far it is."""
        if self.is_mounted:
            self.query_one("#progress", Line).say(text)


class ResultPane(ConsoleModal[list[str]]):
    """What came of each target; `r` answers with the keys of the failed ones, to be tried again."""

    AROUND = 7
    CONFIRMS = True
    DEFAULT_CSS = "ResultPane #why { max-height: 5; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", "retry the failed", id="result.retry"),
        Binding("y", "copy", "copy", id="result.copy"),
        Binding("q", "cancel", "close", id="result.close", show=False),
    ]

    def __init__(self, summary: Safe, outcomes: Mapping[str, Outcome]) -> None:
        super().__init__()
        self._summary = summary
        self.rows: Rows[Outcome] = Rows(SPEC)
        self.rows.replace(outcomes)

    @property
    def failed(self) -> list[str]:
        """Keys of what failed for sure; what is unknown is never tried again by itself."""
        return [key for key in self.rows.shown if self.rows.records[key].state == "failed"]

    @property
    def text(self) -> str:
        """All of it as lines of tab-separated fields."""
        found = (self.rows.records[key] for key in self.rows.shown)
        return "\n".join("\t".join((o.state, o.host, o.name, o.why)) for o in found) + "\n"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content((self._summary, "bold")))
            table = VirtualTable(self.rows, ascii=self.console.ascii)
            table.styles.height = len(self.rows.shown) + 1
            table.add_class("body")
            yield table
            yield Static(content(""), id="why", markup=False)
            which = "the failed one" if len(self.failed) == 1 else f"the {len(self.failed)} failed"
            retry = f"r tries {which} again · " if self.failed else ""
            yield Line(content((f"{retry}y copies · esc closes", "dim")))

    def on_mount(self) -> None:
        table = self.query_one(VirtualTable)
        table.focus()
        if self.rows.shown:
            table.move_to(self.rows.shown[0])
            self._say_why(self.rows.shown[0])

    @on(VirtualTable.Moved)
    def _moved(self, event: VirtualTable.Moved) -> None:
        self._say_why(event.key)

    def _say_why(self, key: str | None) -> None:
        outcome = self.rows.records.get(key or "")
        self.query_one("#why", Static).update(content(outcome.why if outcome else ""))

    def action_copy(self) -> None:
        from screens.shell import taking

        taking.copy(self.console, self.text, f"{len(self.rows.shown)} lines")

    def action_retry(self) -> None:
        if self.failed:
            self.dismiss(self.failed)
        else:
            self.app.bell()
