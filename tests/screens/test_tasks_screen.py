"""The tasks from any screen: the list, one with its output, what can be done to it, and its end."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import TASK_ENDED, OpsConsole
from screens.hosts import HostsScreen
from screens.render.task import SPEC, OutputLines, TargetNews, elapsed, headline, parse_task
from screens.services import ServicesScreen
from screens.tasks import TaskScreen, TasksScreen, timers_note, why_not
from screens.text import Safe
from screens.widgets.spec import View
from tests.screens.fake import HOSTILE, NOW, FakeClient
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until


def task(number: int, state: str = "running", **more: Any) -> Json:
    at = "2026-11-21T10:00:00Z"
    return {
        "id": f"t{number}",
        "operation": "services.restart",
        "summary": f"restart {number} services",
        "operator": "ann",
        "state": state,
        "waiting_for": None,
        "wanted": "run",
        "targets": {"done": 2, "failed": 1, "planned": 9},
        "created_at": at,
        "started_at": at,
        "seconds": 40.0,
        "usual_seconds": 120.0,
        "error": None,
        "results": [],
        **more,
    }


def house(*tasks: Json) -> FakeClient:
    client = FakeClient()
    client.plan_more = {"rung": 0, "expect": None}
    client.plan_targets = [{"host": "", "name": "t1"}]
    client.reads["tasks.list"] = {"results": list(tasks)}
    client.reads["tasks.get"] = lambda data: next(one for one in tasks if one["id"] == data["id"])
    client.reads["jobs.list"] = {"jobs": [], "overdue": ["crls"], "timekeeper": None, "workers": []}
    return client


async def opened(pilot: Pilot[int], app: OpsConsole) -> TasksScreen:
    await pilot.press("t")
    await until(pilot, lambda: isinstance(app.screen, TasksScreen) and bool(app.screen.rows.records))
    screen = app.screen
    assert isinstance(screen, TasksScreen)
    screen.table._clock = FixedClock.time
    screen.table.tick()
    await pilot.pause()
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_tasks_over_any_screen_and_back(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.tasks.time", FixedClock)
    waiting = task(2, "waiting", waiting_for="approval")
    client = house(task(1), waiting, task(3, "finished", seconds=61.0), task(4, "unknown"))
    async with console(client, size) as (app, pilot, screen):
        await opened(pilot, app)
        check_snapshot(app, f"tasks-{size[0]}")
        await pilot.press("t")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("2", "t")
        await until(pilot, lambda: isinstance(app.screen, TasksScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HostsScreen))


async def test_one_task_with_its_output_to_the_end() -> None:
    client = house(task(1, attempt=1, results=[{"position": 0, "host": "web1", "name": "nginx", "state": "running"}]))
    async with console(client) as (app, pilot, _):
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TaskScreen))
        piece = {
            "event": "output",
            "position": 0,
            "step": 0,
            "host": "web1",
            "name": "nginx",
            "at": "2026-11-21T10:00:01Z",
        }
        client.journal.put_nowait({"event": "state", "state": "running"})
        await until(pilot, lambda: "web1/nginx — running" in screen_text(app))
        client.journal.put_nowait({**piece, "seq": 4, "text": "first\nsec"})
        client.journal.put_nowait(OperationFailed({"code": "database_unavailable", "message": "gone"}, 5))
        await until(pilot, lambda: "first" in screen_text(app) and "gone – trying again" in screen_text(app))
        await until(pilot, lambda: len(client.streams) == 3, 10)
        assert client.streams[-1] == ("tasks.follow", {"id": "t1", "after": 4})
        client.journal.put_nowait({**piece, "seq": 5, "text": "ond\nlast"})
        failed = {"position": 0, "host": "web1", "name": "nginx", "state": "failed", "error": {"message": "exit 1"}}
        client.reads["tasks.get"] = task(1, "failed", attempt=2, results=[failed])
        client.journal.put_nowait({"event": "end", "id": "t1", "state": "failed", "seq": 5})
        await until(pilot, lambda: "ended: failed" in screen_text(app))
        shown = screen_text(app)
        assert all(word in shown for word in ("second", "last", "— failed · exit 1", "another one goes on"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, TasksScreen))
        await until(pilot, lambda: "tasks.follow" in client.closed)


async def test_the_failed_are_tried_again_from_the_list_and_from_the_output() -> None:
    client = house(task(1, "partial"))
    async with console(client) as (app, pilot, _):
        await opened(pilot, app)
        await pilot.press("R")
        await until(pilot, lambda: [name for name, *_ in client.calls].count("tasks.retry") == 1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TaskScreen))
        await pilot.press("R")
        await until(pilot, lambda: [name for name, *_ in client.calls].count("tasks.retry") == 2)


async def test_what_an_error_says_is_read_to_its_end_at_eighty_columns() -> None:
    said = "connect to 127.20.1.201 port 2222: connection refused; check that sshd runs there, on this port"
    failed = {"position": 0, "host": "dead1", "name": "dead1", "state": "failed", "error": {"message": said}}
    client = house(task(1, "partial", results=[failed]))
    async with console(client, (80, 24)) as (app, pilot, _):
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TaskScreen))
        client.journal.put_nowait({"event": "end", "id": "t1", "state": "partial", "seq": 0})
        await until(pilot, lambda: "ended: partial" in screen_text(app))
        assert "this port" in screen_text(app)
        assert "R retry the failed" in screen_text(app).splitlines()[-1]


async def test_controls_go_through_plans_and_greyed_ones_say_why() -> None:
    client = house(task(1))
    async with console(client) as (app, pilot, _):
        await opened(pilot, app)
        await pilot.press("C")
        await until(pilot, lambda: "it is running" in screen_text(app))
        for key, operation in (("P", "tasks.pause"), ("X", "tasks.cancel")):
            await pilot.press(key)
            await until(pilot, lambda operation=operation: operation in [name for name, *_ in client.calls])  # type: ignore[misc]
        assert [(name, data) for name, data, *_ in client.calls if name.startswith("tasks.")] == [
            ("tasks.pause", {"id": "t1"}),
            ("tasks.cancel", {"id": "t1"}),
        ]


async def test_read_only_controls_nothing() -> None:
    client = house(task(1))
    async with console(client, readonly=True) as (app, pilot, _):
        await opened(pilot, app)
        await pilot.press("X", "P")
        await until(pilot, lambda: "read-only" in screen_text(app))
        assert client.planned == []


async def test_the_end_of_a_task_is_heard_on_any_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.app.ENDINGS_AFTER", 0.0)
    client = house(task(1))
    sent: list[str] = []
    rung: list[bool] = []
    async with console(client) as (app, pilot, screen):
        monkeypatch.setattr(app, "send_to_terminal", sent.append)
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        await until(pilot, lambda: app._endings is not None and app._endings._open == {"t1"})
        client.reads["tasks.list"] = {"results": []}
        client.reads["tasks.get"] = task(1, "failed")
        client.changed.put_nowait([{"entity": "task", "key": "t1", "verb": "updated"}])
        await until(pilot, lambda: "task restart 1 services: failed" in screen_text(app))
        assert isinstance(app.screen, ServicesScreen)
        assert app.screen is screen
        assert (sent, rung) == ([TASK_ENDED], [True])


def test_who_keeps_time_is_said_only_when_nobody_does() -> None:
    assert timers_note({"timekeeper": "w1", "overdue": []}) == ""
    assert timers_note({"timekeeper": None, "overdue": ["crls", "leases"]}).endswith("overdue: crls, leases")
    assert timers_note({}).startswith("no timekeeper")


def test_what_can_be_done_follows_from_the_state() -> None:
    none = Safe("")
    possible = {
        state: [
            name
            for name in ("cancel", "pause", "resume", "retry")
            if not why_not(name, parse_task(task(1, state)), none)
        ]
        for state in ("running", "paused", "waiting", "finished", "unknown")
    }
    assert possible == {
        "running": ["cancel", "pause"],
        "paused": ["cancel", "resume"],
        "waiting": ["cancel", "resume"],
        "finished": [],
        "unknown": ["retry"],
    }
    assert why_not("cancel", None, none) == "no task here"


def test_elapsed_stands_beside_what_is_usual() -> None:
    running = parse_task(task(1))
    assert running.started is not None
    assert elapsed(running, running.started + 50) == "50s of ~2m"
    assert elapsed(parse_task(task(1, "finished", usual_seconds=None)), NOW) == "40s"
    assert elapsed(parse_task(task(1, "finished")), NOW) == "40s"
    assert elapsed(parse_task(task(1, "pending", started_at=None, seconds=None)), NOW) == ""


def test_what_is_wanted_and_waited_for_is_said_in_words() -> None:
    assert parse_task(task(1, wanted="pause")).waits == "pauses when what is under way has ended"
    assert parse_task(task(1, "waiting", waiting_for="approval")).waits == "waits for approval"
    assert parse_task(task(1, "cancelled", wanted="cancel")).waits == ""
    assert parse_task(task(1)).short == "2/12, 1 failed"


def test_everything_foreign_is_safe() -> None:
    row = parse_task(dict.fromkeys(task(1), HOSTILE))
    for column in SPEC.columns:
        assert type(column.cell(row, View(NOW)).text) is Safe
        column.sort(row)
    assert type(headline(row, NOW)) is Safe
    lines = OutputLines()
    found = lines.of({"text": f"{HOSTILE}\n{HOSTILE}", "host": HOSTILE, "name": HOSTILE, "at": HOSTILE})
    found += lines.left()
    assert found
    assert all(type(part) is Safe for line in found for part in (line.host, line.source, line.text))
    news = TargetNews()
    told = news.of([{"position": 0, "state": HOSTILE, "host": HOSTILE, "name": HOSTILE, "error": {"message": HOSTILE}}])
    assert all(type(part) is Safe for line in told for part in (line.host, line.source, line.text))
    assert len(told) == 1
    assert news.of([{"position": 0, "state": HOSTILE}]) == []


def test_a_line_without_end_is_bounded() -> None:
    lines = OutputLines()
    found = [line for _ in range(10) for line in lines.of({"text": "x" * 10_000})]
    assert len(found) >= 5
    assert sum(len(text) for text in lines._open.values()) <= 16 * 1024
