"""The application tree: product lines, applications, instances, read where it is opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume

from opsconsole.client import Client, Json
from screens.cmdb_changing import CmdbChanging
from screens.cmdb_parts import TreePane, entries
from screens.cmdb_tree import MOST_OPENED, ROOT, Node, Tree, below_tree, found_tree
from screens.frame import ConsoleScreen, reported
from screens.render.cmdb import TreeRow
from screens.render.record import Thing
from screens.text import Safe
from screens.widgets.header import fleet_heading
from screens.widgets.line import Line
from screens.widgets.menu import Menu
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

TICK: Final = 0.5
PAGE: Final = 1000
COUNTED: Final = 200
RELOADED: Final = 200
SIGHTS_EVERY: Final = 5.0
_RECORDS: Final = frozenset({"application", "instance", "production"})


class CmdbScreen(CmdbChanging):
    """Children are read when a node is opened; counts and worst states follow for what is on the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open_node", "open", id="cmdb.open", show=False),
        Binding("left,h", "close_node", "close", id="cmdb.close", show=False),
        Binding("x", "open_below", "open all below", id="cmdb.open_below", show=False),
        Binding("d", "detail", "detail", id="cmdb.detail"),
        Binding("r", "required", "requirements", id="cmdb.required"),
        Binding("l", "logs", "logs", id="cmdb.logs"),
        Binding("n", "new", "new", id="cmdb.new"),
        Binding("e", "edit", "edit", id="cmdb.edit"),
        Binding("M", "move", "move", id="cmdb.move"),
        Binding("A", "attach", "product line", id="cmdb.attach", show=False),
        Binding("R", "require", "require", id="cmdb.require", show=False),
        Binding("I", "instance", "new instance", id="cmdb.instance", show=False),
        Binding("P", "person", "responsible", id="cmdb.person", show=False),
        Binding("S", "act('start')", "start", id="cmdb.start", show=False),
        Binding("X", "act('stop')", "stop", id="cmdb.stop", show=False),
        Binding("B", "act('restart')", "restart", id="cmdb.restart", show=False),
        Binding("p", "protect", "protect", id="cmdb.protect", show=False),
        Binding("D", "delete", "delete", id="cmdb.delete", show=False),
        Binding("N", "new_production", "new product line", id="cmdb.new_production", show=False),
        Binding("a", "actions", "actions", id="cmdb.actions"),
        Binding("ctrl+r", "refresh", "refresh", id="cmdb.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.whole = Tree()
        self._found: Tree | None = None
        self._following: Client | None = None
        self._due, self._sights_due, self._loaded_at = True, False, 0.0
        self._asked: set[tuple[str, int]] = set()

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="cmdb")
        self.pane = TreePane(table, self._find)
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.table.focus()
        self.pane.retitle()
        self.set_interval(TICK, self._tick)
        self._tick()

    @on(ScreenResume)
    def _back_again(self) -> None:
        self._tick()

    @property
    def table(self) -> VirtualTable[TreeRow]:
        return self.pane.table

    @property
    def shown(self) -> Tree:
        """What the table shows: the tree, or what was found in it."""
        return self._found or self.whole

    def narrow(self, text: str) -> None:
        self.pane.apply("/", text)

    # Knowing

    def connected(self, client: Client) -> None:
        if self._following is not client:
            self._following = client
            self.follow(client)
        self._tick()

    def _tick(self) -> None:
        client = self.console.client
        who = self.console.facts
        name = Safe(f"{Safe(who.get('user'))}@{Safe(who.get('hostname'))}" if who else "connecting …")
        self.show_heading(fleet_heading("applications", name, [], 0.0, read_only=self.console.read_only, frozen=False))
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self.connected(client)
            return
        if self._due or (self._sights_due and time.monotonic() - self._loaded_at > SIGHTS_EVERY):
            self._due = self._sights_due = False
            self._loaded_at = time.monotonic()
            self.load(client)
        self._count(client)

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        """Notice what anybody changed."""
        async for batch in client.changes():
            self._due = self._due or any(one.get("lost") or one.get("entity") in _RECORDS for one in batch)
            self._sights_due = self._sights_due or any(one.get("entity") == "host_observation" for one in batch)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Read the roots and everything that is open again, from the top down."""
        with reported(self.console, "reading the applications"):
            await self._read(client, ROOT, {"kind": "root"})
            opened = [node for node in self.whole.shown() if node.opened][:RELOADED]
            for node in opened:
                if node.key in self.whole.nodes:
                    await self._read(client, node.key, {"kind": node.kind, "id": node.id})
            if self._found is not None and self.pane.needle:
                self._found = found_tree(await client.call("cmdb.tree.search", {"needle": self.pane.needle}))
                self._found.counts = self.whole.counts
        self._asked.clear()
        self.table.empty = Safe("no applications: n adds one, N a product line")
        self.paint()

    async def _read(self, client: Client, key: str, query: Json) -> None:
        """All children of one node, page by page."""
        found: list[Json] = []
        while True:
            answer = await client.call("cmdb.tree.children", {**query, "size": PAGE})
            found += answer["nodes"]
            if answer.get("after") is None:
                break
            query = {**query, "after": answer["after"]}
        self.shown.put(key, found) if key else self.whole.put(ROOT, found)

    def _count(self, client: Client) -> None:
        """Ask for the counts of what is on the screen, once after each reading; the old ones stay until they come."""
        first = round(self.table.scroll_y)
        keys = self.rows.shown[first : first + self.table.page + 20]
        wanted = [one for one in self.shown.countable(keys) if (str(one["kind"]), int(one["id"])) not in self._asked][
            :COUNTED
        ]
        if wanted:
            self._asked |= {(str(one["kind"]), int(one["id"])) for one in wanted}
            self.count(client, [dict(one) for one in wanted])

    @work(group="count", exit_on_error=False)
    async def count(self, client: Client, items: list[Json]) -> None:
        with reported(self.console, "counting"):
            answer = await client.call("cmdb.tree.rollup", {"items": items})
            self.whole.count(answer)
            self.paint()

    def paint(self) -> None:
        """Bring what is known into the table; the cursor stays on its node."""
        made = self.shown.rows()
        gone = [key for key in self.rows.records if key not in made]
        if len(made) > 2 * len(self.rows.records) or len(gone) > len(made):
            self.table.changed(self.rows.replace(made))
        else:
            self.table.changed(self.rows.update(made, gone))
        self.pane.retitle()

    # The filter

    def _find(self, needle: str) -> None:
        client = self.console.client
        if not needle or client is None:
            self._found = None
            self.pane.note = Safe("")
            self.paint()
        else:
            self.find(client, needle)

    @work(group="find", exclusive=True, exit_on_error=False)
    async def find(self, client: Client, needle: str) -> None:
        """What matches, with all that stands over it."""
        with reported(self.console, f"looking for {Safe(needle)}"):
            answer = await client.call("cmdb.tree.search", {"needle": needle})
            if needle != self.pane.needle:
                return
            self._found = found_tree(answer)
            self._found.counts = self.whole.counts
            shown = sum(node.match for node in self._found.nodes.values())
            more = "" if answer.get("complete") else f", the first {shown} shown"
            self.pane.note = Safe(f"/{Safe(needle)}: {answer.get('count')} match{more}")
            self.paint()
            first = next((node.key for node in self._found.shown() if node.match), None)
            if first is not None:
                self.table.move_to(first)

    # Moving

    def thing(self) -> Thing | None:
        node = self.current
        return Thing(node.kind, str(node.id), str(node.full_name)) if node is not None and node.id else None

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due = True
        self._tick()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        node = self.current
        if node is None:
            return
        if node.kind == "application":
            self.action_detail()
        elif node.kind == "instance":
            self.action_logs()
        elif node.opened:
            self.action_close_node()
        else:
            self.action_open_node()

    def action_open_node(self) -> None:
        node, client = self.current, self.console.client
        if node is None or client is None or not node.can_open:
            return
        if node.children is not None:
            node.opened = True
            self.paint()
        else:
            self.open_node(client, node)

    @work(group="open", exit_on_error=False)
    async def open_node(self, client: Client, node: Node) -> None:
        with reported(self.console, f"opening {Safe(node.name)}"):
            node.opened = True
            await self._read(client, node.key, {"kind": node.kind, "id": node.id})
            self.paint()

    def action_close_node(self) -> None:
        """Close the node, or go to the one it hangs under."""
        node = self.current
        if node is None:
            return
        if node.opened:
            self.shown.fold(node.key)
            self.paint()
        else:
            self.table.move_to(self.shown.parent_of(node.key))

    def action_open_below(self) -> None:
        node, client = self.current, self.console.client
        if client is not None and node is not None and node.kind == "application":
            self.open_below(client, node)
        else:
            self.console.say("everything below an application is opened, and here is none", "warn")

    @work(group="open", exit_on_error=False)
    async def open_below(self, client: Client, node: Node) -> None:
        """All applications under this one at once."""
        with reported(self.console, f"opening all below {Safe(node.name)}"):
            answer = await client.call("cmdb.tree.below", {"id": node.id})
            if not below_tree(self.shown, node.key, answer["rows"]):
                self.console.say(f"the first {MOST_OPENED} are open, what lies deeper is not", "warn")
            self.paint()

    # Looking closer

    def host_here(self) -> str:
        """The host of the instance under the cursor."""
        node = self.current
        return node.name if node is not None and node.kind == "instance" else ""

    def _push(self, make: Callable[[Client, Node], ConsoleScreen]) -> None:
        node, client = self._application(), self.console.client
        if node is not None and client is not None:
            self.app.push_screen(make(client, node))

    def action_detail(self) -> None:
        from screens.cmdb_detail import ApplicationScreen

        self._push(lambda client, node: ApplicationScreen(client, node.id, node.full_name))

    def action_required(self) -> None:
        """What it requires and what requires it, both ways."""
        from screens.cmdb_graph import GraphScreen

        self._push(lambda client, node: GraphScreen(client, node.id, node.full_name))

    def action_logs(self) -> None:
        """The logs of the instances under the cursor or marked, merged."""
        from screens.cmdb_log import LogScreen, items_of

        client = self.console.client
        nodes = [node for key in self.rows.marked() if (node := self.shown.nodes.get(key)) is not None]
        items, name = items_of(self.shown, nodes or [node for node in (self.current,) if node is not None])
        if client is None or not items:
            self.console.say("no application or instance here", "warn")
        else:
            self.app.push_screen(LogScreen(client, items, name))

    def action_actions(self) -> None:
        node = self.current
        if node is not None:
            self.app.push_screen(Menu(Safe(node.full_name), entries(node, self.console.read_only)), self._chosen)

    async def _chosen(self, chosen: str | None) -> None:
        if chosen:
            await self.run_action(chosen)
