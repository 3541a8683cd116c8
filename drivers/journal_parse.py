"""One line of `journalctl -o json` to an `Entry`. Pure; never raises on odd lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

MAX_MESSAGE = 1024 * 1024
"""Bytes of a message that are kept."""

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one JSON line that are read: a binary message is printed as a list of numbers, about 4 bytes each."""

FIELDS = (
    "MESSAGE", "PRIORITY", "UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT", "_SYSTEMD_UNIT",
    "SYSLOG_IDENTIFIER", "_COMM", "_PID", "SYSLOG_PID", "_HOSTNAME",
)  # fmt: skip
_CURSOR = re.compile(rb'"__CURSOR"\s*:\s*"([^"\\]{1,512})"')
_STAMP = re.compile(rb'"__REALTIME_TIMESTAMP"\s*:\s*"(\d{1,20})"')
# The service manager's own lines about a unit name it in UNIT and have the manager's unit in _SYSTEMD_UNIT.
_UNIT_FIELDS = ("UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT", "_SYSTEMD_UNIT")


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry. `realtime_us` is microseconds since 1970; `message` is raw bytes, foreign text.

    `truncated` says that the message was longer than `MAX_MESSAGE` or could not be had in full.
    """

    cursor: str
    realtime_us: int
    priority: int | None
    unit: str
    identifier: str
    pid: int | None
    hostname: str
    message: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """The line to the journal is down since `seconds` for `reason`; nothing is lost: reading resumes by cursor.

    `resumed=True` marks that entries come again.
    """

    reason: str
    seconds: float
    resumed: bool = False


def parse_line(line: bytes, *, cut: bool = False) -> Entry | None:
    """None for a line that is no journal entry. `cut` marks a line whose end was dropped."""
    if cut:
        return _beheaded(line)
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    cursor, stamp = found.get("__CURSOR"), _number(found.get("__REALTIME_TIMESTAMP"))
    if not isinstance(cursor, str) or stamp is None:
        return None
    message = _bytes(found.get("MESSAGE"))
    unit = next((text for name in _UNIT_FIELDS if (text := _text(found.get(name)))), "")
    return Entry(
        cursor=cursor,
        realtime_us=stamp,
        priority=_number(found.get("PRIORITY")),
        unit=unit,
        identifier=_text(found.get("SYSLOG_IDENTIFIER")) or _text(found.get("_COMM")),
        pid=_number(found.get("_PID")) or _number(found.get("SYSLOG_PID")),
        hostname=_text(found.get("_HOSTNAME")),
        message=(message or b"")[:MAX_MESSAGE],
        truncated=("MESSAGE" in found and message is None) or len(message or b"") > MAX_MESSAGE,
    )


def _beheaded(line: bytes) -> Entry | None:
    cursor, stamp = _CURSOR.search(line), _STAMP.search(line)
    if not cursor or not stamp:
        return None
    return Entry(cursor[1].decode("ascii", "replace"), int(stamp[1]), None, "", "", None, "", b"", truncated=True)


def _bytes(value: object) -> bytes | None:
    """A field is a string, a list of byte values, a list of either when it occurs twice, or null when too long."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return bytes(item & 0xFF for item in value)
        return b"\n".join(part for item in value if (part := _bytes(item)) is not None)
    return None


def _text(value: object) -> str:
    return (_bytes(value) or b"").decode("utf-8", "replace")


def _number(value: object) -> int | None:
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
