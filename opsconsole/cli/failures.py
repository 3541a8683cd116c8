"""From any exception to the one JSON object a caller gets, and the traceback to a file only the operator can read."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from opsconsole.cli import output
from opsconsole.engine import locations
from opsconsole.engine.errors import ConsoleError, UnexpectedError

_MAX_LOG = 1 << 20
INTERRUPTED = 130


def report(error: BaseException, secrets: Iterable[str] = ()) -> int:
    """Print the error object and answer the exit status. A bug of ours goes to log/errors.log in the home."""
    known = as_console_error(error)
    if known is None:
        where = note_traceback(error, secrets)
        known = UnexpectedError(reported_in=str(where)) if where is not None else UnexpectedError()
    output.error(known.as_json(_language()))
    return known.exit_status


def as_console_error(error: BaseException) -> ConsoleError | None:
    """The console's own error behind an exception, None for a bug."""
    if isinstance(error, ConsoleError):
        return error
    from data.errors import DataError
    from drivers.errors import DriverError

    if isinstance(error, DataError):
        from opsconsole.house import translate

        return translate(error)
    if isinstance(error, DriverError):
        from opsconsole.engine.driver_errors import translate as translate_driver

        return translate_driver(error)
    return None


def note_traceback(error: BaseException, secrets: Iterable[str] = ()) -> Path | None:
    """Append frames and message to the log (0600), without the secrets of this call and without SQL parameters.

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


def _language() -> str:
    from opsconsole.engine import settings

    return settings.load(locations.home() / "settings.toml").language
