"""The inbox of requests and reviews, one of them in full, the top rung of a plan, and what every header says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.approvals import ApprovalScreen, ApprovalsScreen
from screens.render.approval import SPEC, detail_text, parse_approval, parse_review
from screens.render.plan import Answer, asks, judge, ladder
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.header import badges
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient, plan_of
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until

ID = "01a21790-1947-700b-930b-1be99417d397"
PLAN = plan_of("dci.servers.wipe", [{"host": None, "name": "rack7-u3"}], rung=4, expect="approval", level="prod")


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat().replace("+00:00", "Z")


def request(name: str, **more: Any) -> Json:
    """A row of `approvals.list`: asked for by cid, and ann may decide it."""
    base: Json = {
        "id": name,
        "operation": "dci.servers.wipe",
        "summary": f"wipe {name}",
        "why": "this operation always needs a second person",
        "state": "pending",
        "level": "prod",
        "requester": "cid",
        "reason": "it goes to the scrap yard",
        "requested_at": at(-300),
        "expires_at": at(7200),
        "decided_by": None,
        "decision_reason": None,
        "run_id": None,
        "mine": False,
        "may_decide": True,
        "because": None,
    }
    return {**base, **more}


def review(name: str, **more: Any) -> Json:
    base: Json = {
        "id": name,
        "state": "open",
        "operation": "dci.servers.power_off",
        "summary": f"hard off {name}",
        "level": "prod",
        "who": "dora",
        "reason": "smoke in the room",
        "opened_at": at(-4000),
        "run_id": "run-1",
        "closed_by": None,
        "note": None,
        "may_close": True,
        "because": None,
    }
    return {**base, **more}


def house() -> FakeClient:
    """One request to decide, an own one that was approved, one that waits for others, one that is over, a review."""
    himself = "ann cannot be the second person to himself"
    client = FakeClient()
    client.plan_targets = [{"host": None, "name": "wipe rack7"}]
    client.reads["approvals.list"] = {
        "results": [
            request("rack7"),
            request("rack8", state="approved", mine=True, requester="ann", decided_by="bob", may_decide=False,
                    because=himself),
            request("rack9", mine=True, requester="ann", may_decide=False, because=himself, expires_at=at(60)),
            request("rack2", state="rejected", decided_by="bob", decision_reason="in use", may_decide=False,
                    because="it is rejected", requested_at=at(-90000)),
        ],
        "next": None,
    }  # fmt: skip
    client.reads["reviews.list"] = {"results": [review("rack1")], "next": None}
    client.reads["approvals.get"] = {
        **request("rack7"),
        "eligible": ["ann", "bob"],
        "input": {"id": 7, "level": "full", "password": "***"},
        "plan": PLAN,
        "fresh": {"same": True, "plan": PLAN, "error": None},
    }
    client.reads["runs.get"] = {"state": "finished", "results": [{"host": "rack1", "name": "power", "state": "done"}]}
    client.waits = {"to_decide": 1, "mine_pending": 1, "mine_approved": 1, "reviews": 1, "my_reviews": 0}
    return client


@asynccontextmanager
async def inbox(
    client: FakeClient, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], ApprovalsScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        await pilot.press("9")
        await until(pilot, lambda: isinstance(app.screen, ApprovalsScreen))
        screen = app.screen
        assert isinstance(screen, ApprovalsScreen)
        screen.table._clock = FixedClock.time
        await until(pilot, lambda: len(screen.rows.records) == 5)
        screen.table.tick()
        await pilot.pause()
        yield app, pilot, screen


def asked(client: FakeClient, operation: str) -> list[tuple[Json, str | None, str | None]]:
    return [(data, confirm, reason) for name, data, confirm, reason in client.calls if name == operation]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_waits_in_a_table(size: tuple[int, int]) -> None:
    async with inbox(house(), size) as (app, pilot, screen):
        await until(pilot, lambda: "1 REVIEW" in screen_text(app))
        assert [screen.rows.records[key].word for key in screen.rows.shown] == [
            "to approve",
            "to review",
            "approved",
            "waiting",
            "rejected",
        ]
        check_snapshot(app, f"approvals-{size[0]}")


async def test_every_header_says_what_waits_and_lights_up() -> None:
    client = house()
    client.waits = {}
    async with console(client) as (app, pilot, _):
        assert "TO APPROVE" not in screen_text(app)
        client.waits = {"to_decide": 2}
        client.changed.put_nowait([{"entity": "approval", "key": "x", "verb": "created"}])
        await until(pilot, lambda: "2 TO APPROVE" in screen_text(app))
        assert "something waits for you" in screen_text(app)
        await pilot.press("2")
        await until(pilot, lambda: "2 TO APPROVE" in screen_text(app))
        client.waits = {"to_decide": 0, "my_reviews": 1, "reviews": 1}
        client.changed.put_nowait([{"entity": "review", "key": "y", "verb": "created"}])
        await until(pilot, lambda: "2 REVIEWS" in screen_text(app))
        assert "TO APPROVE" not in screen_text(app)


def test_badges_of_anything() -> None:
    assert badges({}) == []
    assert [text for text, _ in badges({"to_decide": 3, "mine_approved": 1, "my_reviews": 1})] == [
        " ✖ 1 REVIEW ",
        " ▲ 3 TO APPROVE ",
        " ● 1 APPROVED ",
    ]
    nobody = {"open_reviews": 2, "reviews": 1, "timekeeper": False}
    assert [text for text, _ in badges(nobody)] == [" ✖ 2 REVIEWS ", " ▲ NO TIMEKEEPER "]
    assert [text for text, _ in badges({**nobody, "overdue": 3, "open_reviews": 0, "reviews": 0})] == [
        " ▲ NO TIMEKEEPER, 3 OVERDUE "
    ]
    assert badges({"timekeeper": True, "overdue": 0}) == []
    assert badges({"to_decide": HOSTILE, "reviews": None}) == []


async def open_first(app: OpsConsole, pilot: Pilot[int], says: str) -> ApprovalScreen:
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ApprovalScreen) and says in screen_text(app))
    screen = app.screen
    assert isinstance(screen, ApprovalScreen)
    return screen


async def test_a_request_is_planned_again_and_approved_by_keyboard() -> None:
    client = house()
    client.plan_more = {"rung": 1, "expect": "yes", "digest": "d" * 64}
    async with inbox(client) as (app, pilot, _):
        await open_first(app, pilot, "still the same")
        text = screen_text(app)
        assert "it goes to the scrap yard" in text
        assert "rack7-u3" in text
        assert "password=***" in text
        assert asked(client, "approvals.get") == [({"id": "rack7", "fresh": True}, None, None)]
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert asked(client, "approvals.approve") == []
        await pilot.pause(0.35)
        await pilot.press("enter")
        await until(pilot, lambda: asked(client, "approvals.approve") == [({"id": "rack7"}, "yes", None)])
        assert "d" * 64 in client.digests


async def test_a_plan_that_changed_is_said_loudly() -> None:
    client = house()
    client.reads["approvals.get"]["fresh"] = {"same": False, "plan": PLAN, "error": None}
    async with inbox(client) as (app, pilot, _):
        await open_first(app, pilot, "IT IS NOT WHAT WAS ASKED FOR")
    client.reads["approvals.get"]["fresh"] = {"same": False, "plan": None, "error": {"message": "rack7 is gone"}}
    async with inbox(client) as (app, pilot, _):
        await open_first(app, pilot, "rack7 is gone")
        assert "rack7-u3" in screen_text(app)


async def test_rejecting_asks_for_a_reason() -> None:
    client = house()
    client.plan_more = {"rung": 0}
    async with inbox(client) as (app, pilot, _):
        await open_first(app, pilot, "still the same")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert asked(client, "approvals.reject") == []
        await pilot.press(*"no", "ctrl+s")
        wanted = {"id": "rack7", "reason": "no"}
        await until(pilot, lambda: asked(client, "approvals.reject") == [(wanted, None, None)])
        await until(pilot, lambda: isinstance(app.screen, ApprovalScreen))


async def test_keys_that_do_nothing_say_why() -> None:
    client = house()
    himself = "ann cannot be the second person to himself"
    mine = request("rack8", mine=True, requester="ann", may_decide=False, because=himself)
    client.reads["approvals.get"] = {**mine, "plan": PLAN, "fresh": {"same": True, "plan": PLAN, "error": None}}
    async with inbox(client) as (app, pilot, screen):
        screen.table.move_to("approval:rack8")
        await open_first(app, pilot, "still the same")
        for key, says in (("A", himself), ("R", himself), ("X", "it is waiting")):
            await pilot.press(key)
            await until(pilot, lambda says=says: says in screen_text(app))  # type: ignore[misc]
        assert isinstance(app.screen, ApprovalScreen)
    async with inbox(house(), readonly=True) as (app, pilot, _):
        await open_first(app, pilot, "still the same")
        await pilot.press("A")
        await until(pilot, lambda: "read-only: started with --readonly" in screen_text(app))


async def test_an_approved_one_is_done_with_its_own_id() -> None:
    client = house()
    mine = request("rack8", state="approved", mine=True, requester="ann", decided_by="bob", may_decide=False)
    client.reads["approvals.get"] = {**mine, "plan": PLAN, "fresh": {"same": True, "plan": PLAN, "error": None}}
    agreed = {"id": ID, "state": "approved", "decided_by": "bob", "expires_at": at(60)}
    client.plan_more = {"rung": 4, "expect": "approval", "approval": agreed, "break_glass": True, "digest": "d" * 64}
    async with inbox(client) as (app, pilot, screen):
        screen.table.move_to("approval:rack8")
        await open_first(app, pilot, "approved")
        await pilot.press("X")
        await until(pilot, lambda: "bob approved just this" in screen_text(app))
        assert not app.screen.query("Input")
        await pilot.pause(0.35)
        await pilot.press("enter")
        await until(pilot, lambda: asked(client, "approvals.perform") == [({"id": "rack8"}, ID, None)])
        assert client.broke_glass == []


async def test_a_review_is_closed_with_a_note() -> None:
    client = house()
    client.plan_more = {"rung": 0}
    async with inbox(client) as (app, pilot, screen):
        screen.table.move_to("review:rack1")
        await open_first(app, pilot, "it ended: finished")
        assert "smoke in the room" in screen_text(app)
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"fine", "ctrl+s")
        await until(pilot, lambda: asked(client, "reviews.close") == [({"id": "rack1", "note": "fine"}, None, None)])


async def top_rung(client: FakeClient, pilot: Pilot[int], app: OpsConsole, screen: Any) -> None:
    screen.table.move_to("web1:web1/nginx.service")
    await pilot.press("R")
    await until(pilot, lambda: isinstance(app.screen, PlanPane))
    await pilot.pause(0.35)


TOP: Json = {"rung": 4, "expect": "approval", "eligible": ["bob", "cid"], "break_glass": True, "digest": "d" * 64}


async def test_asking_from_the_plan() -> None:
    client = FakeClient()
    client.plan_more = TOP
    client.reads["approvals.request"] = {"id": ID, "eligible": ["bob"], "not_told": "hooks.example.org: no route"}
    async with console(client, (80, 24)) as (app, pilot, screen):
        await top_rung(client, pilot, app, screen)
        check_snapshot(app, "plan-rung4-80")
        await pilot.press("enter")
        await until(pilot, lambda: "A reason is needed, for whoever decides" in screen_text(app))
        await pilot.press(*"patch", "enter")
        await until(pilot, lambda: app.screen is screen and bool(asked(client, "approvals.request")))
        [(data, confirm, _)] = asked(client, "approvals.request")
        assert (data["operation"], data["reason"], confirm) == ("services.restart", "patch", None)
        assert asked(client, "services.restart") == []
        said = [str(line.text) for line in app.messages]
        assert any("it waits for bob" in text for text in said)
        assert any("no route" in text for text in said)


async def test_breaking_the_glass_takes_the_word_and_a_reason() -> None:
    client = FakeClient()
    client.plan_more = TOP
    async with console(client, (80, 24)) as (app, pilot, screen):
        await top_rung(client, pilot, app, screen)
        await pilot.press("shift+tab", *"break", "enter")
        await pilot.press(*"fire", "enter")
        await until(pilot, lambda: "Expected break-glass or nothing" in screen_text(app))
        assert asked(client, "services.restart") == []
        await pilot.press(*"break-glass", "enter")
        await until(pilot, lambda: client.broke_glass == ["services.restart"])
        assert asked(client, "services.restart")[0][1:] == (None, "fire")
        assert asked(client, "approvals.request") == []


async def test_a_request_the_house_refuses_is_said() -> None:
    client = FakeClient()
    client.plan_more = TOP
    client.results = [OperationFailed({"code": "state_conflict", "message": "this is asked for already"}, 5)]
    async with console(client) as (app, pilot, screen):
        await top_rung(client, pilot, app, screen)
        await pilot.press(*"patch", "enter")
        await until(pilot, lambda: "this is asked for already" in screen_text(app))


async def test_a_large_plan_at_the_top_shows_its_fields() -> None:
    client = FakeClient()
    client.plan_targets = [{"host": f"web{number}", "name": "nginx"} for number in range(300)]
    client.plan_more = {**TOP, "level": "prod", "environment": "prod"}
    async with console(client, (80, 24)) as (app, pilot, screen):
        await top_rung(client, pilot, app, screen)
        check_snapshot(app, "plan-rung4-300-80")
        assert "or nothing" in screen_text(app)
        assert "┃   reason" in screen_text(app)


PENDING = {"id": ID, "state": "pending", "decided_by": None, "expires_at": at(60)}


@pytest.mark.parametrize(
    ("more", "typed", "reason", "wanted"),
    [
        ({}, "", "", "Nobody else holds the permission"),
        ({}, "break-glass", "fire", "Nobody else holds the permission"),
        ({"eligible": ["bob"]}, "", "why", Answer(None, "why", "d", ask=True)),
        ({"eligible": ["bob"]}, "", "", "A reason is needed"),
        ({"eligible": ["bob"]}, "yes", "why", "bob could agree"),
        ({"eligible": ["bob"]}, "break-glass", "why", "bob could agree"),
        ({"break_glass": True}, "break-glass", "why", Answer(None, "why", "d", break_glass=True)),
        ({"break_glass": True}, "break-glass", " ", "everybody will read it"),
        ({"break_glass": True}, "Break-Glass", "why", "Expected break-glass"),
        ({"break_glass": True}, "", "why", "Nobody else holds"),
        ({"break_glass": "yes"}, "break-glass", "why", "Nobody else holds"),
        ({"approval": PENDING, "eligible": ["bob"]}, "", "why", "waits for bob"),
        ({"approval": PENDING, "break_glass": True}, "break-glass", "why", Answer(None, "why", "d", break_glass=True)),
        ({"approval": {**PENDING, "state": "approved", "decided_by": "bob"}}, "", "", Answer(ID, None, "d")),
        ({"approval": {"state": "approved"}, "eligible": []}, "", "why", "Nobody else holds"),
        ({"approval": "approved", "eligible": "bob"}, "", "why", "Nobody else holds"),
    ],
)
def test_the_top_rung(more: Json, typed: str, reason: str, wanted: Answer | str) -> None:
    step = ladder({"rung": 4, "expect": "approval", "digest": "d", **more})
    verdict = judge(step, typed, reason)
    if isinstance(wanted, Answer):
        assert verdict == wanted
    else:
        assert not isinstance(verdict, Answer)
        assert wanted in verdict


def test_every_text_is_safe_whatever_the_house_says() -> None:
    hostile = dict.fromkeys([*request("x"), *review("x"), "eligible", "input", "plan", "fresh", "run"], HOSTILE)
    deep = {**hostile, "eligible": [HOSTILE], "input": {HOSTILE: HOSTILE}, "fresh": {"error": {"message": HOSTILE}}}
    for made in (parse_approval(hostile), parse_review(hostile), parse_approval({}), parse_review({})):
        for column in SPEC.columns:
            assert type(column.cell(made, View(NOW)).text) is Safe
            column.sort(made)
        for found in (None, {}, hostile, deep, {**deep, "fresh": {"plan": hostile}}):
            assert "\x1b" not in detail_text(made, found, NOW, plain=False).plain
    step = ladder({"rung": 4, "eligible": [HOSTILE, HOSTILE], "approval": {"id": HOSTILE, "decided_by": HOSTILE}})
    assert "\x1b" not in asks(step)


def test_a_review_that_nobody_else_could_close_says_so() -> None:
    row = parse_review(review("r", may_self_close=True))
    assert (row.word, row.open) == ("to review", True)
    assert (
        "nobody else could close it: you may, and it is kept as self-closed" in detail_text(row, None, NOW, False).plain
    )
    over = parse_review(review("r", state="closed", closed_by="dora", note="right", self_closed=True, may_close=False))
    assert (over.word, over.open) == ("self-closed", False)
    assert "closed by himself: dora: right" in detail_text(over, None, NOW, False).plain
