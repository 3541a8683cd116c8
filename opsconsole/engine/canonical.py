"""One way to write JSON for digests and one for people's terminals."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any

_HAZARDS = re.compile(
    "[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z` and microseconds; a naive moment is an error, never a guess."""
    if moment.tzinfo is None:
        raise ValueError("a time without zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def canonical(value: Any) -> bytes:
    """Sorted keys, no blanks, ASCII: the same value gives the same bytes everywhere."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain).encode("ascii")


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON for a terminal: readable in any script, yet without a byte that a terminal would act on (ESC, C1, bidi)."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=_plain)
    return _HAZARDS.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"


_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f]")


def shown(line: str) -> str:
    """Text of a machine for a terminal: what the terminal would act on is written out instead (tabs stay)."""
    return _HAZARDS.sub(_escape, _CONTROLS.sub(lambda found: f"\\x{ord(found.group()):02x}", line.rstrip("\r")))
