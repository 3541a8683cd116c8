"""A person at a terminal, played by tmux: keys in, the picture out."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("opsconsole")


class Terminal:
    """One tmux server of its own with one window. `see` waits for a text; what it never saw is in the failure."""

    def __init__(self, command: list[str], *, size: tuple[int, int], environment: dict[str, str]) -> None:
        self._socket = f"opsc-{uuid.uuid4().hex[:12]}"
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        term = environment.get("TERM", "screen-256color")
        program = f"env -u NO_COLOR -u COLORTERM -u COLUMNS -u LINES {words} TERM={term} {shlex.join(command)}"
        line = f"{program}; printf '\\nENDED %s\\n' $?; exec sleep 600"
        self.size = width, height = size
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), f"{line}")
        self._tmux("set-option", "-g", "escape-time", "10")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *words], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Named keys (`Enter`, `Escape`) or single characters."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Characters as they are, in one burst."""
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self.size = width, height
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def picture(self, *, colours: bool = False) -> str:
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def see(self, *texts: str, within: float = 20.0) -> str:
        """Wait until all of these are on the screen, and answer it."""
        deadline = time.monotonic() + within
        while True:
            picture = self.picture()
            missing = [text for text in texts if text not in picture]
            if not missing:
                return picture
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen: {missing}\n{picture}")
            time.sleep(0.05)

    def gone(self, text: str, within: float = 20.0) -> str:
        """Wait until this is no longer on the screen."""
        deadline = time.monotonic() + within
        while text in (picture := self.picture()):
            if time.monotonic() > deadline:
                raise AssertionError(f"still there: {text!r}\n{picture}")
            time.sleep(0.05)
        return picture

    def ended(self, within: float = 20.0) -> int:
        """Wait for the program's end and answer its exit status."""
        picture = self.see("ENDED ", within=within)
        return int(picture.rpartition("ENDED ")[2].split()[0])

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, timeout=30, check=False)


def can_play() -> bool:
    return shutil.which("tmux") is not None


def quiet_environment(home: Path) -> dict[str, str]:
    """What the program needs and nothing of the person who runs the tests."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
