"""One asks at his console, another agrees at hers: two accounts, one database, by keyboard alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.cli.operators import Operator, Pair, pair
from tests.lab.fixtures import skip
from tests.lab.packages import LabMissing, ensure
from tests.lab.postgres import ACCOUNT
from tests.robot.terminal import Terminal, can_play

__all__ = ["pair"]
pytestmark = pytest.mark.timeout(240)
Seat = Callable[[Operator, tuple[int, int]], Terminal]


@pytest.fixture
def seat() -> Iterator[Seat]:
    """Puts an operator before a terminal."""
    if not can_play():
        try:
            ensure(["tmux"])
        except LabMissing as missing:
            skip("the robot", str(missing))
    opened: list[Terminal] = []

    def sit(operator: Operator, size: tuple[int, int]) -> Terminal:
        terminal = Terminal(operator.command, size=size, environment=operator.environment)
        opened.append(terminal)
        terminal.see("services", "old-1", within=60)
        return terminal

    yield sit
    for terminal in opened:
        terminal.close()


def wipe(terminal: Terminal) -> None:
    """Begin what needs a second person, as far as its plan."""
    terminal.keys(":")
    terminal.see("environments")
    terminal.type("probe wipe --host 2")
    terminal.keys("Enter")
    terminal.see("Erase hosts", "ctrl+s go on")
    terminal.keys("C-s")
    terminal.see("This needs a second person", "old-1", within=30)
    time.sleep(0.5)  # an Enter typed before a person could have read the plan does not count


def test_asked_agreed_and_done(pair: Pair, seat: Seat) -> None:
    first, other = seat(pair.first, (80, 24)), seat(pair.other, (120, 40))
    wipe(first)
    first.keys("Enter")
    first.see("A reason is needed")
    first.type("it is scrap")
    first.keys("Enter")
    first.gone("This needs a second person")
    other.see("1 TO APPROVE", within=10)
    other.keys("9")
    other.see("to approve", "erase hosts", "it is scrap")
    other.keys("Enter")
    other.see("still the same", "old-1")
    other.keys("A")
    other.see("approve: erase hosts")
    time.sleep(0.5)
    other.keys("Enter")
    other.see(f"decided by: {ACCOUNT}")
    first.see("1 APPROVED", within=10)
    first.keys("9")
    first.see("approved", "erase hosts")
    first.keys("Enter")
    first.see("still the same")
    first.keys("X")
    first.see(f"{ACCOUNT} approved just this")
    time.sleep(0.5)
    first.keys("Enter")
    first.see("done  erase hosts", within=30)
    first.gone("1 APPROVED")
    assert pair.first("approvals", "list")[1]["results"][0]["state"] == "used"


def test_at_night_and_looked_at_in_the_morning(pair: Pair, seat: Seat) -> None:
    first = seat(pair.first, (80, 24))
    wipe(first)
    first.keys("BTab")
    first.type("break-glass")
    first.keys("Enter")
    first.type("fire")
    first.keys("Enter")
    first.see("1 REVIEW", within=30)
    other = seat(pair.other, (80, 24))
    other.see("1 REVIEW", within=20)
    other.keys("9")
    other.see("to review", "erase hosts")
    other.keys("Enter")
    other.see("because: fire", "it ended: finished")
    other.keys("C")
    other.see("closing the review")
    other.type("all well")
    other.keys("C-s")
    other.see("closed by", "all well")
    other.gone("1 REVIEW")
    first.gone("1 REVIEW")
