"""A terminal that understands what the picture writes: moving about, scrolling regions, colours as they are."""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

_TOKEN = re.compile(r"\x1b\[([0-9;]*)([Hrm])|\x1bM|\n|([^\x1b\n]+)")
_OTHER = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1bPtmux;(?:\x1b\x1b|[^\x1b])*\x1b\\"
    r"|\x1b[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[()#][0-9A-Za-z]|\x1b[=>78c]|\r"
)
Cell = tuple[str, str]


class Grid:
    """Cells of a character and the codes it was written with. Anything it does not know is an error, unless it is
    `lenient`: then it passes over what does not move anything."""

    def __init__(self, width: int, height: int, *, lenient: bool = False) -> None:
        self.width, self.height = width, height
        self.cells: list[list[Cell]] = [[("?", "?")] * width for _ in range(height)]
        self._x = self._y = 0
        self._top, self._bottom = 0, height - 1
        self._lenient = lenient
        self._codes = self._rest = ""

    @property
    def text(self) -> str:
        return "\n".join("".join(character for character, _ in row).rstrip() for row in self.cells)

    def write(self, text: str) -> None:
        text, self._rest, at = self._rest + text, "", 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None and self._lenient and (other := _OTHER.match(text, at)):
                at = other.end()
                continue
            if token is None and self._lenient and len(text) - at < 100:
                self._rest = text[at:]
                return
            assert token, f"not known: {text[at : at + 20]!r}"
            at = token.end()
            if token[3]:
                self._put(token[3], self._codes)
            elif token[2] == "m":
                self._codes = "" if token[1] in ("", "0") else token[1]
            elif token[2] == "H":
                row, column = token[1].split(";") if ";" in token[1] else ("1", "1")
                self._y, self._x = min(int(row), self.height) - 1, int(column) - 1
            elif token[2] == "r":
                first, last = token[1].split(";") if token[1] else ("1", str(self.height))
                self._top, self._bottom, self._x, self._y = int(first) - 1, int(last) - 1, 0, 0
            else:
                self._step(1 if token[0] == "\n" else -1)

    def _put(self, text: str, codes: str) -> None:
        for character in text:
            if self._lenient and (character == "\r" or self._x >= self.width):
                self._x = 0 if character == "\r" else self._x
                continue
            assert self._x < self.width, "written beyond the edge"
            self.cells[self._y][self._x] = (character, codes)
            self._x += get_character_cell_size(character) if self._lenient else 1

    def _step(self, step: int) -> None:
        """Index or reverse index."""
        self._x = 0
        if self._y != (self._bottom if step > 0 else self._top):
            self._y = min(max(self._y + step, 0), self.height - 1)
            return
        gone, come = (self._top, self._bottom) if step > 0 else (self._bottom, self._top)
        del self.cells[gone]
        self.cells.insert(come, [("?", "?")] * self.width)
