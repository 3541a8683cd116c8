"""The services of all hosts in one table: look, filter, read the journal, act."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import ConsoleScreen, events, reported
from screens.render.host import Host
from screens.render.service import SPEC, Item
from screens.services_actions import ACTIONS, Target
from screens.services_detail import DetailPane
from screens.services_state import Difference, Fleet, merge
from screens.services_view import Narrowing
from screens.text import Safe, join
from screens.widgets.header import fleet_heading
from screens.widgets.line import Line
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

if TYPE_CHECKING:
    from screens.render.record import Thing

INTERVAL: Final = 5
PAINT_EVERY: Final = 0.1
BUDGET: Final = 0.03
"""Seconds of the event loop that taking in events may use at a time."""
TICK: Final = 1.0
DETAIL_AFTER: Final = 0.15
GONE_AFTER: Final = 30.0
"""Seconds after a refresh until a host nobody speaks of any more leaves the table."""


class ServicesScreen(ConsoleScreen):
    """Rows come from `services.watch`; every change goes through a plan."""

    DEFAULT_CSS = """
    ServicesScreen > #body { height: 1fr; }
    ServicesScreen.-narrow > #body { layout: vertical; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "detail('properties')", "detail", id="services.detail"),
        Binding("l", "journal", "journal", id="services.journal"),
        Binding("a", "actions", "actions", id="services.actions"),
        Binding("e", "narrow('errors')", "errors only", id="services.errors"),
        Binding("m", "narrow('main')", "main only", id="services.main", show=False),
        Binding("f", "narrow('folded')", "fold instances", id="services.fold", show=False),
        Binding("i", "detail('unit file')", "unit file", id="services.unit_file", show=False),
        Binding("w", "detail('dependencies')", "what would be hit", id="services.dependencies", show=False),
        Binding("J", "host_journal", "journal of the host", id="services.host_journal", show=False),
        Binding("K", "trust", "trust the host's key", id="services.trust", show=False),
        *(
            Binding(
                a.key, f"act('{a.name}')", a.title, id=f"services.{a.name}", show=a.name in ("start", "stop", "restart")
            )
            for a in ACTIONS
        ),
        Binding("ctrl+r", "refresh", "refresh", id="services.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.rows: Rows[Item] = Rows(SPEC)
        self.narrowing = Narrowing()
        self._pending: dict[str, dict[str, Any]] = {}
        self._unconfirmed: set[str] = set()
        self._paint_due = False
        self._detail_due: Timer | None = None
        self._gathered: tuple[list[str], list[Host]] | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="waiting for the hosts …", id="services")
        self.pane: ListPane[Item] = ListPane(table, "services")
        with Horizontal(id="body"):
            yield self.pane
            yield DetailPane(ascii=self.console.ascii)
        yield StatusLine()

    def on_mount(self) -> None:
        self.table.focus()
        self.pane.retitle()
        self._heading()
        self.set_interval(TICK, self._tick)
        if self.console.client is not None:
            self.connected(self.console.client)

    def connected(self, client: Client) -> None:
        """The house is there: show what it knows already, then watch it."""
        for event in client.last_known():
            merge(self._pending, event)
        self.paint()
        self._heading()
        self.call_after_refresh(self.watch_services, client)

    @property
    def table(self) -> VirtualTable[Item]:
        return self.pane.table

    @property
    def detail(self) -> DetailPane:
        return self.query_one(DetailPane)

    # Watching

    @work(group="watch", exclusive=True, exit_on_error=False)
    async def watch_services(self, client: Client) -> None:
        """Take events as they come; a stream that breaks is taken up again, ever slower."""
        pause = 1.0
        while True:
            try:
                async with events(client, "services.watch", {"interval": INTERVAL}) as stream:
                    async for event in stream:
                        pause = 1.0
                        self._take(event)
                reason = Safe("the watch ended")
            except OperationFailed as error:
                reason = Safe(error.message)
                self.console.say_failure("watching services", error)
            self._note(join([Safe("not watching:"), reason], " "))
            await asyncio.sleep(pause)
            pause = min(pause * 2, 30.0)

    def _take(self, event: Json) -> None:
        merge(self._pending, event)
        if not self._paint_due and not self.frozen:
            self._paint_due = True
            self.set_timer(PAINT_EVERY, self.paint)

    def paint(self) -> None:
        """Bring what came since the last paint into the table."""
        self._paint_due = False
        if self.frozen or not self._pending:
            return
        difference = self._apply()
        self.table.empty = Safe("nothing to show")
        self.pane.note = Safe("")
        self.table.changed(self.rows.update(difference.changed, difference.removed))
        self.pane.retitle()
        self._heading()
        if self.table.cursor in difference.changed:
            self._show_detail()

    def _apply(self) -> Difference:
        """Take in as many hosts as fit into a moment; the others wait for the next paint, so that keys never do."""
        end = time.monotonic() + BUDGET
        batch: list[str] = []
        total = Difference()
        while self._pending and (not batch or time.monotonic() < end):
            host_id = next(iter(self._pending))
            batch.append(host_id)
            one = self.fleet.apply([self._pending.pop(host_id)])
            total.changed.update(one.changed)
            total.removed |= one.removed
        self._unconfirmed -= set(batch)
        if self._pending:
            self._paint_due = True
            self.set_timer(PAINT_EVERY, self.paint)
        return total

    def _tick(self) -> None:
        if not self.frozen and self.is_current:
            self.table.tick()
        self._heading()

    def _note(self, text: Safe) -> None:
        self.pane.note = text
        self.pane.retitle()

    def _heading(self) -> None:
        facts = self.console.facts
        who = join([Safe(facts.get("user")), Safe(facts.get("hostname"))], "@") if facts else Safe("connecting …")
        self.show_heading(
            fleet_heading(
                "services",
                who,
                self.fleet.hosts,
                time.time(),
                read_only=self.console.read_only,
                frozen=self.frozen,
                shown=self._shown_hosts(),
            )
        )

    def _shown_hosts(self) -> list[Host] | None:
        """The hosts the list shows; None when it hides none. Gathered anew only when the list is another one."""
        rows = self.rows
        if not rows.filter and not rows.only:
            return None
        if self._gathered is None or self._gathered[0] is not rows.shown:
            found = {item.host.id: item.host for key in rows.shown if (item := rows.records.get(key)) is not None}
            self._gathered = (rows.shown, list(found.values()))
        return self._gathered[1]

    # Looking

    def action_back(self) -> None:
        if self.detail.is_open:
            self.detail.close()
            self.table.focus()
        elif not self.pane.step_back() and self.narrowing.step_back():
            self._narrow()

    def action_narrow(self, name: str) -> None:
        """Turn a switch of the narrowing: errors only, main services only, instances folded."""
        setattr(self.narrowing, name, not getattr(self.narrowing, name))
        self._narrow()

    def only_host(self, host: str) -> None:
        """Show the services of one host, all of them; esc shows the others again."""
        self.narrowing.errors, self.narrowing.main, self.narrowing.host = False, False, host
        if self.rows.filter:
            self.table.changed(self.rows.set_filter(""))
        self._narrow()
        self.table.focus()

    def _narrow(self) -> None:
        self.table.narrowed(self.rows.set_only(self.narrowing.word, self.narrowing.predicate))

    @property
    def frozen(self) -> bool:
        return self.pane.frozen

    @on(ListPane.Frozen)
    def _frozen(self) -> None:
        self._heading()
        if not self.frozen:
            self.paint()
            self.table.tick()

    def action_refresh(self) -> None:
        """Ask every host anew. What no longer exists leaves the table after a while."""
        client = self.console.client
        if client is None:
            return
        self._unconfirmed = self.fleet.ids()
        self.set_timer(GONE_AFTER, self._drop_gone)
        self.watch_services(client)
        self.console.say("asking every host again")

    def _drop_gone(self) -> None:
        gone, self._unconfirmed = self._unconfirmed, set()
        difference = self.fleet.forget(gone)
        self.table.changed(self.rows.update({}, difference.removed))

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_detail("properties")

    def action_detail(self, view: str) -> None:
        """Open the pane beside the table with this view, or close it."""
        self.detail.toggle(view)
        self._show_detail()

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        if self._detail_due is not None:
            self._detail_due.stop()
        self._detail_due = self.set_timer(DETAIL_AFTER, self._show_detail)

    def _show_detail(self) -> None:
        if self.detail.is_open:
            self.detail.present(self.current, self.console.client)

    @property
    def current(self) -> Item | None:
        """The row under the cursor."""
        return self.rows.records.get(self.table.cursor or "")

    def host_here(self) -> str:
        item = self.current
        return item.host.asked if item is not None else ""

    def thing(self) -> Thing | None:
        """The service, or the host where the row is one."""
        from screens.render.record import Thing

        item = self.current
        if item is None or item.service is None:
            return Thing("host", item.host.id, item.host.asked) if item is not None else None
        return Thing("service", f"{item.host.id}/{item.service.unit}", str(item.service.name))

    def targets(self) -> list[Target]:
        """What an action is about: the marked services, else the one under the cursor."""
        items = [self.rows.records[key] for key in self.rows.marked()] if self.rows.marks else [self.current]
        return [item.service.target for item in items if item is not None and item.service is not None]

    def hosts(self) -> list[str]:
        """The hosts of the marked rows, else of the one under the cursor."""
        items = [self.rows.records[key] for key in self.rows.marked()] if self.rows.marks else [self.current]
        names = [item.service.target[0] if item.service else item.host.asked for item in items if item is not None]
        return list(dict.fromkeys(names))

    def action_journal(self) -> None:
        """Of the marked services merged by time, of the one under the cursor, or on a host's row of all of the host."""
        self._journal(self.targets() or [(host, "") for host in self.hosts()])

    def action_host_journal(self) -> None:
        """All of the journal of the hosts meant."""
        self._journal([(host, "") for host in self.hosts()])

    def _journal(self, targets: list[Target]) -> None:
        client = self.console.client
        if not targets or client is None:
            self.console.say("nothing here to read the journal of", "warn")
            return
        from screens.journal import JournalScreen

        self.app.push_screen(JournalScreen(client, targets))

    def action_trust(self) -> None:
        """Compare and accept the key of the host under the cursor."""
        item, client = self.current, self.console.client
        if item is None or client is None:
            self.console.say("no host here", "warn")
        else:
            self.trust(client, item.host.asked)

    @work(group="trust", exclusive=True, exit_on_error=False)
    async def trust(self, client: Client, host: str) -> None:
        """A host whose key is accepted is asked again at once."""
        from screens.trusting import trust_key

        with reported(self.console, f"trusting the key of {Safe(host)}"):
            if await trust_key(self.console, client, host) is not None:
                self.watch_services(client)

    # Acting

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Acting keys are greyed, not hidden, while nothing may be changed."""
        return None if action in ("act", "trust") and self.console.read_only else True

    def action_actions(self) -> None:
        if self.targets() and self.console.client is not None:
            self.choose_action(self.console.client, self.targets())
        else:
            self.console.say("no service here to act on", "warn")

    @work(group="choose", exclusive=True, exit_on_error=False)
    async def choose_action(self, client: Client, targets: list[Target]) -> None:
        """The action menu, with what the host says is possible now."""
        from screens.services_menu import choose

        if chosen := await choose(self.console, client, targets):
            self.perform(client, chosen, targets)

    def action_act(self, name: str) -> None:
        targets, client = self.targets(), self.console.client
        if not targets or client is None:
            self.console.say("no service here to act on", "warn")
        else:
            self.perform(client, name, targets)

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, name: str, targets: list[Target]) -> None:
        """Plan, confirm, call, report. The screen stays live meanwhile."""
        from screens.services_menu import perform

        await perform(self.console, client, name, targets)
        self._show_detail()
