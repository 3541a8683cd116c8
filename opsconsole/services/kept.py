"""How a look at a host is kept, and how it is told: shared by the watch and by what is shown before it is there.

Standard library only.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol


class OnHost(Protocol):
    """What is told of the host itself."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def environment(self) -> str | None: ...
    @property
    def level(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


class Kept(NamedTuple):
    """The content of an observation; `seen` is None where the host never answered."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any]
    seen: datetime | None


def packed(kept: Kept) -> bytes:
    """The payload of an observation."""
    seen = kept.seen.isoformat() if kept.seen else None
    return zlib.compress(json.dumps({"rows": kept.rows, "facts": kept.facts, "seen": seen}).encode(), 1)


def unpacked(payload: bytes | None) -> Kept:
    """The content of a payload; of none, that of a host that never answered."""
    if not payload:
        return Kept([], {}, None)
    found = json.loads(zlib.decompress(payload))
    seen = found.get("seen")
    return Kept(found["rows"], found["facts"], datetime.fromisoformat(seen) if seen else None)


def remedy_of(error: Mapping[str, Any] | None) -> str | None:
    """What a kept error says can be done."""
    remedy = (error or {}).get("data", {}).get("remedy")
    return None if remedy is None else str(remedy)


def host_json(
    host: OnHost, state: str, kept: Kept, *, error: Mapping[str, Any] | None, remedy: str | None, cached: bool
) -> dict[str, Any]:
    """A host as screens show it, in an event of `services.watch`."""
    return {
        "id": host.id,
        "name": host.name,
        "environment": host.environment,
        "level": host.level,
        "tags": list(host.tags),
        "state": state,
        "error": error["message"] if error else None,
        "remedy": remedy,
        "observed_at": kept.seen,
        "cached": cached,
        "privileged": kept.facts.get("privileged", True),
        "version": kept.facts.get("version"),
        "clock_skew": kept.facts.get("clock_skew"),
    }


def placed(row: dict[str, Any], host: OnHost) -> dict[str, Any]:
    """A row with the host it stands on; `key` is unique over the fleet."""
    return {
        "key": f"{host.name}/{row['unit']}",
        "host": host.name,
        "host_id": host.id,
        "environment": host.environment,
        **row,
    }
