"""A few screens with their colours, as pictures. The text snapshots say what is on the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from screens.app import OpsConsole
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from tests.screens.fake import FakeClient
from tests.screens.support import SNAPSHOTS, UPDATE, console, until

SIZES = [(80, 24), (120, 40)]


def check_picture(app: OpsConsole, name: str) -> None:
    """Compare with the stored picture; what is there instead is left beside it."""
    path = SNAPSHOTS / f"{name}.svg"
    shown = app.export_screenshot(title=name)
    if os.environ.get(UPDATE) == "1":
        path.write_text(shown)
    if path.read_text() != shown:
        other = Path(os.environ.get("TMPDIR", "/tmp")) / f"{name}.svg"
        other.write_text(shown)
        raise AssertionError(f"the picture {path.name} differs from {other}; {UPDATE}=1 stores it anew")


@pytest.mark.parametrize("size", SIZES)
async def test_services_with_a_mark(size: tuple[int, int]) -> None:
    async with console(FakeClient(), size) as (app, pilot, screen):
        app.use_theme("dark")
        screen.table.move_to("web1:web1/app.service")
        await pilot.press("space", "k")
        await pilot.pause()
        check_picture(app, f"services-{size[0]}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_plan_in_production(size: tuple[int, int]) -> None:
    client = FakeClient()
    client.plan_more = {"rung": 2, "expect": "1", "level": "prod", "environment": "prod", "digest": "d" * 64}
    async with console(client, size) as (app, pilot, screen):
        app.use_theme("dark")
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        check_picture(app, f"plan-prod-{size[0]}")


async def test_the_menu_in_high_contrast() -> None:
    client = FakeClient()
    client.available = {"restart": {"allowed": True}, "start": {"allowed": False, "because": "it runs already"}}
    async with console(client, (80, 24)) as (app, pilot, screen):
        app.use_theme("contrast")
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.pause()
        check_picture(app, "menu-contrast-80")
