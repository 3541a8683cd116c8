"""The lines typed after `:`, kept privately in the home; only lines that meant something, and never a secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from screens.text import Safe

KEPT: Final = 500
NAME: Final = "history"


class History:
    """Newest last. Without a home of one's own (`path` None) it lasts as long as the console."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lines: list[str] = []
        self.problem = ""
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = f"{path} cannot be read ({error.strerror}); the history starts anew"
            return
        self.lines = [str(Safe(line)) for line in lines[-KEPT:] if line.strip()]

    def add(self, line: str) -> None:
        """Keep a line; the same line again moves to the end."""
        line = str(Safe(line.strip()))
        if not line:
            return
        self.lines = [*(kept for kept in self.lines if kept != line), line][-KEPT:]
        if self._path is not None:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        """Written beside and put in place, so that two consoles never leave half a file."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in self.lines))
            beside.replace(path)
        except OSError as error:
            self.problem = f"{path} cannot be written: {error.strerror}"
