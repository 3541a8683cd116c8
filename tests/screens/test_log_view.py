"""The log widget: follow, new lines, filter, find, wrap, and a window that stays where it was put."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from screens.text import Safe
from screens.widgets.lines import LogLine
from screens.widgets.log import LogView
from screens.widgets.panes import LogPane


def lines(start: int, count: int, text: str = "line") -> list[LogLine]:
    return [LogLine(None, Safe(""), Safe(""), 6, Safe(f"{text} {number}")) for number in range(start, start + count)]


class LogApp(App[None]):
    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.pane = LogPane(LogView(sources=False, capacity=capacity), Safe("log"))

    def compose(self) -> ComposeResult:
        yield self.pane


@asynccontextmanager
async def log(
    capacity: int = 1000, size: tuple[int, int] = (60, 12)
) -> AsyncIterator[tuple[LogView, Pilot[Any], LogPane]]:
    app = LogApp(capacity)
    async with app.run_test(size=size) as pilot:
        app.pane.log_view.focus()
        await pilot.pause()
        yield app.pane.log_view, pilot, app.pane


def painted(view: LogView) -> list[str]:
    return [view.render_line(y).text[11:].rstrip() for y in range(view.size.height)]


async def add(view: LogView, pilot: Pilot[Any], more: list[LogLine]) -> None:
    view.feed(more)
    view.flush()
    await pilot.pause()


async def test_it_follows_until_someone_scrolls_up_and_again_at_the_end() -> None:
    async with log() as (view, pilot, pane):
        await add(view, pilot, lines(0, 100))
        assert painted(view)[-1] == "line 99"
        await pilot.press("k")
        await add(view, pilot, lines(100, 50))
        assert painted(view)[-1] == "line 98"
        assert "50 new lines below" in pane.summary()
        await pilot.press("G")
        await pilot.pause()
        assert painted(view)[-1] == "line 149"
        assert pane.summary() == "150 lines · following"


async def test_the_window_stays_on_its_lines_while_old_ones_are_dropped() -> None:
    async with log(capacity=100) as (view, pilot, pane):
        await add(view, pilot, lines(0, 100))
        await pilot.press("k", "k")
        before = painted(view)
        await add(view, pilot, lines(100, 30))
        assert painted(view) == before
        assert "30 older dropped" in pane.summary()


async def test_filter_find_and_wrap() -> None:
    async with log() as (view, pilot, pane):
        await add(view, pilot, [*lines(0, 50), *lines(50, 1, "needle"), *lines(51, 49)])
        await pilot.press("backslash", *"needle", "enter")
        await pilot.pause()
        assert "needle 50" in painted(view)
        assert not view.following
        await pilot.press("slash", *"needle", "enter")
        await pilot.pause()
        assert "/needle hides 99" in pane.summary()
        assert painted(view)[0] == "needle 50"
        await pilot.press("escape")
        view.set_filter("")
        await add(view, pilot, lines(100, 1, "x" * 120))
        await pilot.press("w", "G")
        await pilot.pause()
        assert painted(view)[-3:] == ["x" * 48, "x" * 48, "x" * 24 + " 100"]
        await pilot.press("w")
        await pilot.pause()
        assert painted(view)[-1].startswith("xxx")
        assert "x 100" not in painted(view)[-1]


async def test_more_than_the_buffer_between_two_paints_is_counted_as_dropped() -> None:
    async with log(capacity=10) as (view, pilot, pane):
        view.feed(lines(0, 15))
        view.feed(lines(15, 20))
        view.flush()
        await pilot.pause()
        assert painted(view)[:10] == [f"line {number}" for number in range(25, 35)]
        assert "25 older dropped" in pane.summary()


async def test_lines_appear_by_themselves() -> None:
    async with log() as (view, pilot, _):
        view.feed(lines(0, 3))
        for _ in range(50):
            if len(view.buffer) == 3:
                break
            await pilot.pause(0.02)
        assert [text for text in painted(view) if text] == ["line 0", "line 1", "line 2"]
