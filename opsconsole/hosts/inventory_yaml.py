"""The YAML notation of Ansible inventories, read as nodes so that every error has its line."""

from __future__ import annotations

from typing import Any

import yaml

from opsconsole.hosts.found import Found
from opsconsole.hosts.inventory import KNOWN, Group, Inventory

_DEPTH = 50


def parse_yaml(text: str) -> Found:
    """Groups at the top, each with hosts, children and vars."""
    inventory = Inventory()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        inventory.found.wrong(mark.line + 1 if mark is not None else 1, str(problem))
        return inventory.found
    if root is None:
        return inventory.found
    for name, line, node in _entries(inventory, root, "the inventory"):
        _group(inventory, inventory.group(name, line), node, 0)
    return inventory.finish()


def _entries(inventory: Inventory, node: Any, what: str) -> list[tuple[str, int, Any]]:
    """Key, line and value of a mapping; nothing for an empty value."""
    if isinstance(node, yaml.ScalarNode) and node.value in {"", "null", "~"}:
        return []
    if not isinstance(node, yaml.MappingNode):
        inventory.found.wrong(node.start_mark.line + 1, f"{what} must be a mapping")
        return []
    found: list[tuple[str, int, Any]] = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            found.append((str(key.value), key.start_mark.line + 1, value))
        else:
            inventory.found.wrong(key.start_mark.line + 1, f"a key of {what} is no text")
    return found


def _group(inventory: Inventory, group: Group, node: Any, depth: int) -> None:
    if depth > _DEPTH:
        inventory.found.wrong(group.line, f"groups are nested more than {_DEPTH} deep")
        return
    for part, line, value in _entries(inventory, node, f"the group {group.name}"):
        if part == "hosts":
            for pattern, host_line, variables in _entries(inventory, value, f"hosts of {group.name}"):
                own = _variables(inventory, variables, f"the host {pattern}")
                for name in inventory.add_host(pattern, group, host_line):
                    inventory.variables.setdefault(name, {}).update(own)
        elif part == "children":
            for name, child_line, child in _entries(inventory, value, f"children of {group.name}"):
                group.children[name] = child_line
                _group(inventory, inventory.group(name, child_line), child, depth + 1)
        elif part == "vars":
            group.variables.update(_variables(inventory, value, f"vars of {group.name}"))
        else:
            inventory.found.wrong(line, f"{part} of {group.name} is not hosts, children or vars")


def _variables(inventory: Inventory, node: Any, what: str) -> dict[str, tuple[str, int]]:
    return {
        key: (str(value.value), line)
        for key, line, value in _entries(inventory, node, what)
        if key in KNOWN and isinstance(value, yaml.ScalarNode)
    }
