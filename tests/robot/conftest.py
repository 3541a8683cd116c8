"""The real program over the simulated fleet, in a terminal of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import skip
from tests.lab.packages import LabMissing, ensure
from tests.robot.terminal import PROGRAM, Terminal, can_play, quiet_environment

Open = Callable[..., Terminal]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Open]:
    """Opens `opsconsole demo` and waits for its first live rows."""
    if not can_play():
        try:
            ensure(["tmux"])
        except LabMissing as missing:
            skip("the robot", str(missing))
    opened: list[Terminal] = []

    def open_one(size: tuple[int, int] = (120, 40), *words: str, wait: bool = True, **environment: str) -> Terminal:
        home = tmp_path / "person"
        home.mkdir(exist_ok=True)
        command = [str(PROGRAM), "demo", *words]
        terminal = Terminal(command, size=size, environment=quiet_environment(home) | environment)
        opened.append(terminal)
        if wait:
            terminal.see("started", "app-1", within=40)
        return terminal

    yield open_one
    for terminal in opened:
        terminal.close()
