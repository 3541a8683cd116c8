"""One application in full: its fields, who answers for it, where it runs, and what hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from opsconsole.client import Client, Json
from screens.frame import ConsoleScreen, reported
from screens.hosts_forms import rows_of
from screens.render.cmdb_detail import application_text
from screens.text import Safe, content
from screens.widgets.header import HeaderLine
from screens.widgets.status import StatusLine


class ApplicationScreen(ConsoleScreen):
    """Everything the house answers about one application; read again with ctrl+r."""

    DEFAULT_CSS = """
    ApplicationScreen > VerticalScroll { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="application.back", show=False),
        Binding("r", "required", "requirements", id="application.required"),
        Binding("l", "logs", "logs", id="application.logs"),
        Binding("j", "scroll(1)", "down", id="application.down", show=False),
        Binding("k", "scroll(-1)", "up", id="application.up", show=False),
        Binding("ctrl+r", "reload", "read again", id="application.reload"),
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
        return lambda: ApplicationScreen(self.client, self.number, self._about)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_reload(self) -> None:
        self.load()

    def action_required(self) -> None:
        from screens.cmdb_graph import GraphScreen

        self.app.push_screen(GraphScreen(self.client, self.number, self._about))

    def action_logs(self) -> None:
        from screens.cmdb_log import LogScreen

        self.app.push_screen(LogScreen(self.client, [{"id": self.number}], self._about))

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self) -> None:
        """Each part on its own, so that a missing right hides only that part."""
        with reported(self.console, f"reading {self._about}"):
            one = {"id": self.number}
            record: Mapping[str, Any] = await self.client.call("cmdb.applications.get", one)
            persons = rows_of(await self._page("cmdb.response_persons.list"))
            instances = rows_of(await self._page("cmdb.instances.list"))
            required = rows_of(await self._page("cmdb.required_apps.list"))
            impact: Json = await self.client.call("cmdb.applications.impact", one)
            text = application_text(record, persons, instances, required, impact)
            self.text = text.plain
            self.query_one(Static).update(text)

    async def _page(self, operation: str) -> Any:
        return await self.client.call(operation, {"id": self.number, "page_size": 200})
