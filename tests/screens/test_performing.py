"""A change from plan to result: what is shown meanwhile, what esc does, what the house expects, big plans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from opsconsole.client import Json, OperationFailed
from screens.journal import JournalScreen
from screens.render.result import progress_word
from screens.services import ServicesScreen
from screens.widgets.help import MessagesPane
from screens.widgets.plan import PlanPane
from screens.widgets.result import BusyPane, ResultPane
from tests.screens.fake import FakeClient, host_event, row
from tests.screens.support import check_snapshot, console, screen_text, until

TARGETS = [{"host": f"web{number}", "name": "nginx"} for number in range(500)]


class SlowClient(FakeClient):
    """A house whose changes end when the test says so, and whose runs say how far they are."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.reads["runs.list"] = {
            "results": [
                {"summary": "restart something else", "targets": {"done": 9}},
                {"summary": "restart 2 services", "targets": {"done": 1, "in_flight": 1}},
            ]
        }

    async def call(self, operation: str, data: Mapping[str, Any] | None = None, **more: Any) -> Any:
        answer = await super().call(operation, data, **more)
        if operation == "services.restart":
            await self.go.wait()
        return answer


FAILED = {
    "run_id": "r1",
    "results": [
        {"host": "web1", "name": "cron", "state": "done", "error": None},
        {"host": "web2", "name": "cron", "state": "failed", "error": {"message": "exit 1"}},
    ],
}


async def restart_two(pilot: Any, screen: ServicesScreen) -> None:
    for key in ("web1:web1/cron.service", "web2:web2/cron.service"):
        screen.table.move_to(key)
        await pilot.press("space")
    await pilot.press("R")
    await until(pilot, lambda: isinstance(pilot.app.screen, PlanPane))
    await pilot.press("2", "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, BusyPane))


async def test_a_long_change_counts_seconds_and_targets_and_ends_in_its_result() -> None:
    client = SlowClient()
    client.results = [FAILED]
    async with console(client) as (app, pilot, screen):
        await restart_two(pilot, screen)
        await until(pilot, lambda: "running for 1s" in screen_text(app) and "1 of 2 done" in screen_text(app))
        client.go.set()
        await until(pilot, lambda: isinstance(app.screen, ResultPane) and "exit 1" in screen_text(app))


async def test_esc_leaves_it_running_and_the_result_is_only_said() -> None:
    client = SlowClient()
    client.results = [FAILED]
    async with console(client) as (app, pilot, screen):
        await restart_two(pilot, screen)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen and "goes on" in screen_text(app))
        before = screen.table.cursor
        await pilot.press("up")
        assert screen.table.cursor != before
        client.go.set()
        await until(pilot, lambda: "restarting 2 services: 1 done, 1 failed" in screen_text(app))
        assert app.screen is screen
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, MessagesPane))
        assert "1 done, 1 failed" in screen_text(app)


async def test_who_went_on_to_something_else_keeps_his_keys() -> None:
    """A dialog about the change must not come over the journal that was opened meanwhile and take what is typed."""
    client = SlowClient()
    client.results = [FAILED]
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        await until(pilot, lambda: "goes on" in screen_text(app))
        await pilot.press("slash", *"abc", "enter")
        assert "/abc" in screen_text(app)
        client.go.set()
        await until(pilot, lambda: "1 done, 1 failed" in screen_text(app))
        assert isinstance(app.screen, JournalScreen)


async def test_what_the_house_expects_is_asked_for_and_nothing_else() -> None:
    client = FakeClient()
    client.plan_more = {"rung": 1, "expect": "yes", "digest": "d" * 64}
    more = {"rung": 3, "expect": "nginx", "plan_digest": "d" * 64}
    client.results = [OperationFailed({"code": "confirmation_required", "message": "more", "data": more}, 7), {}]
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: "More is asked for" in screen_text(app) and "Type nginx" in screen_text(app))
        await pilot.press(*"nginx", "enter", *"because", "enter")
        await until(pilot, lambda: "restarting web1/nginx: done" in screen_text(app))
        assert client.calls[-1][2:] == ("nginx", "because")


async def test_five_hundred_targets_scroll() -> None:
    client = FakeClient()
    client.plan_targets = TARGETS
    client.plan_more = {"rung": 2, "expect": "500", "level": "stage", "environment": "stage"}
    async with console(client, (80, 24)) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        check_snapshot(app, "plan-500-80")
        started = time.monotonic()
        for _ in range(3):
            await pilot.press("pagedown")
        assert time.monotonic() - started < 5.0
        assert "web30/nginx" in screen_text(app)
        await pilot.press(*"500", "enter")
        await until(pilot, lambda: ": done" in screen_text(app) or "500 done" in screen_text(app))


def test_progress_in_words() -> None:
    assert progress_word({"done": 12, "failed": 1, "in_flight": 2, "planned": 25}) == "12 of 40 done, 1 failed"
    assert progress_word({}) == ""


def dying(number: int) -> Json:
    return host_event(f"h{number}", "unreachable", error=f"h{number}: no route to host")


async def test_half_of_the_fleet_dies_and_keys_answer_as_before() -> None:
    """300 hosts of 40 services; then half of them die and the others change all at once, again and again."""
    fleet = [host_event(f"h{n}", rows=[row(f"h{n}", f"s{i}") for i in range(40)]) for n in range(300)]
    client = FakeClient(fleet)
    async with console(client, (120, 40)) as (app, pilot, screen):

        async def keys() -> float:
            started = time.monotonic()
            for _ in range(10):
                before = screen.table.cursor
                await pilot.press("down")
                assert screen.table.cursor != before
            return (time.monotonic() - started) / 10

        await keys()
        quiet = await keys()
        for number in range(300):
            rows = [row(f"h{number}", f"s{i}", "error") for i in range(40)]
            client.events.put_nowait(dying(number) if number % 2 else host_event(f"h{number}", rows=rows))
        busy = await keys()
        assert busy < 4 * quiet + 0.2, f"a key took {busy * 1000:.0f} ms in the flood, {quiet * 1000:.0f} ms before"
        await until(pilot, lambda: not screen._pending and client.events.empty(), 30)
        assert sum(host.up for host in screen.fleet.hosts) == 150
        assert screen.table.cursor is not None
        await pilot.press("e")
        await until(pilot, lambda: "errors only" in screen_text(app))


async def test_a_watch_that_dies_leaves_everything_where_it_was() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        client.events.put_nowait(OperationFailed({"code": "unexpected_error", "message": "the house fell"}, 1))
        await until(pilot, lambda: "the house fell" in screen_text(app))
        await pilot.press("up", "down")
        assert screen.table.cursor == "web1:web1/nginx.service"
        assert screen.rows.shown


class HalfDead(FakeClient):
    """A house whose web2 does not answer."""

    async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
        items = (data or {}).get("items") or []
        silent = [item for item in items if item["host"] == "web2"]
        if silent:
            error = {"code": "host_unreachable", "message": "no route to web2"}
            raise OperationFailed(
                {
                    "code": "host_unreachable",
                    "message": "1 of 2 services are on hosts without an answer (web2): no route to web2",
                    "targets": [{**item, "error": error} for item in silent],
                    "data": {"rest": [item for item in items if item not in silent]},
                },
                6,
            )
        return await super().plan(operation, data)


async def test_a_dead_host_does_not_keep_the_others_from_their_plan() -> None:
    """What is left out is said in the plan, which is shown even where nothing has to be confirmed, and in the end."""
    client = HalfDead()
    client.plan_more = {"rung": 0, "expect": None}
    async with console(client, (80, 24)) as (app, pilot, screen):
        for key in ("web1:web1/nginx.service", "web2:web2/nginx.service"):
            screen.table.move_to(key)
            await pilot.press("space")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        check_snapshot(app, "plan-left-out-80")
        assert client.calls == []
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ResultPane))
        assert client.calls[-1][1] == {"host": "web1", "name": "nginx"}
        shown = screen_text(app)
        assert "1 skipped" in shown and "no route to web2" in shown
