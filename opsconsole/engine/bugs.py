"""Bugs are written down where an engineer finds them, never shown to the person in the middle of an incident."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

from opsconsole.engine import locations


def note(error: BaseException) -> Path:
    """Append the traceback to log/errors.log (0600) in the home and answer its path. Values of variables stay out."""
    directory = locations.make_private(locations.home()) / "log"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "errors.log"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8", errors="replace") as file:
        file.write(f"--- {datetime.now(UTC).isoformat()} pid {os.getpid()}\n")
        file.writelines(traceback.format_exception(error))
    return path
