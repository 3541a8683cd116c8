"""What can be changed from the tree: forms, deletion, and which applications are meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from textual import work

from opsconsole.client import Client
from screens.cmdb_forms import CmdbForms
from screens.cmdb_tree import Node, Tree
from screens.frame import ConsoleScreen, reported
from screens.performing import Order, Performing
from screens.render.cmdb import SPEC, TreeRow
from screens.text import Safe
from screens.widgets.rows import Rows
from screens.widgets.table import VirtualTable

_CHANGING: Final = (
    *("new", "edit", "move", "attach", "require", "instance", "person", "act", "protect", "delete"),
    "new_production",
)


class CmdbChanging(ConsoleScreen):
    """The tree screen says which nodes there are; here is what is done with them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Rows[TreeRow] = Rows(SPEC)

    @property
    def table(self) -> VirtualTable[TreeRow]:
        raise NotImplementedError

    @property
    def shown(self) -> Tree:
        """What the table shows."""
        raise NotImplementedError

    @property
    def current(self) -> Node | None:
        """The node under the cursor."""
        return self.shown.nodes.get(self.table.cursor or "")

    def action_refresh(self) -> None:
        """Read everything again."""
        raise NotImplementedError

    def _application(self) -> Node | None:
        """The application under the cursor, or the one whose instance is."""
        node = self.current
        if node is not None and node.kind == "instance":
            node = self.shown.nodes.get(self.shown.parent_of(node.key))
        if node is None or node.kind != "application":
            self.console.say("no application here", "warn")
            return None
        return node

    # Changing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What changes something is greyed, not hidden, while nothing may be changed."""
        return None if action in _CHANGING and self.console.read_only else True

    def _targets(self) -> tuple[list[int], str]:
        """The marked applications, else the one under the cursor, and what to call them."""
        marked = [self.shown.nodes[key] for key in self.rows.marked() if key in self.shown.nodes]
        found = list({node.id: node for node in marked if node.kind == "application"}.values())
        if not found:
            node = self._application()
            found = [node] if node is not None else []
        name = str(Safe(found[0].full_name)) if len(found) == 1 else f"{len(found)} applications"
        return [node.id for node in found], name

    def _form(self, make: Callable[[CmdbForms], Any]) -> None:
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
        else:
            self.app.push_screen(make(CmdbForms(self.console, client)), self._done)

    def _done(self, answer: Any) -> None:
        if answer is not None:
            self.table.action_clear_marks()
            self.action_refresh()

    def _with(self, make: Callable[[CmdbForms, int, str], Any]) -> None:
        node = self._application()
        if node is not None:
            self._form(lambda forms: make(forms, node.id, str(Safe(node.full_name))))

    def _with_all(self, make: Callable[[CmdbForms, Sequence[int], str], Any]) -> None:
        ids, name = self._targets()
        if ids:
            self._form(lambda forms: make(forms, ids, name))

    def action_new(self) -> None:
        node = self.current
        parent = node.full_name if node is not None and node.kind == "application" else ""
        self._form(lambda forms: forms.create(parent))

    def action_new_production(self) -> None:
        self._form(lambda forms: forms.production())

    def action_move(self) -> None:
        self._with_all(lambda forms, ids, name: forms.move(ids, name))

    def action_attach(self) -> None:
        self._with_all(lambda forms, ids, name: forms.attach(ids, name))

    def action_require(self) -> None:
        self._with(lambda forms, number, name: forms.require(number, name))

    def action_instance(self) -> None:
        self._with(lambda forms, number, name: forms.instance(number, name))

    def action_person(self) -> None:
        self._with(lambda forms, number, name: forms.person(number, name))

    def action_edit(self) -> None:
        node, client = self._application(), self.console.client
        if node is not None and client is not None:
            self.edit(client, node.id)

    @work(group="act", exit_on_error=False)
    async def edit(self, client: Client, number: int) -> None:
        with reported(self.console, "reading the application"):
            record = await client.call("cmdb.applications.get", {"id": number})
            self._form(lambda forms: forms.edit(record))

    def action_act(self, verb: str) -> None:
        """Start, stop or restart the instances that are marked, else the one under the cursor; a worker does it."""
        client = self.console.client
        nodes = [node for key in self.rows.marked() if (node := self.shown.nodes.get(key)) is not None]
        here = [self.current] if self.current is not None else []
        chosen = [node for node in nodes or here if node.kind == "instance"]
        owners = {int(node.data.get("parent") or 0) for node in chosen}
        if client is None or len(owners) != 1:
            self.console.say("instances of one application are started together, and here are none", "warn")
            return
        data = {"id": owners.pop(), "items": [{"id": node.id} for node in chosen]}
        where = Safe(chosen[0].name) if len(chosen) == 1 else Safe(f"{len(chosen)} hosts")
        self.perform(client, Order(f"cmdb.instances.{verb}", data, Safe(f"{verb} on {where}"), preview=True))

    def action_protect(self) -> None:
        """Protect the application, or take the protection off."""
        node, client = self._application(), self.console.client
        if node is not None and client is not None:
            on = bool(node.data.get("protected"))
            verb, doing = ("unprotect", "taking the protection off") if on else ("protect", "protecting")
            order = Order(f"cmdb.applications.{verb}", {"id": node.id}, Safe(f"{doing} {Safe(node.full_name)}"))
            self.perform(client, order)

    def action_delete(self) -> None:
        """The application, the instance or the product line under the cursor, from the records."""
        node, client = self.current, self.console.client
        if node is None or client is None or (node.kind == "production" and not node.id):
            self.console.say("nothing to delete here", "warn")
            return
        name = Safe(node.full_name)
        if node.kind == "instance":
            data = {"id": node.data.get("parent"), "items": [{"id": node.id}]}
            order = Order("cmdb.instances.remove", data, Safe(f"removing the instance on {name}"))
        elif node.kind == "production":
            order = Order("cmdb.productions.delete", {"id": node.id}, Safe(f"deleting the product line {name}"))
        else:
            order = Order("cmdb.applications.delete", {"id": node.id}, Safe(f"deleting {name}"))
        self.perform(client, order)

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, order: Order) -> None:
        with reported(self.console, order.label):
            await Performing(self.console, client).finish(order)
        self.action_refresh()
