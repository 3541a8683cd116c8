"""The table widget: cursor by key, ranges, groups, changed cells, freezing, columns, and keys during long work."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.pilot import Pilot

from screens.frame import Console
from screens.text import Safe, width
from screens.widgets.columns import ColumnChoices
from screens.widgets.panes import ListPane
from screens.widgets.rows import HEADING, Rows
from screens.widgets.table import VirtualTable
from tests.screens.fake import HOSTILE
from tests.screens.support import until
from tests.screens.test_rows_model import SPEC, Unit, units

LIT = "underline"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class TableApp(Console):
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, rows: Rows[Unit], home: Path | None = None) -> None:
        super().__init__()
        self.clock = Clock()
        self.facts = {"home": str(home)} if home else {}
        self.table = VirtualTable(rows, clock=self.clock, id="units")
        self.pane: ListPane[Unit] = ListPane(self.table, "units")

    def compose(self) -> ComposeResult:
        yield self.pane


@asynccontextmanager
async def table(
    records: dict[str, Unit], home: Path | None = None, size: tuple[int, int] = (60, 20)
) -> AsyncIterator[tuple[TableApp, VirtualTable[Unit], Pilot[Any]]]:
    rows: Rows[Unit] = Rows(SPEC)
    app = TableApp(rows, home)
    async with app.run_test(size=size) as pilot:
        app.table.focus()
        app.table.changed(rows.replace(records))
        await pilot.pause()
        yield app, app.table, pilot


def painted(view: VirtualTable[Unit]) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def lit(view: VirtualTable[Unit], y: int) -> str:
    """The text of a line that is set off as changed."""
    return "".join(part.text for part in view.render_line(y) if part.style and part.style.underline).strip()


async def test_the_cursor_stays_on_its_key_and_near_a_row_that_goes() -> None:
    async with table(units(50)) as (_, view, pilot):
        await pilot.press(*"jjjjj")
        key, line = view.cursor, view._index - round(view.scroll_y)
        assert key is not None
        view.changed(view.rows.update({f"new{n}": Unit("a", f"a{n}", "up") for n in range(10)}))
        await pilot.pause()
        assert view.cursor == key
        assert view._index - round(view.scroll_y) == line
        below = view.rows.shown[view._index + 1]
        view.changed(view.rows.update({}, [key]))
        await pilot.pause()
        assert view.cursor == below


async def test_a_filter_that_hides_the_cursor_puts_it_on_the_first_row() -> None:
    async with table(units(50)) as (app, view, pilot):
        await pilot.press("G")
        last = view.cursor
        assert last is not None
        first_name = view.rows.records[view.rows.shown[0]].name
        await pilot.press("slash", *first_name, "enter")
        await until(pilot, lambda: last not in view.rows.shown)
        assert view.cursor == view.rows.shown[0]
        app.pane.apply("/", "")
        await pilot.pause()
        assert view.cursor is not None
        assert view.rows.records[view.cursor].name.startswith(first_name)


async def test_ranges_by_v_and_by_shift() -> None:
    async with table(units(10)) as (app, view, pilot):
        order = view.rows.shown
        await pilot.press("v", "j", "j")
        assert view.rows.marks == set(order[:3])
        await pilot.press("k")
        assert view.rows.marks == set(order[:2])
        await pilot.press("v", "j", "j", "shift+down", "shift+down")
        assert view.rows.marks == {*order[:2], *order[3:6]}
        assert "5 marked · range" in app.pane.summary()
        app.pane.step_back()
        await pilot.pause()
        assert view.rows.marks == set(order[:2])
        view.changed(view.rows.set_filter("!h0"))
        assert "2 marked (2 hidden by filter)" in app.pane.summary()
        await pilot.press("*", "U")
        assert not view.rows.marks


async def test_groups_fold_and_the_keys_are_free_without_them() -> None:
    async with table(units(14)) as (_, view, pilot):
        assert not view.check_action("fold", (True,))
        await pilot.press("b")
        await pilot.pause()
        await pilot.press("j", "enter")
        await pilot.pause()
        assert view.rows.group == "host"
        await pilot.press("g", "j", "j", "h")
        assert view.cursor == HEADING + "h0"
        assert painted(view)[1].startswith("  ▸ h0  2 · 1 error 1 up")
        await pilot.press("l")
        assert painted(view)[1].startswith("  ▾ h0")
        await pilot.press("space")
        assert len(view.rows.marks) == 2
        assert painted(view)[1].startswith("* ▾ h0  2 · 1 error 1 up · 2 marked")
        await pilot.press("g", "enter")
        assert view.rows.shown[1] == HEADING + "h1"


async def test_changed_cells_are_lit_for_three_seconds() -> None:
    async with table(units(5)) as (app, view, pilot):
        await pilot.press("G")
        key = view.rows.shown[0]
        view.changed(view.rows.update({key: replace(view.rows.records[key], state="off")}))
        await pilot.pause()
        assert lit(view, 1) == "off"
        app.clock.at += 2.0
        view._fade()
        assert lit(view, 1) == "off"
        app.clock.at += 1.5
        view._fade()
        assert lit(view, 1) == ""
        view.changed(view.rows.update({"new": Unit("a", "a", "up")}))
        assert lit(view, 1) == ""


async def test_freeze_says_so_with_its_age_and_catches_up() -> None:
    async with table(units(5)) as (app, view, pilot):
        await pilot.press("z")
        app.clock.at += 12
        view.changed(view.rows.update({}, ["k000000"]))
        app.pane.retitle()
        assert "FROZEN 12s" in app.pane.state()
        assert len(view.rows.shown) == 5
        await pilot.press("z")
        assert len(view.rows.shown) == 4
        assert app.pane.state() == ""


async def test_keys_are_answered_while_a_long_filter_goes_on() -> None:
    async with table(units(40_000)) as (_, view, pilot):
        await until(pilot, lambda: not view.rows.working)
        view.changed(view.rows.set_filter("state:bad"))
        longest = 0.0
        for _ in range(5):
            start = time.thread_time()
            view.action_move(1)
            await pilot.pause()
            longest = max(longest, time.thread_time() - start)
        assert view._index == 5
        await until(pilot, lambda: not view.rows.working)
        assert view.rows.visible_count == 4000
        assert longest < 0.2


async def test_columns_are_chosen_and_kept(tmp_path: Path) -> None:
    async with table(units(3), tmp_path) as (app, view, pilot):
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("J", "space", "enter")
        await pilot.pause()
        assert view.chosen == ("state",)
        assert painted(view)[0].split() == ["STATE"]
        assert not app.messages
    path = tmp_path / "columns.json"
    assert json.loads(path.read_text()) == {"units": ["state"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with table(units(3), tmp_path) as (_, view, pilot):
        assert view.chosen == ("state",)
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("r", "enter")
        await pilot.pause()
        assert painted(view)[0].split() == ["HOST", "STATE"]
    assert json.loads(path.read_text()) == {}


async def test_a_broken_file_of_columns_is_said_and_the_usual_ones_are_shown(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"units": "state"}', '{"units": [1]}'):
        (tmp_path / "columns.json").write_text(text)
        async with table(units(3), tmp_path) as (app, view, _):
            assert painted(view)[0].split() == ["HOST", "STATE"]
            assert "columns.json" in app.messages[-1].text
    (tmp_path / "columns.json").write_text('{"units": ["gone", "state", "state"], "other": ["x"]}')
    async with table(units(3), tmp_path) as (app, view, _):
        assert view.chosen == ("state",)


def test_writing_one_choice_keeps_the_others_and_leaves_no_file_behind(tmp_path: Path) -> None:
    (tmp_path / "columns.json").write_text('{"other": ["x"]}')
    ColumnChoices(tmp_path).write("units", ["host"])
    assert ColumnChoices(tmp_path).read() == {"other": ("x",), "units": ("host",)}
    assert [path.name for path in tmp_path.iterdir()] == ["columns.json"]


async def test_columns_stay_aligned_whatever_a_cell_holds() -> None:
    texts = (
        HOSTILE,
        "漢字" * 30,
        "e\u0301\u0301\u0301",
        "👩‍👩‍👧",
        "[/x] [bold]",
        "\x9b31m",
        "a\u202eb",
        "x" * 1_000_000,
    )
    records = {str(n): Unit(text, f"{n}", "bad") for n, text in enumerate(texts)}
    async with table(records) as (_, view, pilot):
        for group in ("", "host"):
            view.changed(view.rows.set_group(group))
            await pilot.pause()
            for y in range(view.size.height):
                strip = view.render_line(y)
                assert strip.cell_length == view.scrollable_content_region.width == width(strip.text)
                assert strip.text.isprintable()
        view.changed(view.rows.set_group(""))
        await pilot.pause()
        at = [width(line[: line.index(" bad")]) for line in painted(view)[1 : len(texts) + 1]]
        assert len(set(at)) == 1
    assert Safe(HOSTILE).isprintable()
