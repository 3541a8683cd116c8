"""`python -m tests.pictures DIRECTORY`: pictures of the screens over the demo's fleet, as SVG and, with rsvg-convert,
as PNG."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from opsconsole.demo.start import Demo
from screens.app import OpsConsole
from screens.services import ServicesScreen
from tests.screens.support import screen_text

SIZES = ((80, 24), (120, 40))
SCENES: dict[str, tuple[tuple[str, ...], str]] = {
    "services": (("escape", "escape", "g"), "app-1"),
    "errors": (("e", "g"), "errors only"),
    "detail": (("d",), "about:"),
    "unit-file": (("i",), "[Unit]"),
    "groups": (("escape", "e", "b", "down", "enter", "g"), "by "),
    "filter": (("b", "enter", "slash", *"shop-api", "enter", "g"), "/shop-api"),
    "marks": (("asterisk",), "6 marked"),
    "plan": (("R",), "6 targets"),
    "menu": (("escape", "U", "g", "a"), "restart"),
    "journal": (("escape", "l"), "following"),
    "help": (("question_mark",), "esc closes"),
    "palette": (("escape", "escape", "ctrl+p", *"restart"), "restart"),
    "command": (("escape", "colon", *"services"), "services"),
    "hosts": (("escape", "2"), "30 hosts"),
    "host-form": (("e",), "Host "),
}
"""Name → keys to press after the scene before, and what is to be seen then."""


async def seen(pilot: Pilot[int], app: OpsConsole, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"it never came:\n{screen_text(app)}")
        await pilot.pause(0.05)


async def take(demo: Demo, size: tuple[int, int], directory: Path, theme: str) -> list[Path]:
    """All scenes at one size."""
    from opsconsole.backend import connect

    client = connect()
    app = OpsConsole(lambda: client, theme=theme)
    found: list[Path] = []
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, ServicesScreen)
        await seen(pilot, app, lambda: sum(host.up for host in screen.fleet.hosts) >= 28)
        for name, (keys, word) in SCENES.items():
            for key in keys:
                await pilot.press(key)
            await seen(pilot, app, lambda word=word: word in screen_text(app))  # type: ignore[misc]
            await pilot.pause(0.6)
            path = directory / f"{name}-{size[0]}x{size[1]}.svg"
            path.write_text(app.export_screenshot(title=f"opsconsole – {name}"), "utf-8")
            found.append(path)
    client.close()  # type: ignore[attr-defined]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--theme", default="dark")
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    with Demo() as demo:
        demo.prepare()
        for size in SIZES:
            for path in asyncio.run(take(demo, size, asked.directory, asked.theme)):
                print(path)
                if convert := shutil.which("rsvg-convert"):
                    subprocess.run([convert, str(path), "-o", str(path.with_suffix(".png"))], check=True)


if __name__ == "__main__":
    main()
