"""What the tree screen knows: nodes as far as they were read, which are open, and the rows this makes.

No terminal and no house here. A node is known by the way to it (`p1/a7/a9/i3`), since an application hangs under its
parent and may also stand at the top of its own product line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from screens.render.cmdb import TreeRow, note_of
from screens.text import Safe

Json = Mapping[str, Any]
_RANK = {"production": 0, "application": 1, "instance": 2}
ROOT = ""
MOST_OPENED = 5000
"""Rows that are opened at once: more than anybody reads, and painted before the next key."""


@dataclass(slots=True)
class Node:
    """`children` are keys in order, None while they were not read."""

    key: str
    kind: str
    id: int
    name: str
    full_name: str
    path: tuple[tuple[int, str, int], ...]
    can_open: bool
    children: list[str] | None = None
    opened: bool = False
    match: bool = False
    data: Json = field(default_factory=dict)


class Tree:
    """Nodes by key. `rows` is what is to be shown."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.top: list[str] = []
        self.counts: dict[tuple[str, int], Json] = {}

    def put(self, parent: str, found: Iterable[Json], *, opened: bool = False) -> list[str]:
        """Children of `parent` (ROOT: the product lines), in the place of those before. What stays keeps what is open
        below it."""
        over = self.nodes.get(parent)
        base = over.path if over is not None else ()
        keys = [self._put(parent, base, node) for node in found]
        before = self.top if over is None else over.children or []
        for key in before:
            if key not in keys:
                self._forget(key)
        if over is None:
            self.top = keys
        else:
            over.children = keys
            over.opened = over.opened or opened
        return keys

    def _put(self, parent: str, base: tuple[tuple[int, str, int], ...], data: Json) -> str:
        kind, number, name = str(data.get("kind")), int(data.get("id") or 0), str(data.get("name") or "")
        key = f"{parent}/{kind[:1]}{number}" if parent else f"{kind[:1]}{number}"
        last = (_RANK.get(kind, 3) if number or kind != "production" else 9, name.lower(), number)
        known = self.nodes.get(key)
        node = Node(
            key, kind, number, name, str(data.get("full_name") or name), (*base, last), bool(data.get("has_child"))
        )
        node.data, node.match = data, bool(data.get("match"))
        if known is not None:
            node.children, node.opened = known.children, known.opened
            if known.path != node.path:
                node.children = None
        self.nodes[key] = node
        return key

    def _forget(self, key: str) -> None:
        stack = [key]
        while stack:
            gone = self.nodes.pop(stack.pop(), None)
            stack += gone.children or [] if gone is not None else []

    def fold(self, key: str) -> None:
        """Close a node; what is open below it stays so for the next time."""
        self.nodes[key].opened = False

    def parent_of(self, key: str) -> str:
        return key.rpartition("/")[0]

    def shown(self) -> list[Node]:
        """The nodes that are to be seen, in order."""
        found: list[Node] = []
        stack = self.top[::-1]
        while stack:
            node = self.nodes.get(stack.pop())
            if node is None:
                continue
            found.append(node)
            if node.opened and node.children:
                stack += reversed(node.children)
        return found

    def rows(self) -> dict[str, TreeRow]:
        """A row for every node that is to be seen."""
        return {node.key: self.row(node) for node in self.shown()}

    def row(self, node: Node) -> TreeRow:
        counted = self.counts.get((node.kind, node.id))
        status = str(node.data.get("status") or "")
        if node.kind == "instance" and node.data.get("host_state") not in (None, "ok") and status != "stopped":
            status = "unreachable"
        return TreeRow(
            key=node.key,
            path=node.path,
            kind=node.kind,
            id=node.id,
            name=Safe(node.name),
            full_name=Safe(node.full_name),
            open=(node.opened and node.children is not None) if node.can_open else None,
            applications=None if counted is None else int(counted.get("applications") or 0),
            states=None if counted is None else dict(counted.get("instances") or {}),
            status=status,
            note=note_of(node.data),
            match=node.match,
        )

    def countable(self, keys: Sequence[str]) -> list[Json]:
        """What of these can be counted, each once, as `cmdb.tree.rollup` wants it."""
        found: dict[tuple[str, int], Json] = {}
        for key in keys:
            node = self.nodes.get(key)
            if node is not None and node.kind != "instance":
                found[node.kind, node.id] = {"kind": node.kind, "id": node.id}
        return list(found.values())

    def count(self, answer: Iterable[Json]) -> None:
        """Take an answer of `cmdb.tree.rollup`."""
        for one in answer:
            self.counts[str(one.get("kind")), int(one.get("id") or 0)] = one


def found_tree(answer: Json) -> Tree:
    """The tree of what a search found: matches and what stands over them, all of it open."""
    tree = Tree()
    nodes = [node for node in answer.get("nodes") or () if isinstance(node, Mapping)]
    lines = [node for node in nodes if node.get("kind") == "production"]
    applications = {int(node.get("id") or 0): node for node in nodes if node.get("kind") == "application"}
    under: dict[int | None, list[Json]] = {}
    for node in applications.values():
        parent = node.get("parent")
        under.setdefault(parent if parent in applications else None, []).append(node)
    tree.put(ROOT, lines)
    tops: dict[int, list[Json]] = {}
    for node in under.get(None, []):
        line = int(node.get("production") or 0)
        tops.setdefault(line if f"p{line}" in tree.nodes else -1, []).append(node)
    for line, found in tops.items():
        if line == -1:
            tree.put(ROOT, [*lines, *found])
        else:
            _open_all(tree, f"p{line}", found, under)
    for node in tops.get(-1, []):
        key = f"a{node.get('id')}"
        _open_all(tree, key, under.get(int(node.get("id") or 0), []), under)
    return tree


def _open_all(tree: Tree, key: str, found: list[Json], under: Mapping[int | None, list[Json]]) -> None:
    stack = [(key, found)]
    while stack:
        parent, children = stack.pop()
        if not children:
            continue
        children.sort(key=lambda node: (str(node.get("name")).lower(), int(node.get("id") or 0)))
        for child, node in zip(tree.put(parent, children, opened=True), children, strict=True):
            stack.append((child, under.get(int(node.get("id") or 0), [])))


def below_tree(tree: Tree, key: str, rows: Sequence[Sequence[Any]], most: int = MOST_OPENED) -> bool:
    """Open everything under an application that `cmdb.tree.below` answered, the upper levels first; False when it was
    more than `most` and what lies deeper is still closed."""
    node = tree.nodes[key]
    under: dict[int | None, list[Json]] = {}
    parents = {row[1] for row in rows}
    for number, parent, line, name in rows:
        child = {"kind": "application", "id": number, "parent": parent, "production": line, "name": name}
        under.setdefault(parent, []).append({**child, "full_name": name, "has_child": number in parents})
    queue = [(key, under.get(node.id, []))]
    for place, children in queue:
        if not children:
            continue
        if len(children) > most:
            return False
        most -= len(children)
        children.sort(key=lambda child: (str(child["name"]).lower(), int(child["id"])))
        keys = tree.put(place, children, opened=True)
        queue += [(one, under.get(int(child["id"]), [])) for one, child in zip(keys, children, strict=True)]
    return True
