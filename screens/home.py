"""Home: what needs attention, worst first, and the pulse of the installation; from here to the thing itself."""

from __future__ import annotations

import time
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume

from opsconsole.client import Client, Json
from screens.frame import reported
from screens.home_going import go_to_thing
from screens.listing import ListScreen
from screens.performing import Done, Order, Performing
from screens.render.home import SPEC, HomeRow, detail, headline, more_of, parse_home
from screens.render.record import Thing
from screens.text import Safe, join
from screens.widgets.header import fleet_heading
from screens.widgets.line import Line
from screens.widgets.menu import Entry, Menu
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

AFRESH_AFTER: Final = 2.0
"""Seconds between two readings, however much changes meanwhile."""
SHARE: Final = 10
"""A house in which this takes long is asked less often: a tenth of the time at most."""
AFRESH_EVERY: Final = 20.0
"""What only the clock changes (something is overdue, a sight grows old) is announced by nobody."""
_UNHEARD: Final = frozenset({"task_output"})
_JOURNALED: Final = frozenset({"task", "run", "review", "approval", "vpn_client", "token", "user", "lease"})
_ACTIONS: Final = {
    "close": ("reviews.close", "C", "close the review"),
    "approve": ("approvals.approve", "A", "approve"),
    "perform": ("approvals.perform", "X", "do what was approved"),
    "retry": ("notices.retry", "T", "tell it again"),
    "looked_after": ("home.looked_after", "L", "looked after: say what was found"),
}


class HomePane(ListPane[HomeRow]):
    """The line above the list counts already; only what a filter does is said here as well."""

    def summary(self) -> Safe:
        rows = self.table.rows
        return rows.summary() if rows.filter or rows.marks else Safe("")


class HomeScreen(ListScreen[HomeRow]):
    """Follows the change feed; the line above the list says all of it at once, the line below all of a row."""

    DEFAULT_CSS = """
    HomeScreen #headline { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("C", "close", "close review", id="home.close"),
        Binding("A", "approve", "approve", id="home.approve"),
        Binding("X", "perform", "do it", id="home.perform", show=False),
        Binding("T", "retry", "tell again", id="home.retry", show=False),
        Binding("L", "looked_after", "looked after", id="home.looked_after"),
        Binding("a", "actions", "actions", id="home.actions"),
        Binding("ctrl+r", "refresh", "refresh", id="home.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(SPEC)
        self._answer: Json | None = None
        self._following: Client | None = None
        self._due = True
        self._asked_at = 0.0
        self._took = 0.0

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        yield Line(id="headline")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="home")
        self.pane = HomePane(table, "home")
        yield self.pane
        yield Line(id="detail")
        yield StatusLine()

    def on_mount(self) -> None:
        self.table.changed(self.rows.set_group("section"))

    @on(ScreenResume)
    def _seen_again(self) -> None:
        self._due = True

    def thing(self) -> Thing | None:
        row = self.current
        return Thing(row.kind, row.id, row.name) if row is not None and row.kind in _JOURNALED else None

    def host_here(self) -> str:
        row = self.current
        return str(row.record.get("host") or "") if row is not None else ""

    # Knowing

    def tick(self) -> None:
        client = self.console.client
        self._heading()
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self._following = client
            self.follow(client)
        self.table.tick()
        waited = time.monotonic() - self._asked_at
        if (self._due and waited > max(AFRESH_AFTER, self._took * SHARE)) or waited > AFRESH_EVERY:
            self.load(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Anything that happens may be of interest here."""
        async for batch in client.changes():
            self._due = self._due or any(change.get("entity") not in _UNHEARD for change in batch)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Read it all; what was read before stays when that fails."""
        self._due, self._asked_at = False, time.monotonic()
        with reported(self.console, "reading what needs attention"):
            answer = await client.call("home.show")
            self._took = time.monotonic() - self._asked_at
            made = parse_home(answer)
            begins = self._answer is None
            self._answer = answer
            self._say_empty()
            self.table.changed(self.rows.update(made, [key for key in self.rows.records if key not in made]))
            self.pane.note = more_of(answer)
            if begins:
                self.call_after_refresh(self._begin_at_first)
        self.query_one("#headline", Line).show(headline(self._answer, self.rows.records, self.console.ascii))
        self.pane.retitle()
        self._moved()

    @on(VirtualTable.Edited)
    def _say_empty(self) -> None:
        """A filter that hides everything is no reason to be calm."""
        hidden = self.rows.filter and self.rows.records
        if self._answer is not None:
            self.table.empty = Safe("the filter hides all of it" if hidden else "nothing needs your attention")

    def _begin_at_first(self) -> None:
        """On the first thing, and not on the heading above it."""
        first = next((key for key in self.rows.shown if key in self.rows.records), None)
        if first is not None:
            self.table.move_to(first)

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        self.show_heading(fleet_heading("home", who, (), time.time(), read_only=self.console.read_only, frozen=False))

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        row = self.current
        self.query_one("#detail", Line).say(detail(row) if row is not None else Safe(""), "muted")
        self.refresh_bindings()

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due, self._asked_at = True, 0.0
        self.tick()

    # Going there

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        row, client = self.current, self.console.client
        if row is not None and client is not None:
            self.go(client, row)

    @work(group="go", exclusive=True, exit_on_error=False)
    async def go(self, client: Client, row: HomeRow) -> None:
        with reported(self.console, row.what):
            await go_to_thing(self, client, row)

    # Acting

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action not in _ACTIONS:
            return True
        return None if self._because(action) else True

    def why_not(self, action: str) -> Safe:
        return (self._because(action) if action in _ACTIONS else Safe("")) or super().why_not(action)

    def _because(self, action: str) -> Safe:
        """Why this is not possible on the row under the cursor; empty when it is."""
        row, read_only = self.current, self.console.read_only
        if row is None:
            return Safe("there is nothing under the cursor")
        if read_only:
            return join([Safe("read-only:"), read_only], " ")
        operation, _, title = _ACTIONS[action]
        if operation in row.operations:
            return Safe("")
        if action == "close" and row.kind == "review":
            return Safe("you may not close this one; enter says why")
        return Safe(f"{title.partition(':')[0]}: not for what is under the cursor")

    def action_close(self) -> None:
        self._form("reviews.close", "closing the review of", ["id"])

    def action_looked_after(self) -> None:
        self._form("home.looked_after", "looked after", ["id", "kind"])

    def action_approve(self) -> None:
        self._order("approvals.approve", "approving")

    def action_perform(self) -> None:
        self._order("approvals.perform", "doing")

    def action_retry(self) -> None:
        self._order("notices.retry", "telling again:")

    def _order(self, operation: str, doing: str) -> None:
        row, client = self.current, self.console.client
        if row is not None and client is not None:
            self.perform(client, Order(operation, {"id": row.id}, Safe(f"{doing} {row.what}"), preview=True))

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, order: Order) -> None:
        with reported(self.console, order.label):
            await Performing(self.console, client).finish(order)
        self.action_refresh()

    def _form(self, operation: str, doing: str, given: list[str]) -> None:
        """Ask for what was found, then do it."""
        from screens.render.form import fields, schema
        from screens.widgets.form import Form

        row, client = self.current, self.console.client
        if row is None or client is None:
            return
        performing = Performing(self.console, client)
        label = Safe(f"{doing} {row.what}")
        known = {name: {"id": row.id, "kind": row.kind}[name] for name in given}

        async def submit(data: Json) -> Done | None:
            order = Order(operation, {**data, **known}, label)
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        self.app.push_screen(Form(label, fields(schema(operation), given), submit), lambda _: self.action_refresh())

    def action_actions(self) -> None:
        row = self.current
        if row is None:
            self.console.say("there is nothing under the cursor", "warn")
            return
        entries = [Entry("go", "", Safe("go there"))]
        for action, (_, letter, title) in _ACTIONS.items():
            why = self._because(action)
            entries.append(Entry(action, letter, Safe(title), not why, why))
        self.app.push_screen(Menu(row.what, entries), self._chosen)

    async def _chosen(self, chosen: str | None) -> None:
        if chosen == "go":
            self._opened()
        elif chosen:
            await self.run_action(chosen)
