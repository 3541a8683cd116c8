"""From what a driver says to what an operator reads: one table."""

from __future__ import annotations

from drivers import errors as driver
from opsconsole.engine.errors import (
    ConsoleError,
    HostAgentCallFailed,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    NotSupported,
)


def translate(error: driver.DriverError) -> ConsoleError:
    """The console's error for a driver's; the remedy becomes part of the sentence, nothing of it is lost."""
    reason = f"{error.tried}: {error.message}" + (f"; {error.remedy}" if error.remedy else "")
    if isinstance(error, driver.HostKeyUnknown):
        return HostKeyUnknown(host=error.host, fingerprint=error.fingerprint, key=error.key)
    if isinstance(error, driver.HostKeyChanged):
        return HostKeyChanged(host=error.host, fingerprint=error.fingerprint, known_in=error.known_in)
    if isinstance(error, (driver.Unreachable, driver.TimedOut, driver.AuthRefused)):
        return HostUnreachable(host=error.host, reason=reason, kind=error.kind)
    if isinstance(error, driver.Unsupported):
        # The reason first: a narrow list cuts the end, and that it could not be tried is plain from where it stands.
        remedy = f"; {error.remedy}" if error.remedy else ""
        said = f"{error.host}: {error.message}: cannot {error.tried}{remedy}"
        return NotSupported(said, what=error.tried, reason=error.message, host=error.host, kind=error.kind)
    return HostAgentCallFailed(host=error.host, reason=reason, kind=error.kind)
