"""The VPN screens over a fake house: what is shown, which forms and plans come, what is asked of the house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.render.vpn import CAS, CLIENTS, Session, last_seen, parse_ca, parse_client
from screens.render.vpn_detail import band, ca_text, client_text
from screens.text import Safe
from screens.vpn import VpnScreen
from screens.vpn_cas import AuthoritiesScreen
from screens.vpn_menus import ca_entries, entries
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient, iso
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until

DAY = 86400.0


def record(number: int, name: str, days: float = 400, **more: Any) -> Json:
    """A row of `vpn.clients.list`."""
    base: Json = {
        "id": number, "ca_id": 1, "name": name, "email": f"{name}@x.example", "description": "", "country": "BR",
        "province": "", "city": "", "organization": "Empresa XYZ", "sector": "", "expired": days <= 0, "revoked": False,
        "revoked_date": None, "expiry_date": iso(NOW + days * DAY), "serial": f"{number:032X}",
        "status": "valid" if days > 0 else "expired",
    }  # fmt: skip
    return {**base, **more}


def authority(number: int, name: str, **more: Any) -> Json:
    """A row of `vpn.cas.list`."""
    crl = {"number": 7, "next_update": iso(NOW + 20 * DAY), "entries": 1, "alarm": more.pop("alarm", "ok")}
    base: Json = {
        "id": number, "name": name, "environment": "lab", "subject": f"CN={name}", "fingerprint": "ab" * 32,
        "key_type": "ec-p256", "key_state": "sealed", "not_after": iso(NOW + 3000 * DAY), "crl_days": 30,
        "serial_counter": 4, "crl_status": crl,
    }  # fmt: skip
    return {**base, **more}


class House(FakeClient):
    """Pages and single clients out of one list."""

    def __init__(self, clients: list[Json], cas: list[Json]) -> None:
        super().__init__()
        self.clients = clients
        horizon = {"valid": 2, "expired": 1, "revoked": 1, "months": [{"month": "2027-02", "clients": 2}]}
        self.reads["vpn.cas.list"] = cas
        self.reads["vpn.cas.get"] = {"horizon": horizon, "unsigned_revocations": 0}
        self.reads["vpn.sessions.list"] = {
            "sessions": [
                {"server": "gw1", "vpn_client_id": 1, "connected_since": iso(NOW - 7200), "real_address": "10.9.9.9:1"}
            ],
            "servers": [],
        }
        self.reads["vpn.servers.list"] = {"servers": []}
        self.reads["environments.list"] = [{"name": "lab"}]
        self.certificate: Json = {
            "id": 3, "serial": "0A", "status": "revoked", "revoke_reason": "key_compromise", "revocation": "signed",
            "crl_number": 7, "revoked_by": "ann", "revoked_at": iso(NOW - DAY), "not_after": iso(NOW + DAY),
            "key_here": True,
            "chain": {
                "steps": [
                    {"step": "requested", "state": "ok"},
                    {"step": "signed", "state": "ok"},
                    {"step": "published", "state": "ok", "done": 2, "total": 2},
                    {"step": "loaded", "state": "failed", "done": 1, "total": 2},
                    {"step": "session_gone", "state": "open", "done": 1, "total": 2},
                    {"step": "effective", "state": "open"},
                ],
                "why_not": "gw2 does not answer",
            },
        }  # fmt: skip

    async def call(self, operation: str, data: Mapping[str, Any] | None = None, **more: Any) -> Any:
        given = dict(data or {})
        if operation == "vpn.clients.list":
            self.calls.append((operation, given, None, None))
            start, size = given["cursor"], given["size"]
            page = [one for one in self.clients if one["id"] > start][:size]
            left = any(one["id"] > (page[-1]["id"] if page else start) for one in self.clients)
            return {
                "clients": page,
                "cursor": {"current": start, "next": page[-1]["id"] if left else None, "previous": None},
            }
        if operation == "vpn.clients.get":
            self.calls.append((operation, given, None, None))
            found = next((one for one in self.clients if one["id"] == given["id"]), None)
            if found is None:
                raise OperationFailed({"code": "object_not_found", "message": "gone"}, 4)
            certificates = [self.certificate] if found["revoked"] else [{**self.certificate, "status": "valid"}]
            text = [{"label": "Issuer", "value": "CN=Branches"}]
            return {**found, "has_password": True, "certificates": certificates, "certificate_text": text}
        return await super().call(operation, data, **more)


class SlowHouse(House):
    """Gives its first page, and the rest when it is let."""

    def __init__(self, clients: list[Json], cas: list[Json]) -> None:
        super().__init__(clients, cas)
        self.rest = asyncio.Event()

    async def call(self, operation: str, data: Mapping[str, Any] | None = None, **more: Any) -> Any:
        if operation == "vpn.clients.list" and data and data["cursor"]:
            await self.rest.wait()
        return await super().call(operation, data, **more)


def house(**more: Any) -> House:
    clients = [
        record(1, "branch-1", organization="Long names stay whole, they are cut by the table"),
        record(2, "branch-2", 9, last_seen={"at": iso(NOW - 3 * 3600), "server": "gw-1"}),
        record(3, "gone", revoked=True, status="revoked"),
        record(4, "over", -3),
    ]
    return House(clients, [authority(1, "Branches", **more)])


@asynccontextmanager
async def vpn(
    client: House, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], VpnScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        app.switch_mode("vpn")
        await until(pilot, lambda: isinstance(app.screen, VpnScreen) and app.screen.query("#vpn"))
        screen = app.screen
        assert isinstance(screen, VpnScreen)
        screen.table._clock = FixedClock.time
        screen.action_refresh()
        await until(pilot, lambda: len(screen.rows.records) == len(client.clients) and not screen.rows.working)
        await until(pilot, lambda: bool(screen.cas) and screen.cas[0].valid is not None and bool(screen._sessions))
        screen._paint_band()
        screen.table.tick()
        await pilot.pause()
        yield app, pilot, screen


def asked(client: FakeClient, operation: str) -> list[tuple[Json, str | None, str | None]]:
    return [(data, confirm, reason) for name, data, confirm, reason in client.calls if name == operation]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_clients_in_a_table_and_one_in_full(size: tuple[int, int]) -> None:
    async with vpn(house(), size) as (app, pilot, screen):
        check_snapshot(app, f"vpn-{size[0]}")
        screen.table.move_to("3")
        await pilot.press("d")
        await until(pilot, lambda: "its revocation" in screen.side.text)
        await pilot.pause()
        check_snapshot(app, f"vpn-detail-{size[0]}")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_authorities_with_their_horizon(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.vpn_cas.time", FixedClock)
    client = house(alarm="soon")
    client.reads["vpn.cas.list"].append(authority(2, "Offices", key_state="offline", alarm="missing"))
    async with vpn(client, size) as (app, pilot, _):
        assert "Offices: MISSING" in screen_text(app)
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, AuthoritiesScreen) and app.screen.query("#authorities"))
        screen = app.screen
        assert isinstance(screen, AuthoritiesScreen)
        screen.table._clock = FixedClock.time
        screen.action_refresh()
        await until(pilot, lambda: len(screen.rows.records) == 2 and "2027-02" in screen.side.text)
        screen.table.move_to("1")
        screen.paint()
        await pilot.pause()
        check_snapshot(app, f"vpn-cas-{size[0]}")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        screen.table.move_to("2")
        await pilot.press("S")
        await until(pilot, lambda: "its key is offline" in screen_text(app))


async def test_a_hundred_thousand_clients_do_not_stop_the_keys() -> None:
    client = House([record(number, f"c{number}") for number in range(1, 30_001)], [authority(1, "Branches")])
    async with console(client) as (app, pilot, _):
        app.switch_mode("vpn")
        await until(pilot, lambda: isinstance(app.screen, VpnScreen) and app.screen.query("#vpn"))
        screen = app.screen
        assert isinstance(screen, VpnScreen)
        await until(pilot, lambda: len(screen.rows.records) == 200)
        await pilot.press("j", "j")
        assert screen.table.cursor is not None
        await until(pilot, lambda: len(screen.rows.records) == 30_000 and not screen.rows.working, 60)
        sizes = [data["size"] for data, _, _ in asked(client, "vpn.clients.list")]
        assert sizes[:2] == [200, 2000]
        await pilot.press("G")
        await until(pilot, lambda: screen.table.cursor == "9999")


async def test_the_end_asked_for_while_clients_still_come_is_the_end_of_all_of_them() -> None:
    client = SlowHouse([record(number, f"c{number}") for number in range(1, 30_001)], [authority(1, "Branches")])
    async with console(client) as (app, pilot, _):
        app.switch_mode("vpn")
        await until(pilot, lambda: isinstance(app.screen, VpnScreen) and app.screen.query("#vpn"))
        screen = app.screen
        assert isinstance(screen, VpnScreen)
        await until(pilot, lambda: len(screen.rows.records) == 200)
        await pilot.press("G")
        assert screen.table.cursor == "99", "the last one by name of those that are there"
        screen._touched.add("7")
        screen.tick()
        await pilot.pause()
        client.rest.set()
        await until(pilot, lambda: len(screen.rows.records) == 30_000 and not screen.rows.working, 60)
        await until(pilot, lambda: screen.table.cursor == "9999" and "c9999" in screen_text(app))
        await until(pilot, lambda: bool(asked(client, "vpn.clients.get")) and not screen._loading)
        screen.table.changed(screen.rows.update({"x": replace(screen.rows.records["1"], name=Safe("z"))}))
        assert screen.table.cursor == "9999", "once they are all there the cursor stays with its client"


async def test_when_clients_were_last_seen() -> None:
    client = house()
    async with vpn(client, (160, 40)) as (app, pilot, screen):
        shown = screen_text(app)
        assert "LAST SEEN" in shown and "up 2h" in shown and "3h ago on gw-1" in shown and "never" in shown
        screen.table.move_to("2")
        await pilot.press("d")
        await until(pilot, lambda: "last seen: 3h ago on gw-1" in screen.side.text)
        client.reads["vpn.sessions.list"] = {"sessions": [], "servers": []}
        screen.look_at_sessions(client)
        await until(pilot, lambda: not screen._sessions)
        row = screen.rows.records["1"]
        assert row.session is None and last_seen(row, NOW + 60) in {f"{n}s ago on gw1" for n in range(50, 61)}
        by = screen.rows.spec.column("since")
        assert by is not None
        assert sorted(screen.rows.records, key=lambda key: by.sort(screen.rows.records[key]))[:2] == ["1", "2"]


async def test_a_new_client_from_the_keyboard_with_what_is_wrong_said_while_typing() -> None:
    client = house()
    async with vpn(client) as (app, pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Form))
        client.plan_more = {"rung": 0, "expect": None}
        client.plan_targets = [{"host": None, "name": "new-site"}]
        await pilot.press(*"a_b", "tab", "x", "tab")
        await until(pilot, lambda: "not an e-mail address" in screen_text(app) and "A-Z a-z 0-9" in screen_text(app))
        form = app.screen
        assert isinstance(form, Form)
        assert {row.field.name for row in form.rows} >= {"name", "email", "password", "expiration"}
        assert not {row.field.name for row in form.rows} & {"ca_id", "ca_passphrase"}
        by_name = {row.field.name: row for row in form.rows}
        by_name["name"].set("new-site")
        by_name["email"].set("a@b.example")
        by_name["password"].set("geheim")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        given = asked(client, "vpn.clients.create")[0][0]
        assert given["ca_id"] == 1
        assert (given["name"], given["email"], given["password"]) == ("new-site", "a@b.example", "geheim")
        assert "geheim" not in screen_text(app)
        assert not any("geheim" in line.text for line in app.messages)


async def test_a_passphrase_is_asked_for_where_the_key_has_one() -> None:
    client = house(key_state="passphrase")
    client.plan_targets = [{"host": None, "name": "branch-1"}]
    client.plan_more = {"rung": 3, "expect": "branch-1", "needs_reason": True, "reversible": False}
    async with vpn(client) as (app, pilot, screen):
        screen.table.move_to("1")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        assert {row.field.name for row in form.rows} == {"crl_reason", "ca_passphrase", "sign_later"}
        next(row for row in form.rows if row.field.name == "ca_passphrase").set("only in my head")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.pause(0.4)
        await pilot.press(*"branch-1", "tab", *"stolen", "enter")
        await until(pilot, lambda: app.screen is screen)
        [(data, confirm, reason)] = asked(client, "vpn.clients.revoke")
        assert data == {"id": 1, "ca_passphrase": "only in my head"}
        assert (confirm, reason) == ("branch-1", "stolen")


async def test_revoking_marked_ones_says_what_is_not_in_force_yet() -> None:
    client = house()
    client.results = [{"not_effective": [{"state": "signed", "why_not": "gw1 does not answer"}], "error": None}]
    client.plan_targets = [{"host": None, "name": "branch-1"}, {"host": None, "name": "branch-2"}]
    client.plan_more = {"rung": 3, "expect": "2 lab", "needs_reason": True, "reversible": False}
    async with vpn(client) as (app, pilot, screen):
        screen.table.move_to("1")
        await pilot.press("space", "space", "R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert client.planned == [("vpn.clients.revoke_many", {"items": [1, 2]})]
        await pilot.pause(0.4)
        await pilot.press(*"2 lab", "tab", *"why", "enter")
        await until(pilot, lambda: "gw1 does not answer (F goes on)" in screen_text(app))
        assert asked(client, "vpn.clients.revoke_many") == [({"items": [1, 2]}, "2 lab", "why")]
        await until(pilot, lambda: app.screen is screen)
        client.plan_more = {"rung": 0, "expect": None}
        screen.table.move_to("3")
        await pilot.press("F")
        await until(pilot, lambda: bool(asked(client, "vpn.revocations.enforce")))
        assert asked(client, "vpn.revocations.enforce") == [({"client_id": 3}, None, None)]


async def test_export_and_the_menu() -> None:
    client = house()
    client.plan_more = {"rung": 0, "expect": None}
    client.plan_targets = [{"host": None, "name": "branch-1"}]
    async with vpn(client) as (app, pilot, screen):
        screen.table.move_to("1")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        by_name = {row.field.name: row for row in form.rows}
        assert (by_name["path"].typed, by_name["format"].typed) == ("~/branch-1.ovpn", "ovpn")
        by_name["remote"].set("vpn.example.org")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        given = asked(client, "vpn.clients.export")[0][0]
        assert given == {"id": 1, "path": "~/branch-1.ovpn", "format": "ovpn", "remote": ["vpn.example.org"]}
        screen.table.move_to("3")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        assert "revoked already" in screen_text(app)
        await pilot.press("escape")
        await pilot.press("I", "c")
        await until(pilot, lambda: isinstance(app.screen, Form))
        assert "CSV" in screen_text(app)


async def test_only_what_somebody_changed_is_read_again() -> None:
    client = house()
    async with vpn(client) as (_, pilot, screen):
        lists = len(asked(client, "vpn.clients.list"))
        client.clients[0] = record(1, "branch-1", email="new@x.example")
        client.clients.append(record(5, "fresh"))
        client.changed.put_nowait([{"entity": "vpn_client", "key": key} for key in ("1", "5", "77")])
        await until(pilot, lambda: "5" in screen.rows.records, 10)
        assert screen.rows.records["1"].email == "new@x.example"
        assert len(asked(client, "vpn.clients.list")) == lists


async def test_nothing_changes_when_started_read_only() -> None:
    client = house()
    async with vpn(client, readonly=True) as (app, pilot, screen):
        await pilot.press("R", "n", "x", "w")
        await pilot.pause()
        assert app.screen is screen
        assert client.planned == []
        assert "read-only" in screen_text(app)


def test_every_cell_is_safe_whatever_the_house_says() -> None:
    hostile: Json = dict.fromkeys(record(1, "x"), HOSTILE) | {"id": 1}
    session = Session(Safe(HOSTILE), None, Safe(HOSTILE))
    for made in (parse_client(hostile, HOSTILE, session, NOW), parse_client({"id": 1}, "", None, NOW)):
        for column in CLIENTS.columns:
            assert type(column.cell(made, View(NOW)).text) is Safe
            column.sort(made)
        chain = {"steps": [{"step": HOSTILE, "state": HOSTILE}], "why_not": HOSTILE}
        dead = {"status": "revoked", "chain": chain}
        odd = dict.fromkeys(("status", "serial", "revoke_reason"), HOSTILE)
        data = {"certificates": [dead, odd], "certificate_text": [{"label": HOSTILE, "value": HOSTILE}]}
        for text in (client_text(made, data, NOW, plain=True), client_text(made, None, NOW, plain=False)):
            assert "\x1b" not in text.plain
    hostile_ca: Json = dict.fromkeys(authority(1, "x"), HOSTILE) | {"id": 1}
    for ca in (parse_ca(hostile_ca, {"horizon": HOSTILE}), parse_ca({"id": 1}, None)):
        for ca_column in CAS.columns:
            assert type(ca_column.cell(ca, View(NOW)).text) is Safe
            ca_column.sort(ca)
        assert "\x1b" not in ca_text(ca, NOW, plain=True).plain + band([ca], NOW, plain=True).plain


def test_the_menus_say_why_not() -> None:
    row = parse_client(record(1, "x", revoked=True, status="revoked"), "CA", None, NOW)
    because = {entry.id: entry.because for entry in entries([row], Safe(""))}
    assert because["export"] == because["revoke"] == "revoked already"
    assert because["enforce"] == ""
    alive = parse_client(record(2, "y"), "CA", None, NOW)
    assert {e.id: e.because for e in entries([alive], Safe(""))}["enforce"] == "it is not revoked"
    assert {e.because for e in entries([alive, alive], Safe("frozen"))} == {
        "",
        "one client at a time",
        "read-only: frozen",
    }
    offline = parse_ca(authority(1, "x", key_state="offline"), None)
    assert {e.id: e.because for e in ca_entries(offline, Safe(""))}["vpn.crls.sign"] == "its key is offline"
    assert {e.id: e.allowed for e in ca_entries(None, Safe(""))}["vpn.cas.create"]


def test_a_revoked_client_that_is_connected_is_the_worst() -> None:
    session = Session(Safe("gw1"), NOW, Safe("x"))
    row = parse_client(record(1, "x", revoked=True, status="revoked"), "CA", session, NOW)
    assert CLIENTS.columns[0].cell(row, View(NOW)).text == "✖ REVOKED, CONNECTED"
    assert CLIENTS.columns[4].cell(row, View(NOW)).role == "bad"
