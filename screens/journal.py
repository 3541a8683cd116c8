"""The journal of one or several services or hosts, following; and a log file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, OperationFailed
from screens.frame import ConsoleScreen, events
from screens.render.host import timestamp
from screens.services_actions import Target
from screens.text import Safe, join
from screens.widgets.filelog import FileLogView
from screens.widgets.header import HeaderLine
from screens.widgets.lines import NO_LEVEL, LogLine, level
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.status import StatusLine

FIRST_LINES: Final = 200
RECONNECT: Final = 3.0


class FileScreen(ConsoleScreen):
    """A log file on the machine of the console, of any size, followed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="file.back", show=False),
    ]

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self.pane = LogPane(FileLogView(self._path), join([Safe("file"), Safe(self._path)], " "))

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.body.focus()

    def place(self) -> list[Safe]:
        return [Safe(self._path.name), Safe("file")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: FileScreen(self._path)

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()


def journal_line(event: Mapping[str, Any]) -> LogLine:
    """A line of the log from a journal event; a gap becomes a line that says so."""
    host = Safe(event.get("host"))
    if "gap" in event:
        return LogLine(None, host, Safe("gap"), 4, join([Safe("— lines may be missing:"), Safe(event["gap"])], " "))
    source = Safe(event.get("unit") or event.get("identifier"))
    message = event.get("message")
    if isinstance(message, list):
        message = bytes(byte for byte in message if isinstance(byte, int) and 0 <= byte < 256)
    return LogLine(timestamp(event.get("at")), host, source, level(event.get("priority", NO_LEVEL)), Safe(message))


class JournalScreen(ConsoleScreen):
    """Follows `services.journal.follow` until it is left; a lost stream is taken up again and the gap is said.

    A target without a service name is all of its host.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="journal.back", show=False),
        Binding("a", "actions", "actions", id="journal.actions"),
        Binding("ctrl+r", "reload", "read again", id="journal.reload"),
    ]

    def __init__(self, client: Client, targets: Sequence[Target]) -> None:
        super().__init__()
        self.client = client
        self.targets = list(targets)
        noun = "hosts" if not any(name for _, name in self.targets) else "services"
        first = "/".join(part for part in self.targets[0] if part)
        name = first if len(self.targets) == 1 else f"{len(self.targets)} {noun}"
        self._about = Safe(name)
        several = len(self.targets) > 1 or not self.targets[0][1]
        self.pane = LogPane(LogView(sources=several), join([Safe("journal"), Safe(name)], " "))

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.body.focus()
        self.follow()

    def host_here(self) -> str:
        hosts = {host for host, _ in self.targets}
        return hosts.pop() if len(hosts) == 1 else ""

    def place(self) -> list[Safe]:
        return [self._about, Safe("journal")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: JournalScreen(self.client, self.targets)

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_actions(self) -> None:
        """What can be done to the services whose lines these are; what comes of it follows here."""
        named = [target for target in self.targets if target[1]]
        if named:
            self.choose_action(named)
        else:
            self.console.say("this is the journal of whole hosts; services are acted on from 1 services", "warn")

    @work(group="choose", exclusive=True, exit_on_error=False)
    async def choose_action(self, targets: list[Target]) -> None:
        from screens.services_menu import choose

        if chosen := await choose(self.console, self.client, targets):
            self.perform(chosen, targets)

    @work(group="act", exit_on_error=False)
    async def perform(self, name: str, targets: list[Target]) -> None:
        from screens.services_menu import perform

        await perform(self.console, self.client, name, targets)

    def action_reload(self) -> None:
        self.pane.log_view.clear()
        self.follow()

    @work(group="journal", exclusive=True, exit_on_error=False)
    async def follow(self) -> None:
        """Feed the log from the stream, taking it up again when it breaks."""
        items = [{"host": host, "name": name} if name else {"host": host} for host, name in self.targets]
        data = {"items": items, "lines": FIRST_LINES}
        while True:
            try:
                async with events(self.client, "services.journal.follow", data) as stream:
                    async for event in stream:
                        self.pane.log_view.feed([journal_line(event)])
                self._note("the journal ended; ctrl+r reads it again")
                return
            except OperationFailed as error:
                self._note(f"{error.message} – trying again")
                if error.exit_status != 6:
                    return
            data = {**data, "lines": 0}
            await asyncio.sleep(RECONNECT)

    def _note(self, text: str) -> None:
        self.pane.log_view.note(Safe(f"— {text}"), Safe("console"), 4)
