"""From any exception to the one JSON object a caller gets, and the traceback to a file only the operator can read."""

from __future__ import annotations

from collections.abc import Iterable

from opsconsole.cli import output
from opsconsole.engine import locations
from opsconsole.engine.bugs import note
from opsconsole.engine.errors import ConsoleError, UnexpectedError

INTERRUPTED = 130


def report(error: BaseException, secrets: Iterable[str] = ()) -> int:
    """Print the error object and answer the exit status. A bug of ours goes to log/errors.log in the home."""
    known = as_console_error(error)
    if known is None:
        where = note(error, secrets)
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


def _language() -> str:
    from opsconsole.engine import settings

    return settings.load(locations.home() / "settings.toml").language
