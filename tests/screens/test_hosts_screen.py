"""The hosts screen over a fake house: what is shown, which forms and plans come, what is asked of the house."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.hosts import HostsScreen, entries
from screens.render.hosts import SPEC, parse_row
from screens.render.waves import options
from screens.services import ServicesScreen
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until

KEY = "SHA256:" + "a" * 43
OTHER = "SHA256:" + "b" * 43


def record(number: int, name: str, **more: Any) -> Json:
    """A row of `hosts.list`."""
    base: Json = {
        "id": number,
        "name": name,
        "host_type": "PHY_HOST",
        "address": f"10.0.0.{number}",
        "ssh_port": None,
        "ssh_user": "ops",
        "environment": "lab",
        "level": "dev",
        "tags": [],
        "become": True,
        "description": None,
        "local": False,
        "protected": False,
        "maintenance": None,
        "version": 3,
    }
    return {**base, **more}


def house() -> FakeClient:
    """Four hosts: this machine, one of production under maintenance, one with an unknown key, one never seen."""
    client = FakeClient()
    work = {"by": "ann", "reason": "new disk", "until": "2027-01-15T22:00:00Z"}
    client.reads["hosts.list"] = {
        "results": [
            record(1, "local", local=True, address=None, ssh_user=None),
            record(2, "db1", environment="prod", level="prod", protected=True, maintenance=work, tags=["db", "ssd"]),
            record(3, "web1", ssh_port=2222),
            record(4, "new1"),
        ],
        "next": None,
    }
    unknown = {"message": "web1: unknown host key", "data": {"remedy": "compare it"}}
    client.reads["services.list"] = {
        "services": [],
        "hosts": [
            {"host": "local", "state": "ok", "age": 3.0, "error": None},
            {"host": "db1", "state": "ok", "age": 65.0, "error": None},
            {"host": "web1", "state": "host_key_unknown", "age": None, "error": unknown},
        ],
    }
    client.plan_targets = [{"host": "web1", "name": "web1"}]
    client.reads["environments.list"] = [{"name": "default"}, {"name": "lab"}, {"name": "prod"}]
    return client


@asynccontextmanager
async def hosts(
    client: FakeClient, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], HostsScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, HostsScreen))
        screen = app.screen
        assert isinstance(screen, HostsScreen)
        screen.table._clock = FixedClock.time
        await until(pilot, lambda: len(screen.rows.records) == 4 and len(client.changed.listeners) == 2)
        screen.table.tick()
        await pilot.pause()
        yield app, pilot, screen


def asked(client: FakeClient, operation: str) -> list[tuple[Json, str | None, str | None]]:
    return [(data, confirm, reason) for name, data, confirm, reason in client.calls if name == operation]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_hosts_in_a_table(size: tuple[int, int]) -> None:
    async with hosts(house(), size) as (app, _, _screen):
        check_snapshot(app, f"hosts-{size[0]}")


def test_every_cell_is_safe_whatever_the_house_says() -> None:
    hostile = dict.fromkeys(record(1, "x"), HOSTILE)
    for made in (
        parse_row(hostile, {"state": HOSTILE, "error": {"message": HOSTILE}, "age": HOSTILE}, NOW),
        parse_row({}, None, NOW),
        parse_row(record(1, "x", maintenance={"by": HOSTILE, "until": HOSTILE}), {}, NOW),
    ):
        for column in SPEC.columns:
            assert type(column.cell(made, View(NOW)).text) is Safe
            column.sort(made)


def test_the_menu_says_why_not() -> None:
    row = parse_row(record(1, "local", local=True), None, NOW)
    because = {entry.id: entry.because for entry in entries([row], Safe(""))}
    assert because["delete"] == because["trust"] == "this is the machine the console runs on"
    assert because["end_maintenance"] == "nobody works on it"
    assert because["edit"] == ""
    assert {e.because for e in entries([row], Safe("frozen"))} == {"", "read-only: frozen"}
    several = {entry.id: entry.because for entry in entries([row, row], Safe(""))}
    assert several["edit"] == several["app.shell"] == "one host at a time"
    assert several["protect"] == ""


async def test_a_new_host_from_the_keyboard() -> None:
    client = house()
    async with hosts(client) as (app, pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Form))
        client.plan_more = {"rung": 0, "expect": None}
        await pilot.press(*"new2", "enter", "p", "ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        assert asked(client, "hosts.create") == [({"name": "new2", "host_type": "PHY_HOST"}, None, None)]
        await until(pilot, lambda: len(asked(client, "hosts.list")) == 2)


async def test_an_edit_sends_only_what_differs_and_the_version_seen() -> None:
    client = house()
    refused = OperationFailed({"code": "state_conflict", "message": "web1 was changed since you looked"}, 5)
    client.results = [refused, {}]
    client.plan_more = {"rung": 0, "expect": None}
    async with hosts(client) as (app, pilot, screen):
        assert screen.table.move_to("3")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        next(row for row in form.rows if row.field.name == "ssh_port").set("22")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "was changed since you looked" in screen_text(app))
        assert app.screen is form
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        assert asked(client, "hosts.update") == [({"id": 3, "version": 3, "ssh_port": 22}, None, None)] * 2


async def test_an_import_shows_its_plan_as_the_preview() -> None:
    client = house()
    client.plan_more = {"rung": 0, "expect": None, "summary": "import ~/.ssh/config: 2 new, 1 changed, 0 as they are"}
    async with hosts(client) as (app, pilot, screen):
        await pilot.press("I", "s")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await until(pilot, lambda: "2 new, 1 changed" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "what you typed is still here" in screen_text(app))
        assert asked(client, "hosts.import_ssh_config") == []
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert asked(client, "hosts.import_ssh_config") == [({"path": "~/.ssh/config"}, None, None)]


async def test_a_key_is_compared_and_trusted_through_a_plan() -> None:
    client = house()
    client.reads["hosts.scan_key"] = {
        "offers": [
            {"key_type": "ssh-rsa", "fingerprint": OTHER, "state": "revoked"},
            {"key_type": "ssh-ed25519", "fingerprint": KEY, "state": "unknown"},
        ]
    }
    async with hosts(client) as (app, pilot, screen):
        screen.table.move_to("3")
        await pilot.press("K")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert client.planned == [("hosts.trust", {"host": "web1", "fingerprint": KEY})]
        await pilot.press("enter")
        await until(pilot, lambda: "trusting the key of web1: done" in screen_text(app))


async def test_of_several_keys_one_is_chosen_and_known_ones_are_refused() -> None:
    client = house()
    offers = [
        {"key_type": "ssh-ed25519", "fingerprint": KEY, "state": "changed"},
        {"key_type": "ssh-rsa", "fingerprint": OTHER, "state": "unknown"},
    ]
    client.reads["hosts.scan_key"] = {"offers": offers}
    async with hosts(client) as (app, pilot, screen):
        screen.table.move_to("3")
        await pilot.press("K")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert client.planned[-1][1]["fingerprint"] == OTHER
        await pilot.press("escape")
        client.reads["hosts.scan_key"] = {"offers": [{"key_type": "ssh-rsa", "fingerprint": OTHER, "state": "known"}]}
        await pilot.press("K")
        await until(pilot, lambda: "nothing to trust: ssh-rsa is trusted already" in screen_text(app))


async def test_delete_and_guards_go_through_plans() -> None:
    client = house()
    async with hosts(client) as (app, pilot, screen):
        screen.table.move_to("2")
        client.plan_more = {"rung": 3, "expect": "db1", "needs_reason": True}
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press(*"db1", "enter", *"gone", "enter")
        await until(pilot, lambda: "deleting the host db1: done" in screen_text(app))
        assert asked(client, "hosts.delete") == [({"id": 2}, "db1", "gone")]
        client.plan_more = {"rung": 0, "expect": None}
        await pilot.press("p", "M")
        await until(pilot, lambda: asked(client, "hosts.unprotect") and asked(client, "hosts.maintenance.end"))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"disk", "ctrl+s")
        await until(pilot, lambda: asked(client, "hosts.maintenance.begin"))
        assert asked(client, "hosts.maintenance.begin") == [({"id": 2, "reason": "disk"}, None, None)]


async def test_what_is_done_on_marks_is_done_on_each_and_said_once() -> None:
    client = house()
    client.plan_more = {"rung": 0, "expect": None}
    refused = OperationFailed({"code": "state_conflict", "message": "somebody works on it"}, 5)
    client.results = [{}, refused, {}]
    async with hosts(client) as (app, pilot, screen):
        for key in ("2", "3"):
            screen.table.move_to(key)
            await pilot.press("space")
        await pilot.press("p")
        await until(pilot, lambda: "1 done, 1 failed" in screen_text(app) or "1 failed, 1 done" in screen_text(app))
        assert "somebody works on it" in screen_text(app)
        assert [data for data, _, _ in asked(client, "hosts.protect")] == [{"id": 2}, {"id": 3}]
        await pilot.press("r")
        await until(pilot, lambda: app.screen is screen and len(asked(client, "hosts.protect")) == 3)
        assert asked(client, "hosts.protect")[-1][0] == {"id": 3}
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, Form))
        assert "Maintenance of 2 hosts" in screen_text(app)
        await pilot.press(*"disk", "ctrl+s")
        await until(pilot, lambda: len(asked(client, "hosts.maintenance.begin")) == 2)
        assert {data["reason"] for data, _, _ in asked(client, "hosts.maintenance.begin")} == {"disk"}


async def test_a_guard_that_comes_gets_the_room_it_needs() -> None:
    client = house()
    rows = client.reads["hosts.list"]["results"]
    rows[1] |= {"maintenance": None, "protected": False}
    async with hosts(client, (120, 30)) as (app, pilot, _):
        assert "maintenance" not in screen_text(app)
        rows[0]["maintenance"] = {"by": "ann", "reason": "new disks", "until": None}
        client.changed.put_nowait([{"entity": "host", "key": "1", "verb": "updated"}])
        await until(pilot, lambda: "new disks" in screen_text(app), 10)


async def test_deleting_marked_hosts_is_one_plan() -> None:
    client = house()
    client.plan_more = {"rung": 3, "expect": "2 lab", "needs_reason": True}
    async with hosts(client) as (app, pilot, screen):
        for key in ("2", "3"):
            screen.table.move_to(key)
            await pilot.press("space")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert asked(client, "hosts.delete") == []
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press(*"2 lab", "enter", *"sold", "enter")
        await until(pilot, lambda: len(asked(client, "hosts.delete")) == 1)
        [(data, confirm, reason)] = asked(client, "hosts.delete")
        assert (sorted(data["hosts"]), confirm, reason) == ([2, 3], "2 lab", "sold")
        assert len(client.planned) == 2


async def test_who_leaves_one_of_several_plans_leaves_the_rest() -> None:
    client = house()
    client.plan_more = {"rung": 1, "expect": "yes"}
    async with hosts(client) as (app, pilot, screen):
        for key in ("2", "3"):
            screen.table.move_to(key)
            await pilot.press("space")
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("escape")
        await until(pilot, lambda: "2 skipped" in screen_text(app))
        assert asked(client, "hosts.maintenance.end") == []
        assert len(client.planned) == 1


async def test_the_table_follows_what_others_change() -> None:
    client = house()
    async with hosts(client) as (_, pilot, screen):
        client.reads["hosts.list"] = {"results": [record(3, "web9")], "next": None}
        client.changed.put_nowait([{"entity": "host", "key": "3", "verb": "updated"}])
        await until(pilot, lambda: [str(row.host.name) for row in screen.rows.records.values()] == ["web9"])


async def test_services_of_a_host_are_shown_alone() -> None:
    client = house()
    async with hosts(client) as (app, pilot, screen):
        screen.table.move_to("3")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ServicesScreen))
        assert isinstance(app.screen, ServicesScreen)
        await until(pilot, lambda: "host web1 hides" in screen_text(app))
        assert all("web1" in key for key in app.screen.rows.shown)
        await pilot.press("escape")
        await until(pilot, lambda: "hides" not in screen_text(app))


async def test_readonly_opens_no_form() -> None:
    client = house()
    async with hosts(client, readonly=True) as (app, pilot, screen):
        screen.table.move_to("3")
        await pilot.press("n", "e", "D", "p", "K", "m", "I", "E", "s")
        await pilot.pause()
        assert app.screen is screen
        assert client.planned == []


async def test_commands_on_marked_hosts_are_a_task_in_waves() -> None:
    client = house()
    client.results = [{"task_id": "01a2"}]
    client.plan_more = {"rung": 0, "expect": None}
    async with hosts(client) as (app, pilot, screen):
        await pilot.press("*", "R")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        rows = {row.field.name: row for row in form.rows}
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "needed" in screen_text(app))
        await pilot.press(*"uptime")
        rows["waves"].set("1, 10%, rest")
        rows["stop_after"].set("1")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        [(data, _, _)] = asked(client, "hosts.execute")
        assert (sorted(data["hosts"]), data["steps"]) == ([1, 2, 3, 4], ["uptime"])
        assert {"waves": ["1", "10%", "rest"], "stop_after": 1} in client.tasks
        await until(pilot, lambda: "t shows how far it is" in screen_text(app))


async def test_a_plan_says_how_a_worker_goes_through_it_and_how_much_is_below() -> None:
    client = house()
    client.plan_more = {"rung": 2, "expect": "40", "summary": "run " + "a long command " * 9 + "END"}
    client.plan_targets = [{"host": f"h{n}", "name": f"h{n}", "kind": "host"} for n in range(40)]
    async with hosts(client, (80, 24)) as (app, pilot, _):
        await pilot.press("*", "R")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        rows = {row.field.name: row for row in form.rows}
        await pilot.press(*"uptime")
        rows["waves"].set("1, rest")
        rows["at_once"].set("2")
        rows["stop_after"].set("3")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await until(pilot, lambda: "more lines: PgDn" in screen_text(app))
        shown = " ".join(screen_text(app).replace("│", " ").split())
        assert "as a task: in waves of 1, rest, 2 at once at most, begins nothing more after 3 failed" in shown
        assert "a long command END" in shown
        assert "h0, h1, h2" in shown
        for _ in range(9):
            await pilot.press("pagedown")
        await until(pilot, lambda: "more line" not in screen_text(app))


def test_waves_of_a_form_are_the_options_of_a_task() -> None:
    task, rest = options({"waves": "1, 10%,rest", "at_once": 5, "stop_after": None, "action": "restart"})
    assert (task, rest) == ({"waves": ["1", "10%", "rest"], "limit": 5}, {"action": "restart"})
    assert options({"script": "id"}) == ({}, {"script": "id"})
