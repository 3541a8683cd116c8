"""The terminal shows the same, whether all of a picture is written or only what differs."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from screens.shell.picture import Picture
from tests.screens.grid import Cell, Grid

WIDTH, HEIGHT = 40, 16
STYLES = [None, Style(bold=True), Style(color="red"), Style(reverse=True)]
CONSOLE = Console(force_terminal=True, color_system="standard", width=WIDTH)
Row = list[Strip]


def strip(text: str, style: Style | None = None) -> Strip:
    return Strip([Segment(text, style)], len(text))


def cells(rows: Sequence[Row]) -> list[list[Cell]]:
    """What a terminal shows after all of it was written."""
    grid = Grid(WIDTH, HEIGHT)
    grid.write(whole(rows).render_segments(CONSOLE).replace("\n", ""))
    return grid.cells


def whole(rows: Sequence[Row]) -> CompositorUpdate:
    return LayoutUpdate([list(row) for row in rows], Region(0, 0, WIDTH, HEIGHT))


def partial(rows: Sequence[Row], lines: Sequence[int], missing: Sequence[tuple[int, int]] = ()) -> CompositorUpdate:
    """Only these lines; `missing` are pieces (line, number) that were not painted anew."""
    chops: list[dict[int, Strip | None]] = []
    ends = []
    for y, row in enumerate(rows):
        starts = [sum(piece.cell_length for piece in row[:number]) for number in range(len(row))]
        chops.append(
            {x: None if (y, number) in missing else row[number] for number, x in enumerate(starts)}
            if y in lines
            else dict.fromkeys(starts)
        )
        ends.append([*starts[1:], WIDTH])
    return ChopsUpdate(chops, [(y, 0, WIDTH) for y in lines], ends)


class Shown:
    """A picture and the terminal it writes to."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.grid = Grid(WIDTH, HEIGHT)

    def show(self, update: CompositorUpdate) -> int:
        text = self.picture.write(update, CONSOLE, HEIGHT)
        self.grid.write(text)
        return len(text)


def some_rows(chance: random.Random) -> list[Row]:
    return [some_row(chance) for _ in range(HEIGHT)]


def some_row(chance: random.Random) -> Row:
    words = "".join(chance.choice("abc ●–") for _ in range(WIDTH))
    cut = chance.randrange(1, WIDTH - 1)
    return [strip(words[:cut], chance.choice(STYLES)), strip(words[cut:], chance.choice(STYLES))]


def changed(chance: random.Random, rows: list[Row]) -> list[Row]:
    """A list that scrolled, lines that changed here and there, the same again, or something else."""
    first, last = sorted(chance.sample(range(HEIGHT + 1), 2))
    by = chance.randrange(-4, 5)
    new = list(rows)
    kind = chance.randrange(5)
    if kind < 3:
        for y in range(first, last):
            new[y] = rows[y + by] if first <= y + by < last else some_row(chance)
    if kind in (2, 3):
        for y in chance.sample(range(HEIGHT), 2):
            text = list("".join(piece.text for piece in new[y]))
            text[chance.randrange(WIDTH)] = "X"
            new[y] = [strip("".join(text), chance.choice(STYLES))]
    return some_rows(chance) if kind == 4 and chance.random() < 0.2 else new


@pytest.mark.parametrize("seed", range(40))
def test_the_difference_leads_to_the_same_picture(seed: int) -> None:
    chance, shown = random.Random(seed), Shown()
    rows = some_rows(chance)
    shown.show(whole(rows))
    assert shown.grid.cells == cells(rows)
    for _ in range(60):
        new = changed(chance, rows)
        if chance.random() < 0.5:
            shown.show(whole(new))
        else:
            lines = sorted({y for y in range(HEIGHT) if new[y] is not rows[y]} | {chance.randrange(HEIGHT)})
            same = [(y, n) for y in lines for n in range(len(new[y])) if new[y] is rows[y] and chance.random() < 0.5]
            shown.show(partial(new, lines, same))
        rows = new
        assert shown.grid.cells == cells(rows)


def listed(top: int, cursor: int) -> list[Row]:
    """A list between two other lines, with its scroll bar."""
    rows = [[strip(f"title of {top}".ljust(WIDTH))]]
    for line in range(HEIGHT - 2):
        style = Style(reverse=True) if line == cursor else None
        bar = "#" if line == top // 4 else " "
        rows.append([strip(f"row {top + line}: text of it".ljust(WIDTH - 1), style), strip(bar)])
    return [*rows, [strip("keys".ljust(WIDTH))]]


@pytest.mark.parametrize("step", [1, -1, 3, -3])
def test_a_list_that_scrolls_writes_the_new_lines_only(step: int) -> None:
    shown = Shown()
    cursor = HEIGHT - 3 if step > 0 else 0
    for top in range(20, 20 + 4 * step, step):
        rows = listed(top, cursor)
        sent = shown.show(whole(rows))
        assert shown.grid.cells == cells(rows)
        assert sent < (2 + abs(step)) * (WIDTH + 20) + 60 or top == 20


def test_the_same_again_writes_nothing_and_a_forgotten_picture_all_of_it() -> None:
    shown = Shown()
    rows = listed(0, 0)
    everything = shown.show(whole(rows))
    assert shown.show(whole(rows)) == 0
    shown.picture.forget()
    shown.grid = Grid(WIDTH, HEIGHT)
    assert shown.show(whole(rows)) == everything
    assert shown.grid.cells == cells(rows)


def test_a_part_of_an_unknown_picture_is_written_as_the_library_writes_it() -> None:
    picture = Picture()
    rows = listed(0, 0)
    update = partial(rows, [2, 3], [(2, 1)])
    assert picture.write(update, CONSOLE, HEIGHT) == update.render_segments(CONSOLE)
    assert not picture.known


def test_another_height_is_another_picture() -> None:
    shown = Shown()
    rows = listed(0, 0)
    everything = shown.show(whole(rows))
    assert shown.picture.known
    taller = LayoutUpdate([*map(list, rows), [strip(" " * WIDTH)]], Region(0, 0, WIDTH, HEIGHT + 1))
    assert len(shown.picture.write(taller, CONSOLE, HEIGHT + 1)) > everything
    assert shown.show(whole(rows)) == everything


@pytest.mark.parametrize("wide", ["漢字", "e\u0301\u0301", "👍🏽"])
def test_a_line_with_characters_terminals_disagree_about_is_written_from_its_beginning(wide: str) -> None:
    picture = Picture()
    rows = [[strip(" " * WIDTH)] for _ in range(HEIGHT)]
    picture.write(whole(rows), CONSOLE, HEIGHT)
    for word in ("one", "two"):
        text = f"{wide} {word}"
        line = Strip([Segment(text), Segment(" " * (WIDTH - Strip([Segment(text)]).cell_length))])
        written = picture.write(whole([[line], *rows[1:]]), CONSOLE, HEIGHT)
        assert written == f"\x1b[1;1H{line.text}"


def test_what_was_painted_dies_without_the_collector() -> None:
    """The library's compositor divides every line it paints, and a line that is one piece keeps itself."""

    def alive() -> int:
        return sum(type(thing) is Strip for thing in gc.get_objects())

    picture = Picture()
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for number in range(5):
            rows = [list(strip(f"{number}".ljust(WIDTH)).divide([WIDTH])) for _ in range(HEIGHT)]
            picture.write(whole(rows) if number % 2 else partial(rows, range(HEIGHT)), CONSOLE, HEIGHT)
            del rows
        assert alive() - before <= 2 * HEIGHT
    finally:
        gc.enable()
