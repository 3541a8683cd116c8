"""Type-ahead: what is typed in one burst goes where it was meant, and never confirms what nobody could have read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from opsconsole.client import Json, Question
from screens.widgets.filter import CleanInput
from screens.widgets.help import HelpPane
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.question import QuestionPane
from tests.screens.fake import FakeClient
from tests.screens.support import console, until

NAMES = {"/": "slash", "\r": "enter", "\x1b": "escape", "?": "question_mark", ":": "colon", "!": "exclamation_mark"}


def burst(pilot: Pilot[Any], text: str, pasted: str = "") -> None:
    """All keys at once, as a terminal delivers what was typed while the line was slow; then what is pasted."""
    found: list[events.Event] = [
        events.Key(NAMES.get(character, character), None if character in "\r\x1b" else character) for character in text
    ]
    for event in [*found, events.Paste(pasted)] if pasted else found:
        event.set_sender(pilot.app)
        assert pilot.app._driver
        pilot.app._driver.send_message(event)


class SlowClient(FakeClient):
    """A house that takes its time over a plan."""

    async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
        await asyncio.sleep(0.1)
        return await super().plan(operation, data)


async def test_a_filter_typed_in_one_burst_keeps_its_letters() -> None:
    async with console(FakeClient()) as (_, pilot, screen):
        burst(pilot, "/ngin\rj")
        await until(pilot, lambda: screen.rows.filter == "ngin" and screen.table.has_focus)
        await until(pilot, lambda: screen.table.cursor == screen.rows.shown[1])
        assert not screen.query(".prompt")


async def test_keys_behind_a_dialog_key_go_to_the_dialog() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        before = screen.table.cursor
        burst(pilot, "?j\x1bj")
        await until(pilot, lambda: app.screen is screen and screen.table.cursor != before)
        assert screen.table.cursor == screen.rows.shown[1]
        burst(pilot, "o\x1b?")
        await until(pilot, lambda: isinstance(app.screen, HelpPane))


async def test_keys_behind_an_action_wait_for_its_dialog() -> None:
    client = SlowClient()
    client.available = {"restart": {"allowed": True}}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        burst(pilot, "aRj")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        assert screen.table.cursor == "web1:web1/nginx.service"
        assert not any(isinstance(shown, Menu) for shown in app.screen_stack)


@pytest.mark.parametrize("keys", ["R\r", "R\r\r\r", "Rjjjj\r\r", "aR\r\r"])
async def test_a_burst_never_confirms(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.frame.ARM_AFTER", 0.3)
    client = SlowClient()
    client.available = {"restart": {"allowed": True}}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        burst(pilot, keys)
        await until(pilot, lambda: isinstance(app.screen, PlanPane) and not app._ahead.busy)
        await pilot.pause(0.1)
        assert isinstance(app.screen, PlanPane)
        assert [call for call in client.calls if call[0] != "services.get"] == []
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: [call[0] for call in client.calls][-1:] == ["services.restart"])


async def test_a_typed_count_in_a_burst_is_kept_but_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.frame.ARM_AFTER", 0.3)
    client = SlowClient()
    client.plan_more = {"rung": 2, "expect": "1"}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        burst(pilot, "R1\r")
        await until(pilot, lambda: isinstance(app.screen, PlanPane) and not app._ahead.busy)
        assert isinstance(app.screen, PlanPane)
        assert client.calls == []
        assert app.screen._typed("#expect") == "1"


async def test_an_enter_meant_for_the_list_does_not_accept_a_host_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.frame.ARM_AFTER", 0.3)
    client = FakeClient()
    async with console(client) as (app, pilot, _):
        client.asked.put_nowait(Question(7, "text", "web9", "A code", {}))
        await until(pilot, lambda: isinstance(app.screen, QuestionPane) and app.screen.shown_at is not None)
        burst(pilot, "4711\r")
        await until(pilot, lambda: app.screen.query_one(CleanInput).value == "4711")
        await until(pilot, lambda: not app._ahead.busy)
        assert isinstance(app.screen, QuestionPane)
        assert client.answers == []


async def test_a_slow_house_does_not_hold_the_keyboard() -> None:
    class Stuck(FakeClient):
        async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
            await asyncio.Event().wait()
            raise AssertionError

    async with console(Stuck()) as (_, pilot, screen):
        screen.table.move_to(screen.rows.shown[0])
        burst(pilot, "Rj")
        await until(pilot, lambda: screen.table.cursor == screen.rows.shown[1], 2.0)


async def test_a_paste_waits_for_its_turn() -> None:
    async with console(FakeClient()) as (_, pilot, screen):
        burst(pilot, "/", "cron")
        burst(pilot, "\r")
        await until(pilot, lambda: screen.rows.filter == "cron" and screen.table.has_focus)


async def test_a_key_held_down_is_not_slowed() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        screen.table.move_to(screen.rows.shown[0])
        await pilot.pause()
        await pilot.press("k")
        burst(pilot, "jjjkj")
        await until(pilot, lambda: screen.table.cursor == screen.rows.shown[3])
        assert not app._ahead._held
        burst(pilot, "jj?j")
        await until(pilot, lambda: isinstance(app.screen, HelpPane) and not app._ahead.busy)
        assert screen.table.cursor == screen.rows.shown[5]
