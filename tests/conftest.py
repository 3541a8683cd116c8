"""What every test gets: a home of its own, the lab's fixtures, and at the end of a run the list of what it left out."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

pytest_plugins = ["tests.lab.fixtures", "tests.lab.postgres", "tests.lab.smtp"]

LAB_FIXTURES = frozenset({"lab", "guest_a", "guest_b", "dead_address", "sshfarm", "plain_host", "vpn_place"})
"""Session fixtures that start machines: the tests that use them share one worker, so that they start once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LAB_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.xdist_group("lab"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests is read or written: neither his console nor his ssh files."""
    place = tmp_path_factory.mktemp("person")
    monkeypatch.setenv("OPSCONSOLE_HOME", str(place / "console"))
    monkeypatch.setenv("HOME", str(place))
    for name in ("OPSCONSOLE_DATABASE_URL", "SSH_AUTH_SOCK", "SSH_CONNECTION", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parent.parent


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Every skipped test by name, under the reason it was skipped for."""
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        by_reason[reason.removeprefix("Skipped: ")].append(report.nodeid.partition("@")[0])
    if not by_reason:
        return
    terminalreporter.section("not run here, and why")
    for reason, names in sorted(by_reason.items()):
        terminalreporter.write_line(f"{reason} ({len(names)})")
        for name in sorted(names):
            terminalreporter.write_line(f"    {name}")
