"""Bugs are written down where an engineer finds them, never shown to the person in the middle of an incident.

Standard library only: whatever is broken, this must still work.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from opsconsole.engine import locations

_MAX_LOG = 1 << 20


def note(error: BaseException, secrets: Iterable[str] = ()) -> Path | None:
    """Append frames and message to log/errors.log (0600) in the home, without the secrets given and without values.

    None when the log cannot be written: the error itself is reported all the same.
    """
    directory = locations.home() / "log"
    path = directory / "errors.log"
    try:
        locations.make_private(locations.home())
        locations.make_private(directory)
        if path.exists() and path.stat().st_size > _MAX_LOG:
            path.replace(path.with_suffix(".log.1"))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_described(error, secrets))
    except OSError:
        return None
    return path


def _described(error: BaseException, secrets: Iterable[str]) -> str:
    lines = [f"--- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} pid {os.getpid()}\n"]
    cause: BaseException | None = error
    while cause is not None:
        lines += traceback.format_tb(cause.__traceback__)
        lines.append(f"{type(cause).__name__}: {_message(cause)}\n")
        cause = cause.__cause__ or cause.__context__
    text = "".join(lines)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _message(error: BaseException) -> str:
    """The first line: a database library prints statement and parameters, secrets among them, in the following ones."""
    return next(iter(str(error).splitlines()), "")[:500]
