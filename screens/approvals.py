"""What waits for a second person: the inbox of requests and reviews, and one of them with its plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import ConsoleScreen, reported
from screens.listing import ListScreen
from screens.performing import Done, Order, Performing
from screens.render.approval import SPEC, Asked, detail_text, parse_approval, parse_review
from screens.shell.waiting import concerns
from screens.text import Safe, join
from screens.widgets.header import HeaderLine, fleet_heading
from screens.widgets.line import Line
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

PAGE: Final = 200
OPEN_STATES: Final = ("pending", "approved")


class ApprovalsScreen(ListScreen[Asked]):
    """Follows the change feed; what is open is all here, of what is over the newest."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "refresh", "refresh", id="approvals.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(SPEC)
        self._following: Client | None = None
        self._due = True

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="approvals")
        self.pane = ListPane(table, "approvals")
        yield self.pane
        yield StatusLine()

    def tick(self) -> None:
        client = self.console.client
        self._heading()
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self._following = client
            self.follow(client)
        self.table.tick()
        if self._due:
            self.load(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Notice what anybody asked for or decided."""
        async for batch in client.changes():
            if concerns(batch):
                self._due = True
                self.tick()

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Read it; a failure is said once and tried again when something changes or is asked for."""
        self._due = False
        with reported(self.console, "listing what waits"):
            made = {row.key: row for row in [*await _approvals(client), *await _reviews(client)]}
            gone = [key for key in self.rows.records if key not in made]
            self.table.empty = Safe("nothing waits here, and nothing was asked for yet")
            self.table.changed(self.rows.update(made, gone))
            self.pane.retitle()

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        self.show_heading(
            fleet_heading("approvals", who, (), time.time(), read_only=self.console.read_only, frozen=False)
        )

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due = True
        self.tick()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        row, client = self.rows.records.get(self.table.cursor or ""), self.console.client
        if row is not None and client is not None:
            self.app.push_screen(ApprovalScreen(client, row))


async def _approvals(client: Client) -> list[Asked]:
    """All that are open, and the newest of the others."""
    found: dict[str, Json] = {}
    for query in ({}, *({"state": state} for state in OPEN_STATES)):
        page: int | None = 1
        while page is not None:
            answer = await client.call("approvals.list", {**query, "page": page, "page_size": PAGE})
            found.update((str(row.get("id")), row) for row in answer.get("results") or ())
            page = answer.get("next") if query else None
    return [parse_approval(row) for row in found.values()]


async def _reviews(client: Client) -> list[Asked]:
    found: dict[str, Json] = {}
    for query in ({}, {"state": "open"}):
        answer = await client.call("reviews.list", {**query, "page_size": PAGE})
        found.update((str(row.get("id")), row) for row in answer.get("results") or ())
    return [parse_review(row) for row in found.values()]


class ApprovalScreen(ConsoleScreen):
    """One request or review. It is planned again when opened, so that what is decided is what would happen now."""

    DEFAULT_CSS = "ApprovalScreen .body { height: 1fr; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A", "approve", "approve", id="approval.approve"),
        Binding("R", "reject", "reject", id="approval.reject"),
        Binding("X", "perform", "do it", id="approval.perform"),
        Binding("W", "withdraw", "withdraw", id="approval.withdraw"),
        Binding("C", "close", "close the review", id="approval.close"),
        Binding("j", "scroll(1)", "down", id="approval.down", show=False),
        Binding("k", "scroll(-1)", "up", id="approval.up", show=False),
        Binding("q", "back", "back", id="approval.back", show=False),
        Binding("ctrl+r", "refresh", "plan it again", id="approval.refresh"),
    ]

    def __init__(self, client: Client, row: Asked) -> None:
        super().__init__()
        self.client = client
        self.row = row
        self._found: Json | None = None
        self.text = ""

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        with VerticalScroll(classes="body"):
            yield Static(markup=False)
        yield StatusLine()

    def on_mount(self) -> None:
        self.query_one(".body").focus()
        self.paint()
        self.load()
        self.follow()

    def place(self) -> list[Safe]:
        return [self.row.summary, Safe("review" if self.row.review else "request")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: ApprovalScreen(self.client, self.row)

    def paint(self) -> None:
        """Write what is known."""
        text = detail_text(self.row, self._found, time.time(), self.console.ascii)
        self.text = text.plain
        self.query_one(Static).update(text)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self) -> None:
        """What somebody else decides meanwhile is shown at once."""
        async for batch in self.client.changes():
            if any(change.get("lost") or change.get("key") == self.row.id for change in batch):
                self.load()

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self) -> None:
        with reported(self.console, "reading it"):
            if self.row.review:
                self.row, self._found = await self._review()
            else:
                self._found = await self.client.call("approvals.get", {"id": self.row.id, "fresh": True})
                self.row = parse_approval(self._found)
        self.paint()
        self.refresh_bindings()

    async def _review(self) -> tuple[Asked, Json]:
        """The review with its run, when the operator may see that."""
        row, found = self.row, dict(self.row.record)
        for other in await _reviews(self.client):
            if other.id == self.row.id:
                row, found = other, dict(other.record)
        try:
            run_id = found.get("run_id") or found.get("task_id")
            if run_id:
                found["run"] = await self.client.call("runs.get", {"id": run_id})
        except OperationFailed as error:
            found["run"] = {"state": error.message}
        return row, found

    # Deciding

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What this operator cannot do, or not any more, is greyed; what belongs to the other kind is hidden."""
        kinds = {"approve": False, "reject": False, "perform": False, "withdraw": False, "close": True}
        if action in kinds and kinds[action] is not self.row.review:
            return False
        return None if action in kinds and self._because(action) else True

    def why_not(self, action: str) -> Safe:
        return self._because(action) or super().why_not(action)

    def _because(self, action: str) -> Safe:
        """Why this is not possible now; empty when it is."""
        row, read_only = self.row, self.console.read_only
        if read_only:
            return join([Safe("read-only:"), read_only], " ")
        over = Safe(f"it is {row.word}")
        if action == "close":
            return Safe("") if row.may else row.because
        if action == "withdraw":
            return (Safe("") if row.mine else Safe(f"only {row.who} can")) if row.open else over
        if action == "perform":
            task = row.record.get("task_id")
            if task and row.open:
                return join([Safe("it begins by itself, as task"), Safe(task)], " ")
            mine = Safe("") if row.mine else Safe(f"only {row.who} can, who asked for it")
            return mine or (Safe("") if row.word == "approved" else over)
        if not row.open:
            return over
        if action == "approve" and row.word == "approved":
            return Safe("it is approved already")
        return Safe("") if row.may else row.because

    def action_approve(self) -> None:
        if self._found is None:
            self.console.say("it is being planned again; a moment", "warn")
        else:
            self.perform(Order("approvals.approve", {"id": self.row.id}, Safe(f"approving {self.row.summary}")))

    def action_perform(self) -> None:
        self.perform(Order("approvals.perform", {"id": self.row.id}, self.row.summary))

    def action_withdraw(self) -> None:
        label = Safe(f"withdrawing {self.row.summary}")
        self.perform(Order("approvals.withdraw", {"id": self.row.id}, label, preview=True))

    def action_reject(self) -> None:
        self._form("approvals.reject", "rejecting")

    def action_close(self) -> None:
        self._form("reviews.close", "closing the review of")

    def _form(self, operation: str, doing: str) -> None:
        """Ask for the reason, then do it."""
        from screens.render.form import fields, schema
        from screens.widgets.form import Form

        row, performing = self.row, Performing(self.console, self.client)
        label = Safe(f"{doing} {row.summary}")

        async def submit(data: Json) -> Done | None:
            order = Order(operation, {**data, "id": row.id}, label)
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        self.app.push_screen(Form(label, fields(schema(operation), ["id"]), submit), self._left)

    def _left(self, _: object) -> None:
        self.load()

    @work(group="act", exit_on_error=False)
    async def perform(self, order: Order) -> None:
        with reported(self.console, order.label):
            await Performing(self.console, self.client).finish(order)
        self.load()

    def action_refresh(self) -> None:
        self.load()

    def action_scroll(self, rows: int) -> None:
        self.query_one(".body", VerticalScroll).scroll_relative(y=rows, animate=False)
