"""Who may what: all rights of one user or role with their reasons, and everybody's rights on one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json
from screens.frame import ConsoleScreen, reported
from screens.render.people import RIGHTS, PlainRow, matrix_row, matrix_spec, right_row
from screens.render.record import Thing
from screens.text import Safe
from screens.widgets.header import HeaderLine
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows, Spec
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

PAGE = 200


class _Listing(ConsoleScreen):
    """A table that is asked for once, and again when somebody's rights change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "refresh", "refresh", id="rights.refresh", show=False),
        Binding("q", "back", "back", id="rights.back", show=False),
    ]

    def __init__(self, title: str, spec: Spec[PlainRow]) -> None:
        super().__init__()
        self.title_word = title
        self.rows: Rows[PlainRow] = Rows(spec)

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …")
        self.pane: ListPane[PlainRow] = ListPane(table, self.title_word)
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.table.focus()
        self.pane.retitle()
        self.action_refresh()

    def place(self) -> list[Safe]:
        return [Safe(self.title_word)]

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        client = self.console.client
        if client is not None:
            self.load(client)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        with reported(self.console, self.title_word):
            made = await self.ask(client)
            gone = [key for key in self.rows.records if key not in made]
            self.pane.table.empty = Safe("nothing")
            self.pane.table.changed(self.rows.update(made, gone))
            self.pane.retitle()

    async def ask(self, client: Client) -> dict[str, PlainRow]:
        raise NotImplementedError


class RightsScreen(_Listing):
    """All that a user or a role may, where, and by what."""

    def __init__(self, word: str, name: str) -> None:
        super().__init__(f"rights of {Safe(word)} {Safe(name)}", RIGHTS)
        self._word, self._whom = word, name

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: RightsScreen(self._word, self._whom)

    async def ask(self, client: Client) -> dict[str, PlainRow]:
        answer: Json = await client.call("access.rights", {self._word: self._whom})
        roles = ", ".join(str(role) for role in answer.get("roles") or ())
        everything = "may everything: administrator" if answer.get("administrator") else ""
        self.pane.note = Safe(everything or (f"roles: {roles}" if roles and self._word == "user" else ""))
        return {str(place): right_row(place, row) for place, row in enumerate(answer.get("rights") or ())}

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        row = self.rows.records.get(self.pane.table.cursor or "")
        scope = {"product line": "business"}.get(str(row.record.get("scope")), row.record.get("scope")) if row else ""
        if row is not None and scope in _MATRIX_FLAGS:
            name = str(row.record.get("name"))
            self.app.push_screen(MatrixScreen(Thing(str(scope), str(row.record.get("id")), name)))


class MatrixScreen(_Listing):
    """Everybody who may something on one object, with a column for each right."""

    def __init__(self, thing: Thing) -> None:
        super().__init__(
            f"who may what on {Safe(thing.kind)} {Safe(thing.name or thing.id)}", matrix_spec(_MATRIX_FLAGS[thing.kind])
        )
        self._thing = thing

    def thing(self) -> Thing | None:
        return self._thing

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: MatrixScreen(self._thing)

    async def ask(self, client: Client) -> dict[str, PlainRow]:
        found: dict[str, PlainRow] = {}
        page: int | None = 1
        key = self._thing.id or self._thing.name
        while page is not None:
            kind = "business" if self._thing.kind == "production" else self._thing.kind
            asked = {"kind": kind, "id": int(key) if key.isdecimal() else key, "page": page, "page_size": PAGE}
            answer = await client.call("access.matrix", asked)
            for row in answer.get("results") or ():
                found[str(row.get("user"))] = matrix_row(len(found), row, self.console.ascii)
            page = answer.get("next")
        return found

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        name = self.pane.table.cursor
        if name:
            self.app.push_screen(RightsScreen("user", name))


def has_matrix(thing: Thing) -> bool:
    """Whether rights are given on things of this kind."""
    return thing.kind in _MATRIX_FLAGS


def _flags() -> dict[str, tuple[str, ...]]:
    from opsconsole.engine.permissions import APPLICATION_FLAGS, BUSINESS_FLAGS, HOST_FLAGS

    lines = {"business": BUSINESS_FLAGS, "production": BUSINESS_FLAGS}
    return {"host": HOST_FLAGS, "application": APPLICATION_FLAGS, **lines}


_MATRIX_FLAGS = _flags()
