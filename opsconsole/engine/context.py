"""What an operation gets beside its input: who asks, and the house to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opsconsole.engine.caller import Caller

if TYPE_CHECKING:
    from data.database import Database
    from opsconsole.house import House

Progress = Callable[[dict[str, Any]], None]


def _silent(_: dict[str, Any]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """One request. `progress` is told about each target as it ends."""

    house: House
    caller: Caller
    progress: Progress = field(default=_silent)

    @property
    def database(self) -> Database:
        return self.house.database

    def now(self) -> datetime:
        return datetime.now(UTC)
