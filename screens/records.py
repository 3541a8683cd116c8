"""The journal as a table: all of it, one kind, or what happened to one object; older lines come as one goes down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json
from screens.frame import ConsoleScreen, reported
from screens.listing import ListScreen
from screens.render.record import FIELDS, SPEC, RecordRow, Thing, fields_of, parse, thing_of
from screens.text import Safe, join
from screens.widgets.header import HeaderLine
from screens.widgets.line import Line
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

PAGE: Final = 200
NEAR_END: Final = 20
AFRESH_EVERY: Final = 2.0


class RecordsScreen(ListScreen[RecordRow]):
    """`operation` with `asked` gives the lines, newest first; the newest are asked for again when something changed."""

    OPERATION: ClassVar[str] = "audit.records.list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "refresh", "refresh", id="records.refresh", show=False),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.rows = Rows(SPEC)
        self.title_word = title
        self._oldest: int | None = None
        self._following: Client | None = None
        self._due = True
        self._asked_at = 0.0

    def asked(self) -> Json:
        """The input that says which lines."""
        return {}

    def top(self) -> Line:
        """The top line: roots of a mode write their own."""
        return HeaderLine()

    def compose(self) -> ComposeResult:
        yield self.top()
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="records")
        self.pane = ListPane(table, self.title_word)
        yield self.pane
        yield StatusLine()

    def thing(self) -> Thing | None:
        return thing_of(self.current.record) if self.current is not None else None

    # Knowing

    def tick(self) -> None:
        client = self.console.client
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self._following = client
            self.follow(client)
        if self._due and time.monotonic() - self._asked_at > AFRESH_EVERY:
            self.load(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Whatever anybody does writes a line."""
        async for batch in client.changes():
            self._due = self._due or bool(batch)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """The newest lines; those known already stay."""
        self._due, self._asked_at = False, time.monotonic()
        with reported(self.console, f"reading the {self.title_word}"):
            answer = await client.call(self.OPERATION, {**self.asked(), "page_size": PAGE, "before": 2**61})
            known = max((row.number for row in self.rows.records.values()), default=0)
            newest = [int(row["id"]) for row in answer.get("results") or ()]
            gap = bool(known and newest) and min(newest) > known + 1
            if gap:
                self.table.changed(self.rows.update({}, list(self.rows.records)))
            self.take(answer, older=gap or not known)
        self.table.empty = Safe("nothing recorded here")
        self.pane.retitle()

    @work(group="older", exclusive=True, exit_on_error=False)
    async def load_older(self, client: Client, before: int) -> None:
        """The page behind the oldest line known."""
        with reported(self.console, f"reading the {self.title_word}"):
            self.take(await client.call(self.OPERATION, {**self.asked(), "page_size": PAGE, "before": before}))

    def take(self, answer: Json, *, older: bool = True) -> None:
        """Bring a page into the table; `older` says that it goes on where the known ones end."""
        made = {str(row.get("id")): parse(row) for row in answer.get("results") or () if isinstance(row, dict)}
        if older:
            self._oldest = answer.get("next")
        self.table.changed(self.rows.update(made))
        more = "" if self._oldest is None else "older ones come as you go down"
        self.pane.note = Safe(more)
        self.pane.retitle()

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        client, position = self.console.client, self.rows.position(self.table.cursor)
        if client is None or self._oldest is None or position is None:
            return
        if position >= len(self.rows.shown) - NEAR_END:
            before, self._oldest = self._oldest, None
            self.load_older(client, before)

    def start_over(self) -> None:
        """Other lines are wanted now."""
        self.table.changed(self.rows.update({}, list(self.rows.records)))
        self._oldest, self._due, self._asked_at = None, True, 0.0
        self.tick()

    # Moving

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due, self._asked_at = True, 0.0
        self.tick()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        row = self.current
        if row is not None:
            self.app.push_screen(RecordScreen(dict(row.record)))


class HistoryScreen(RecordsScreen):
    """Everything that happened to one object."""

    OPERATION = "audit.history"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "back", "back", id="history.back", show=False),
    ]

    def __init__(self, thing: Thing) -> None:
        super().__init__(f"history of {Safe(thing.kind)} {Safe(thing.name or thing.id)}")
        self._thing = thing

    def asked(self) -> Json:
        known = {"id": self._thing.id} if self._thing.id else {"name": self._thing.name}
        return {"kind": self._thing.kind, **known}

    def place(self) -> list[Safe]:
        return [Safe(self.title_word)]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: HistoryScreen(self._thing)


class RecordScreen(ConsoleScreen):
    """One line of the journal: its facts, and what it was before and after, field by field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "whole", "whole value", id="record.whole"),
        Binding("q", "back", "back", id="record.back", show=False),
    ]

    def __init__(self, record: Json) -> None:
        super().__init__()
        self.record = record
        self.rows = Rows(FIELDS)
        self.rows.replace(fields_of(record))

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        row = parse(self.record)
        name = join([Safe(f"record {row.number}"), row.operation, Safe("by"), row.operator], " ")
        table = VirtualTable(self.rows, ascii=self.console.ascii, id="record")
        self.pane = ListPane(table, str(name))
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.table.focus()
        self.pane.table.move_to(next((key for key, row in self.rows.records.items() if row.changed), "0"))
        self.pane.retitle()

    def thing(self) -> Thing | None:
        return thing_of(self.record)

    def place(self) -> list[Safe]:
        return [Safe(f"record {self.record.get('id')}")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: RecordScreen(self.record)

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    @on(VirtualTable.Opened)
    def action_whole(self) -> None:
        """The value under the cursor, as long as it is."""
        from screens.shell.answer import AnswerScreen

        row: Any = self.rows.records.get(self.pane.table.cursor or "")
        if row is not None:
            self.app.push_screen(AnswerScreen(str(row.name), row.whole))
