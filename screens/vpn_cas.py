"""The certificate authorities: how good their lists are, when they and their clients end, and what can be done."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content

from opsconsole.client import Client
from screens.frame import reported
from screens.hosts_forms import rows_of
from screens.listing import ListScreen
from screens.render.vpn import CAS, CaRow, parse_ca
from screens.render.vpn_detail import ca_text
from screens.text import Safe
from screens.vpn_detail import SidePane
from screens.vpn_forms import VpnForms
from screens.vpn_menus import ca_entries
from screens.widgets.header import HeaderLine
from screens.widgets.menu import Menu
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

_WATCHED: Final = frozenset({"certificate_authority", "vpn_crl", "vpn_client"})
_CHANGING: Final = ("do",)


class AuthoritiesScreen(ListScreen[CaRow]):
    """Over the clients; the pane with the horizon is open from the start."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "do('vpn.cas.create')", "new", id="cas.new"),
        Binding("i", "do('vpn.cas.import')", "import", id="cas.import"),
        Binding("r", "do('vpn.cas.import_easyrsa')", "easy-rsa", id="cas.easyrsa"),
        Binding("S", "do('vpn.crls.sign')", "sign a list", id="cas.sign"),
        Binding("d", "detail", "detail", id="cas.detail"),
        Binding("a", "actions", "actions", id="cas.actions"),
        Binding("e", "do('vpn.cas.update')", "edit", id="cas.edit", show=False),
        Binding("P", "do('vpn.cas.set_passphrase')", "passphrase", id="cas.passphrase", show=False),
        Binding("L", "do('vpn.crls.import')", "list from elsewhere", id="cas.import_list", show=False),
        Binding("w", "do('vpn.cas.export_easyrsa')", "write easy-rsa", id="cas.write", show=False),
        Binding("ctrl+r", "refresh", "refresh", id="cas.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(CAS)
        self._due = True
        self._following: Client | None = None
        self._go_to = ""

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="authorities")
        self.pane = ListPane(table, "certificate authorities")
        self.side = SidePane()
        with Horizontal(classes="beside"):
            yield self.pane
            yield self.side
        yield StatusLine()

    def on_mount(self) -> None:
        self.side.add_class("-open")

    def place(self) -> list[Safe]:
        return [Safe("authorities")]

    def again(self) -> type[AuthoritiesScreen]:
        return AuthoritiesScreen

    def tick(self) -> None:
        client = self.console.client
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
        async for batch in client.changes():
            self._due = self._due or any(one.get("lost") or one.get("entity") in _WATCHED for one in batch)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """The authorities first, the horizon of each after."""
        self._due = False
        with reported(self.console, "listing the authorities"):
            records = rows_of(await client.call("vpn.cas.list"))
            found = {str(record.get("id")): parse_ca(record, None) for record in records}
            self.table.empty = Safe("no authority yet: n makes one, i and r take one over")
            known = {
                key: row if key not in self.rows.records else parse_ca(row.record, None) for key, row in found.items()
            }
            gone = [key for key in self.rows.records if key not in found]
            self.table.changed(self.rows.update({k: r for k, r in known.items() if k not in self.rows.records}, gone))
            self.paint()
            for record in records:
                more = await client.call("vpn.cas.get", {"id": record.get("id"), "with_crl": False})
                self.table.changed(self.rows.update({str(record.get("id")): parse_ca(record, more)}))
                self.paint()

    def paint(self) -> None:
        if self._go_to and self.table.move_to(self._go_to):
            self._go_to = ""
        self.pane.retitle()
        row = self.current
        text = ca_text(row, time.time(), self.console.ascii) if row is not None else Content("")
        self.side.show(self.table.cursor or "", text)
        self.table.refresh()

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        self.paint()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_detail()

    def action_detail(self) -> None:
        self.side.toggle_class("-open")

    def action_refresh(self) -> None:
        self._due = True
        self.tick()

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    # Changing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action in _CHANGING and self.console.read_only else True

    def action_actions(self) -> None:
        """Everything that can be done, with the reason where it cannot."""
        row = self.current
        title = row.name if row is not None else Safe("authorities")
        self.app.push_screen(Menu(title, ca_entries(row, self.console.read_only)), self._chosen)

    def _chosen(self, chosen: str | None) -> None:
        if chosen:
            self.action_do(chosen)

    def action_do(self, operation: str) -> None:
        """Open the form of an operation, unless its entry in the menu says why not."""
        row, client = self.current, self.console.client
        entry = next(one for one in ca_entries(row, self.console.read_only) if one.id == operation)
        if client is None or not entry.allowed:
            self.console.say(str(entry.because) or "still starting; try again in a moment", "warn")
            return
        new = operation in {"vpn.cas.create", "vpn.cas.import", "vpn.cas.import_easyrsa"}
        record = dict(row.record) if row is not None and not new else None
        self.app.push_screen(VpnForms(self.console, client).authority(operation, record), self._done)

    def _done(self, answer: Any) -> None:
        made = getattr(answer, "answer", None)
        if isinstance(made, dict):
            found = made.get("ca") if isinstance(made.get("ca"), dict) else made
            self._go_to = str(found.get("id") or "") if isinstance(found, dict) else ""
        self.action_refresh()
