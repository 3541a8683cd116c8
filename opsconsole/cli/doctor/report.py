"""All checks in one go; one that fails to run is a finding, never an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from opsconsole.cli import output
from opsconsole.cli.doctor import database, home, machine, ssh
from opsconsole.cli.doctor.finding import Finding, Place
from opsconsole.engine import locations, settings
from opsconsole.engine.bugs import note
from opsconsole.engine.errors import InvalidParameter

SOMETHING_FAILED = 5

CHECKS: tuple[Callable[[Place], Iterator[Finding]], ...] = (
    machine.python,
    home.home,
    home.settings,
    home.keys,
    database.database,
    database.journal,
    ssh.ssh,
    machine.clock,
    machine.terminal,
)


def run(arguments: list[str]) -> int:
    """Print the findings; 0 when nothing failed, else 5."""
    for argument in arguments:
        if argument != "--json":
            raise InvalidParameter(field=argument, reason="no such option; doctor takes --json")
    where = locations.home()
    url = locations.database_url(settings.load(where / "settings.toml").database_url)
    place = Place(where, url, Path.home())
    found = examine(place)
    failed = [finding for finding in found if finding.state == "fail"]
    if "--json" in arguments:
        output.answer({"ok": not failed, "findings": [finding.as_json() for finding in found]})
    else:
        output.text("\n".join(_line(finding) for finding in found))
    return SOMETHING_FAILED if failed else 0


def examine(place: Place) -> list[Finding]:
    """The findings of every check, in the order of CHECKS."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(place)
        except Exception as error:
            where = note(error)
            name = check.__name__
            found.append(Finding(name, "fail", f"the check itself broke: {type(error).__name__}", f"see {where}"))
    return found


def _line(finding: Finding) -> str:
    remedy = f"\n{'':21}→ {finding.remedy}" if finding.remedy else ""
    # What is quoted from files is foreign text: only what can be printed reaches the terminal.
    said = "".join(char if char.isprintable() or char == "\n" else "?" for char in f"{finding.finding}{remedy}")
    return f"{finding.state:5} {finding.check:14} {said}"
