"""The modes: one full screen each, on the number keys, with a stack of screens of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from screens.frame import ConsoleScreen


@dataclass(frozen=True, slots=True)
class Mode:
    """`where` is `module:class`, imported when the mode is first opened."""

    name: str
    key: str
    where: str

    def screen(self) -> ConsoleScreen:
        module, _, name = self.where.partition(":")
        made: ConsoleScreen = getattr(importlib.import_module(module), name)()
        return made


MODES: Final = (
    Mode("home", "0", "screens.home:HomeScreen"),
    Mode("services", "1", "screens.services:ServicesScreen"),
    Mode("hosts", "2", "screens.hosts:HostsScreen"),
    Mode("applications", "3", "screens.cmdb:CmdbScreen"),
    Mode("vpn", "4", "screens.vpn:VpnScreen"),
    Mode("journal", "7", "screens.audit:AuditScreen"),
    Mode("people", "8", "screens.people:PeopleScreen"),
    Mode("approvals", "9", "screens.approvals:ApprovalsScreen"),
)
NUMBERS: Final = "1234567890"


def factories() -> dict[str, Callable[[], ConsoleScreen]]:
    """What the library makes a mode's screen with."""
    return {mode.name: mode.screen for mode in MODES}


def on_key(key: str) -> Mode | None:
    """The mode on a number key."""
    return next((mode for mode in MODES if mode.key == key), None)


def title_of(key: str) -> str:
    """What help says of a number key; nothing where there is no mode."""
    mode = on_key(key)
    return f"go to {mode.name}" if mode else ""
