"""The real program in a real pseudo-terminal: what its byte stream holds, and how it ends."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsconsole.engine import locations
from tests.screens.fake import HOSTILE
from tests.screens.grid import Grid

ROOT = Path(__file__).parents[2]
DECIDED_HERE = ("COLORTERM", "NO_COLOR", "TMUX", "COLUMNS", "LINES")
POINTER = b"\x1b]22;default"
OSC = re.compile(rb"\x1b\][^\x07\x1b]*")
SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][0-9A-Za-z]|[=>78cM]|P[^\x1b]*\x1b\\)")


class Terminal:
    """A child on a pseudo-terminal of its own session; collects every byte it writes."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (120, 40), **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        clean = {name: value for name, value in os.environ.items() if name not in DECIDED_HERE}
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.screens.pty_child", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**clean, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
            close_fds=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a child of this test only
        )
        os.close(slave)
        self.output = b""
        self._grid = Grid(*size, lenient=True)
        self._decode = getincrementaldecoder("utf-8")("replace").decode

    def wait_for(self, *words: str, seconds: float = 20.0) -> None:
        """Read until all words are on the screen, or were written since the last call."""
        start, end = len(self.output), time.monotonic() + seconds
        while not all(word.encode() in self.output[start:] or word in self._grid.text for word in words):
            assert time.monotonic() < end, f"never saw {words} in\n{self._grid.text}"
            assert self._read(0.2) or self.child.poll() is None, f"it ended: {self.output[start:]!r}"

    def press(self, keys: str) -> None:
        """Press keys once the screen is quiet, so that an escape before them is not read as alt."""
        while self._read(0.15):
            pass
        os.write(self.master, keys.encode())

    def ended(self, seconds: float = 15.0) -> int:
        """Read to the end; the exit status."""
        end = time.monotonic() + seconds
        while self.child.poll() is None:
            assert time.monotonic() < end, "it did not end"
            self._read(0.1)
        while self._read(0.05):
            pass
        return self.child.returncode

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data
        self._grid.write(self._decode(data))
        return bool(data)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.master)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def assert_clean(output: bytes) -> None:
    """Nothing of the hostile text is there as a sequence; what sequences there are, the library writes itself."""
    assert b"52;c" not in output
    assert b"owned" not in output
    assert set(OSC.findall(output)) <= {POINTER}
    rest = SEQUENCE.sub(b"", output.replace(POINTER + b"\x07", b"")).decode("utf-8")
    left = {character for character in rest if not character.isprintable()}
    assert left <= {"\r", "\n"}, left
    assert "\u202e" not in rest
    assert "\u200b" not in rest


def test_no_foreign_sequence_reaches_the_terminal(terminals: list[Terminal]) -> None:
    terminal = Terminal()
    terminals.append(terminal)
    terminal.wait_for("evil[/x]", "nginx")
    for keys, word in (
        ("Gd", "main_pid"),
        ("\x1b", "SERVICE"),
        ("l", "yyyy"),
        ("w", "second line"),
        ("p", "everything"),
        ("\x1b", "second line"),
        ("T", "2026-11-21"),
        ("\x1b[200~never \x9b31m\u202e\u200b\x07\x1b[201~\r", "is no time"),
        ("\\yyy\r", "find yyy"),
        ("qq", "SERVICE"),
        ("a", "choose"),
        ("\x1b", "SERVICE"),
        ("R", "Enter does it"),
    ):
        terminal.press(keys)
        terminal.wait_for(word)
    time.sleep(0.4)
    terminal.press("\r")
    terminal.wait_for("r tries the failed one again")
    terminal.press("\x1b")
    terminal.wait_for("SERVICE")
    terminal.press("!")
    terminal.wait_for("messages")
    terminal.press("\x1b")
    terminal.wait_for("SERVICE")
    for keys, word in (
        ("b", "group by"),
        ("\x1b[B\r", "by host"),
        ("gv\x1b[1;2B", "marked"),
        ("U", "SERVICE"),
        ("h", "folded"),
        ("b", "group by"),
        ("\r", "SERVICE"),
        ("c", "columns"),
        ("J \r", "SERVICE"),
        ("z", "FROZEN"),
        ("z", "fresh"),
    ):
        terminal.press(keys)
        terminal.wait_for(word)
    terminal.press("/")
    terminal.wait_for("column:value")
    terminal.press("\x1b[200~pasted \x9b31m\u202e\u200b\x07\x1b[201~")
    terminal.wait_for("pasted")
    terminal.press("\x11")
    assert terminal.ended() == 0
    assert_clean(terminal.output)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_hang_up_ends_it_cleanly(terminals: list[Terminal], number: signal.Signals) -> None:
    terminal = Terminal(size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.child.send_signal(number)
    assert terminal.ended() == 0
    assert b"\x1b[?1049l" in terminal.output
    assert b"Traceback" not in terminal.output


def test_a_terminal_that_goes_away_ends_it() -> None:
    terminal = Terminal(size=(80, 24))
    terminal.wait_for("SERVICE")
    os.close(terminal.master)
    try:
        assert terminal.child.wait(15) == 0
    finally:
        terminal.child.kill()


def test_a_bug_ends_it_with_a_sentence_and_no_secret(terminals: list[Terminal]) -> None:
    terminal = Terminal("--crash", size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.press("e")
    assert terminal.ended() == 1
    assert_clean(terminal.output)
    assert "opsconsole: a bug of ours: RuntimeError: 7 evil[/x]" in terminal.output.decode()
    log = locations.home() / "log" / "errors.log"
    assert "fall_over" in log.read_text()
    assert "hunter2" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert b"hunter2" not in terminal.output
    assert b"Traceback" not in terminal.output
    assert b"\x1b[?1049l" in terminal.output


def test_a_hostile_file_stays_text(terminals: list[Terminal], tmp_path: Path) -> None:
    path = tmp_path / f"evil{HOSTILE.replace('/', '').replace(chr(0), '')}"[:200]
    lines = [
        HOSTILE.encode(),
        b"\xff\x9b31m\x9d0;title\x9c",
        b"y" * 1_000_000 + HOSTILE.encode(),
        "漢字\u202e".encode(),
    ]
    path.write_bytes(b"\n".join(lines) + b"\nthe end of it\n")
    terminal = Terminal("--file", str(path), size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("the end of it")
    for keys, word in (("w", "yyyy"), ("g", "evil"), ("lh", "evil"), ("\\yyyy\r", "yyyy")):
        terminal.press(keys)
        terminal.wait_for(word)
    terminal.press("\x11")
    assert terminal.ended() == 0
    assert_clean(terminal.output)


def test_no_color_writes_no_colour(terminals: list[Terminal]) -> None:
    terminal = Terminal(NO_COLOR="1", COLORTERM="truecolor", size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.press("q")
    assert terminal.ended() == 0
    colours = [
        sequence
        for sequence in re.findall(rb"\x1b\[([0-9;]*)m", terminal.output)
        if re.search(rb"(^|;)(3[0-8]|4[0-8]|9[0-7]|10[0-7])(;|$)", sequence)
    ]
    assert colours == []


def test_linux_console_gets_ascii_glyphs(terminals: list[Terminal]) -> None:
    terminal = Terminal(TERM="linux", size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("x down")
    terminal.press("q")
    assert terminal.ended() == 0
    assert "✖".encode() not in terminal.output


def test_a_burst_reaches_the_filter(terminals: list[Terminal]) -> None:
    terminal = Terminal(size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.press("/dea\r")
    terminal.wait_for("/dea hides")
    terminal.press("q")
    assert terminal.ended() == 0
    assert_clean(terminal.output)


def test_a_burst_reaches_the_command_line(terminals: list[Terminal]) -> None:
    terminal = Terminal(size=(80, 24))
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.press(":svc dea\r")
    terminal.wait_for("/dea hides")
    terminal.press(":q\r")
    assert terminal.ended() == 0
    assert_clean(terminal.output)


@pytest.mark.parametrize("tmux", ["", "/tmp/tmux-0/default,1,0"])
def test_copying_writes_one_clean_sequence(terminals: list[Terminal], tmux: str) -> None:
    terminal = Terminal(size=(80, 24), TMUX=tmux)
    terminals.append(terminal)
    terminal.wait_for("SERVICE")
    terminal.press("gy")
    terminal.wait_for("sent to the terminal")
    terminal.press(":q\r")
    assert terminal.ended() == 0
    found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", terminal.output)
    assert len(found) == 1
    text = base64.b64decode(found[0])
    assert text
    assert text.decode().isprintable()
    assert (b"\x1bPtmux;\x1b\x1b]52;c;" in terminal.output) is bool(tmux)
    assert b"copied" not in terminal.output


def test_wrong_files_are_said_with_their_line_and_the_console_starts(terminals: list[Terminal], tmp_path: Path) -> None:
    (tmp_path / "keymap.toml").write_text('[keys]\n\ntable.dwon = "n"\n')
    (tmp_path / "settings.toml").write_text('theme = "pink"\nmouse = "yes"\n')
    terminal = Terminal(size=(120, 40), OPSCONSOLE_HOME=str(tmp_path))
    terminals.append(terminal)
    terminal.wait_for("SERVICE", "keymap.toml line 3: table.dwon: no such id")
    terminal.press("q")
    assert terminal.ended() == 0
