"""What an application requires and what requires it, walkable both ways, with all that goes down with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client
from screens.frame import ConsoleScreen, reported
from screens.hosts_forms import rows_of
from screens.text import Safe
from screens.widgets.header import HeaderLine
from screens.widgets.panes import ListPane
from screens.widgets.query import Subject
from screens.widgets.rows import Rows
from screens.widgets.spec import Cell, Column, Spec
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

_WORDS: Final = {
    0: ("it requires", "muted"),
    1: ("this one", "accent"),
    2: ("requires it", "warn"),
    3: ("goes down too", "bad"),
}
CENTRE: Final = 1
NOTHING: Final = Safe("")


@dataclass(frozen=True, slots=True)
class Link:
    """One line: how an application stands to the one in the middle."""

    relation: int
    id: int
    name: Safe
    through: Safe = NOTHING


SPEC: Final[Spec[Link]] = Spec(
    columns=(
        Column(
            "relation", "", lambda row, view: Cell(Safe(_WORDS[row.relation][0]), _WORDS[row.relation][1]),
            lambda row: row.relation, 13, 13,
        ),
        Column(
            "name", "APPLICATION", lambda row, view: Cell(row.name, "accent" if row.relation == CENTRE else ""),
            lambda row: row.name.lower(), 20, 120, stretch=True,
        ),
        Column(
            "through", "THROUGH", lambda row, view: Cell(row.through, "muted"), lambda row: row.through, 10, 60,
            above=90, stretch=True,
        ),
    ),
    subject=Subject(words=lambda row: f"{row.name} {row.through}".lower()),
    order=lambda row: (row.relation, row.name.lower(), row.id),
    noun="applications",
)  # fmt: skip


def links(record: Mapping[str, Any], required: list[Any], impact: Mapping[str, Any]) -> dict[str, Link]:
    """The lines around an application: what it requires above it, what hangs on it below."""
    name = Safe(record.get("full_name"))
    number = int(record.get("id") or 0)
    found = {"centre": Link(CENTRE, number, name)}
    for row in required:
        found[f"up{row.get('id')}"] = Link(0, int(row.get("id") or 0), Safe(row.get("full_name")))
    for row in impact.get("requires") or ():
        direct = row.get("through") == record.get("full_name")
        through = Safe("" if direct else row.get("through") or "one you may not see")
        key, relation = f"down{row.get('id')}", 2 if direct else 3
        found[key] = Link(relation, int(row.get("id") or 0), Safe(row.get("full_name")), through)
    return found


class GraphScreen(ConsoleScreen):
    """Enter puts the application under the cursor into the middle; esc goes back the way one came."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="graph.back", show=False),
        Binding("right,left", "walk", "into the middle", id="graph.walk", show=False),
        Binding("d", "detail", "detail", id="graph.detail"),
        Binding("ctrl+r", "reload", "read again", id="graph.reload"),
    ]

    def __init__(self, client: Client, number: int, name: str) -> None:
        super().__init__()
        self.client = client
        self.way: list[tuple[int, str]] = [(number, name)]
        self.rows: Rows[Link] = Rows(SPEC)

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="graph")
        self.pane: ListPane[Link] = ListPane(table, "requirements")
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.table.focus()
        self.load()

    def place(self) -> list[Safe]:
        return [Safe(self.way[-1][1]), Safe("requirements")]

    def again(self) -> Callable[[], ConsoleScreen]:
        number, name = self.way[-1]
        return lambda: GraphScreen(self.client, number, name)

    @property
    def current(self) -> Link | None:
        return self.rows.records.get(self.pane.table.cursor or "")

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self) -> None:
        number, name = self.way[-1]
        with reported(self.console, f"reading {Safe(name)}"):
            one = {"id": number}
            record = await self.client.call("cmdb.applications.get", one)
            required = rows_of(await self.client.call("cmdb.required_apps.list", {**one, "page_size": 200}))
            impact = await self.client.call("cmdb.applications.impact", one)
            made = links(record, required, impact)
            self.pane.table.changed(self.rows.replace(made))
            self.pane.table.move_to("centre")
            down = sum(link.relation > CENTRE for link in made.values())
            hidden = int(impact.get("hidden") or 0)
            more = f", {hidden} more that you may not see" if hidden else ""
            self.pane.note = Safe(f"if {Safe(name)} goes down, {down} go down with it{more}")
            self.pane.retitle()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_walk()

    def action_walk(self) -> None:
        """Put the application under the cursor into the middle."""
        link = self.current
        if link is not None and link.relation != CENTRE:
            self.way.append((link.id, link.name))
            self.load()

    def action_back(self) -> None:
        if self.pane.step_back():
            return
        if len(self.way) > 1:
            self.way.pop()
            self.load()
        else:
            super().action_back()

    def action_reload(self) -> None:
        self.load()

    def action_detail(self) -> None:
        from screens.cmdb_detail import ApplicationScreen

        link = self.current
        if link is not None:
            self.app.push_screen(ApplicationScreen(self.client, link.id, link.name))
