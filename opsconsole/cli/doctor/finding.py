"""What one check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is an instruction to the operator; empty exactly when there is nothing to do."""

    check: str
    state: State
    finding: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Place:
    """What is examined: the home, the database URL if one is set, and the home of the user for his ssh files."""

    home: Path
    url: str | None
    user_home: Path
