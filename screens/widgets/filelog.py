"""A log file of any size in a log view: its end at once, the rest when it is scrolled to, what is added as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from textual import work

from screens.text import Safe, join
from screens.widgets.lines import NO_LEVEL, NOTHING, Growth, LogLine
from screens.widgets.log import LogView
from screens.widgets.logfile import Block, FileWindow, LogFile
from screens.widgets.stamps import HEAD, file_line, stamp

SOONEST: Final = 0.033
"""Seconds between two looks at a file that grows."""
LATEST: Final = 0.2
"""The same while nothing happens."""
CAPACITY: Final = 100_000
NEAR: Final = 500
"""Lines from the edge of what is read at which more is read."""
UNBOUNDED: Final = 1 << 60

Errand = Callable[[LogFile], Awaitable[None]]


class FileLogView(LogView):
    """Opens the file when mounted, in a thread, as everything that reads it. What goes wrong is said in a line."""

    def __init__(self, path: str | Path, *, capacity: int = CAPACITY, id: str | None = None) -> None:  # noqa: A002
        super().__init__(capacity=UNBOUNDED, sources=False, id=id)
        self.path = Path(path)
        self.buffer.most_bytes = UNBOUNDED
        self.buffer.read = file_line
        self.window = FileWindow(capacity)
        self._near = min(NEAR, capacity // 8)
        self.file_size = 0
        self.at_end = True
        self.working = Safe("")
        self._errand: Errand | None = None
        self._pause = SOONEST
        self._wanted = asyncio.Event()

    def on_mount(self) -> None:
        self.read_file()

    def clear(self) -> None:
        super().clear()
        self.window.clear()

    @work(group="file", exclusive=True, exit_on_error=False)
    async def read_file(self) -> None:
        """Serve the window until the view is left."""
        try:
            file = await asyncio.to_thread(LogFile, self.path)
        except OSError as error:
            self._note(f"{self.path} cannot be opened: {error.strerror}")
            return
        try:
            await self._show_end(file)
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), self._pause)
                self._wanted.clear()
                await self._serve(file)
        except OSError as error:
            self._note(f"{self.path} cannot be read any more: {error.strerror}")
        finally:
            file.close()

    async def _serve(self, file: LogFile) -> None:
        """What was asked for, then what the window is close to, then what is new at the end."""
        errand, self._errand = self._errand, None
        if errand is not None:
            await errand(file)
            self.working = NOTHING
            self._say_soon()
        elif self.scroll_y < self._near and self.window.start > 0 and not self.following:
            self._put_before(await asyncio.to_thread(file.before, self.window.start))
        elif not self.at_end and self.scroll_y > self.buffer.rows - self._height - self._near:
            await self._go_on(file)
        elif self.at_end:
            await self._look(file)

    async def _show_end(self, file: LogFile) -> None:
        self.file_size = await asyncio.to_thread(lambda: file.size)
        self._start_with(await asyncio.to_thread(file.before, self.file_size), at_end=True)
        self._to_end()
        self.following = True

    async def _show_start(self, file: LogFile) -> None:
        self._start_with(await asyncio.to_thread(file.after, 0), at_end=False)
        self.scroll_row(0)

    async def _show_at(self, file: LogFile, offset: int) -> None:
        """The lines from an offset on at the top of the window, with some before them to scroll back to."""
        after = await asyncio.to_thread(file.after, offset)
        self._start_with(after, at_end=False)
        if offset:
            self._put_before(await asyncio.to_thread(file.before, offset))
        else:
            self.scroll_row(0)

    def _start_with(self, block: Block, *, at_end: bool) -> None:
        self.following = False
        self.clear()
        self.at_end = at_end
        self._put_after(block)

    def _put_after(self, block: Block) -> None:
        top = self._top()
        dropped = self.buffer.forget(self.window.append(block))
        before = self.buffer.rows
        self.buffer.extend(block.lines)
        self._grown(Growth(self.buffer.rows - before, dropped), top)

    def _put_before(self, block: Block) -> None:
        gone = self.window.prepend(block)
        rows = self.buffer.prepend(block.lines)
        if gone:
            self.buffer.forget_end(gone)
            self.at_end = False
            self.painter.forget()
        self._resize_virtual()
        self.scroll_to(y=round(self.scroll_y) + rows, animate=False)
        self.refresh()
        self._say_soon()

    async def _go_on(self, file: LogFile) -> None:
        block = await asyncio.to_thread(file.after, self.window.end)
        if block.lines:
            self._put_after(block)
        else:
            self.at_end = True

    async def _look(self, file: LogFile) -> None:
        """What was written since. What befell the file stands in the log itself."""
        news = await asyncio.to_thread(file.news, self.window.end)
        self._pause = SOONEST if news.block.lines else min(self._pause * 1.5, LATEST)
        if news.happened:
            self._note(news.happened)
        if news.anew:
            self.window.begin_anew()
        if news.block.lines or news.anew:
            self._put_after(news.block)
            self.file_size = max(news.block.end, 0 if news.anew else self.file_size)

    def _note(self, text: str) -> None:
        """A line of ours in the log, which no part of the file stands for."""
        top, end = self._top(), self.window.end
        line = LogLine(None, NOTHING, NOTHING, NO_LEVEL, Safe(f"— {text}"))
        dropped = self.buffer.forget(self.window.append(Block(end, end, [b""])))
        before = self.buffer.rows
        self.buffer.extend([line])
        self._grown(Growth(self.buffer.rows - before, dropped), top)

    def _ask(self, errand: Errand, doing: str) -> None:
        self._errand, self.working = errand, Safe(doing)
        self._say_soon()
        self._wanted.set()

    # What the keys ask for, where it is more than what was read

    def summary(self) -> Safe:
        start, end = self.window.start, self.window.end
        where = (
            "all of it"
            if start == 0 and self.at_end
            else f"{_share(start, self.file_size)}–{_share(end, self.file_size)}"
        )
        return join(
            [part for part in (super().summary(), Safe(f"{_bytes(self.file_size)}, {where}"), self.working) if part],
            " · ",
        )

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.following = self.following and self.at_end
        if new_value < self._near or not self.at_end:
            self._wanted.set()

    def scroll_row(self, row: int) -> None:
        super().scroll_row(row)
        self.following = self.following and self.at_end

    def action_edge(self, end: int) -> None:
        if end < 0 and self.window.start > 0:
            self._ask(self._show_start, "going to the beginning …")
        elif end > 0 and not self.at_end:
            self._ask(self._show_end, "going to the end …")
        else:
            super().action_edge(end)

    def go_to_time(self, at: float) -> bool:
        first = self.buffer.time_of(0)
        last = self.buffer.at_time(at)
        known = first is not None and first <= at and last is not None and (self.buffer.line(last).at or 0) >= at
        if known or (self.window.start == 0 and self.at_end):
            return super().go_to_time(at)

        async def errand(file: LogFile) -> None:
            await self._show_at(file, await asyncio.to_thread(file.at_time, at, _time_of))
            LogView.go_to_time(self, at)

        self._ask(errand, "looking for the time …")
        return True

    def _find_from(self, start: int, step: int) -> None:
        number = self.buffer.find(self.found, start, step)
        offset = self.window.start if step < 0 else self.window.end
        if number is not None or (offset == 0 if step < 0 else self.at_end):
            super()._find_from(start, step)
            return
        text = self.found

        async def errand(file: LogFile) -> None:
            found = await asyncio.to_thread(file.find, text, offset, step, self._given_up)
            if found is None:
                self.app.bell()
                return
            await self._show_at(file, found)
            first = self.buffer.first + self.window.lines_before(found)
            self.go_to_line(self.buffer.find(text, first - 1, 1))

        self._ask(errand, f"looking for {text} in {_bytes(self.file_size)} …")

    def _given_up(self) -> bool:
        return self._errand is not None or not self.is_attached


def _time_of(raw: bytes) -> float | None:
    return stamp(raw[:HEAD].decode("utf-8", "replace"))


def _share(offset: int, size: int) -> str:
    return f"{min(offset / size, 1.0):.0%}" if size else "0%"


def _bytes(count: int) -> str:
    """A size in at most four digits and a unit."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.1f} {units[0]}"
