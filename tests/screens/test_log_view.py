"""The log widget: follow, new lines, filter, find, wrap, and a window that stays where it was put."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from screens.text import Safe
from screens.widgets.lines import NO_LEVEL, LogLine
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.stamps import moment


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


async def test_the_next_search_begins_anew_and_nothing_typed_is_the_same_again() -> None:
    async with log() as (view, pilot, _):
        await add(view, pilot, [*lines(0, 20), *lines(0, 20, "needle")])
        for keys, found in (("needle", "needle"), ("line", "line"), ("", "line")):
            await pilot.press("backslash", *keys, "enter")
            await pilot.pause()
            assert view.found == found
        await pilot.press("backslash", *"other", "escape")
        await pilot.pause()
        assert view.found == "line"


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


def at(second: int, source: str, text: str, priority: int = 6) -> LogLine:
    return LogLine(1.7e9 + second, Safe("h"), Safe(source), priority, Safe(text))


async def test_sources_are_merged_by_time_and_the_window_stays_on_its_line() -> None:
    app = LogApp(1000)
    app.pane = LogPane(LogView(sources=True), Safe("log"))
    async with app.run_test(size=(80, 12)) as pilot:
        view = app.pane.log_view
        view.focus()
        await add(view, pilot, [at(second, "a", f"a {second}") for second in range(0, 100, 2)])
        view.scroll_row(20)
        await pilot.pause()
        before = painted(view)[0]
        await add(view, pilot, [at(second, "b", f"b {second}") for second in range(1, 100, 2)])
        assert painted(view)[0] == before == f"{'h/a':24} a 40"
        assert painted(view)[1] == f"{'h/b':24} b 41"
        colours = {str(list(view.render_line(y))[2].style) for y in range(2)}
        assert len(colours) == 2


async def test_levels_times_and_copying() -> None:
    async with log() as (view, pilot, pane):
        await add(view, pilot, [at(minute * 60, "x", f"line {minute}", minute % 8) for minute in range(60)])
        await pilot.press("e")
        await pilot.pause()
        assert "errors only hides 28" in pane.summary()
        view.set_priority(4)
        await pilot.pause()
        assert "warning and worse hides 21" in pane.summary()
        view.set_priority(NO_LEVEL)
        assert "hides" not in pane.summary()
        assert view.go_to_time(1.7e9 + 20 * 60)
        await pilot.press("m", "M", "M")
        assert painted(view)[0] == "line 19"
        assert view.current() == ["line 29"]
        view.set_find("line 7")
        assert view.current() == ["line 7"]
        assert not LogView().go_to_time(3.0)


async def test_what_is_not_a_time_is_said() -> None:
    async with log() as (view, pilot, pane):
        pane.kept("time", " ")
        await add(view, pilot, [at(0, "x", "line")])
        assert moment("-10m", 1000.0) == 400.0
        assert moment("+1h", 1000.0) == 4600.0
        assert moment("1970-01-01T00:00:09+00:00", None, 5.0) == 9.0
        assert moment("25:61", 5.0) is None
        assert moment("tomorrow", 5.0) is None


async def test_one_line_of_a_megabyte_costs_what_a_screen_does() -> None:
    async with log() as (view, pilot, _):
        view.feed([b"x" * 1_000_000] * 20)
        view.flush()
        await pilot.press("w")
        await pilot.pause()
        assert view.buffer.rows == 20 * -(-4096 // 48)
