"""When and how urgent a line of a log file is, as far as the line itself says so."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Final

from screens.text import Safe
from screens.widgets.lines import NO_LEVEL, NOTHING, LogLine

HEAD: Final = 160
"""Bytes of a line in which its time and level are looked for."""
DAY: Final = 86400

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ISO: Final = re.compile(r"[\[(]?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)( ?(?:Z|[+-]\d\d:?\d\d))?")
_SYSLOG: Final = re.compile(r"(?:<\d{1,3}>)?([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d)")
_CLF: Final = re.compile(r"[^\[]{0,80}\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)\]")
_SPAN: Final = re.compile(r"([+-]\d{1,6}) ?([smhd]?)")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
_LEVELS: Final = {
    word: priority
    for priority, words in enumerate(
        (
            "EMERG PANIC",
            "ALERT",
            "CRIT CRITICAL FATAL",
            "ERR ERROR SEVERE",
            "WARN WARNING",
            "NOTICE",
            "INFO",
            "DEBUG TRACE",
        )
    )
    for word in words.split()
}
_LEVEL: Final = re.compile(rf"\b(?:{'|'.join(sorted(_LEVELS, key=len, reverse=True))})\b", re.IGNORECASE)


def stamp(head: str, now: float | None = None) -> float | None:
    """Unix seconds from the beginning of a line: ISO 8601, syslog (the year is guessed from `now`), web server."""
    try:
        if match := _ISO.match(head):
            zone = (match[2] or "").strip()
            return datetime.fromisoformat(f"{match[1].replace(',', '.')}{zone}").timestamp()
        if match := _SYSLOG.match(head):
            return _syslog(match, time.time() if now is None else now)
        if match := _CLF.match(head):
            month = _MONTHS.index(match[2]) + 1
            return datetime.fromisoformat(
                f"{match[3]}-{month:02}-{match[1]}T{match[4]}{match[5]}:{match[6]}"
            ).timestamp()
    except (ValueError, OverflowError):
        return None
    return None


def _syslog(match: re.Match[str], now: float) -> float:
    """The last time this day and hour were, counting a day ahead as a clock that is wrong."""
    month, day = _MONTHS.index(match[1]) + 1, int(match[2])
    year = time.localtime(now).tm_year
    clock = (int(match[3]), int(match[4]), int(match[5]))
    at = datetime(year, month, day, *clock).timestamp()  # noqa: DTZ001 - syslog writes local time
    return at if at <= now + DAY else datetime(year - 1, month, day, *clock).timestamp()  # noqa: DTZ001


def moment(text: str, base: float | None, now: float | None = None) -> float | None:
    """Unix seconds of what a person types: `14:30` (of the day of `base`), a date and time, or `-10m`,
    `+2h`, `-1d` from `base`. None if it is none of them.

    `base` is what is looked at, `now` where nothing with a time is.
    """
    base = (time.time() if now is None else now) if base is None else base
    text = text.strip()
    if match := _SPAN.fullmatch(text):
        return base + float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": DAY}[match[2] or "m"]
    try:
        if match := _CLOCK.fullmatch(text):
            day = datetime.fromtimestamp(base)  # noqa: DTZ006 - people think in local time
            hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
            return day.replace(hour=hour, minute=minute, second=second, microsecond=0).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def urgency(head: str) -> int:
    """The first word that is a level; `NO_LEVEL` without one."""
    found = _LEVEL.search(head)
    return _LEVELS[found[0].upper()] if found else NO_LEVEL


def file_line(raw: bytes, host: Safe = NOTHING, source: Safe = NOTHING) -> LogLine:
    """A line of a file as a line of a log."""
    head = raw[:HEAD].decode("utf-8", "replace")
    return LogLine(stamp(head), host, source, urgency(head), Safe(raw))
