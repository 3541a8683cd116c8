"""All bindings of the console, also those of screens nobody has opened yet; for the keymap and its documentation."""

from __future__ import annotations

import importlib
import pkgutil
import string
from collections.abc import Iterator
from pathlib import Path

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import _character_to_key
from textual.screen import ModalScreen, Screen

import screens
from screens.shell.keymap import Bound, Keymap, read


def load_all() -> None:
    """Import every module of the screens, so that their bindings are known. None of them is heavy."""
    for module in pkgutil.walk_packages(screens.__path__, "screens."):
        importlib.import_module(module.name)


def all_bindings() -> Iterator[Bound]:
    """What the loaded modules bind."""
    waiting: list[type[DOMNode]] = [DOMNode]
    seen: set[type[DOMNode]] = set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        waiting += node.__subclasses__()
        if node.__module__.startswith("screens."):
            yield from _of(node)


def _of(node: type[DOMNode]) -> Iterator[Bound]:
    for binding in vars(node).get("BINDINGS", ()):
        if isinstance(binding, Binding) and binding.id:
            keys = tuple(_character_to_key(key) if len(key) == 1 else key for key in binding.key.split(","))
            yield Bound(binding.id, keys, node.__name__, _kind(node))


def _kind(node: type[DOMNode]) -> str:
    for base, kind in ((App, "app"), (ModalScreen, "modal"), (Screen, "screen")):
        if issubclass(node, base):
            return kind
    return "pane" if node.__name__.endswith("Pane") else "widget"


def character_names() -> dict[str, str]:
    """The library's names of printable ASCII characters."""
    return {character: _character_to_key(character) for character in string.printable if character.isprintable()}


def load_keymap(path: Path) -> Keymap:
    """Read the keymap file against all bindings there are; slow enough for a thread."""
    load_all()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Keymap({}, (f"{path}: cannot be read ({error}); the default keys are used",))
    return read(text, str(path), all_bindings(), character_names())
