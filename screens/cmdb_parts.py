"""Parts of the tree screen: the pane whose filter the house answers, and the action menu of a node."""

from __future__ import annotations

from collections.abc import Callable

from screens.cmdb_tree import Node
from screens.render.cmdb import TreeRow
from screens.text import Safe
from screens.widgets.menu import Entry
from screens.widgets.panes import ListPane
from screens.widgets.table import VirtualTable


class TreePane(ListPane[TreeRow]):
    """A list whose filter is asked of the house, which knows the whole tree; order and groups are the tree's own."""

    def __init__(self, table: VirtualTable[TreeRow], find: Callable[[str], None]) -> None:
        super().__init__(table, "applications")
        self._find = find
        self.needle = ""

    def apply(self, purpose: str, text: str) -> None:
        if text.strip() != self.needle:
            self.needle = text.strip()
            self._find(self.needle)

    async def action_filter(self) -> None:
        await self.ask("/", self.needle, "a piece of the full name; below three characters its beginning")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in ("sort", "reverse", "group", "freeze")

    def step_back(self) -> bool:
        if self.needle and self.table.rows.marking.anchor is None:
            self.apply("/", "")
            return True
        return super().step_back()


def entries(node: Node, read_only: Safe) -> list[Entry]:
    """The action menu of a node."""
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    other = Safe("" if node.kind != "production" else "only applications have that")
    one = Safe("" if node.kind == "instance" else "open the application and go to an instance")
    none = Safe("this is no product line" if node.kind == "production" and not node.id else "")
    found = [
        ("detail", "d", "all that is known", other),
        ("required", "r", "what it requires, and what requires it", other),
        ("logs", "l", "its logs", other),
        ("new", "n", "new application here", frozen),
        ("edit", "e", "edit its fields", frozen or other),
        ("move", "M", "move it (or all that are marked)", frozen or other),
        ("attach", "A", "to another product line", frozen or other),
        ("require", "R", "say what it requires", frozen or other),
        ("instance", "I", "new instance on a host", frozen or other),
        ("person", "P", "somebody answers for it", frozen or other),
        ("protect", "p", "take the protection off" if node.data.get("protected") else "protect it", frozen or other),
        ("act('start')", "S", "start the instance", frozen or one),
        ("act('stop')", "X", "stop it", frozen or one),
        ("act('restart')", "B", "restart it", frozen or one),
        ("delete", "D", "delete it from the records", frozen or none),
    ]
    return [Entry(name, letter, Safe(title), not why, why) for name, letter, title, why in found]
