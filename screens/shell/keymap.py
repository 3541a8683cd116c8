"""The operator's own keys: `keymap.toml` in the home, checked line by line: a mistake costs one key and not all.

[keys]
"services.restart" = "ctrl+t,f5"
table.down = "n"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

KEPT: Final = frozenset({"escape", "ctrl+c"})
"""Keys that always mean the same: the way out."""
TAKEN_BY_TERMINALS: Final = {
    "ctrl+h": "backspace",
    "ctrl+i": "tab",
    "ctrl+j": "enter",
    "ctrl+m": "enter",
    "ctrl+[": "escape",
    "ctrl+left_square_bracket": "escape",
}
_NAMED: Final = frozenset(
    ["enter", "tab", "space", "backspace", "delete", "insert", "home", "end", "pageup", "pagedown"]
    + ["up", "down", "left", "right"]
    + [f"f{number}" for number in range(1, 25)]
)
_KEY: Final = re.compile(r"((?:ctrl\+|alt\+|shift\+)*)(.+)")


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding as it is by default. `context` is the class that has it, `kind` app, screen, modal, pane or widget."""

    id: str
    keys: tuple[str, ...]
    context: str
    kind: str


@dataclass(frozen=True, slots=True)
class Keymap:
    """`keys` for the library, and a sentence for everything that was wrong."""

    keys: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read(text: str, where: str, bound: Iterable[Bound], normal: Mapping[str, str]) -> Keymap:
    """Check a keymap file. `normal` are the library's names of characters (`?` is `question_mark`)."""
    import tomllib

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Keymap({}, (f"{where}: {error}; the default keys are used",))
    known = {binding.id: binding for binding in bound}
    notes = [
        f"{where} line {_line_of(text, name)}: {name}: not known here; keys stand under [keys]"
        for name in raw
        if name != "keys"
    ]
    table = raw.get("keys", {})
    wanted: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for name, value in _flat(table if isinstance(table, dict) else {}):
        lines[name] = _line_of(text, name)
        found = _checked(name, value, known, normal)
        if isinstance(found, str):
            notes.append(f"{where} line {lines[name]}: {name}: {found}")
        else:
            wanted[name] = found
    notes += [f"{where} {note}" for note in _drop_clashes(wanted, lines, known)]
    return Keymap({name: ",".join(keys) for name, keys in wanted.items()}, tuple(notes))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """TOML reads `table.down = …` as a table in a table; ids have dots."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _checked(name: str, value: Any, known: Mapping[str, Bound], normal: Mapping[str, str]) -> tuple[str, ...] | str:
    """The keys in the library's names, or what is wrong with them."""
    if name not in known:
        import difflib

        close = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"no such id{hint}"
    if KEPT & set(known[name].keys):
        return "esc and ctrl+c keep their meaning; the default is used"
    if not isinstance(value, str) or not value.strip():
        return 'must be a text of keys, such as "f5" or "n,down"; the default is used'
    keys = []
    for key in [","] if value.strip() == "," else value.split(","):
        normalized = _normalized(key.strip(), normal)
        problem = _problem(key.strip(), normalized)
        if problem:
            return f"{problem}; the default is used"
        keys.append(normalized)
    return tuple(dict.fromkeys(keys))


def _normalized(key: str, normal: Mapping[str, str]) -> str:
    key = {"esc": "escape", "return": "enter", "del": "delete", "ctrl+esc": "ctrl+escape"}.get(key, key)
    return normal.get(key, key) if len(key) == 1 else key.lower()


def _problem(written: str, key: str) -> str | None:
    if key in KEPT:
        return f"{written} keeps its meaning"
    if key in TAKEN_BY_TERMINALS:
        return f"{written} is {TAKEN_BY_TERMINALS[key]} to a terminal"
    if len(written) == 1:
        return None if written.isprintable() else "not a key"
    match = _KEY.fullmatch(key)
    modifiers, rest = (match.group(1), match.group(2)) if match else ("", key)
    if rest in _NAMED or (len(rest) == 1 and modifiers and rest.isascii() and rest.isprintable()):
        return None
    return None if not modifiers and key.isidentifier() and "_" in key else f"{written!r} is no key"


def _drop_clashes(
    wanted: dict[str, tuple[str, ...]], lines: Mapping[str, int], known: Mapping[str, Bound]
) -> Iterator[str]:
    """Take out of `wanted` what would put two meanings on one key, until none is left."""
    while True:
        clash = _first_clash(wanted, known)
        if clash is None:
            return
        one, other, key = clash
        wrong, right = (one, other) if one in wanted else (other, one)
        if one in wanted and other in wanted and lines[other] > lines[one]:
            wrong, right = other, one
        also = f" (line {lines[right]})" if right in wanted else ""
        del wanted[wrong]
        yield f"line {lines[wrong]}: {wrong}: {key} is already {right}{also}; the default is used"


def _first_clash(wanted: Mapping[str, tuple[str, ...]], known: Mapping[str, Bound]) -> tuple[str, str, str] | None:
    by_key: dict[str, list[Bound]] = {}
    for binding in known.values():
        for key in wanted.get(binding.id, binding.keys):
            by_key.setdefault(key, []).append(binding)
    for key, found in by_key.items():
        for one, other in combinations(found, 2):
            asked = one.id in wanted or other.id in wanted
            by_default = key in one.keys and key in other.keys
            if asked and not by_default and _together(one, other):
                return one.id, other.id, key
    return None


def _together(one: Bound, other: Bound) -> bool:
    """Whether both can be reached with the same focus: a table and its screen, but not two screens."""
    if one.context == other.context:
        return True
    return one.kind != other.kind and {one.kind, other.kind} not in ({"app", "modal"}, {"screen", "modal"})


def _line_of(text: str, name: str) -> int:
    """The line where a name stands, whether quoted, bare, or the last part of a table's names."""
    last = name.rpartition(".")[2]
    for pattern in (rf'\s*"?{re.escape(name)}"?\s*=', rf'\s*\[?"?{re.escape(last)}"?\s*[=\]]'):
        for number, line in enumerate(text.splitlines(), start=1):
            if re.match(pattern, line):
                return number
    return 1
