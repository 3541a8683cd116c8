"""What systemctl says when it does not do what it was asked, mapped to our errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.errors import ProtocolError, Refused, Unsupported
from drivers.runner import Completed
from drivers.systemd_names import valid_unit_name


def check_names(host: str, units: Iterable[str]) -> None:
    """Raise `Refused` with code `invalid` for the first name that systemd would not take."""
    for unit in units:
        if not valid_unit_name(unit):
            raise Refused(host, "check the unit name", f"{unit[:80]!r} is no unit name", code="invalid")


_ANSWERS = (
    ("masked", ("is masked",), "unmask it first"),
    ("not_found", ("not found", "does not exist", "not loaded", "No files found for"), "check the name"),
    (
        "privilege",
        ("Interactive authentication required", "Access denied", "Permission denied", "Authentication is required"),
        "log in as root, or allow systemctl in the sudoers of this user with NOPASSWD",
    ),
    (
        "invalid",
        ("may be requested by dependency only", "missing the instance name", "Invalid unit name",
         "not a valid unit name", "no default instance", "is a non-template unit", "no installation config", "Job type",
         "is not applicable", "is transient or generated"),
        "",
    ),
    ("busy", ("is destructive", "System is shutting down", "Refusing to operate"), "wait for the other job"),
)  # fmt: skip


def raise_for(host: str, tried: str, done: Completed) -> None:
    """Raise when `done` says that nothing was done, and why; return when only the job itself failed."""
    text = said(done)
    if "command not found" in text or "systemctl: not found" in text or "not been booted with systemd" in text:
        raise Unsupported(host, tried, "no systemd here")
    if "Failed to connect to bus" in text:
        raise ProtocolError(host, tried, text)
    for code, phrases, remedy in _ANSWERS:
        if any(phrase in text for phrase in phrases):
            raise Refused(host, tried, text, remedy=remedy, code=code)
    if done.exit_status == 5:
        raise Refused(host, tried, text, remedy="check the name", code="not_found")


def said(done: Completed) -> str:
    """What a command wrote to stderr, bounded; its exit status when it wrote nothing."""
    return done.stderr.decode("utf-8", "replace").strip()[:500] or f"exit status {done.exit_status}"
