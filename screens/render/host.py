"""How a host's state and the age of what is known about it are said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from screens.text import Safe
from screens.widgets.rows import Cell

STALE_AFTER: Final = 30.0
"""Seconds after which what is known of a host counts as old: several missed readings, not one late one."""

STATES: Final[dict[str, tuple[str, str]]] = {
    "connecting": ("connecting", "busy"),
    "asking": ("asks you", "warn"),
    "ok": ("up", "ok"),
    "unreachable": ("down", "bad"),
    "timeout": ("no answer", "bad"),
    "auth": ("login refused", "bad"),
    "host_key_unknown": ("key unknown", "warn"),
    "host_key_changed": ("KEY CHANGED", "bad"),
    "unsupported": ("no systemd", "unknown"),
    "refused": ("refused", "bad"),
    "protocol": ("unreadable answer", "bad"),
}
LEVELS: Final = ("dev", "stage", "prod")

_GLYPHS: Final = {"ok": "●", "warn": "▲", "bad": "✖", "busy": "◌", "unknown": "?", "muted": "○", "accent": "◆", "": " "}
_PLAIN: Final = {"ok": "+", "warn": "!", "bad": "x", "busy": "~", "unknown": "?", "muted": "-", "accent": "*", "": " "}


def glyph(role: str, plain: bool) -> str:
    """The sign of a role; `plain` keeps to ASCII."""
    return (_PLAIN if plain else _GLYPHS).get(role, " ")


@dataclass(slots=True)
class Seen:
    """When a host was last read, in Unix seconds (None: never), and whether that is from our own records.

    Kept apart and changed in place, so that a reading which changes nothing else makes no row of the table new.
    """

    at: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """One host as `services.watch` tells it. `asked` is its name as given, to ask with and never to show."""

    id: str
    name: Safe
    environment: Safe
    level: str
    tags: tuple[Safe, ...]
    state: str
    error: Safe
    remedy: Safe
    privileged: bool
    version: Safe
    asked: str
    seen: Seen = field(compare=False)

    @property
    def up(self) -> bool:
        return self.state == "ok"

    @property
    def answers(self) -> bool:
        """Whether it lets us in; one without systemd does, though it shows no units."""
        return self.state in ("ok", "unsupported")


def parse_host(data: Mapping[str, object], seen: Seen) -> Host:
    """A host from the event's JSON, with `seen` brought up to date; what is missing is unknown, never ok."""
    tags = data.get("tags")
    seen.at, seen.cached = timestamp(data.get("observed_at")), bool(data.get("cached"))
    return Host(
        id=str(data.get("id")),
        name=Safe(data.get("name")),
        environment=Safe(data.get("environment")),
        level=str(data.get("level") or ""),
        tags=tuple(Safe(tag) for tag in tags) if isinstance(tags, list) else (),
        state=str(data.get("state") or "protocol"),
        error=Safe(data.get("error")),
        remedy=Safe(data.get("remedy")),
        privileged=bool(data.get("privileged")),
        version=Safe(data.get("version")),
        asked=str(data.get("name") or ""),
        seen=seen,
    )


def timestamp(value: object) -> float | None:
    """Unix seconds of an ISO 8601 time or of a number; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError):
        return None


def state_word(state: str) -> tuple[str, str]:
    """Word and role of a host state; an unheard-of state is named as it is and counts as unknown."""
    return STATES.get(state, (str(Safe(state)), "unknown"))


def state_cell(host: Host, plain: bool) -> Cell:
    """Glyph and word of the host's state."""
    word, role = state_word(host.state)
    return Cell(Safe(f"{glyph(role, plain)} {word}"), role)


def span(seconds: float) -> str:
    """A length of time in at most three characters and a unit: `3s`, `12m`, `5h`, `9d`, `14w`, `3y`."""
    seconds = max(seconds, 0.0)
    for size, unit, limit in ((1, "s", 100), (60, "m", 100), (3600, "h", 48), (86400, "d", 100), (604800, "w", 105)):
        if seconds < size * limit:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds // 31557600)}y"


def age_cell(host: Host, now: float) -> Cell:
    """How old what is shown of this host is: `3s`, `stale 2m`, `down 2m`, `never`; `-` where there is nothing to
    show, as on a host without systemd."""
    if host.seen.at is None and host.answers:
        return Cell(Safe("-"), "muted")
    if host.seen.at is None:
        return Cell(
            Safe("…" if host.state == "connecting" else "never"), "busy" if host.state == "connecting" else "bad"
        )
    seconds = now - host.seen.at
    if not host.up and host.state != "connecting":
        return Cell(Safe(f"down {span(seconds)}"), "bad")
    if seconds > STALE_AFTER or host.seen.cached:
        return Cell(Safe(f"stale {span(seconds)}"), "warn")
    return Cell(Safe(span(seconds)), "muted")
