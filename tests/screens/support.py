"""Driving the console in tests: a started app, waiting for what is meant and not for time, and screens as text."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from screens.app import OpsConsole
from screens.services import ServicesScreen
from tests.screens.fake import NOW, FakeClient

StructTime = time.struct_time
SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "OPSCONSOLE_SNAPSHOT_UPDATE"


def screen_text(app: OpsConsole) -> str:
    """What is on the screen, line by line, without trailing blanks."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


def check_snapshot(app: OpsConsole, name: str) -> None:
    """Compare the screen with the stored text; with OPSCONSOLE_SNAPSHOT_UPDATE=1 store it instead."""
    path = SNAPSHOTS / f"{name}.txt"
    shown = screen_text(app)
    if os.environ.get(UPDATE) == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert path.read_text() == shown, f"the screen differs from {path.name}; {UPDATE}=1 stores it anew"


async def until(pilot: Pilot[Any], holds: Callable[[], Any], seconds: float = 5.0) -> None:
    """Let the app run until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true; the screen:\n" + screen_text(pilot.app)  # type: ignore[arg-type]
        await pilot.pause(0.02)


class FixedClock:
    """`time` with the wall clock standing at the fake fleet's now."""

    strftime = staticmethod(time.strftime)
    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def time() -> float:
        return NOW + 3

    @staticmethod
    def localtime(at: float) -> StructTime:
        return time.gmtime(at)


@asynccontextmanager
async def console(
    client: FakeClient,
    size: tuple[int, int] = (120, 40),
    *,
    readonly: bool = False,
    ascii: bool = False,  # noqa: A002
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], ServicesScreen]]:
    """The whole app over a fake house, with the first rows in the table."""
    app = OpsConsole(lambda: client, readonly=readonly, ascii=ascii)
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, ServicesScreen)
        screen.table._clock = FixedClock.time
        await until(pilot, lambda: client.events.empty() and not screen._pending and app.facts)
        screen._heading()
        await pilot.pause()
        yield app, pilot, screen
