"""A file of ssh_config cut into words once, and not once per host: a fleet reads the same file for every host of it.

What the words mean is left to asyncssh; the cutting is its own, line by line.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asyncssh.config import ConfigParseError

_CONDITIONS = frozenset(("host", "match"))
_WHOLE = frozenset(("proxycommand", "remotecommand"))


@dataclass(frozen=True, slots=True)
class Line:
    """`option` is in small letters; `number` counts from one."""

    number: int
    option: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A `Host` or `Match` line and what stands under it; `head` is None before the first one.

    `names` are those of a Host line without any pattern, else None.
    """

    head: Line | None
    names: frozenset[str] | None
    lines: tuple[Line, ...]


def read(path: Path) -> tuple[Block, ...]:
    """The blocks of a file, from memory while it does not change. Raises OSError, ValueError for a quote left open."""
    status = path.stat()
    return _read(path, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=64)
def _read(path: Path, stamp: tuple[int, int, int]) -> tuple[Block, ...]:
    del stamp
    head: Line | None = None
    lines: list[Line] = []
    blocks: list[Block] = []
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, text in enumerate(file, 1):
            stripped = text.strip()
            if not stripped or stripped.startswith("#"):
                continue
            line = _cut(path, number, stripped)
            if line.option in _CONDITIONS:
                blocks.append(Block(head, _names(head), tuple(lines)))
                head, lines = line, []
            else:
                lines.append(line)
    return (*blocks, Block(head, _names(head), tuple(lines)))


def _cut(path: Path, number: int, text: str) -> Line:
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise ConfigParseError(f"{path} line {number}: {error}") from None
    words: list[str] = []
    option = ""
    for place, part in enumerate(parts):
        if part.startswith("="):
            words += [part[1:]] if len(part) > 1 else []
        elif place and option not in _CONDITIONS:
            words += parts[place:]
            break
        else:
            before, equal, after = part.partition("=")
            words += [before, after] if equal and after else [before]
        if place == 0 and words:
            option = words.pop(0).lower()
    if option in _WHOLE:
        words = [text[len(option) :].strip()]
    return Line(number, option, tuple(words))


def _names(head: Line | None) -> frozenset[str] | None:
    if head is None or head.option != "host" or not head.words:
        return None
    text = ",".join(head.words)
    return None if any(sign in text for sign in "*?!") else frozenset(text.split(","))
