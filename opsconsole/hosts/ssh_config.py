"""The hosts that ssh_config names: every pattern of a `Host` line without a wildcard.

The file stays the source: for the one that ssh reads itself only the name is taken. What another file says of address,
port and user is recorded, by ssh's own rule that the first value found wins.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from opsconsole.hosts.fields import host_name
from opsconsole.hosts.found import Found, FoundHost

_DEPTH = 16
_WANTED = {"hostname", "port", "user"}


@dataclass(slots=True)
class _Block:
    patterns: tuple[str, ...]
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    def matches(self, name: str) -> bool:
        if any(fnmatchcase(name, p[1:]) for p in self.patterns if p.startswith("!")):
            return False
        return any(fnmatchcase(name, p) for p in self.patterns if not p.startswith("!"))


def parse(text: str, *, base: Path | None = None, with_values: bool) -> Found:
    """Read one file. `base` is the directory of relative Includes (None: Includes are left out, with a note)."""
    reader = _Reader(base)
    reader.read(text, _Block(("*",)), 0, None)
    found = reader.found
    for name, line in reader.names.items():
        host = found.host(name, line)
        if with_values:
            _fill(found, host, reader.blocks)
    return found


class _Reader:
    def __init__(self, base: Path | None) -> None:
        self.base = base
        self.found = Found()
        self.blocks: list[_Block] = []
        self.names: dict[str, int] = {}

    def read(self, text: str, block: _Block, depth: int, outer: int | None) -> None:
        """`outer` is the line of the Include that led here: an included line has no number in the file itself."""
        if not depth:
            self.blocks.append(block)
        for number, raw in enumerate(text.splitlines(), start=1):
            line = outer if outer is not None else number
            words = self._words(raw, line)
            if not words:
                continue
            keyword, values = words[0].lower(), words[1:]
            if not values:
                self.found.wrong(line, f"{words[0]} has no value")
            elif keyword == "host":
                block = self._host(values, line)
            elif keyword == "match":
                block = _Block(())
                self.blocks.append(block)
            elif keyword == "include":
                self._include(values, block, depth, line)
            elif keyword in _WANTED:
                block.options.setdefault(keyword, (values[0], line))

    def _words(self, raw: str, line: int) -> list[str]:
        text = raw.strip()
        if not text or text.startswith("#"):
            return []
        keyword, separator, rest = text.partition("=")
        if separator and not any(sign in keyword.strip() for sign in ' \t"'):
            text = f"{keyword.strip()} {rest.strip()}"
        try:
            return shlex.split(text, comments=False)
        except ValueError:
            self.found.wrong(line, "a quote is not closed")
            return []

    def _host(self, patterns: list[str], line: int) -> _Block:
        block = _Block(tuple(patterns))
        self.blocks.append(block)
        for pattern in patterns:
            if any(sign in pattern for sign in "*?!"):
                continue
            try:
                self.names.setdefault(host_name(pattern), line)
            except ValueError as error:
                self.found.wrong(line, f"Host {pattern}: {error}")
        return block

    def _include(self, values: list[str], block: _Block, depth: int, line: int) -> None:
        if self.base is None:
            self.found.notes.append(f"line {line}: Include is not followed")
            return
        if depth >= _DEPTH:
            self.found.wrong(line, f"Include goes deeper than {_DEPTH} files")
            return
        for value in values:
            pattern = Path(value).expanduser()
            root = Path(pattern.anchor) if pattern.is_absolute() else self.base
            relative = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
            for path in sorted(root.glob(str(relative))):
                try:
                    self.read(path.read_text("utf-8"), block, depth + 1, line)
                except (OSError, UnicodeDecodeError) as error:
                    self.found.wrong(line, f"Include {path}: {error}")


def _fill(found: Found, host: FoundHost, blocks: list[_Block]) -> None:
    first: dict[str, tuple[str, int]] = {}
    for block in blocks:
        if block.matches(host.name):
            for keyword, value in block.options.items():
                first.setdefault(keyword, value)
    if "hostname" in first:
        host.address = first["hostname"][0].replace("%h", host.name).replace("%%", "%")
    if "user" in first:
        host.ssh_user = first["user"][0]
    if "port" in first:
        text, line = first["port"]
        if text.isdigit() and 1 <= int(text) <= 65535:
            host.ssh_port = int(text)
        else:
            found.wrong(line, f"Port {text} is not from 1 to 65535")
