"""The hosts: what is known of each, and everything that can be done with their records and keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json
from screens.frame import reported
from screens.hosts_forms import HostForms, rows_of
from screens.listing import ListScreen
from screens.performing import Done, Order, Performing
from screens.render.host import Seen
from screens.render.hosts import SPEC, HostRow, key_is_open, parse_row
from screens.render.record import Thing
from screens.text import Safe
from screens.widgets.header import fleet_heading
from screens.widgets.line import Line
from screens.widgets.menu import Entry, Menu
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

PAGE: Final = 200
SIGHTS_EVERY: Final = 8.0
_RECORDS: Final = frozenset({"host", "environment", "host_tag"})
_CHANGING: Final = (
    *("new", "edit", "import", "trust", "protect", "begin_maintenance", "end_maintenance", "deactivate", "delete"),
    "new_environment",
)


class HostsScreen(ListScreen[HostRow]):
    """Records from `hosts.list`, states as last seen; both follow the change feed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="hosts.new"),
        Binding("e", "edit", "edit", id="hosts.edit"),
        Binding("d,w", "detail", "detail", id="hosts.detail"),
        Binding("a", "actions", "actions", id="hosts.actions"),
        Binding("I", "import", "import", id="hosts.import"),
        Binding("K", "trust", "trust key", id="hosts.trust"),
        Binding("R", "execute", "run commands", id="hosts.execute", show=False),
        Binding("p", "protect", "protect", id="hosts.protect", show=False),
        Binding("m", "begin_maintenance", "maintenance", id="hosts.maintenance", show=False),
        Binding("M", "end_maintenance", "end maintenance", id="hosts.maintenance_end", show=False),
        Binding("D", "delete", "delete", id="hosts.delete", show=False),
        Binding("E", "new_environment", "new environment", id="hosts.new_environment", show=False),
        Binding("ctrl+r", "refresh", "refresh", id="hosts.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(SPEC)
        self._records: dict[str, Json] = {}
        self._sights: dict[str, Json] = {}
        self._seen: dict[str, Seen] = {}
        self._sights_at = self._asked_at = 0.0
        self._following: Client | None = None
        self._go_to = ""
        self._records_due = self._sights_due = True

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="hosts")
        self.pane = ListPane(table, "hosts")
        yield self.pane
        yield StatusLine()

    def thing(self) -> Thing | None:
        row = self.current
        return Thing("host", row.host.id, row.host.asked) if row is not None else None

    # Knowing

    def connected(self, client: Client) -> None:
        """The house is there: what is shown follows it from now on."""
        if self._following is not client:
            self._following = client
            self.follow(client)
        self.tick()

    def tick(self) -> None:
        """Nothing is asked while nobody looks; ages are repainted."""
        client = self.console.client
        self._heading()
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self.connected(client)
        self.table.tick()
        # A look that found nothing new is not announced, and yet what is shown is younger now.
        self._sights_due = self._sights_due or time.monotonic() - self._asked_at > SIGHTS_EVERY
        if self._records_due or self._sights_due:
            self.load(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Notice what anybody changed."""
        async for batch in client.changes():
            for change in batch:
                lost = bool(change.get("lost"))
                self._records_due = self._records_due or lost or change.get("entity") in _RECORDS
                self._sights_due = self._sights_due or lost or change.get("entity") == "host_observation"

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Read what is due. A failure is said once and tried again when something changes or is asked for."""
        records, self._records_due = self._records_due, False
        sights, self._sights_due = self._sights_due, False
        self._asked_at = time.monotonic()
        with reported(self.console, "listing the hosts"):
            if records:
                self._records = {str(row.get("id")): row for row in await _all_pages(client, "hosts.list")}
            if sights:
                answer = await client.call("services.list", {"cached": True, "main": True})
                self._sights = {str(row.get("host")): row for row in answer.get("hosts") or ()}
                self._sights_at = time.time()
        if records:
            self.table.remeasure()
        self.paint()

    def paint(self) -> None:
        """Bring what is known into the table; the cursor stays on its host."""
        made = {
            key: parse_row(
                record, self._sights.get(str(record.get("name"))), self._sights_at, self._seen.setdefault(key, Seen())
            )
            for key, record in self._records.items()
        }
        gone = [key for key in self.rows.records if key not in made]
        self.table.empty = Safe("no hosts: n adds one, I imports them")
        self.table.changed(self.rows.update(made, gone))
        if self._go_to in made and self.table.move_to(self._go_to):
            self._go_to = ""
        self.pane.retitle()
        self._heading()

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        hosts = [row.host for row in self.rows.records.values()]
        heading = fleet_heading("hosts", who, hosts, time.time(), read_only=self.console.read_only, frozen=False)
        self.show_heading(heading)

    # Moving

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._records_due = self._sights_due = True
        self.tick()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_services()

    def host_here(self) -> str:
        row = self.current
        return row.host.asked if row is not None else ""

    def targets(self) -> list[HostRow]:
        """What a change is about: the marked hosts, else the one under the cursor."""
        if self.rows.marks:
            return [self.rows.records[key] for key in self.rows.marked()]
        return [self.current] if self.current is not None else []

    def action_detail(self) -> None:
        """Its record, what runs on it, and what goes down with it."""
        from screens.hosts_detail import HostScreen

        row, client = self.current, self.console.client
        if row is None or client is None:
            self._nothing_here()
        else:
            self.app.push_screen(HostScreen(client, int(row.record.get("id") or 0), row.host.name))

    def action_services(self) -> None:
        """The services of this host, in their own screen."""
        row = self.current
        if row is None:
            self._nothing_here()
            return
        host = row.host.asked
        self.app.switch_mode("services")
        self.app.call_after_refresh(self._only_host, host)

    def _only_host(self, host: str) -> None:
        from screens.services import ServicesScreen

        if isinstance(self.app.screen, ServicesScreen):
            self.app.screen.only_host(host)

    # Changing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What changes something is greyed, not hidden, while nothing may be changed."""
        return None if action in _CHANGING and self.console.read_only else True

    def _nothing_here(self) -> None:
        self.console.say("no host here", "warn")

    def _open(self, make: Callable[[HostForms], Any]) -> None:
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
            return
        self.app.push_screen(make(HostForms(self.console, client)), self._done)

    def _done(self, answer: Any) -> None:
        if answer is not None:
            made = answer.answer if isinstance(answer, Done) else None
            self._go_to = str(made.get("id")) if isinstance(made, dict) else ""
            self.action_refresh()

    def _with_row(self, make: Callable[[HostForms, Json], Any]) -> None:
        row = self.current
        if row is None:
            self._nothing_here()
        else:
            self._open(lambda forms: make(forms, dict(row.record)))

    def action_new(self) -> None:
        self._open(lambda forms: forms.create())

    def action_edit(self) -> None:
        if not self.console.read_only:
            self._with_row(lambda forms, record: forms.edit(record))

    def action_begin_maintenance(self) -> None:
        found = self.targets()
        if found:
            self._open(lambda forms: forms.maintenance([row.record for row in found]))
        else:
            self._nothing_here()

    def action_execute(self) -> None:
        found = self.targets()
        if self.console.read_only:
            self.console.say(f"read-only: {self.console.read_only}", "warn")
        elif found:
            self._open(lambda forms: forms.execute([row.record for row in found]))
        else:
            self._nothing_here()

    def action_new_environment(self) -> None:
        self._open(lambda forms: forms.environment())

    def action_import(self) -> None:
        """From which kind of file?"""
        entries = [
            Entry("hosts.import_netbox", "n", Safe("NetBox devices (CSV)")),
            Entry("hosts.import_ssh_config", "s", Safe("ssh_config")),
            Entry("hosts.import_inventory", "i", Safe("Ansible inventory (INI or YAML)")),
        ]
        self.app.push_screen(Menu(Safe("import hosts from"), entries), self._import)

    def _import(self, chosen: str | None) -> None:
        if chosen:
            self._open(lambda forms: forms.import_from(chosen))

    def action_end_maintenance(self) -> None:
        self._simple("hosts.maintenance.end", "ending maintenance of")

    def action_protect(self) -> None:
        """Protect, or take the protection off where all of them have it."""
        if all(row.protected for row in self.targets()):
            self._simple("hosts.unprotect", "taking the protection off")
        else:
            self._simple("hosts.protect", "protecting")

    def action_deactivate(self) -> None:
        self._simple("hosts.deactivate", "taking out of service")

    def action_delete(self) -> None:
        """One plan for all of them."""
        found, client = self.targets(), self.console.client
        if not found or client is None:
            self._nothing_here()
            return
        ids = [row.record.get("id") for row in found]
        what = Safe(f"deleting the host {found[0].host.name}" if len(found) == 1 else f"deleting {len(found)} hosts")
        data: Json = {"id": ids[0]} if len(ids) == 1 else {"hosts": ids}
        self.perform(client, what, {what: Order("hosts.delete", data, what)})

    def _simple(self, operation: str, doing: str) -> None:
        found, client = self.targets(), self.console.client
        if not found or client is None:
            self._nothing_here()
            return
        orders = {
            row.host.name: Order(operation, {"id": row.record.get("id")}, Safe(f"{doing} {row.host.name}"))
            for row in found
        }
        label = Safe(f"{doing}: {len(found)} hosts" if len(found) > 1 else "")
        self.perform(client, label, orders)

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, label: Safe, orders: Mapping[Safe, Order]) -> None:
        """Plan, confirm, call, report; the table is read anew afterwards."""
        performing = Performing(self.console, client)
        if len(orders) > 1:
            await performing.each(label, orders)
        else:
            for order in orders.values():
                with reported(self.console, order.label):
                    await performing.finish(order)
        self.action_refresh()

    def action_trust(self) -> None:
        row, client = self.current, self.console.client
        if row is None or client is None:
            self._nothing_here()
        else:
            self.trust(client, row.host.asked)

    @work(group="trust", exclusive=True, exit_on_error=False)
    async def trust(self, client: Client, host: str) -> None:
        """Compare and accept the key of a host."""
        from screens.trusting import trust_key

        with reported(self.console, f"trusting the key of {Safe(host)}"):
            await trust_key(self.console, client, host)
        self.action_refresh()

    def action_actions(self) -> None:
        """Everything that can be done here, with the reason where it cannot."""
        found = self.targets()
        if not found:
            self._nothing_here()
            return
        title = found[0].host.name if len(found) == 1 else Safe(f"{len(found)} marked hosts")
        self.app.push_screen(Menu(title, entries(found, self.console.read_only)), self._chosen)

    async def _chosen(self, chosen: str | None) -> None:
        if chosen:
            await self.run_action(chosen)


def entries(rows: Sequence[HostRow], read_only: Safe) -> list[Entry]:
    """The action menu of one host or of several marked ones."""
    row, several = rows[0], len(rows) > 1
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    local = Safe("this is the machine the console runs on") if any(row.local for row in rows) else Safe("")
    one = Safe("one host at a time") if several else Safe("")
    key = one or local or (Safe("") if key_is_open(row) else Safe("its key is known, or it was not asked yet"))
    ends = Safe("") if any(row.maintenance for row in rows) else Safe("nobody works on it")
    protected = all(row.protected for row in rows)
    found = [
        ("services", "", "its services", one),
        ("detail", "d", "all that is known, and what goes down with it", one),
        ("app.shell", "s", "a shell", one or frozen),
        ("execute", "R", "run commands, as a task", frozen),
        ("edit", "e", "edit the record", one or frozen),
        ("trust", "K", "trust the key", frozen or key),
        ("protect", "p", "take the protection off" if protected else "protect", frozen),
        ("begin_maintenance", "m", "begin maintenance", frozen),
        ("end_maintenance", "M", "end maintenance", frozen or ends),
        ("deactivate", "x", "take it out of service", one or frozen or local),
        ("delete", "D", "delete the record", frozen or local),
    ]
    return [Entry(name, letter, Safe(title), not why, why) for name, letter, title, why in found]


async def _all_pages(client: Client, operation: str) -> list[Json]:
    found: list[Json] = []
    page = 1
    while True:
        answer = await client.call(operation, {"page": page, "page_size": PAGE})
        found += rows_of(answer)
        if not (isinstance(answer, dict) and answer.get("next")):
            return found
        page += 1
