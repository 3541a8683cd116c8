"""The sessions screen over a fake house: rows and rates, what is asked of the house, and what must stand out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json
from screens.app import OpsConsole
from screens.render.vpn_session import SPEC, Traffic, parse_server, parse_session, rate, size, total
from screens.vpn_sessions import FindingsPane, VpnSessionsScreen, findings
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient, iso
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until


def session(number: int, name: str, **more: Any) -> Json:
    base: Json = {
        "server": "site",
        "server_id": 1,
        "host": "vpn1",
        "environment": "prod",
        "level": "prod",
        "client_id": number,
        "name": name,
        "vpn_client_id": number,
        "revoked": False,
        "username": None,
        "real_address": f"192.0.2.{number}:1194",
        "virtual_address": f"10.8.0.{number}",
        "virtual_ipv6": None,
        "bytes_received": 5_000_000 * number,
        "bytes_sent": 1500,
        "connected_since": iso(NOW - 7200),
        "cipher": "AES-256-GCM",
    }
    return {**base, **more}


def server(number: int, name: str, error: str | None = None) -> Json:
    said = {"code": "host_unreachable", "message": error, "data": {}} if error else None
    return {"server": name, "server_id": number, "host": "vpn1", "environment": "prod", "level": "prod", "error": said}


def house() -> FakeClient:
    client = FakeClient()
    client.reads["vpn.sessions.list"] = {
        "sessions": [
            session(3, "site-berlin"),
            session(4, "site-lost", revoked=True),
            session(5, "stranger", vpn_client_id=None, revoked=None),
        ],
        "servers": [server(1, "site"), server(2, "branch", "branch cannot be reached: no route")],
    }
    expiring = {"code": "crl_expires_soon", "level": "red", "message": "the published list ends in 7 hours"}
    client.reads["vpn.servers.list"] = {"servers": [{"id": 1, "alarms": [expiring]}, {"id": 2, "alarms": []}]}
    client.reads["vpn.revocations.list"] = {"revocations": [{"certificate_id": 9}], "more": False}
    client.plan_targets = [{"host": "vpn1", "name": "site-lost"}]
    return client


@asynccontextmanager
async def sessions(
    client: FakeClient, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], VpnSessionsScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        screen = VpnSessionsScreen()
        await app.push_screen(screen)
        await until(pilot, lambda: len(screen.rows.records) == 5)
        screen.table._clock = FixedClock.time
        screen.table.tick()
        await pilot.pause()
        yield app, pilot, screen


@pytest.mark.parametrize("width", [80, 120])
async def test_how_it_looks(width: int) -> None:
    async with sessions(house(), (width, 24 if width == 80 else 40)) as (app, _, _):
        check_snapshot(app, f"vpn-sessions-{width}")


async def test_what_is_wrong_stands_first_and_says_why() -> None:
    async with sessions(house()) as (app, _, screen):
        states = [screen.rows.records[key].state for key in screen.rows.shown]
        assert states == ["not seen", "ALARM", "REVOKED", "not ours", "up"]
        shown = screen_text(app)
        assert "1 revocations NOT EFFECTIVE yet" in shown and "1 of 2 servers seen" in shown
        assert "ends in 7 hours" in shown and "no route" in shown


async def test_ending_marked_sessions_asks_for_them_by_number() -> None:
    client = house()
    async with sessions(client) as (app, pilot, screen):
        assert screen.table.move_to("s1/4")
        await pilot.press("K")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert client.planned[-1] == ("vpn.sessions.kill", {"items": [{"server": 1, "client_id": 4}]})


async def test_a_server_has_no_session_to_end() -> None:
    client = house()
    async with sessions(client) as (app, pilot, screen):
        assert screen.table.move_to("v2")
        await pilot.press("K")
        await until(pilot, lambda: "no session here" in screen_text(app))
        assert client.planned == []


async def test_going_on_with_revocations() -> None:
    client = house()
    async with sessions(client) as (_, pilot, screen):
        await pilot.press("F")
        await until(pilot, lambda: ("vpn.revocations.enforce", {}) in client.planned)
        assert screen.table.move_to("s1/3")


async def test_a_look_at_the_server_is_told_in_sentences() -> None:
    client = house()
    alarm = {"level": "red", "message": f"bad {HOSTILE}", "remedy": "publish it"}
    client.reads["vpn.servers.inspect"] = {"alarms": [alarm], "sight": {"facts": {"differences": ["crl_path differs"]}}}
    async with sessions(client) as (app, pilot, screen):
        assert screen.table.move_to("s1/3")
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, FindingsPane))
        shown = screen_text(app)
        assert "publish it" in shown and "crl_path differs" in shown and "\x1b" not in shown
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)


async def test_read_only_changes_nothing() -> None:
    client = house()
    async with sessions(client, readonly=True) as (_, pilot, screen):
        assert screen.table.move_to("s1/3")
        await pilot.press("K", "F", "p")
        await pilot.pause()
        assert client.planned == []


def test_rates_need_two_looks_at_the_same_session() -> None:
    first = session(3, "a", bytes_received=1000, bytes_sent=0)
    then = session(3, "a", bytes_received=5000, bytes_sent=400)
    assert parse_session(first, None, 4).traffic == Traffic(1000, 0, None, None)
    assert rate(parse_session(then, first, 4).traffic) == "1.0K/100B"
    assert rate(parse_session(first, then, 4).traffic) == "", "a counter that went back is another session's"
    other = session(3, "a", bytes_received=9000, connected_since=iso(NOW))
    assert rate(parse_session(other, first, 4).traffic) == ""


@pytest.mark.parametrize(
    ("count", "word"),
    [(None, ""), (0, "0B"), (999, "999B"), (1000, "1.0K"), (10_239, "10K"), (5_000_000, "4.8M"), (3e15, "2.7P")],
)
def test_sizes(count: float | None, word: str) -> None:
    assert size(count) == word


def test_hostile_text_in_every_field_is_made_harmless() -> None:
    record = dict.fromkeys(session(3, "a"), HOSTILE)
    row = parse_session(record, None, 4)
    view = View(now=NOW)
    cells = [column.cell(row, view).text for column in SPEC.columns]
    cells += [column.cell(parse_server({"server": HOSTILE, "error": {"message": HOSTILE}}, []) or row, view).text
              for column in SPEC.columns]  # fmt: skip
    assert not any("\x1b" in text or "\u202e" in text or "\n" in text for text in cells)
    assert total(row.traffic) == ""


def test_a_good_server_is_said_to_be_good() -> None:
    facts = {
        "daemon": {"version": "OpenVPN 2.6.14", "sessions": 3},
        "crl": {"number": 7, "entries": 2, "next_update": "2026-12-24T10:00:00Z"},
    }
    texts = [str(text) for text, _ in findings({"alarms": [], "sight": {"facts": facts}})]
    assert texts == [
        "OpenVPN 2.6.14 runs with 3 sessions",
        "list 7 with 2 entries is good until 2026-12-24 10:00 UTC",
    ]
    assert parse_server(server(1, "site"), []) is None


async def test_a_new_server_is_asked_for_in_a_form() -> None:
    client = house()
    client.reads["vpn.cas.list"] = [{"id": 7, "name": "Net CA"}]
    client.reads["hosts.list"] = {"results": [{"name": "vpn1"}], "next": None}
    client.reads["environments.list"] = [{"name": "prod"}]
    async with sessions(client) as (app, pilot, _):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Form))
        assert "Net CA" in screen_text(app)
        for text in ("office", "vpn1", "/etc/openvpn/server/office.conf"):
            await pilot.press(*text.replace(" ", ""), "tab")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: client.planned)
        operation, data = client.planned[-1]
        assert operation == "vpn.servers.create"
        assert data == {"ca_id": 7, "name": "office", "host": "vpn1", "config_path": "/etc/openvpn/server/office.conf"}


async def test_of_several_authorities_one_is_chosen_first() -> None:
    client = house()
    client.reads["vpn.cas.list"] = [{"id": 7, "name": "Net CA"}, {"id": 8, "name": "Old CA"}]
    async with sessions(client) as (app, pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        assert "Old CA" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        client.reads["vpn.cas.list"] = []
        await pilot.press("n")
        await until(pilot, lambda: "needs an authority first" in screen_text(app))


async def test_the_record_of_a_server_is_edited_with_its_version() -> None:
    client = house()
    record = {"id": 1, "name": "site", "config_path": "/etc/a.conf", "version": 4, "unit": None, "description": ""}
    client.reads["vpn.servers.get"] = record
    client.reads["environments.list"] = [{"name": "prod"}]
    async with sessions(client) as (app, pilot, screen):
        assert screen.table.move_to("s1/3")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press("end", "2", "ctrl+s")
        await until(pilot, lambda: client.planned)
        assert client.planned[-1] == ("vpn.servers.update", {"id": 1, "version": 4, "name": "site2"})
