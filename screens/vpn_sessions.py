"""Who is connected to the OpenVPN servers now, with traffic; ending sessions, and servers that need a look."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from opsconsole.client import Client, Json
from screens.frame import ConsoleModal, ConsoleScreen, reported
from screens.hosts_forms import rows_of
from screens.listing import ListScreen
from screens.performing import Order, Performing
from screens.render.vpn_session import SPEC, SessionRow, parse_server, parse_session, session_key
from screens.text import Safe, content
from screens.vpn_servers_forms import ServerForms
from screens.widgets.header import HeaderLine
from screens.widgets.line import Line
from screens.widgets.menu import Entry, Menu
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

EVERY: Final = 4.0
"""Seconds between two looks while somebody looks; each costs every server one short conversation."""
REVOCATIONS_EVERY: Final = 20.0
_CHANGING: Final = ("kill", "enforce", "publish", "new", "edit")


class VpnSessionsScreen(ListScreen[SessionRow]):
    """The sessions of all servers from `vpn.sessions.list`, looked at again and again while the screen is in front."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("K", "kill", "end session", id="vpn.sessions.kill"),
        Binding("i", "inspect", "look at server", id="vpn.servers.inspect"),
        Binding("p", "publish", "publish CRL", id="vpn.servers.publish_crl"),
        Binding("F", "enforce", "finish revocations", id="vpn.revocations.enforce"),
        Binding("a", "actions", "actions", id="vpn.sessions.actions"),
        Binding("n", "new", "new server", id="vpn.servers.create", show=False),
        Binding("e", "edit", "edit server", id="vpn.servers.update", show=False),
        Binding("ctrl+r", "refresh", "refresh", id="vpn.sessions.refresh", show=False),
        Binding("q", "back", "back", id="vpn.sessions.back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(SPEC)
        self._before: dict[str, Json] = {}
        self._before_at = 0.0
        self._asked_at = -EVERY
        self._open = 0
        self._counted_at = -REVOCATIONS_EVERY

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield Line(id="summary")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking the servers …", id="vpn-sessions")
        self.pane = ListPane(table, "vpn sessions")
        yield self.pane
        yield StatusLine()

    def place(self) -> list[Safe]:
        return [Safe("vpn sessions")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return VpnSessionsScreen

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    # Knowing

    def tick(self) -> None:
        """Nothing is asked while nobody looks; ages are repainted."""
        client = self.console.client
        if client is None or not self.is_current:
            return
        self.table.tick()
        if time.monotonic() - self._asked_at > EVERY:
            self.load(client)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Ask every server now; what one of them does not answer stands in its row."""
        self._asked_at = time.monotonic()
        with reported(self.console, "asking the OpenVPN servers"):
            answer = await client.call("vpn.sessions.list", {})
            servers = await client.call("vpn.servers.list", {})
            if time.monotonic() - self._counted_at > REVOCATIONS_EVERY:
                revocations = await client.call("vpn.revocations.list", {})
                self._open, self._counted_at = len(revocations.get("revocations") or ()), time.monotonic()
            self.paint(answer, servers)
        self._asked_at = time.monotonic()

    def paint(self, answer: Json, servers: Json) -> None:
        """Bring what was answered into the table; the cursor stays on its session."""
        at = time.monotonic()
        seconds = at - self._before_at if self._before_at else 0.0
        sessions = {session_key(record): record for record in answer.get("sessions") or ()}
        made = {f"s{key}": parse_session(record, self._before.get(key), seconds) for key, record in sessions.items()}
        alarms = {row.get("id"): row.get("alarms") or [] for row in servers.get("servers") or ()}
        for record in answer.get("servers") or ():
            row = parse_server(record, alarms.get(record.get("server_id"), []))
            if row is not None:
                made[f"v{record.get('server_id')}"] = row
        self._before, self._before_at = sessions, at
        gone = [key for key in self.rows.records if key not in made]
        none = "no OpenVPN server is known: n makes one known" if not alarms else "nobody is connected"
        self.table.empty = Safe(none)
        self.table.changed(self.rows.update(made, gone))
        self.pane.retitle()
        self._summary(answer)

    def _summary(self, answer: Json) -> None:
        servers = answer.get("servers") or ()
        seen = sum(record.get("error") is None for record in servers)
        said = f"{len(answer.get('sessions') or ())} sessions, {seen} of {len(servers)} servers seen"
        role = "ok" if seen == len(servers) else "bad"
        if self._open:
            said, role = f"{said}; {self._open} revocations NOT EFFECTIVE yet: F goes on with them", "bad"
        self.query_one("#summary", Line).say(Safe(said), role)

    def action_refresh(self) -> None:
        self._asked_at, self._counted_at = -EVERY, -REVOCATIONS_EVERY
        self.tick()

    # Changing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What changes something is greyed, not hidden, while nothing may be changed."""
        return None if action in _CHANGING and self.console.read_only else True

    def action_kill(self) -> None:
        """End the marked sessions, or the one under the cursor."""
        marked = [self.rows.records.get(key) for key in self.rows.marked()]
        chosen = [row for row in marked or [self.current] if row is not None and row.client_id is not None]
        if not chosen:
            self.console.say("no session here that can be ended", "warn")
            return
        items = [{"server": row.record.get("server_id"), "client_id": row.client_id} for row in chosen]
        label = chosen[0].name if len(chosen) == 1 else Safe(f"{len(chosen)} sessions")
        self._order("vpn.sessions.kill", {"items": items}, f"ending the session of {label}")

    def action_publish(self) -> None:
        row = self.current
        if row is None:
            self.console.say("no server here", "warn")
        else:
            data = {"id": row.record.get("server_id")}
            self._order("vpn.servers.publish_crl", data, f"publishing the list to {row.server}")

    def action_enforce(self) -> None:
        """Go on with every revocation that is not effective."""
        if self._open:
            self._order("vpn.revocations.enforce", {}, f"finishing {self._open} revocations")
        else:
            self.console.say("every revocation is effective", "ok")

    def _order(self, operation: str, data: Json, label: str) -> None:
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
            return
        self.perform(client, Order(operation, data, Safe(label)))

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, order: Order) -> None:
        """Plan, confirm, call, report; the servers are asked anew afterwards."""
        with reported(self.console, order.label):
            await Performing(self.console, client).finish(order)
        self.action_refresh()

    def action_new(self) -> None:
        """Make a server known; of which authority is asked where there are several."""
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
        else:
            self.make_known(client)

    @work(group="form", exclusive=True, exit_on_error=False)
    async def make_known(self, client: Client) -> None:
        """The authority first, then the form."""
        with reported(self.console, "listing the authorities"):
            cas = {str(row.get("id")): row for row in rows_of(await client.call("vpn.cas.list", {}))}
            if not cas:
                self.console.say("a server needs an authority first: A on the VPN screen, then n", "warn")
                return
            chosen: str | None = next(iter(cas))
            if len(cas) > 1:
                offered = [Entry(key, "", Safe(row.get("name"))) for key, row in cas.items()]
                chosen = await self.app.push_screen_wait(Menu(Safe("its clients are of"), offered))
            if chosen:
                await self.app.push_screen_wait(ServerForms(self.console, client).create(cas[chosen]))
        self.action_refresh()

    def action_edit(self) -> None:
        row, client = self.current, self.console.client
        if row is None or client is None:
            self.console.say("no server here", "warn")
        else:
            self.change_record(client, row)

    @work(group="form", exclusive=True, exit_on_error=False)
    async def change_record(self, client: Client, row: SessionRow) -> None:
        """The record as it is now, in its form."""
        with reported(self.console, f"reading the record of {row.server}"):
            record = await client.call("vpn.servers.get", {"id": row.record.get("server_id")})
            await self.app.push_screen_wait(ServerForms(self.console, client).edit(record))
        self.action_refresh()

    def action_inspect(self) -> None:
        row, client = self.current, self.console.client
        if row is None or client is None:
            self.console.say("no server here", "warn")
        else:
            self.inspect(client, row)

    @work(group="inspect", exclusive=True, exit_on_error=False)
    async def inspect(self, client: Client, row: SessionRow) -> None:
        """Look at the server of this row now and say what is wrong with it."""
        with reported(self.console, f"looking at {row.server}"):
            seen = await client.call("vpn.servers.inspect", {"id": row.record.get("server_id")})
            await self.app.push_screen_wait(FindingsPane(Safe(f"server {row.server}"), findings(seen)))
        self.action_refresh()

    def action_actions(self) -> None:
        row = self.current
        if row is None:
            self.console.say("nothing here", "warn")
        else:
            self.app.push_screen(Menu(row.name, entries(row, self.console.read_only)), self._chosen)

    async def _chosen(self, chosen: str | None) -> None:
        if chosen:
            await self.run_action(chosen)


class FindingsPane(ConsoleModal[None]):
    """What a look found, sentence by sentence."""

    DEFAULT_CSS = "FindingsPane VerticalScroll { height: auto; max-height: 16; }"

    def __init__(self, title: Safe, lines: Sequence[tuple[Safe, str]]) -> None:
        super().__init__()
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content((self._title, "bold")))
            with VerticalScroll():
                for text, role in self._lines:
                    yield Static(content((text, role)))
            yield Line(content(("esc goes back", "dim")))


def findings(seen: Json) -> list[tuple[Safe, str]]:
    """What a look found, each with its style; when nothing is wrong, what is right."""
    facts: Any = (seen.get("sight") or {}).get("facts") or {}
    crl, daemon = facts.get("crl") or {}, facts.get("daemon") or {}
    styles = {"red": "$error", "amber": "$warning"}
    said = [
        (Safe(f"{one.get('message')}; {one.get('remedy')}"), styles.get(str(one.get("level")), ""))
        for one in seen.get("alarms") or ()
    ]
    said += [(Safe(one), "$warning") for one in facts.get("differences") or ()]
    said += [(Safe(f"configuration: {one}"), "") for one in (facts.get("config") or {}).get("problems") or ()]
    if not said:
        until = str(crl.get("next_update"))[:16].replace("T", " ")
        said = [
            (Safe(f"{daemon.get('version') or 'the daemon'} runs with {daemon.get('sessions')} sessions"), "$success"),
            (Safe(f"list {crl.get('number')} with {crl.get('entries')} entries is good until {until} UTC"), "$success"),
        ]
    return said


def entries(row: SessionRow, read_only: Safe) -> list[Entry]:
    """The action menu of a row."""
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    session = Safe("this is a server") if row.is_server else Safe("")
    number = session or (Safe("") if row.client_id is not None else Safe("this OpenVPN tells no client ids"))
    found = [
        ("kill", "K", "end this session", frozen or number),
        ("inspect", "i", "look at its server", Safe("")),
        ("publish", "p", "publish the newest list to its server", frozen),
        ("enforce", "F", "finish open revocations", frozen),
        ("edit", "e", "edit the record of its server", frozen),
        ("new", "n", "make another server known", frozen),
    ]
    return [Entry(name, letter, Safe(title), not why, why) for name, letter, title, why in found]
