"""The logs of instances as they grow, several merged in one view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json, OperationFailed
from screens.cmdb_tree import Node, Tree
from screens.frame import ConsoleScreen, events
from screens.render.host import timestamp
from screens.text import Safe, join
from screens.widgets.header import HeaderLine
from screens.widgets.lines import NO_LEVEL, LogLine
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.status import StatusLine

FIRST_LINES: Final = 500
RECONNECT: Final = 2.0
KINDS: Final = {"stdout": "log", "error": "error log"}


def items_of(tree: Tree, nodes: Sequence[Node]) -> tuple[list[Json], str]:
    """What `cmdb.instances.follow_log` is asked for: instances one by one, applications with all of theirs."""
    wanted: dict[int, list[int] | None] = {}
    for node in nodes:
        if node.kind == "application":
            wanted[node.id] = None
        elif node.kind == "instance":
            over = tree.nodes.get(tree.parent_of(node.key))
            if over is not None and wanted.setdefault(over.id, []) is not None:
                wanted[over.id] = [*(wanted[over.id] or []), node.id]
    items: list[Json] = [
        {"id": number} if instances is None else {"id": number, "instances": instances}
        for number, instances in wanted.items()
    ]
    name = str(Safe(nodes[0].full_name)) if len(nodes) == 1 else f"{len(nodes)} logs"
    return items, name


def log_line(event: Mapping[str, Any]) -> LogLine:
    """A line of the view from an event; what happened to the file is a line, too."""
    host, source = Safe(event.get("host")), Safe(event.get("application"))
    if "error" in event:
        said = event["error"].get("message") if isinstance(event["error"], Mapping) else event["error"]
        return LogLine(None, host, source, 3, join([Safe("—"), Safe(said)], " "))
    if "gap" in event:
        text = event["gap"] or ("reached again" if event.get("resumed") else "not reached")
        return LogLine(timestamp(event.get("at")), host, source, 4, join([Safe("—"), Safe(text)], " "))
    return LogLine(timestamp(event.get("at")), host, source, NO_LEVEL, Safe(event.get("message")))


class LogScreen(ConsoleScreen):
    """Follows until it is left; `t` changes between log and error log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="cmdblog.back", show=False),
        Binding("ctrl+r", "reload", "read again", id="cmdblog.reload"),
        Binding("t", "other", "error log", id="cmdblog.other"),
    ]

    def __init__(self, client: Client, items: Sequence[Json], name: str, log_type: str = "stdout") -> None:
        super().__init__()
        self.client = client
        self.items = list(items)
        self.log_type = log_type
        self._about = Safe(name)
        self.pane = LogPane(LogView(sources=True), join([Safe(KINDS[log_type]), self._about], " "))

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.body.focus()
        self.follow()

    def place(self) -> list[Safe]:
        return [self._about, Safe(KINDS[self.log_type])]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: LogScreen(self.client, self.items, self._about, self.log_type)

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_reload(self) -> None:
        self.pane.log_view.clear()
        self.follow()

    def action_other(self) -> None:
        """The other of the two logs."""
        self.log_type = "error" if self.log_type == "stdout" else "stdout"
        self.pane.heading = join([Safe(KINDS[self.log_type]), self._about], " ")
        self.pane.retitle()
        self.action_reload()

    @work(group="journal", exclusive=True, exit_on_error=False)
    async def follow(self) -> None:
        """Feed the view from the stream, taking it up again when it breaks."""
        data: Json = {"items": self.items, "log_type": self.log_type, "lines": FIRST_LINES}
        while True:
            try:
                async with events(self.client, "cmdb.instances.follow_log", data) as stream:
                    async for event in stream:
                        self.pane.log_view.feed([log_line(event)])
                self._note("the log ended; ctrl+r reads it again")
                return
            except OperationFailed as error:
                again = error.exit_status == 6
                self._note(f"{error.message}{' – trying again' if again else ''}")
                if not again:
                    return
            data = {**data, "lines": 0}
            await asyncio.sleep(RECONNECT)

    def _note(self, text: str) -> None:
        self.pane.log_view.feed([LogLine(None, Safe(""), Safe("console"), 4, Safe(f"— {text}"))])
