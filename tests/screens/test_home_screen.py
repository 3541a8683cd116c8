"""The home screen: worst first, calm when there is nothing, and the way from each line to the thing itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json
from screens.app import OpsConsole
from screens.approvals import ApprovalScreen
from screens.home import HomeScreen
from screens.hosts import HostsScreen
from screens.render.home import SPEC, headline, more_of, parse_home, when
from screens.services import ServicesScreen
from screens.shell.answer import AnswerScreen
from screens.tasks import TaskScreen
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient, host_event, iso, row
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until

OLD, DAY = NOW - 7200, 86400.0


def item(level: str, kind: str, key: str, state: str, what: str, **more: Any) -> Json:
    base: Json = {
        "level": level, "kind": kind, "id": key, "name": key, "state": state, "what": what, "who": None, "why": None,
        "on": [], "since": None, "due": None, "observed_at": None, "environment": None, "environment_level": None,
        "host": None, "number": 1, "operations": [],
    }  # fmt: skip
    return {**base, **more}


def section(name: str, *items: Json, count: int | None = None, more: bool = False) -> Json:
    return {"id": name, "level": items[0]["level"], "count": count or len(items), "more": more, "items": list(items)}


def hosts(state: str, level: str, number: int, **more: Any) -> Json:
    return item(level, "host", "", state, "", number=number, name="prod", environment="prod",
                environment_level="prod", **more)  # fmt: skip


REVIEW = item("red", "review", "v1", "to review", "hard off rack7-u3", who="dora", why="smoke in the room",
              on=["rack7-u3"], since=iso(OLD), environment_level="prod", operations=["reviews.close"])  # fmt: skip
APPROVAL = item("amber", "approval", "a1", "to approve", "wipe rack7-u4", who="cid", why="it goes to the scrap yard",
                since=iso(NOW - 300), due=iso(NOW + 7200), environment_level="prod",
                operations=["approvals.approve", "approvals.reject"])  # fmt: skip
TASK = item("unknown", "task", "t1", "unknown", "apt-get upgrade on 12 hosts", who="ann", since=iso(NOW - 600),
            why="look at host web-3 and compare it with what was wanted", operations=["home.looked_after"])  # fmt: skip


def busy() -> Json:
    return {
        "at": iso(NOW),
        "needing": {"red": 4, "amber": 4, "unknown": 2},
        "sections": [
            section("reviews", REVIEW),
            section("approvals", APPROVAL),
            section("tasks", TASK, item("busy", "task", "t2", "running", "restart nginx on 3 hosts", who="bob",
                                        since=iso(NOW - 42))),
            section("timers", item("amber", "job", "", "no timekeeper", "nobody keeps the timers: run opsconsole worker"
                                   " --stay, or opsconsole tick from cron", name="timekeeper")),
            section("services", item("red", "service", "web1/nginx.service", "failed", "nginx on web1", host="web1",
                                     why="failed, exit-code", environment="lab", observed_at=iso(NOW - 20)),
                    count=31),
            section("vpn", item("red", "vpn_crl", "1", "CRL soon", "Branches: its revocation list ends soon, and then"
                                " every client is refused", due=iso(NOW + DAY * 2)),
                    item("amber", "vpn_client", "7", "ends", "the certificate of branch-7 ends",
                         who="net@example.org", due=iso(NOW + DAY * 12))),
            section("hosts", hosts("unreachable", "red", 1, on=["db-2"], observed_at=iso(OLD)),
                    hosts("never seen", "unknown", 2, on=["web-8", "web-9"]),
                    hosts("up", "ok", 40, observed_at=iso(NOW - 3))),
            section("journal", item("ok", "journal", "", "in order", "5312 lines; its end is the one that was kept",
                                    since=iso(NOW - 60))),
        ],
    }  # fmt: skip


CALM: Json = {
    "at": iso(NOW),
    "needing": {"red": 0, "amber": 0, "unknown": 0},
    "sections": [section("hosts", hosts("up", "ok", 3, observed_at=iso(NOW - 3)))],
}


@asynccontextmanager
async def home(
    answer: Json, size: tuple[int, int] = (120, 40), *, client: FakeClient | None = None, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], HomeScreen, FakeClient]]:
    client = client or FakeClient()
    client.reads["home.show"] = answer
    client.waits = {"open_reviews": 1, "timekeeper": False}
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        await pilot.press("0")
        await until(pilot, lambda: isinstance(app.screen, HomeScreen))
        screen = app.screen
        assert isinstance(screen, HomeScreen)
        screen.table._clock = FixedClock.time
        await until(pilot, lambda: screen._answer is not None and "NO TIMEKEEPER" in screen_text(app))
        screen.table.tick()
        await pilot.pause()
        yield app, pilot, screen, client


def planned(rung: int) -> FakeClient:
    client = FakeClient()
    client.plan_targets, client.plan_more = [{"host": None, "name": "it"}], {"rung": rung}
    return client


async def under(screen: HomeScreen, pilot: Pilot[int], key: str) -> None:
    screen.table.move_to(next(name for name in screen.rows.records if name.startswith(key)))
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_worst_first_in_sections(size: tuple[int, int]) -> None:
    async with home(busy(), size) as (app, _, screen, _):
        check_snapshot(app, f"home-{size[0]}")
        assert screen.current is not None
        assert screen.current.id == "v1"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_calm_when_there_is_nothing(size: tuple[int, int]) -> None:
    async with home(CALM, size) as (app, _, _, _):
        check_snapshot(app, f"home-calm-{size[0]}")
        assert "nothing needs your attention  · hosts 3/3 up" in screen_text(app)


async def test_a_house_with_nothing_at_all_is_calm_too() -> None:
    async with home({**CALM, "sections": []}) as (app, pilot, _, _):
        assert screen_text(app).count("nothing needs your attention") == 2
        await pilot.press("enter", "C", "a")
        assert "nothing under the cursor" in screen_text(app)


async def test_a_filter_that_hides_everything_is_no_reason_to_be_calm() -> None:
    async with home(busy()) as (app, pilot, screen, _):
        screen.narrow("no such thing anywhere")
        await until(pilot, lambda: "the filter hides all of it" in screen_text(app))
        screen.narrow("")
        await until(pilot, lambda: "the filter hides all of it" not in screen_text(app))


async def test_what_could_not_be_told_is_told_again_from_here() -> None:
    lost = item("red", "notice", "n1", "given up", "break glass by the webhook: wipe rack7", why="it answered 404",
                since=iso(OLD), operations=["notices.retry"])  # fmt: skip
    answer = {**busy(), "sections": [section("notices", lost)]}
    async with home(answer, client=planned(0)) as (app, pilot, _, client):
        assert "what could not be told" in screen_text(app)
        client.reads["notices.list"] = {"results": [{"id": "n1", "state": "given_up"}]}
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        await pilot.press("escape", "T")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: [call[1] for call in client.calls if call[0] == "notices.retry"] == [{"id": "n1"}])


async def test_it_follows_what_happens() -> None:
    async with home(busy()) as (app, pilot, screen, client):
        client.reads["home.show"] = CALM
        screen._asked_at = 0.0
        client.changed.put_nowait([{"entity": "task_output", "key": "t2", "verb": "created"}])
        client.changed.put_nowait([{"entity": "review", "key": "v1", "verb": "updated"}])
        await until(pilot, lambda: "nothing needs your attention" in screen_text(app))
        assert set(screen.rows.records) == {"hosts:host::prod:up"}


async def test_what_cannot_be_read_leaves_what_was_read() -> None:
    from opsconsole.client import OperationFailed

    def refuse(_: Json) -> Json:
        raise OperationFailed({"code": "database_unavailable", "message": "the database is away"}, 6)

    async with home(busy()) as (app, pilot, _, client):
        client.reads["home.show"] = refuse
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "the database is away" in screen_text(app))
        assert "smoke in the room" in screen_text(app)
        assert "4 to act on" in screen_text(app)


async def test_enter_goes_to_the_thing_itself() -> None:
    client = FakeClient()
    client.reads["tasks.get"] = {"id": "t1", "summary": "apt-get upgrade", "state": "unknown", "operation": "x"}
    client.reads["approvals.get"] = {"id": "a1", "state": "pending", "summary": "wipe rack7-u4", "may_decide": True}
    client.reads["reviews.list"] = {"results": [], "next": None}
    client.reads["jobs.list"] = {"jobs": [], "overdue": [], "timekeeper": None}
    async with home(busy(), client=client) as (app, pilot, screen, _):
        for key, wanted in (("reviews", ApprovalScreen), ("approvals", ApprovalScreen), ("tasks:task:t1", TaskScreen),
                            ("timers", AnswerScreen)):  # fmt: skip
            await under(screen, pilot, key)
            await pilot.press("enter")
            await until(pilot, lambda wanted=wanted: isinstance(app.screen, wanted))  # type: ignore[misc]
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is screen)
        await under(screen, pilot, "hosts:host::prod:unreachable")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HostsScreen))
        assert app.screen.rows.filter == "@prod db-2"  # type: ignore[attr-defined]
        await pilot.press("minus")
        await until(pilot, lambda: app.screen is screen)


async def test_a_service_is_found_under_the_cursor_of_its_own_screen() -> None:
    client = FakeClient()
    client.events.put_nowait(host_event("web1", rows=[row("web1", "cron"), row("web1", "nginx", "error")]))
    async with home(busy(), client=client) as (app, pilot, screen, _):
        await under(screen, pilot, "services")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ServicesScreen))
        services = app.screen
        assert isinstance(services, ServicesScreen)
        await until(pilot, lambda: services.table.cursor == "web1:web1/nginx.service")


async def test_a_review_is_closed_from_here() -> None:
    async with home(busy(), client=planned(0)) as (app, pilot, screen, client):
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"seen", "ctrl+s")
        await until(pilot, lambda: any(call[0] == "reviews.close" for call in client.calls))
        [call] = [call for call in client.calls if call[0] == "reviews.close"]
        assert call[1] == {"id": "v1", "note": "seen"}
        await until(pilot, lambda: app.screen is screen)


async def test_a_request_is_approved_from_here_after_its_plan() -> None:
    async with home(busy(), client=planned(1)) as (app, pilot, screen, client):
        await under(screen, pilot, "approvals")
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert not any(call[0] == "approvals.approve" for call in client.calls)
        await pilot.press("enter")
        await until(pilot, lambda: any(call[0] == "approvals.approve" for call in client.calls))


async def test_what_was_looked_after_is_said_with_what_was_found() -> None:
    async with home(busy(), client=planned(0)) as (app, pilot, screen, client):
        await under(screen, pilot, "tasks:task:t1")
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"fine", "ctrl+s")
        await until(pilot, lambda: any(call[0] == "home.looked_after" for call in client.calls))
        [call] = [call for call in client.calls if call[0] == "home.looked_after"]
        assert call[1] == {"id": "t1", "kind": "task", "note": "fine"}


async def test_keys_that_do_nothing_here_say_why() -> None:
    async with home(busy()) as (app, pilot, screen, client):
        await under(screen, pilot, "vpn:vpn_client")
        await pilot.press("C")
        await until(pilot, lambda: "close the review: not for what is under the cursor" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: "go there" in screen_text(app))
    async with home(busy(), readonly=True) as (app, pilot, screen, client):
        await pilot.press("C")
        await until(pilot, lambda: "read-only" in screen_text(app))
        assert not any(call[0] == "reviews.close" for call in client.calls)


async def test_it_can_be_where_the_console_begins() -> None:
    client = FakeClient()
    client.reads["home.show"] = CALM
    app = OpsConsole(lambda: client, start="home")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "nothing needs your attention" in screen_text(app))
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, ServicesScreen))


def test_what_a_row_says_of_time() -> None:
    rows = parse_home(busy())
    said = {key.split(":")[0] + ":" + row.state: str(when(row, NOW).text) for key, row in rows.items()}
    assert said["reviews:to review"] == "2h"
    assert said["approvals:to approve"] == "in 2h"
    assert said["vpn:ends"] == "in 12d"
    assert said["hosts:up"] == "seen 3s"
    assert said["hosts:never seen"] == "never"


def test_what_is_not_shown_is_counted() -> None:
    assert more_of(busy()) == "more than is shown of failed services (31)"
    over = {"sections": [section("tasks", TASK, count=1000, more=True)]}
    assert more_of(over) == "more than is shown of tasks (over 1000)"


def test_every_text_is_safe_whatever_the_house_says() -> None:
    wild = item("no such level", HOSTILE, HOSTILE, HOSTILE, HOSTILE, who=HOSTILE, why=HOSTILE, on=[HOSTILE], due="x",
                environment=HOSTILE)  # fmt: skip
    answer = {"needing": "x", "sections": [{"id": HOSTILE, "items": [wild]}]}
    rows = parse_home(answer)
    [only] = rows.values()
    assert only.role == "unknown"
    for column in SPEC.columns:
        text = column.cell(only, View(NOW)).text
        assert isinstance(text, Safe)
        assert text.isprintable()
    assert headline(answer, rows, True).plain.isprintable()
    assert more_of(answer).isprintable()
    assert parse_home({}) == {}
    assert "asking …" in headline(None, {}, False).plain


def test_a_host_without_systemd_is_up_here_as_in_every_header() -> None:
    hosts = [
        {"kind": "host", "id": "1", "name": "a", "state": "unsupported", "level": "amber", "number": 7},
        {"kind": "host", "id": "2", "name": "b", "state": "unreachable", "level": "red", "number": 2},
    ]
    answer = {"needing": {}, "sections": [{"id": "hosts", "items": hosts}]}
    assert "hosts 7/9 up" in headline(answer, parse_home(answer), True).plain
