"""A log with its title line and its prompts; of its own, so that the first frame needs no log."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from screens.text import Safe
from screens.widgets.log import LogView
from screens.widgets.panes import Pane


class LogPane(Pane):
    """A log with filter, find, levels and jumps in time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="log.filter"),
        Binding("backslash", "find", "find", id="log.find"),
        Binding("T", "time", "go to a time", id="log.time", show=False),
        Binding("p", "priority", "levels", id="log.priority", show=False),
        Binding("y", "copy(False)", "copy the line", id="log.copy", show=False),
        Binding("Y", "copy(True)", "copy what is shown", id="log.copy_shown", show=False),
    ]

    def __init__(self, log: LogView, name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(log, name, id=id)
        self.log_view = log

    def summary(self) -> Safe:
        return self.log_view.summary()

    def apply(self, purpose: str, text: str) -> None:
        if purpose == "/":
            self.log_view.set_filter(text)
        elif purpose == "find":
            self.log_view.set_find(text)

    def kept(self, purpose: str, text: str) -> None:
        if purpose != "time" or not text.strip():
            return
        from screens.widgets.stamps import moment

        at = moment(text, self.log_view.top_time)
        if at is None:
            self._console_app.say(f"{Safe(text)} is no time: 14:30, 2026-11-21 14:30, -10m, +2h, -1d", "warn")
        elif not self.log_view.go_to_time(at):
            self._console_app.say("no line here has a time", "warn")

    @on(LogView.Edited)
    def _edited(self) -> None:
        self.retitle()

    async def action_filter(self) -> None:
        await self.ask("/", self.log_view.buffer.filter, "words  !not  host:  unit:  level:err")

    async def action_find(self) -> None:
        await self.ask("find", self.log_view.found, "text; n and N go on", anew=True)

    async def action_time(self) -> None:
        await self.ask("time", "", "14:30  2026-11-21 14:30  -10m  +2h  -1d")

    def action_copy(self, every: bool) -> None:
        """The line that was found last, else the lowest one in the window; or every line in the window."""
        from screens.shell import taking

        lines = self.log_view.in_window() if every else self.log_view.current()[:1]
        if lines:
            taking.copy(self._console_app, "\n".join(lines), f"{len(lines)} lines" if every else "the line")

    def action_priority(self) -> None:
        """Which levels are shown."""
        from screens.widgets.lines import LEVELS, NO_LEVEL

        choices = [(str(NO_LEVEL), "everything")]
        choices += [(str(number), f"{word} and worse") for number, word in enumerate(LEVELS)]
        self.choose("show", choices, lambda number: self.log_view.set_priority(int(number)))

    def step_back(self) -> bool:
        """Drop the filter, then what is looked for; False when there is neither."""
        log = self.log_view
        if log.buffer.filter:
            log.set_filter("")
        elif log.found:
            log.set_find("")
        else:
            return False
        return True
