"""A file in a log view: its end first, everything by scrolling, find and times beyond what was read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot

from screens.frame import Console
from screens.text import Safe, width
from screens.widgets import logfile
from screens.widgets.filelog import FileLogView
from screens.widgets.logpane import LogPane
from tests.screens.fake import HOSTILE
from tests.screens.support import until


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "BLOCK", 2000)


class FileApp(Console):
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, path: Path, capacity: int) -> None:
        super().__init__()
        self.view = FileLogView(path, capacity=capacity)
        self.pane = LogPane(self.view, Safe("file"))

    def compose(self) -> ComposeResult:
        yield self.pane


@asynccontextmanager
async def opened(
    path: Path, capacity: int = 300, size: tuple[int, int] = (100, 12)
) -> AsyncIterator[tuple[FileLogView, Pilot[Any], LogPane]]:
    app = FileApp(path, capacity)
    async with app.run_test(size=size) as pilot:
        app.view.focus()
        await until(pilot, lambda: len(app.view.buffer))
        yield app.view, pilot, app.pane


def painted(view: FileLogView) -> list[str]:
    return [view.render_line(y).text[11:].rstrip() for y in range(view.size.height)]


def text(number: int) -> str:
    return f"2026-11-21T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z line {number}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "log"
    found.write_text("".join(f"{text(number)}\n" for number in range(2000)))
    return found


async def test_it_opens_at_the_end_and_every_line_can_be_scrolled_to(path: Path) -> None:
    async with opened(path) as (view, pilot, pane):
        assert painted(view)[-1] == text(1999)
        assert len(view.buffer) < 200
        assert "following" in pane.summary()
        await pilot.press("k")
        last = 0

        def at_the_top() -> bool:
            nonlocal last
            view.action_page(-5)
            assert len(view.buffer) <= 300 + 200
            return view.window.start == 0 and view.scroll_y == 0

        await until(pilot, at_the_top)
        assert painted(view)[0] == text(0)
        assert not view.at_end

        def at_the_bottom() -> bool:
            nonlocal last
            view.action_page(5)
            number = int(painted(view)[0].rsplit(" ", 1)[1])
            assert number >= last
            last = number
            return view.at_end and painted(view)[-1] == text(1999)

        await until(pilot, at_the_bottom, 15)


async def test_both_ends_are_one_key_away(path: Path) -> None:
    async with opened(path) as (view, pilot, pane):
        await pilot.press("g")
        await until(pilot, lambda: painted(view)[0] == text(0))
        assert "0%" in pane.summary()
        assert not view.following
        view.action_page(100)
        await pilot.pause()
        assert not view.following, "the end of what was read is not the end of the file"
        await pilot.press("G")
        await until(pilot, lambda: view.following and painted(view)[-1] == text(1999))


async def test_find_goes_beyond_what_was_read(path: Path) -> None:
    async with opened(path) as (view, pilot, _):
        await pilot.press("backslash", *"LINE 77", "enter")
        await until(pilot, lambda: any(line.endswith("line 779") for line in painted(view)))
        await pilot.press("N")
        await until(pilot, lambda: any(line.endswith("line 778") for line in painted(view)))
        view.set_find("line 5")
        await until(pilot, lambda: any("line 5" in line for line in painted(view)))


async def test_times_are_jumped_to_beyond_what_was_read(path: Path) -> None:
    async with opened(path) as (view, pilot, _):
        await pilot.press("T", *"2026-11-21T00:10:00Z", "enter")
        await until(pilot, lambda: painted(view)[0] == text(600))
        await pilot.press("m")
        await until(pilot, lambda: painted(view)[0] == text(660))
        await pilot.press("T", *"-5m", "enter")
        await until(pilot, lambda: painted(view)[0] == text(360))


def write(path: Path, text: str, how: str = "w") -> None:
    with path.open(how) as file:
        file.write(text)


def rotate(path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    write(path, "new file\n")


async def test_it_follows_and_says_what_befell_the_file(path: Path) -> None:
    async with opened(path) as (view, pilot, pane):
        write(path, "one more\n", "a")
        await until(pilot, lambda: painted(view)[-1] == "one more")
        rotate(path)
        await until(pilot, lambda: painted(view)[-2:] == ["— the file was rotated", "new file"])
        write(path, "")
        await until(pilot, lambda: painted(view)[-1] == "— the file was truncated")
        await pilot.press("k")
        write(path, "below\n" * 7, "a")
        await until(pilot, lambda: "7 new lines below" in pane.summary())
        await pilot.press("g")
        await until(pilot, lambda: view.scroll_y == 0)


async def test_no_file_and_no_right_to_it_are_said(tmp_path: Path) -> None:
    async with opened(tmp_path / "nothing") as (view, _, _):
        assert view.buffer.line(0).text == f"— {tmp_path}/nothing cannot be opened: No such file or directory"
    async with opened(tmp_path) as (view, pilot, _):
        await until(pilot, lambda: "cannot be read any more: Is a directory" in view.buffer.line(0).text)


async def test_foreign_bytes_stay_in_their_cells(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [HOSTILE.encode(), b"\xff\xfe\x9b31m", b"x" * 1_000_000, "漢".encode() * 99, b"[/x]", b"\x00" * 50, b""]
    path.write_bytes(b"\n".join(lines) + b"\n")
    async with opened(path) as (view, pilot, _):
        for keys in ("", "l", "h", "w", "g"):
            await pilot.press(*keys)
            await pilot.pause()
            for y in range(view.size.height):
                strip = view.render_line(y)
                assert strip.cell_length == view.scrollable_content_region.width == width(strip.text)
                assert strip.text.isprintable()
