"""The services screen over a fake house: what is shown, what is asked, what is done and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from opsconsole.client import OperationFailed
from screens.journal import JournalScreen
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.result import ResultPane
from tests.screens.fake import DIGEST, NOW, FakeClient, host_event, row
from tests.screens.support import check_snapshot, console, screen_text, until


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_fleet_in_one_table(size: tuple[int, int]) -> None:
    async with console(FakeClient(), size) as (app, _, _screen):
        check_snapshot(app, f"services-{size[0]}")


async def test_ascii_draws_ascii_only() -> None:
    async with console(FakeClient(), (80, 24), ascii=True) as (app, pilot, screen):
        assert screen_text(app).isascii()
        assert "x error" in screen_text(app)
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        assert screen_text(app).isascii()


async def test_a_dead_host_says_why_and_keeps_what_was_known() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        text = screen_text(app)
        assert "✖ down" in text
        assert "no route to host" in text
        assert "? started" in text
        assert screen.table.move_to("host:old1")
        await pilot.press("d")
        await until(pilot, lambda: "what to do" in screen_text(app))
        assert "Check that the host is on" in screen_text(app)


async def test_what_was_seen_last_is_shown_before_the_house_says_anything() -> None:
    client = FakeClient([])
    client.known = [host_event("web1", rows=[row("web1", "nginx")], cached=True)]
    async with console(client) as (app, pilot, _):
        await until(pilot, lambda: "nginx" in screen_text(app))
        assert "? started" in screen_text(app)
        client.events.put_nowait(host_event("web1", rows=[row("web1", "nginx", "stopped")]))
        await until(pilot, lambda: "stopped" in screen_text(app))
        assert "? started" not in screen_text(app)


async def test_other_hosts_stay_live_while_one_is_dead() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        assert screen.table.move_to("web1:web1/nginx.service")
        rows = [row("web1", "aaa"), row("web1", "nginx", "stopped"), row("web1", "cron")]
        client.events.put_nowait(host_event("web1", rows=rows))
        await until(pilot, lambda: "aaa" in screen_text(app))
        assert screen.table.cursor == "web1:web1/nginx.service"
        assert screen.current is not None
        assert screen.current.service is not None
        assert screen.current.service.status == "stopped"
        assert "web1:web1/app.service" not in screen.rows.records


async def test_errors_only_and_filter_say_what_they_hide() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        await pilot.press("e")
        await until(pilot, lambda: "errors only hides" in screen_text(app))
        assert set(screen.rows.shown) == {"web1:web1/app.service", "host:old1", "host:odd1"}
        await pilot.press("e", "slash", *"host:web", "enter")
        await until(pilot, lambda: "/host:web hides" in screen_text(app))
        assert all(key.startswith("web") for key in screen.rows.shown)
        await pilot.press("escape")
        await until(pilot, lambda: "hides" not in screen_text(app))


async def test_esc_in_the_filter_brings_the_old_one_back() -> None:
    async with console(FakeClient()) as (_, pilot, screen):
        await pilot.press("slash", *"nginx", "escape")
        await until(pilot, lambda: screen.table.has_focus)
        assert screen.rows.filter == ""


async def test_restart_on_rung_one_shows_the_plan_and_sends_its_digest() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause()
        check_snapshot(app, "plan-rung1")
        await pilot.press("enter")
        await until(pilot, lambda: "restarting web1/nginx: done" in screen_text(app))
        assert client.planned == [("services.restart", {"host": "web1", "name": "nginx"})]
        assert client.calls == [("services.restart", {"host": "web1", "name": "nginx"}, "yes", None)]
        assert client.digests == [DIGEST]


async def test_esc_on_a_plan_does_nothing() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("T")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert client.calls == []


async def test_enter_meant_for_something_else_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.widgets.plan.ARM_AFTER", 60.0)
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        assert isinstance(app.screen, PlanPane)
        assert client.calls == []


async def test_rung_zero_asks_nothing() -> None:
    client = FakeClient()
    client.plan_more = {"rung": 0, "expect": None}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web2:web2/nginx.service")
        await pilot.press("S")
        await until(pilot, lambda: "starting web2/nginx: done" in screen_text(app))
        assert client.calls == [("services.start", {"host": "web2", "name": "nginx"}, None, None)]


async def mark_two(pilot: Any, screen: Any) -> None:
    screen.table.move_to("web1:web1/cron.service")
    await pilot.press("space")
    screen.table.move_to("web2:web2/cron.service")
    await pilot.press("space")


async def test_marks_need_the_count_and_failed_ones_are_tried_again() -> None:
    client = FakeClient()
    failed = {"code": "service_failed", "message": "exited with 1[/x]\x1b[31m"}
    client.results = [
        {
            "results": [
                {"host": "web1", "name": "cron", "state": "done", "error": None},
                {"host": "web2", "name": "cron", "state": "failed", "error": failed},
            ],
            "run_id": 1,
        },
        {},
    ]
    items = [{"host": "web1", "name": "cron"}, {"host": "web2", "name": "cron"}]
    async with console(client) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("3", "enter")
        await until(pilot, lambda: "Expected 2 – typed 3" in screen_text(app))
        check_snapshot(app, "plan-rung2-wrong")
        await pilot.press("backspace", "2", "enter")
        await until(pilot, lambda: isinstance(app.screen, ResultPane))
        await pilot.pause()
        check_snapshot(app, "result-partly")
        assert client.calls[-1] == ("services.restart", {"items": items}, "2", None)
        client.plan_targets = [items[1]]
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: "restarting 2 services again: done" in screen_text(app))
        assert client.planned[-1] == ("runs.retry", {"id": "1", "states": ["failed"]})
        assert [operation for operation, *_ in client.calls] == ["services.restart", "runs.retry"]


async def test_without_a_run_the_failed_ones_are_asked_for_by_name() -> None:
    client = FakeClient()
    targets = [
        {"host": "web1", "name": "cron", "state": "done", "error": None},
        {"host": "web2", "name": "cron", "state": "failed", "error": {"message": "exit 1"}},
    ]
    client.results = [OperationFailed({"code": "partly_failed", "message": "partly", "targets": targets}, 8), {}]
    async with console(client) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("2", "enter")
        await until(pilot, lambda: isinstance(app.screen, ResultPane))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: "restarting web2/cron: done" in screen_text(app))
        assert client.planned[-1] == ("services.restart", {"host": "web2", "name": "cron"})


async def test_rung_three_wants_name_and_reason() -> None:
    client = FakeClient()
    client.plan_more = {"rung": 3, "expect": "postgresql", "needs_reason": True, "environment": "prod", "level": "prod"}
    async with console(client, (80, 24)) as (app, pilot, screen):
        screen.table.move_to("db1:db1/postgresql.service")
        await pilot.press("T")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press(*"postgresql", "enter", "enter")
        await until(pilot, lambda: "A reason is needed" in screen_text(app))
        check_snapshot(app, "plan-rung3-80")
        await pilot.press(*"upgrade", "enter")
        await until(pilot, lambda: "stopping db1/postgresql: done" in screen_text(app))
        assert client.calls[-1][2:] == ("postgresql", "upgrade")


async def test_rung_four_cannot_be_confirmed_here() -> None:
    client = FakeClient()
    client.plan_more = {"rung": 4, "expect": None}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("db1:db1/postgresql.service")
        await pilot.press("T")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        assert "second person" in screen_text(app)
        assert isinstance(app.screen, PlanPane)
        assert client.calls == []


async def test_a_stale_plan_is_shown_again_as_the_new_one() -> None:
    client = FakeClient()
    client.results = [OperationFailed({"code": "plan_stale", "message": "changed"}, 5), {}]
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: "The plan changed since it was shown" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: ": done" in screen_text(app))
        assert len(client.planned) == 2


async def test_partly_failed_and_unknown_are_told_apart() -> None:
    client = FakeClient()
    targets = [
        {"host": "web1", "name": "cron", "state": "unknown", "error": {"message": "the connection broke"}},
        {"host": "web2", "name": "cron", "state": "done", "error": None},
    ]
    client.results = [OperationFailed({"code": "partly_failed", "message": "partly", "targets": targets}, 8)]
    async with console(client) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("2", "enter")
        await until(pilot, lambda: isinstance(app.screen, ResultPane))
        assert isinstance(app.screen, ResultPane)
        assert app.screen.failed == []
        await pilot.press("r")
        assert isinstance(app.screen, ResultPane)


async def test_refusals_become_a_sentence() -> None:
    client = FakeClient()
    client.read_only = "prod is read-only until 18:00"
    async with console(client) as (app, pilot, screen):
        client.read_only = "prod is read-only until 18:00"
        app.facts["read_only"] = None
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: "prod is read-only until 18:00" in screen_text(app))
        assert client.calls == []


async def test_readonly_greys_and_never_asks() -> None:
    client = FakeClient()
    async with console(client, readonly=True) as (app, pilot, screen):
        assert "READ-ONLY" in screen_text(app)
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R", "T", "S", "E", "D", "F")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.pause()
        assert "read-only: started with --readonly" in screen_text(app)
        await pilot.press("enter")
        assert isinstance(app.screen, Menu)
        assert client.planned == []


async def test_action_menu_gives_reasons_and_keys() -> None:
    client = FakeClient()
    client.available = {
        "start": {"allowed": False, "because": "it is already started"},
        "restart": {"allowed": True, "because": ""},
    }
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.pause()
        check_snapshot(app, "action-menu")
        await pilot.press("S")
        assert isinstance(app.screen, Menu)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))


async def test_freeze_shows_nothing_new_and_catches_up() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, _screen):
        await pilot.press("z")
        client.events.put_nowait(host_event("web1", rows=[row("web1", "brandnew")]))
        client.events.put_nowait(host_event("web1"))
        await until(pilot, client.events.empty)
        await pilot.pause()
        assert "FROZEN" in screen_text(app)
        assert "brandnew" not in screen_text(app)
        await pilot.press("z")
        await until(pilot, lambda: "brandnew" in screen_text(app))
        assert "FROZEN" not in screen_text(app)


async def test_refresh_asks_again_and_lost_changes_do_too() -> None:
    client = FakeClient()
    async with console(client) as (_, pilot, _screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(client.streams) == 2)
        assert client.closed == ["services.watch"]
        client.changed.put_nowait([{"entity": "host_observation", "key": "web1", "verb": "update"}])
        client.changed.put_nowait([{"lost": True}])
        await until(pilot, lambda: len(client.streams) == 3)
        assert client.streams[-1] == ("services.watch", {"interval": 5})


async def test_hosts_nobody_speaks_of_after_a_refresh_leave() -> None:
    client = FakeClient()
    async with console(client) as (_, pilot, screen):
        await pilot.press("ctrl+r")
        client.events.put_nowait(host_event("web1"))
        await until(pilot, lambda: "web1" not in screen._unconfirmed and screen._unconfirmed)
        screen._drop_gone()
        assert {host.name for host in screen.fleet.hosts} == {"web1"}
        assert all(key.startswith("web1") for key in screen.rows.shown)


async def test_a_broken_watch_is_said_and_taken_up_again() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        client.events.put_nowait(
            OperationFailed({"code": "database_unavailable", "message": "the database is away"}, 6)
        )
        await until(pilot, lambda: "not watching: the database is away" in screen_text(app))
        assert screen.rows.shown
        await until(pilot, lambda: len(client.streams) == 2)


async def test_detail_follows_the_cursor_and_esc_closes_it_first() -> None:
    client = FakeClient()
    async with console(client, (80, 24)) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("enter")
        await until(pilot, lambda: "main_pid: 4711" in screen.detail.text)
        check_snapshot(app, "detail-80")
        screen.table.move_to("web1:web1/cron.service")
        await until(pilot, lambda: "web1/cron" in screen.detail.text)
        await pilot.press("escape")
        assert not screen.detail.is_open


async def test_journal_of_marks_follows_and_says_gaps() -> None:
    client = FakeClient()
    for number in range(3):
        client.journal.put_nowait(
            {
                "host": "web1",
                "unit": "cron.service",
                "at": NOW + number,
                "priority": 3 + number,
                "message": f"line {number}",
            }
        )
    client.journal.put_nowait({"gap": "the connection broke", "host": "web2"})
    client.journal.put_nowait(
        {"host": "web2", "unit": "cron.service", "at": NOW, "priority": 6, "message": [104, 105, 255]}
    )
    async with console(client) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("l")
        await until(pilot, lambda: "5 lines" in screen_text(app))
        check_snapshot(app, "journal")
        assert client.streams[-1][1]["items"] == [{"host": "web1", "name": "cron"}, {"host": "web2", "name": "cron"}]
        assert client.streams[-1][1]["lines"] == 200
        await pilot.press("e")
        await until(pilot, lambda: "errors only hides 4" in screen_text(app))
        assert isinstance(app.screen, JournalScreen)
        await pilot.press("q")
        await until(pilot, lambda: app.screen is screen and "services.journal.follow" in client.closed)


async def test_why_a_journal_cannot_be_read_is_said_to_its_end() -> None:
    client = FakeClient()
    said = "web1: read the journal: this user may not read the system's journal; add the user to systemd-journal there"
    client.journal.put_nowait(OperationFailed({"code": "host_agent_call_failed", "message": said}, 3))
    async with console(client, (80, 24)) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("l")
        await until(pilot, lambda: "systemd-journal" in screen_text(app))


async def test_what_failed_is_restarted_from_its_journal() -> None:
    client = FakeClient()
    client.available = {"restart": {"allowed": True, "because": ""}}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause(0.35)
        await pilot.press("enter")
        await until(pilot, lambda: "restarting web1/nginx: done" in screen_text(app))
        assert isinstance(app.screen, JournalScreen)
        assert [operation for operation, *_ in client.calls if operation == "services.restart"] == ["services.restart"]
        await pilot.press("q", "J")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        await pilot.press("a")
        await until(pilot, lambda: "journal of whole hosts" in screen_text(app))


async def test_a_host_row_has_a_journal_and_no_actions_of_services() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("host:odd1")
        await pilot.press("a", "R")
        assert app.screen is screen
        await pilot.press("l")
        await until(pilot, lambda: client.streams[-1][0] == "services.journal.follow")
        assert client.streams[-1][1]["items"] == [{"host": "odd1"}]
        assert "journal odd1 " in screen_text(app)


async def test_what_marked_services_do_not_take_is_greyed_with_the_reason_to_its_end() -> None:
    client = FakeClient()
    why = "web2 is protected; take the protection off, or ask an administrator, before you stop what runs there"
    offers = dict.fromkeys(("start", "stop", "restart", "reload", "enable", "disable", "reset_failed"), True)
    client.reads["services.list"] = {
        "services": [
            {"host": "web1", "name": "cron", "available_actions": offers},
            {"host": "web2", "name": "cron", "available_actions": {**offers, "restart": False}},
        ]
    }
    client.available = {"restart": {"allowed": False, "because": why}}
    async with console(client, (80, 24)) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("R")
        await until(pilot, lambda: "not possible on web2/cron: web2 is protected" in screen_text(app))
        assert "runs there" in screen_text(app)
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, Form))
        assert isinstance(app.screen, Form)
        assert "restart" not in app.screen.rows[0].field.choices
        assert f"restart: not possible on web2/cron: {why}" in app.screen.rows[0].help


async def test_marked_services_in_waves_are_a_task() -> None:
    client = FakeClient()
    client.results = [{"task_id": "01a2"}]
    client.plan_more = {"rung": 0, "expect": None}
    client.reads["services.list"] = {"services": []}
    async with console(client) as (app, pilot, screen):
        await mark_two(pilot, screen)
        await pilot.press("a")
        await until(pilot, lambda: "in waves, as a task" in screen_text(app))
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        rows = {row.field.name: row for row in form.rows}
        rows["action"].set("restart")
        rows["at_once"].set("1")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        assert ("services.restart", [{"host": "web1", "name": "cron"}, {"host": "web2", "name": "cron"}]) in [
            (operation, data.get("items")) for operation, data, _, _ in client.calls
        ]
        assert {"limit": 1} in client.tasks
