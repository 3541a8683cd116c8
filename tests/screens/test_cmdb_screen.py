"""The application tree over a fake house: what is read when, what is shown, and what is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.cmdb import CmdbScreen
from screens.cmdb_detail import ApplicationScreen
from screens.cmdb_graph import GraphScreen, links
from screens.cmdb_log import LogScreen, items_of, log_line
from screens.cmdb_parts import entries
from screens.cmdb_tree import ROOT, Tree, below_tree, found_tree
from screens.hosts_detail import HostScreen
from screens.render.cmdb import SPEC, worst
from screens.render.cmdb_detail import application_text
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, FakeClient
from tests.screens.support import check_snapshot, console, until


def line(number: int, name: str) -> Json:
    return {"kind": "production", "id": number, "name": name, "full_name": name, "has_child": True}


def node(number: int, name: str, parent: int | None = None, **more: Any) -> Json:
    base = {"kind": "application", "id": number, "parent": parent, "production": 1, "name": name}
    return {**base, "full_name": name, "has_child": True, **more}


def instance(number: int, host: str, status: str, sight: str | None = "ok") -> Json:
    base = {"kind": "instance", "id": number, "parent": 2, "name": host, "full_name": host, "has_child": False}
    return {**base, "status": status, "version": "1.4", "host_id": number, "host_state": sight}


def house() -> FakeClient:
    """Two lines; under the first shop, under that web with two instances."""
    client = FakeClient()
    answers = {
        ("root", 0): [line(1, "商店 [/x]"), line(0, "(no product line)")],
        ("production", 1): [node(1, "shop")],
        ("production", 0): [],
        ("application", 1): [node(2, "web", 1, full_name="shop.web", protected=True)],
        ("application", 2): [instance(1, "web1", "running"), instance(2, "web2", "running", "unreachable")],
    }

    def children(data: Json) -> Json:
        return {"nodes": answers[data.get("kind", "root"), data.get("id", 0)], "after": None}

    def rollup(data: Json) -> list[Json]:
        states = {"running": 1, "unreachable": 1}
        return [{**item, "applications": 2, "instances": states if item["id"] else {}} for item in data["items"]]

    found = [line(1, "商店 [/x]"), node(2, "web", 1, match=True, full_name="shop.web"), node(1, "shop", match=False)]
    client.reads |= {
        "cmdb.tree.children": children,
        "cmdb.tree.rollup": rollup,
        "cmdb.tree.search": {"nodes": found, "count": 1, "complete": True},
        "cmdb.tree.below": {"rows": [[2, 1, 1, "web"], [3, 2, 1, "api"]], "complete": True},
        "cmdb.applications.get": {"id": 2, "full_name": "shop.web", "version": 1},
        "cmdb.required_apps.list": {"results": [{"id": 5, "full_name": "pay.db"}]},
        "cmdb.applications.impact": {
            "requires": [
                {"id": 6, "full_name": "care", "through": "shop.web"},
                {"id": 7, "full_name": "desk", "through": "care"},
            ],
            "hidden": 0,
            "lines": ["application care requires shop.web"],
        },
    }
    return client


@asynccontextmanager
async def tree(
    client: FakeClient, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], CmdbScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, CmdbScreen) and len(app.screen.rows.records) == 2)
        screen = app.screen
        assert isinstance(screen, CmdbScreen)
        await until(pilot, lambda: ("production", 1) in screen.whole.counts)
        yield app, pilot, screen


async def opened(pilot: Pilot[int], screen: CmdbScreen) -> None:
    """Everything open, the cursor on the first instance."""
    for rows in (3, 4, 6):
        await pilot.press("right")
        await until(pilot, lambda rows=rows: len(screen.rows.shown) == rows)  # type: ignore[misc]
        await pilot.press("down")
    await until(pilot, lambda: ("application", 2) in screen.whole.counts)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_tree_opened(size: tuple[int, int]) -> None:
    async with tree(house(), size) as (app, pilot, screen):
        await opened(pilot, screen)
        check_snapshot(app, f"cmdb-{size[0]}")


async def test_moving_by_keys_reads_each_node_once() -> None:
    client = house()
    async with tree(client) as (_, pilot, screen):
        await opened(pilot, screen)
        reads = [name for name, *_ in client.calls].count("cmdb.tree.children")
        assert screen.current is not None
        assert screen.current.kind == "instance"
        await pilot.press("left")
        assert screen.current.name == "web"
        await pilot.press("left")
        assert len(screen.rows.shown) == 4
        await pilot.press("right")
        assert len(screen.rows.shown) == 6
        assert [name for name, *_ in client.calls].count("cmdb.tree.children") == reads


async def test_the_filter_keeps_what_stands_over_a_match() -> None:
    async with tree(house()) as (_, pilot, screen):
        await pilot.press("slash", *"web", "enter")
        await until(pilot, lambda: len(screen.rows.shown) == 3)
        assert screen.current is not None
        assert screen.current.full_name == "shop.web"
        assert "1 match" in screen.pane.note
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.rows.shown) == 2)


async def test_a_move_shows_its_plan_and_names_what_is_moved() -> None:
    client = house()
    client.plan_targets = [{"host": None, "name": "shop.web"}]
    async with tree(client) as (app, pilot, screen):
        await opened(pilot, screen)
        await pilot.press("left", "M")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"pay", "ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        planned = [(name, data) for name, data in client.planned if name.startswith("cmdb.")]
        assert planned == [("cmdb.child_apps.add", {"id": "pay", "items": [{"id": 2}]})]


async def test_nothing_is_changed_read_only() -> None:
    async with tree(house(), readonly=True) as (app, pilot, screen):
        await pilot.press("n", "D")
        await pilot.pause()
        assert app.screen is screen


async def test_requirements_are_walked_both_ways() -> None:
    async with tree(house()) as (app, pilot, screen):
        await opened(pilot, screen)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, GraphScreen) and len(app.screen.rows.records) == 4)
        graph = app.screen
        assert isinstance(graph, GraphScreen)
        assert "2 go down with it" in graph.pane.note
        await pilot.press("up", "enter")
        await until(pilot, lambda: len(graph.way) == 2)
        assert graph.way[-1] == (5, "pay.db")
        await pilot.press("escape")
        await until(pilot, lambda: len(graph.way) == 1)


async def test_logs_of_instances() -> None:
    client = house()
    client.journal.put_nowait({"host": "web1", "application": "shop.web", "message": HOSTILE, "at": 1.0})
    async with tree(client) as (app, pilot, screen):
        await opened(pilot, screen)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        log = app.screen
        assert isinstance(log, LogScreen)
        assert log.items == [{"id": 2, "instances": [1]}]
        assert items_of(screen.whole, [screen.whole.nodes["p1/a1/a2"]])[0] == [{"id": 2}]


async def test_an_application_in_full_and_a_host_in_full() -> None:
    client = house()
    client.reads |= {
        "cmdb.response_persons.list": {"results": [{"name": "Ann", "type": "ops", "mobile": "555"}]},
        "cmdb.instances.list": {"results": [{"hostname": "web1", "status": "running", "version": "1.4"}]},
        "hosts.get": {"id": 1, "name": "web1", "cpu": 4, "tags": ["blue"], "address": "10.0.0.1"},
        "hosts.applications.list": {"results": [{"full_name": "shop.web", "description": HOSTILE}]},
        "hosts.impact": {"lines": ["application shop.web: its only instance"]},
        "access.hosts.users.list": {"results": [{"user": {"username": "eve"}, "permission": {"login_host": True}}]},
        "access.hosts.roles.list": OperationFailed({"code": "permission_denied", "message": "ann may not"}, 3),
    }
    async with tree(client) as (app, pilot, screen):
        await opened(pilot, screen)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ApplicationScreen) and "Ann" in app.screen.text)
        page = app.screen
        assert isinstance(page, ApplicationScreen)
        for word in ("shop.web", "web1  running", "pay.db", "application care requires shop.web"):
            assert word in page.text
        app.push_screen(HostScreen(client, 1, "web1"))
        await until(pilot, lambda: isinstance(app.screen, HostScreen) and "eve" in app.screen.text)
        shown = app.screen
        assert isinstance(shown, HostScreen)
        for word in ("cpu: 4 cores", "shop.web", "its only instance", "eve  login_host", "ann may not"):
            assert word in shown.text
        assert "\x1b" not in shown.text


def test_every_cell_is_safe_whatever_the_house_says() -> None:
    made = Tree()
    hostile = node(1, HOSTILE, full_name=HOSTILE)
    made.put(ROOT, [{**line(1, HOSTILE)}])
    made.put("p1", [hostile, {**instance(1, HOSTILE, HOSTILE, HOSTILE), "version": HOSTILE}], opened=True)
    made.count([{"kind": "application", "id": 1, "applications": 3, "instances": {HOSTILE: 2}}])
    rows = list(made.rows().values())
    assert len(rows) == 3
    for row in rows:
        for column in SPEC.columns:
            assert type(column.cell(row, View()).text) is Safe
            column.sort(row)
    text = application_text(
        {"full_name": HOSTILE, "description": HOSTILE, "run_user": HOSTILE},
        [{"name": HOSTILE, "type": HOSTILE, "mobile": HOSTILE}],
        [{"hostname": HOSTILE, "status": HOSTILE}],
        [{"full_name": HOSTILE}],
        {"lines": [HOSTILE]},
    )
    assert "\x1b" not in text.plain
    assert "\x9b" not in text.plain
    found = links({"id": 1, "full_name": HOSTILE}, [{"id": 2, "full_name": HOSTILE}], {"requires": []})
    assert all(type(link.name) is Safe for link in found.values())
    shown = log_line({"host": HOSTILE, "application": HOSTILE, "message": HOSTILE, "at": 1.0})
    assert type(shown.text) is Safe
    assert log_line({"host": "h", "gap": HOSTILE, "at": 1.0}).priority == 4


def test_what_was_found_hangs_where_it_belongs() -> None:
    found = found_tree(
        {
            "nodes": [
                line(1, "a"),
                node(3, "deep", 2, match=True),
                node(2, "middle", 1),
                node(1, "top"),
                node(9, "elsewhere", 8, match=True, production=7),
            ]
        }
    )
    assert [one.key for one in found.shown()] == ["p1", "p1/a1", "p1/a1/a2", "p1/a1/a2/a3", "a9"]


def test_all_below_is_opened_at_once() -> None:
    made = Tree()
    made.put(ROOT, [line(1, "a")])
    made.put("p1", [node(1, "top")], opened=True)
    below_tree(made, "p1/a1", [[2, 1, 1, "b"], [3, 2, 1, "c"], [4, 1, 1, "a"]])
    assert [one.name for one in made.shown()] == ["a", "top", "a", "b", "c"]
    assert sorted(made.rows().values(), key=SPEC.order) == list(made.rows().values())
    assert not below_tree(made, "p1/a1", [[2, 1, 1, "b"], [3, 2, 1, "c"], [4, 1, 1, "a"]], most=2)
    made.put("p1", [node(7, "other")])
    assert [one.name for one in made.shown()] == ["a", "other"]
    assert len(made.nodes) == 2


def test_the_worst_state_comes_first() -> None:
    assert worst({"running": 9, "unreachable": 1, "stopped": 4}) == "unreachable"
    assert worst({"running": 1}) == "running"
    assert worst({}) == ""
    made = Tree()
    made.put(ROOT, [line(0, "(none)")])
    because = {entry.id: entry.because for entry in entries(made.nodes["p0"], Safe(""))}
    assert because["delete"] == "this is no product line"
