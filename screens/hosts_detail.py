"""One host in full: its record, what runs on it, what goes down with it, and who may do what there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from opsconsole.client import Client, OperationFailed
from screens.frame import ConsoleScreen, reported
from screens.hosts_forms import rows_of
from screens.render.host_page import host_text
from screens.text import Safe, content
from screens.widgets.header import HeaderLine
from screens.widgets.status import StatusLine


class HostScreen(ConsoleScreen):
    """Everything the house answers about one host; read again with ctrl+r."""

    DEFAULT_CSS = """
    HostScreen > VerticalScroll { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="host.back", show=False),
        Binding("j", "scroll(1)", "down", id="host.down", show=False),
        Binding("k", "scroll(-1)", "up", id="host.up", show=False),
        Binding("ctrl+r", "reload", "read again", id="host.reload"),
    ]

    def __init__(self, client: Client, number: int, name: str) -> None:
        super().__init__()
        self.client = client
        self.number = number
        self._about = Safe(name)
        self.text = ""

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        with VerticalScroll():
            yield Static(content(("asking …", "dim")), markup=False)
        yield StatusLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.load()

    def place(self) -> list[Safe]:
        return [self._about]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: HostScreen(self.client, self.number, self._about)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_reload(self) -> None:
        self.load()

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self) -> None:
        """Each part on its own, so that a missing right hides only that part, and says so."""
        with reported(self.console, f"reading {self._about}"):
            record: Mapping[str, Any] = await self.client.call("hosts.get", {"id": self.number})
            applications = await self._part("hosts.applications.list", page_size=200)
            impact = await self._part("hosts.impact")
            people = await self._part("access.hosts.users.list", page_size=200)
            roles = await self._part("access.hosts.roles.list", page_size=200)
            text = host_text(record, applications, impact, [people, roles])
            self.text = text.plain
            self.query_one(Static).update(text)

    async def _part(self, operation: str, **more: Any) -> Any:
        """The rows or the answer of one part; why not, as a sentence, where the house refuses it."""
        try:
            answer = await self.client.call(operation, {"id": self.number, **more})
        except OperationFailed as error:
            return Safe(error.message)
        return answer if operation == "hosts.impact" else rows_of(answer)
