"""This machine: interpreter, clock, terminal."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from opsconsole.cli.doctor.finding import Finding, Place

_OLDEST_SANE_YEAR, _NEWEST_SANE_YEAR = 2025, 2100
_TIMEX_BYTES = 512
_TIME_ERROR = 5
_TRIGRAM_SINCE = (3, 34)


def python(_: Place) -> Iterator[Finding]:
    """The interpreter and the SQLite it was built with."""
    said = f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _TRIGRAM_SINCE:
        yield Finding("python", "fail", said, "install a Python with SQLite 3.34 or newer, or use PostgreSQL")
    else:
        yield Finding("python", "ok", said)


def clock(_: Place) -> Iterator[Finding]:
    """A sane year, and whether the kernel believes that its clock is kept in time."""
    now = datetime.now(UTC)
    if not _OLDEST_SANE_YEAR <= now.year <= _NEWEST_SANE_YEAR:
        yield Finding("clock", "fail", f"it is {now:%Y-%m-%d %H:%M} UTC here", "set the clock, then start NTP")
        return
    synchronised = kernel_synchronised()
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if synchronised is None:
        yield Finding("clock", "ok", f"{said}; the kernel does not say whether it is synchronised")
    elif synchronised:
        yield Finding("clock", "ok", f"{said}, synchronised")
    else:
        yield Finding(
            "clock",
            "warn",
            f"{said}, not synchronised",
            "start chrony or systemd-timesyncd: journals are compared by time",
        )


def kernel_synchronised() -> bool | None:
    """What adjtimex says; None where there is no such call or it may not be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    answer = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if answer < 0 else answer != _TIME_ERROR


def terminal(_: Place) -> Iterator[Finding]:
    """What the console will have to paint on."""
    if not sys.stdout.isatty():
        yield Finding("terminal", "ok", "none here (output goes to a file or a pipe)")
        return
    name = os.environ.get("TERM", "")
    width, height = os.get_terminal_size(sys.stdout.fileno())
    colours = "truecolor" if os.environ.get("COLORTERM") in {"truecolor", "24bit"} else "256 or 16 colours"
    if "NO_COLOR" in os.environ:
        colours = "no colour (NO_COLOR)"
    said = f"TERM={name or '(unset)'}, {width}×{height}, {colours}"
    if name in {"", "dumb", "unknown"}:
        yield Finding("terminal", "warn", said, "set TERM to what the terminal is, for example xterm-256color")
    elif width < 80 or height < 24:
        yield Finding("terminal", "warn", said, "make the window at least 80×24")
    elif (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        yield Finding(
            "terminal", "warn", f"{said}, encoding {sys.stdout.encoding}", "set a UTF-8 locale, or use --ascii"
        )
    else:
        yield Finding("terminal", "ok", said)
