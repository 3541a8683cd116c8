"""How a task goes through its targets: in waves, so many at once, and when it stops by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from opsconsole.engine.errors import InvalidParameter

_WAVE = re.compile(r"[1-9][0-9]{0,5}|(?:[1-9]|[1-9][0-9]|100)%|rest")
_MOST_WAVES = 20


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """`waves` are counts, shares of all targets, or `rest` (`1`, `10%`, `rest`); none means all at once.

    `limit` targets at most are worked on at once; after `stop_after` failed or unknown ones nothing more is begun.
    `attached` performs it in the caller's own process, with his agent and his answers, and ends with it.
    """

    waves: tuple[str, ...] = ()
    limit: int | None = None
    stop_after: int | None = None
    attached: bool = False

    def __post_init__(self) -> None:
        for wave in self.waves:
            if not _WAVE.fullmatch(wave):
                raise InvalidParameter(field="waves", reason=f"{wave!r} is no count, no share (10%) and not rest")
        if len(self.waves) > _MOST_WAVES:
            raise InvalidParameter(field="waves", reason=f"at most {_MOST_WAVES}")
        if "rest" in self.waves[:-1]:
            raise InvalidParameter(field="waves", reason="rest can only come last")
        for name, most in (("limit", 500), ("stop_after", 100_000)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise InvalidParameter(field=name, reason=f"must be from 1 to {most}")

    @classmethod
    def kept(cls, row: Mapping[str, Any]) -> Self:
        """From a task's row."""
        return cls.of({name: row.get(name) for name in ("waves", "limit", "stop_after")})

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From JSON; an unknown name is an error."""
        unknown = set(given) - {"waves", "limit", "stop_after", "attached"}
        if unknown:
            raise InvalidParameter(field=min(unknown), reason="tasks take waves, limit, stop_after and attached")
        waves = given.get("waves") or ()
        if isinstance(waves, str):
            waves = tuple(part.strip() for part in waves.split(","))
        return cls(tuple(waves), given.get("limit"), given.get("stop_after"), bool(given.get("attached")))

    def as_json(self) -> dict[str, Any]:
        return {"waves": list(self.waves), "limit": self.limit, "stop_after": self.stop_after}

    def sizes(self, total: int) -> list[int]:
        """The number of targets of each wave; what is left over is a wave of its own, and none is empty."""
        sizes: list[int] = []
        left = total
        for wave in self.waves:
            wanted = left if wave == "rest" else _count(wave, total)
            taken = min(left, wanted)
            if taken:
                sizes.append(taken)
            left -= taken
        return [*sizes, left] if left else sizes


def _count(wave: str, total: int) -> int:
    return max(1, -(-total * int(wave[:-1]) // 100)) if wave.endswith("%") else int(wave)
