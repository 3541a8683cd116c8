"""What the terminal shows, so that an update writes only what differs from it, and a list that scrolled is scrolled
by the terminal.

The library writes every line of a widget that moved: seven kilobytes for one step of a list, which is what makes a
bad line feel bad. Here the lines on the screen are remembered. When most of a new picture is the old one some lines
further up or down, the terminal is told to move them (a scrolling region, index and reverse index: what every
terminal since the VT100 has), and after that only cells that still differ are written. Whatever is not known is
written in full, so a picture is right after it whatever was guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rich.console import Console
from rich.segment import Segment
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

LEAST_SAVED: Final = 200
"""Bytes that moving lines has to save."""
MOVE_COST: Final = 20
_NARROW: Final = (("\u0020", "\u02ff"), ("\u2010", "\u2bff"))
"""Characters every terminal shows in one cell; a line with others is written from its beginning."""


class Line(NamedTuple):
    """A whole line of the screen, and what is written for it."""

    strip: Strip
    written: str


class Move(NamedTuple):
    """Lines `first` to `last` go up by `lines`, or down where that is negative."""

    first: int
    last: int
    lines: int


class Picture:
    """The lines of the terminal; None for what is not known."""

    def __init__(self) -> None:
        self._lines: list[Line | None] = []

    @property
    def known(self) -> bool:
        """Whether all of it is."""
        return bool(self._lines) and None not in self._lines

    def forget(self) -> None:
        """Anything may be on the terminal now."""
        self._lines = [None] * len(self._lines)

    def after(self, update: CompositorUpdate, height: int) -> Difference:
        """The same update, written as the difference to what is shown when it is written."""
        return Difference(self, update, height)

    def write(self, update: CompositorUpdate, console: Console, height: int) -> str:
        """What to send to the terminal for this update; from then on the picture is the new one."""
        if len(self._lines) != height:
            self._lines = [None] * height
        wanted = self._wanted(update, console)
        if wanted is None:
            self.forget()
            return update.render_segments(console)
        out = []
        move = self._best_move(wanted)
        if move is not None:
            out.append(_moving(move))
            for y in range(move.first, move.last + 1):
                if y not in wanted and (line := self._lines[y]) is not None:
                    wanted[y] = line
            self._lines = _moved(self._lines, move)
        for y, line in sorted(wanted.items()):
            old = self._lines[y]
            if old is None:
                out.append(f"\x1b[{y + 1};1H{line.written}")
            elif old.written != line.written:
                out.append(_rewrite(y, old.strip, line.strip, console))
            self._lines[y] = line
        return "".join(out)

    def _wanted(self, update: CompositorUpdate, console: Console) -> dict[int, Line] | None:
        """The whole lines an update is about; None where a part of them is not known."""
        if isinstance(update, LayoutUpdate):
            if len(update.strips) != len(self._lines):
                return None
            return {y: _line(list(strips), console) for y, strips in enumerate(update.strips)}
        if not isinstance(update, ChopsUpdate):
            return None
        wanted: dict[int, Line] = {}
        for y in {span[0] for span in update.spans}:
            if y >= len(self._lines):
                return None
            strips = _completed(update.chops[y], update.chop_ends[y], self._lines[y])
            if strips is None:
                return None
            wanted[y] = _line(strips, console)
        return wanted

    def _best_move(self, wanted: Mapping[int, Line]) -> Move | None:
        """The move that leaves least to be written, if it is worth it."""
        lines = self._lines
        changed = {y: line.written for y, line in wanted.items() if (old := lines[y]) and old.written != line.written}
        if len(changed) < 3:
            return None
        counted = Counter(line.written for y in changed if (line := lines[y]) is not None)
        places = {line.written: y for y in changed if (line := lines[y]) is not None and counted[line.written] == 1}
        votes = Counter(places[written] - y for y, written in changed.items() if written in places)
        if not votes:
            return None
        step, _ = votes.most_common(1)[0]
        held = [y for y, written in changed.items() if places.get(written, y) - y == step]
        move = Move(min(held) + min(step, 0), max(held) + max(step, 0), step)
        after = _moved(lines, move)
        left = MOVE_COST
        for y in {*changed, *range(move.first, move.last + 1)}:
            line, old = wanted.get(y) or lines[y], after[y]
            if line is None:
                return None
            if old is None or old.written != line.written:
                left += len(line.written)
        return move if left + LEAST_SAVED < sum(map(len, changed.values())) else None


class Difference(CompositorUpdate):
    """An update of the library's, as the difference to a picture."""

    def __init__(self, picture: Picture, update: CompositorUpdate, height: int) -> None:
        self._picture = picture
        self._update = update
        self._height = height

    def render_segments(self, console: Console) -> str:
        return self._picture.write(self._update, console, self._height)


def _line(strips: Sequence[Strip], console: Console) -> Line:
    """A line of its pieces. The library keeps in each piece what it was cut into, which is the piece itself: a circle
    that lives until the collector walks over everything, and a log that is followed makes megabytes of them."""
    for strip in strips:
        strip._divide_cache.clear()  # noqa: SLF001
    return Line(Strip.join(strips), "".join([strip.render(console) for strip in strips]))


def _completed(chops: Mapping[int, Strip | None], ends: Iterable[int], old: Line | None) -> list[Strip] | None:
    """The pieces of a line, those that were not painted anew taken from the old one."""
    strips = []
    for (x, strip), end in zip(chops.items(), ends, strict=False):
        if strip is not None:
            strips.append(strip)
        elif old is None:
            return None
        else:
            strips.append(old.strip.crop(x, end))
    return strips


def _moving(move: Move) -> str:
    """Index at the lower margin moves a region up, reverse index at the upper one moves it down."""
    first, last = move.first + 1, move.last + 1
    at, step = (last, "\n") if move.lines > 0 else (first, "\x1bM")
    return f"\x1b[0m\x1b[{first};{last}r\x1b[{at};1H{step * abs(move.lines)}\x1b[r"


def _moved(lines: Sequence[Line | None], move: Move) -> list[Line | None]:
    """The lines after a move; those that came in from outside the region are not known."""
    after = list(lines)
    for y in range(move.first, move.last + 1):
        source = y + move.lines
        after[y] = lines[source] if move.first <= source <= move.last else None
    return after


def _rewrite(y: int, old: Strip, new: Strip, console: Console) -> str:
    """The cells of a line from the first to the last that differs."""
    begin, end = 0, new.cell_length
    if _narrow(new.text) and _narrow(old.text) and old.cell_length == end:
        old_segments, new_segments = [*old], [*new]
        begin = _same(old_segments, new_segments)
        end -= _same(old_segments[::-1], new_segments[::-1], backwards=True)
    if begin >= end:
        begin, end = 0, new.cell_length
    return f"\x1b[{y + 1};{begin + 1}H{new.crop(begin, end).render(console)}"


def _same(old: Sequence[Segment], new: Sequence[Segment], *, backwards: bool = False) -> int:
    """How many cells look the same at the beginning (or, both lists turned round, at the end)."""
    cells = 0
    for one, other in zip(old, new, strict=False):
        if one is other or one[:2] == other[:2]:
            cells += len(other.text)
            continue
        if one.style == other.style:
            pair = (one.text[::-1], other.text[::-1]) if backwards else (one.text, other.text)
            cells += next((n for n, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
        break
    return cells


@lru_cache(maxsize=2048)
def _narrow(text: str) -> bool:
    """Whether one character is one cell, for this library and for every terminal."""
    return text.isascii() or all(any(low <= c <= high for low, high in _NARROW) for c in text)
