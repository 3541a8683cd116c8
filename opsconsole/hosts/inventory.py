"""Ansible inventories: groups become tags, variables of the connection become fields.

The file is only read, never rendered: a template in a value is an error with its line, not a guess.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from opsconsole.hosts.fields import host_name
from opsconsole.hosts.found import Found, FoundHost

Value = tuple[str, int]
_ADDRESS = ("ansible_host", "ansible_ssh_host")
_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_BECOME = ("ansible_become",)
KNOWN = frozenset((*_ADDRESS, *_PORT, *_USER, *_BECOME))
_RANGE = re.compile(r"\[([^\[\]]+)\]")
_GROUP = re.compile(r"\w[\w.:/-]*")
_NO_TAG = frozenset({"all", "ungrouped"})
_MOST = 100_000


@dataclass(slots=True)
class Group:
    name: str
    line: int
    hosts: set[str] = field(default_factory=set)
    children: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Inventory:
    """What both notations are read into."""

    found: Found = field(default_factory=Found)
    groups: dict[str, Group] = field(default_factory=dict)
    variables: dict[str, dict[str, Value]] = field(default_factory=dict)

    def group(self, name: str, line: int) -> Group:
        if name not in self.groups and not _GROUP.fullmatch(name):
            self.found.wrong(line, f"{name!r} is no name of a group")
        return self.groups.setdefault(name, Group(name, line))

    def add_host(self, pattern: str, group: Group, line: int) -> list[str]:
        """Expand ranges and `name:port`; answers the names."""
        try:
            names = list(expand(pattern))
        except ValueError as error:
            self.found.wrong(line, f"{pattern}: {error}")
            return []
        added: list[str] = []
        for text in names:
            name, port = _split_port(text)
            try:
                host_name(name)
            except ValueError as error:
                self.found.wrong(line, f"{name}: {error}")
                continue
            self.found.host(name, line)
            group.hosts.add(name)
            if port is not None:
                self.variables.setdefault(name, {})["ansible_port"] = (port, line)
            added.append(name)
        return added

    def finish(self) -> Found:
        """Apply groups and variables to the hosts: a host's own value wins, then the nearer group, then `all`."""
        parents = self._parents()
        for name, host in self.found.hosts.items():
            lineage = self._lineage(name, parents)
            host.tags = {group for group in lineage if group not in _NO_TAG}
            merged: dict[str, Value] = {}
            for source in (self.variables.get(name, {}), *(self.groups[group].variables for group in lineage)):
                for key, value in source.items():
                    merged.setdefault(key, value)
            _apply(self.found, host, merged)
        return self.found

    def _parents(self) -> dict[str, list[str]]:
        parents: dict[str, list[str]] = {}
        for group in self.groups.values():
            for child, line in group.children.items():
                if child not in self.groups:
                    self.found.wrong(line, f"[{group.name}:children] names {child}, which is no group of this file")
                parents.setdefault(child, []).append(group.name)
        for group in self.groups.values():
            if _in_circle(group.name, parents):
                self.found.wrong(group.line, f"the group {group.name} is its own child")
        return parents

    def _lineage(self, host: str, parents: dict[str, list[str]]) -> list[str]:
        """The groups of a host, nearest first, `all` last."""
        level = sorted(name for name, group in self.groups.items() if host in group.hosts)
        order: list[str] = []
        while level:
            order += [name for name in level if name not in order]
            level = sorted({up for name in level for up in parents.get(name, ())} - set(order))
        if "all" in self.groups:
            order = [name for name in order if name != "all"] + ["all"]
        return order


def _in_circle(start: str, parents: dict[str, list[str]]) -> bool:
    seen: set[str] = set()
    todo = list(parents.get(start, ()))
    while todo:
        name = todo.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            todo += parents.get(name, ())
    return False


def expand(pattern: str) -> Iterator[str]:
    """Every name of `web[01:20:2]-[a:c]`. ValueError says what is wrong with a range."""
    pieces = _RANGE.split(pattern)
    if any(sign in piece for piece in pieces[::2] for sign in "[]"):
        raise ValueError("a bracket is not closed")
    choices = [[piece] if i % 2 == 0 else _range(piece) for i, piece in enumerate(pieces)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > _MOST:
        raise ValueError(f"this range has {total} hosts, more than {_MOST}")
    return ("".join(parts) for parts in product(*choices))


def _range(text: str) -> list[str]:
    parts = text.split(":")
    if len(parts) not in {2, 3} or not all(parts) or (len(parts) == 3 and not (parts[2].isdigit() and int(parts[2]))):
        raise ValueError(f"[{text}] is not [begin:end] or [begin:end:step]")
    begin, end, step = parts[0], parts[1], int(parts[2]) if len(parts) == 3 else 1
    if begin.isdigit() and end.isdigit():
        if int(begin) > int(end):
            raise ValueError(f"[{text}] ends before it begins")
        if (int(end) - int(begin)) // step >= _MOST:
            raise ValueError(f"[{text}] has more than {_MOST} values")
        width = len(begin) if begin.startswith("0") else 0
        return [str(number).zfill(width) for number in range(int(begin), int(end) + 1, step)]
    if len(begin) == len(end) == 1 and begin.isalpha() and end.isalpha() and begin <= end:
        return [chr(code) for code in range(ord(begin), ord(end) + 1, step)]
    raise ValueError(f"[{text}] is neither a range of numbers nor of letters")


def _split_port(text: str) -> tuple[str, str | None]:
    name, colon, port = text.rpartition(":")
    return (name, port) if colon and port.isdigit() and ":" not in name else (text, None)


def _apply(found: Found, host: FoundHost, variables: dict[str, Value]) -> None:
    for key, (value, line) in variables.items():
        if "{{" in value:
            found.wrong(line, f"{key} of {host.name} is a template, which is not evaluated here")
            continue
        if key in _ADDRESS and host.address is None:
            host.address = value
        elif key in _USER and host.ssh_user is None:
            host.ssh_user = value
        elif key in _BECOME:
            host.become = value.lower() in {"true", "yes", "1", "on"}
        elif key in _PORT and host.ssh_port is None:
            if value.isdigit() and 1 <= int(value) <= 65535:
                host.ssh_port = int(value)
            else:
                found.wrong(line, f"{key}={value} of {host.name} is not from 1 to 65535")


def parse_ini(text: str) -> Found:
    """The INI notation."""
    inventory = Inventory()
    group, part = inventory.group("ungrouped", 1), "hosts"
    for line, raw in enumerate(text.splitlines(), start=1):
        stripped = raw.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped.startswith("["):
            section = re.fullmatch(r"\[([^\[\]:]+)(?::(\w+))?\]\s*(?:#.*)?", stripped)
            if section is None or section[2] not in {None, "hosts", "children", "vars"}:
                inventory.found.wrong(line, f"{stripped} is not [group], [group:children] or [group:vars]")
                continue
            group, part = inventory.group(section[1].strip(), line), section[2] or "hosts"
        elif part == "children":
            group.children[stripped.split("#")[0].strip()] = line
        elif part == "vars":
            _ini_variable(inventory, group.variables, stripped, line)
        else:
            _ini_host(inventory, group, stripped, line)
    return inventory.finish()


def _ini_host(inventory: Inventory, group: Group, text: str, line: int) -> None:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        inventory.found.wrong(line, "a quote is not closed")
        return
    variables: dict[str, Value] = {}
    for word in words[1:]:
        _ini_variable(inventory, variables, word, line)
    for name in inventory.add_host(words[0], group, line):
        inventory.variables.setdefault(name, {}).update(variables)


def _ini_variable(inventory: Inventory, into: dict[str, Value], text: str, line: int) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        inventory.found.wrong(line, f"{text!r} is not name=value")
    elif key.strip() in KNOWN:
        into[key.strip()] = (value.strip().strip("\"'"), line)
