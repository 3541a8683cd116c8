"""A log file of any size, read where it is looked at: at its end first, backwards from there, and what is added later.

Nothing is indexed and nothing kept but the offsets of the parts in the window, so a gigabyte opens like a kilobyte.
The file is looked at again by name: when another one stands there it was rotated, when it is shorter than what was read
it was truncated; both are said.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from screens.text import LIMIT

BLOCK: Final = 256 * 1024
LONGEST: Final = 8 * 1024 * 1024
"""How far the ends of a line are looked for; a longer line is shown in pieces of this size."""
KEPT_OF_LINE: Final = LIMIT * 4 + 4
BEHIND: Final = 8 * 1024 * 1024
"""What a file may be ahead of what was read of it; beyond that its end is shown and the gap said."""


@dataclass(frozen=True, slots=True)
class Block:
    """The lines, without their ends, between byte `start` (a line's beginning) and byte `end`."""

    start: int
    end: int
    lines: list[bytes]


class News(NamedTuple):
    """What came at the end; `happened` says in words what befell the file before, `anew` that offsets begin again."""

    block: Block
    happened: str = ""
    anew: bool = False


class LogFile:
    """Reads blocks by offset. Every method may wait for the disk; `OSError` is the caller's to show."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fd = _open(self.path)
        self._stood = (0, 0)

    def close(self) -> None:
        """Give the file back; reading after that raises `OSError`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def before(self, end: int) -> Block:
        """About a block of lines that ends at byte `end`; nothing at the file's beginning."""
        start = max(end - BLOCK, 0)
        if start:
            start = self._line_start(start)
        return Block(start, end, self._lines(start, end))

    def after(self, start: int, limit: int = BLOCK) -> Block:
        """The finished lines from byte `start` (a line's beginning) on; the last one is waited for until it ends."""
        data = os.pread(self._fd, limit, start)
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) == limit:
            return Block(start, self._line_end(start + limit), [data[:KEPT_OF_LINE]])
        return Block(start, start + cut, _split(data[:cut]))

    def line_start(self, near: int) -> int:
        """The first line's beginning at or after byte `near`."""
        return self._line_end(near - 1) if near > 0 else 0

    def news(self, end: int) -> News:
        """What was written since byte `end` was read. An unfinished line is given when it has not grown since."""
        happened = self._befallen(end)
        if happened == "rotated":
            rest = self.after(end, BEHIND)
            if rest.lines:
                return News(rest)
            self._reopen()
        if happened:
            return News(self.after(0), f"the file was {happened}", anew=True)
        size = self.size
        if size - end > BEHIND:
            at = self.line_start(size - BLOCK)
            return News(self.after(at, BLOCK * 2), f"{at - end} bytes came too fast to be shown", anew=True)
        block = self.after(end, BEHIND)
        if block.lines or size == end:
            return News(block)
        if self._stood != (end, size):
            self._stood = (end, size)
            return News(block)
        return News(Block(end, size, [os.pread(self._fd, KEPT_OF_LINE, end)]))

    def find(self, text: str, start: int, step: int, stopped: Callable[[], bool]) -> int | None:
        """Offset of the next line with the text in it (ASCII letters alike), from byte `start` on or before it.

        Reads the whole file if need be, a block at a time; gives up when `stopped` says so.
        """
        wanted, size = text.lower().encode(), self.size
        overlap, at = max(len(wanted) - 1, 0), start
        while (at < size if step > 0 else at > 0) and not stopped():
            low = at if step > 0 else max(at - BLOCK, 0)
            high = at + BLOCK + overlap if step > 0 else min(at + overlap, start)
            data = os.pread(self._fd, high - low, low).lower()
            found = data.find(wanted) if step > 0 else data.rfind(wanted)
            if found >= 0:
                return self._line_start(low + found)
            at = at + BLOCK if step > 0 else low
        return None

    def at_time(self, at: float, time_of: Callable[[bytes], float | None]) -> int:
        """Offset of about the first line that is not older, by halving; lines without a time are passed over."""
        low, high = 0, self.size
        while high - low > BLOCK:
            middle = (low + high) // 2
            block = self.after(self.line_start(middle))
            time = next((time for line in block.lines if (time := time_of(line)) is not None), None)
            if time is not None and time < at:
                low = middle
            else:
                high = middle
        return self.line_start(low)

    def _befallen(self, end: int) -> str:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return ""
        ours = os.fstat(self._fd)
        if (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev):
            return "rotated"
        return "truncated" if ours.st_size < end else ""

    def _reopen(self) -> None:
        fd = _open(self.path)
        self.close()
        self._fd = fd

    def _line_start(self, near: int) -> int:
        """The beginning of the line byte `near` is in; `near` itself if it begins more than `LONGEST` before."""
        at = near
        while at > max(near - LONGEST, 0):
            low = max(at - BLOCK, 0)
            found = os.pread(self._fd, at - low, low).rfind(b"\n")
            if found >= 0:
                return low + found + 1
            at = low
        return near if at else 0

    def _line_end(self, near: int) -> int:
        """The byte behind the next line end from `near` on; where the file or `LONGEST` ends if there is none."""
        at, end = near, min(near + LONGEST, self.size)
        while at < end:
            found = os.pread(self._fd, BLOCK, at).find(b"\n")
            if found >= 0:
                return at + found + 1
            at += BLOCK
        return max(end, near)

    def _lines(self, start: int, end: int) -> list[bytes]:
        """The lines between two beginnings; the middle of one much longer than a block is not read."""
        if end - start <= 2 * BLOCK:
            return _split(os.pread(self._fd, end - start, start))
        head = os.pread(self._fd, KEPT_OF_LINE, start)
        rest = os.pread(self._fd, BLOCK, end - BLOCK)
        return [head, *_split(rest[rest.find(b"\n") + 1 :])] if b"\n" in rest else [head]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _split(data: bytes) -> list[bytes]:
    """Lines without their ends, none longer than what can be shown of it."""
    if not data:
        return []
    lines = data.removesuffix(b"\n").split(b"\n")
    if len(data) > KEPT_OF_LINE:
        return [line if len(line) <= KEPT_OF_LINE else line[:KEPT_OF_LINE] for line in lines]
    return lines


@dataclass(slots=True)
class _Part:
    """A block whose lines are in the buffer; `gone` when the file it was read from is no longer there."""

    start: int
    end: int
    lines: int
    gone: bool = False


class FileWindow:
    """Which bytes of the file the lines in the buffer are, and which lines must go when there are too many."""

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self._parts: deque[_Part] = deque()
        self._lines = 0

    @property
    def start(self) -> int:
        """Where earlier lines would end; 0 when there are none that can be read."""
        return self._parts[0].start if self._parts and not self._parts[0].gone else 0

    @property
    def end(self) -> int:
        return self._parts[-1].end if self._parts else 0

    def lines_before(self, offset: int) -> int:
        """How many of the lines in the buffer begin before this offset, which is where a block begins or ends."""
        return sum(part.lines for part in self._parts if part.gone or part.end <= offset)

    def clear(self) -> None:
        self._parts.clear()
        self._lines = 0

    def begin_anew(self) -> None:
        """What is in the window cannot be read again; offsets begin anew."""
        for part in self._parts:
            part.gone = True

    def append(self, block: Block) -> int:
        """Take a block at the end; how many lines must go from the beginning."""
        self._parts.append(_Part(block.start, block.end, len(block.lines)))
        self._lines += len(block.lines)
        return self._shed(self._parts.popleft)

    def prepend(self, block: Block) -> int:
        """Take a block at the beginning; how many lines must go from the end."""
        self._parts.appendleft(_Part(block.start, block.end, len(block.lines)))
        self._lines += len(block.lines)
        return self._shed(self._parts.pop)

    def _shed(self, take: Callable[[], _Part]) -> int:
        before = self._lines
        while self._lines > self.capacity and len(self._parts) > 2:
            self._lines -= take().lines
        return before - self._lines
