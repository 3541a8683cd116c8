"""The VPN clients: who may connect, for how long, who is connected now, and everything that can be done about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import reported
from screens.hosts_forms import rows_of
from screens.render.vpn import CLIENTS, ClientRow, Session, gone, parse_ca, parse_client, parse_session
from screens.render.vpn_detail import band, client_text
from screens.text import Safe
from screens.vpn_changing import VpnChanging
from screens.vpn_detail import SidePane
from screens.widgets.header import fleet_heading
from screens.widgets.line import Line
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

FIRST: Final = 200
PAGE: Final = 2000
SLICE: Final = 250
SESSIONS_EVERY: Final = 15.0
FEW: Final = 30
_AUTHORITIES: Final = frozenset({"certificate_authority", "vpn_crl"})
_DETAIL: Final = frozenset({"vpn_certificate", "revocation"})


class VpnScreen(VpnChanging):
    """Records from `vpn.clients.list`, page after page; sessions as the servers tell them; both stay up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="vpn.new"),
        Binding("e", "edit", "edit", id="vpn.edit"),
        Binding("d", "detail", "detail", id="vpn.detail"),
        Binding("x", "export", "export", id="vpn.export"),
        Binding("w", "renew", "renew", id="vpn.renew"),
        Binding("R", "revoke", "REVOKE", id="vpn.revoke"),
        Binding("F", "enforce", "make it true", id="vpn.enforce", show=False),
        Binding("s", "sessions", "sessions", id="vpn.sessions", show=False),
        Binding("A", "authorities", "authorities", id="vpn.authorities"),
        Binding("a", "actions", "actions", id="vpn.actions"),
        Binding("I", "bring", "import", id="vpn.import", show=False),
        Binding("ctrl+r", "refresh", "refresh", id="vpn.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(CLIENTS)
        self.cas = []
        self._sessions: dict[int, Session] = {}
        self._following: Client | None = None
        self._due = self._cas_due = True
        self._loading = False
        self._touched: set[str] = set()
        self._sessions_at = self._looked_at = 0.0
        self._detail: tuple[int, Json | None] | None = None
        self._go_to = ""

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        yield Line(id="authorities")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="vpn")
        self.pane = ListPane(table, "VPN clients")
        self.side = SidePane()
        with Horizontal(classes="beside"):
            yield self.pane
            yield self.side
        yield StatusLine()

    def chosen(self) -> list[ClientRow]:
        """The marked rows, else the one under the cursor."""
        marked = [self.rows.records[key] for key in self.rows.marked() if key in self.rows.records]
        return marked or ([self.current] if self.current else [])

    def made(self, key: str) -> None:
        self._go_to = key
        self._touched.add(key)

    def look_again(self) -> None:
        self._detail = None
        self.tick()

    # Knowing

    def tick(self) -> None:
        """Nothing is asked while nobody looks; days and ages are repainted."""
        client = self.console.client
        self._heading()
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self._following = client
            self.follow(client)
        self.table.tick()
        if (self._cas_due or self._due or self._touched) and not self._loading:
            self.load(client)
        if time.monotonic() - self._sessions_at > SESSIONS_EVERY:
            self._sessions_at = time.monotonic()
            self.look_at_sessions(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Notice what anybody changed."""
        async for batch in client.changes():
            for change in batch:
                entity, lost = change.get("entity"), bool(change.get("lost"))
                if entity == "vpn_client":
                    self._touched.add(str(change.get("key")))
                self._due = self._due or lost
                self._cas_due = self._cas_due or lost or entity in _AUTHORITIES
                if lost or entity in _DETAIL:
                    self._detail = None

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Read what is due. A failure is said once and tried again when something changes or is asked for.

        What changes meanwhile is read afterwards: begun anew each time, many clients would never be there whole.
        """
        self._loading = True
        try:
            await self._load(client)
        finally:
            self._loading = False
            self.table.filling(False)

    async def _load(self, client: Client) -> None:
        whole, self._due = self._due, False
        cas, self._cas_due = self._cas_due or bool(self._touched), False
        touched, self._touched = self._touched, set()
        with reported(self.console, "listing the VPN clients"):
            if cas or whole:
                self.cas = [parse_ca(record, None) for record in rows_of(await client.call("vpn.cas.list"))]
                self._paint_band()
            if whole or len(touched) > FEW:
                await self._load_all(client)
            else:
                await self._load_some(client, touched)
            self.paint()
            if cas or whole:
                await self._horizons(client)

    async def _load_all(self, client: Client) -> None:
        """The first rows are there at once; the others come while the operator works."""
        found: dict[str, ClientRow] = {}
        cursor, size = 0, FIRST
        self.table.filling(True)
        while True:
            answer = await client.call("vpn.clients.list", {"cursor": cursor, "size": size})
            page = rows_of(answer.get("clients"))
            for start in range(0, len(page), SLICE):
                found.update(self._parsed(page[start : start + SLICE]))
                await asyncio.sleep(0)
            following = (answer.get("cursor") or {}).get("next")
            if size == FIRST and not self.rows.records:
                self.table.changed(self.rows.update(found))
            self.pane.note = Safe(f"reading, {len(found)} so far" if following else "")
            self.pane.retitle()
            if not following:
                break
            cursor, size = int(following), PAGE
        self.table.changed(self.rows.replace(found))
        self._apply_sessions({number for number in self._sessions if str(number) in found})

    async def _load_some(self, client: Client, keys: set[str]) -> None:
        """Only the rows somebody changed."""
        changed: dict[str, ClientRow] = {}
        for key in keys:
            try:
                changed.update(self._parsed([await client.call("vpn.clients.get", {"id": int(key)})]))
            except OperationFailed as error:
                if error.exit_status != 4:
                    raise
        self._detail = None
        self.table.changed(self.rows.update(changed))

    def _parsed(self, page: Sequence[Json]) -> dict[str, ClientRow]:
        names = {ca.id: str(ca.record.get("name")) for ca in self.cas}
        now = self.table.now()
        return {
            str(record.get("id")): parse_client(
                record, names.get(int(record.get("ca_id") or 0), ""), self._sessions.get(int(record["id"])), now
            )
            for record in page
        }

    async def _horizons(self, client: Client) -> None:
        """When clients end, per authority; costs a count over all of them, so it comes last."""
        for number, ca in enumerate(list(self.cas)):
            more = await client.call("vpn.cas.get", {"id": ca.id, "with_crl": False})
            self.cas[number] = parse_ca(ca.record, more)
        self._paint_band()

    @work(group="sessions", exclusive=True, exit_on_error=False)
    async def look_at_sessions(self, client: Client) -> None:
        """Who is connected; servers that do not answer cost no more than their column."""
        try:
            answer = await client.call("vpn.sessions.list")
        except OperationFailed as error:
            self.pane.note = Safe(f"sessions unknown: {error.message}")
            self.pane.retitle()
            return
        silent = [one for one in answer.get("servers") or () if one.get("error")]
        self.pane.note = Safe(f"{len(silent)} servers do not answer" if silent else "")
        found = {
            int(one["vpn_client_id"]): parse_session(one)
            for one in answer.get("sessions") or ()
            if one.get("vpn_client_id") is not None
        }
        before, looked_at = self._sessions, self._looked_at
        differ = {number for number in {*found, *before} if found.get(number) != before.get(number)}
        self._sessions, self._looked_at = found, self.table.now()
        self._apply_sessions(differ, {n: gone(one, looked_at) for n, one in before.items() if n not in found})
        self.pane.retitle()
        self._paint_side()

    def _apply_sessions(self, numbers: set[int], gone: Mapping[int, Json] | None = None) -> None:
        """Who came and who went, into the rows that are there; those who went were last seen just before."""
        known = [self.rows.records[str(number)] for number in numbers if str(number) in self.rows.records]
        records = [{**row.record, **(gone or {}).get(row.id, {})} for row in known]
        self.table.changed(self.rows.update(self._parsed(records)))

    def paint(self) -> None:
        """What is shown when there is nothing, the cursor on what was made, titles."""
        told = (
            "no clients yet: n makes one, I imports them" if self.cas else "no authority yet: A makes or takes over one"
        )
        self.table.empty = Safe(told)
        if self._go_to and self.table.move_to(self._go_to):
            self._go_to = ""
        self.pane.retitle()
        self._heading()
        self._paint_side()
        self.table.refresh()

    def _paint_band(self) -> None:
        self.query_one("#authorities", Line).show(band(self.cas, self.table.now(), self.console.ascii))

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        read_only = self.console.read_only
        self.show_heading(fleet_heading("vpn", who, [], time.time(), read_only=read_only, frozen=self.pane.frozen))

    # The pane beside

    def action_detail(self) -> None:
        self.side.toggle_class("-open")
        self._paint_side()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_detail()

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        self._paint_side()

    def _paint_side(self) -> None:
        row = self.current
        if not self.side.is_open:
            return
        if row is None:
            self.side.show("", Content(""))
            return
        data = self._detail[1] if self._detail and self._detail[0] == row.id else None
        self.side.show(str(row.id), client_text(row, data, self.table.now(), self.console.ascii))
        if data is None and self.console.client is not None:
            self.ask(self.console.client, row.id)

    @work(group="detail", exclusive=True, exit_on_error=False)
    async def ask(self, client: Client, number: int) -> None:
        """The client in full, and how far its revocation is."""
        try:
            data = await client.call("vpn.clients.get", {"id": number})
        except OperationFailed as error:
            data = {"not known": error.message}
        row = self.current
        if row is not None and row.id == number:
            self._detail = (number, data)
            self.side.show(str(number), client_text(row, data, self.table.now(), self.console.ascii))

    # Moving

    def action_back(self) -> None:
        if self.side.is_open:
            self.side.remove_class("-open")
        elif not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due = self._cas_due = True
        self._sessions_at, self._detail = 0.0, None
        self.tick()

    def action_sessions(self) -> None:
        """Who is connected, with traffic."""
        from screens.vpn_sessions import VpnSessionsScreen

        self.app.push_screen(VpnSessionsScreen(), lambda _: self.action_refresh())

    def action_authorities(self) -> None:
        from screens.vpn_cas import AuthoritiesScreen

        self.app.push_screen(AuthoritiesScreen(), lambda _: self.action_refresh())
