"""The console at the other end of a slow line: a real sshd, every byte a tenth of a second late in each direction."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import skip
from tests.lab.packages import LabMissing, ensure
from tests.lab.sshfarm import SshFarm
from tests.robot.slowline import SlowLine
from tests.robot.terminal import PROGRAM, Terminal, can_play, quiet_environment

DELAY = 0.1
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def line(sshfarm: SshFarm) -> Iterator[SlowLine]:
    node = sshfarm.node()
    with SlowLine((node.address, node.port), DELAY) as line:
        yield line


@pytest.fixture(params=[(80, 24), (120, 40)], ids=["80x24", "120x40"])
def terminal(request: pytest.FixtureRequest, sshfarm: SshFarm, line: SlowLine, tmp_path: Path) -> Iterator[Terminal]:
    if not can_play():
        try:
            ensure(["tmux"])
        except LabMissing as missing:
            skip("the robot", str(missing))
    (tmp_path / "person").mkdir()
    words = [f"{name}={value}" for name, value in quiet_environment(tmp_path / "person").items()]
    options = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR", "IdentitiesOnly=yes")
    command = ["ssh", "-tt", "-F", "none", "-p", str(line.port), "-i", str(sshfarm.key)]
    for option in options:
        command += ["-o", option]
    command += ["root@127.0.0.1", shlex.join(["env", *words, str(PROGRAM), "demo"])]
    terminal = Terminal(command, size=request.param, environment=quiet_environment(tmp_path))
    terminal.see("started", "app-1", within=60)
    yield terminal
    terminal.close()


def test_an_incident_over_a_slow_line(terminal: Terminal, line: SlowLine) -> None:
    terminal.type("/shop-api\r")
    terminal.see("/shop-api hides", "6 of", "app-1", within=40)
    # A burst: first row, its menu, and in the menu restart, typed without waiting for any of it.
    terminal.type("gaR")
    terminal.see("restart app-1/shop-api", "Type 1", within=20)
    # A modal: the wrong count, mended, and done.
    terminal.type("12")
    terminal.keys("Enter")
    time.sleep(3 * DELAY)
    assert "Type 1" in terminal.picture()
    terminal.keys("BSpace", "Enter")
    terminal.see("restarting app-1/shop-api: done", within=40)
    # The journal follows through resizes, and leads back.
    terminal.keys("l")
    terminal.see("journal app-1/shop-api", "following", within=30)
    size = terminal.size
    for width, height in ((100, 30), (61, 16), (50, 12), (140, 50), size):
        terminal.resize(width, height)
    terminal.see("journal app-1/shop-api", "following")
    terminal.type("\\Started\r")
    terminal.see("find Started")
    terminal.type("qq")
    terminal.see("/shop-api hides", within=20)
    terminal.type(":q\r")
    assert terminal.ended() == 0


def test_a_step_costs_little_on_the_line(terminal: Terminal, line: SlowLine) -> None:
    terminal.keys("z")
    terminal.see("FROZEN")
    terminal.keys(*["j"] * (terminal.size[1] - 2))
    time.sleep(1)
    before, steps = line.down, 30
    for _ in range(steps):
        terminal.keys("j")
        time.sleep(0.05)
    time.sleep(3 * DELAY)
    assert (line.down - before) / steps < 1500
