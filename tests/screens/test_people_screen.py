"""People, rights and tokens over a fake house: what is shown, what is asked of the house, what is shown once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.people import PeopleScreen, entries
from screens.people_forms import ShownOnce, secret_in
from screens.render.people import (
    ROLES,
    TOKENS,
    USERS,
    PlainRow,
    matrix_row,
    matrix_spec,
    right_row,
    role_row,
    token_row,
)
from screens.render.people import user_row as parse_user
from screens.rights import MatrixScreen, RightsScreen
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from screens.widgets.rows import Spec, View
from tests.screens.fake import HOSTILE, FakeClient
from tests.screens.support import check_snapshot, console, screen_text, until

FLAGS = ["view_host", "edit_host", "login_host"]
VALUE = "0123456789abcdef0123456789abcdef01234567"


def page(*rows: Json) -> Json:
    return {"prev": None, "next": None, "count": len(rows), "results": list(rows)}


def user(number: int, name: str, *roles: str, **more: Any) -> Json:
    made = [{"id": 10 + n, "name": role} for n, role in enumerate(roles)]
    base = {"id": number, "username": name, "email": f"{name}@example.com", "status": "enabled", "roles": made}
    return {**base, **more}


def house() -> FakeClient:
    client = FakeClient()
    client.reads["access.users.list"] = page(
        user(1, "root", "@admin"), user(2, "ann", "web team", full_name="Ann [/x]"), user(3, "bob", status="disabled")
    )
    client.reads["access.roles.list"] = page(
        {"id": 10, "name": "@admin", "creator": ""}, {"id": 11, "name": "web team", "creator": "root"}
    )
    token = {"id": 7, "name": "backup", "user": "ann", "value": "****4567", "description": "nightly"}
    client.reads["access.tokens.list"] = page({**token, "last_used_at": None, "expires_at": "2020-01-01T00:00:00Z"})
    right = {"scope": "host", "id": 5, "name": "web1", "flag": "view_host", "by": ["role web team"]}
    module = {"scope": "module", "id": None, "name": "host", "flag": "enable_host_mgmt", "by": ["granted to him"]}
    rights = [{**row, "granted_by": ["root"]} for row in (module, right)]
    client.reads["access.rights"] = {"user": "ann", "roles": ["web team"], "administrator": False, "rights": rights}
    everything = {flag: ["administrator"] for flag in FLAGS}
    some = {"view_host": ["role web team"], "edit_host": [], "login_host": []}
    client.reads["access.matrix"] = page(
        {"user": "root", "administrator": True, "module_on": True, "flags": everything},
        {"user": "ann", "administrator": False, "module_on": False, "flags": some},
    )
    return client


@asynccontextmanager
async def people(
    client: FakeClient, size: tuple[int, int] = (120, 40), *, readonly: bool = False
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], PeopleScreen]]:
    async with console(client, size, readonly=readonly) as (app, pilot, _):
        await pilot.press("8")
        await until(pilot, lambda: isinstance(app.screen, PeopleScreen))
        screen = app.screen
        assert isinstance(screen, PeopleScreen)
        await until(pilot, lambda: screen.tables["tokens"].records)
        await pilot.pause()
        yield app, pilot, screen


def asked(client: FakeClient, operation: str) -> list[tuple[Json, str | None, str | None]]:
    return [(data, confirm, reason) for name, data, confirm, reason in client.calls if name == operation]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_three_tables(size: tuple[int, int]) -> None:
    async with people(house(), size) as (app, pilot, screen):
        check_snapshot(app, f"people-users-{size[0]}")
        await pilot.press("tab")
        await until(pilot, lambda: screen.kind == "roles" and "MADE BY" in screen_text(app))
        await pilot.press("tab")
        await until(pilot, lambda: "LAST USED" in screen_text(app))
        check_snapshot(app, f"people-tokens-{size[0]}")
        await pilot.press("tab")
        await until(pilot, lambda: screen.kind == "users" and "E-MAIL" in screen_text(app))


async def test_rights_and_the_matrix_one_key_further() -> None:
    client = house()
    async with people(client, (80, 24)) as (app, pilot, screen):
        screen.go_to("2")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RightsScreen) and "role web team" in screen_text(app))
        assert asked(client, "access.rights")[0][0] == {"user": "ann"}
        check_snapshot(app, "people-rights-80")
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, MatrixScreen) and "administrator" in screen_text(app))
        assert asked(client, "access.matrix")[0][0] == {"kind": "host", "id": 5, "page": 1, "page_size": 200}
        check_snapshot(app, "people-matrix-80")
        await pilot.press("q", "q", "W")
        await until(pilot, lambda: isinstance(app.screen, RightsScreen))


async def test_a_new_token_is_shown_once() -> None:
    client = house()
    client.plan_more = {"rung": 0, "expect": None}
    client.plan_targets = [{"host": "", "name": "ci"}]
    async with people(client) as (app, pilot, screen):
        await pilot.press("tab", "tab", "n")
        await until(pilot, lambda: isinstance(app.screen, Form))
        client.results = [{"id": 8, "name": "ci", "value": VALUE}]
        await pilot.press(*"ci", "ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ShownOnce))
        assert VALUE in screen_text(app)
        await pilot.press("y")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert VALUE not in screen_text(app)
        assert all(VALUE not in line.text for line in app.messages)
        assert asked(client, "access.tokens.create") == [({"name": "ci"}, None, None)]


async def test_disabling_asks_for_consent_and_users_are_not_deleted() -> None:
    client = house()
    client.plan_targets = [{"host": "", "name": "ann"}]
    async with people(client) as (app, pilot, screen):
        screen.go_to("2")
        await pilot.press("D")
        await until(pilot, lambda: "disabled, not deleted" in screen_text(app))
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.press("enter")
        await until(pilot, lambda: asked(client, "access.users.disable"))
        assert asked(client, "access.users.disable")[0][:2] == ({"id": 2}, "yes")


async def test_giving_a_role_offers_those_he_has_not() -> None:
    client = house()
    client.plan_more = {"rung": 0, "expect": None}
    client.plan_targets = [{"host": "", "name": "ann"}]
    async with people(client) as (app, pilot, screen):
        screen.go_to("2")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        assert "@admin" in screen_text(app)
        client.results = [OperationFailed({"code": "permission_grant_denied", "message": "not yours to give"}, 3)]
        await pilot.press("enter")
        await until(pilot, lambda: "not yours to give" in screen_text(app))
        assert asked(client, "access.users.assign_roles")[0][0] == {"id": 2, "items": [{"id": "@admin"}]}


async def test_who_may_not_see_the_tokens_still_sees_the_users() -> None:
    class Half(FakeClient):
        async def call(self, operation: str, data: Any = None, **more: Any) -> Any:
            if operation == "access.tokens.list":
                raise OperationFailed({"code": "permission_denied", "message": "no tokens for you"}, 3)
            return await super().call(operation, data, **more)

    client = Half()
    client.reads = house().reads
    async with console(client) as (app, pilot, _):
        await pilot.press("8")
        await until(pilot, lambda: "no tokens for you" in screen_text(app) and "web team" in screen_text(app))


async def test_read_only_greys_what_changes() -> None:
    async with people(house(), readonly=True) as (app, pilot, screen):
        await pilot.press("n")
        await until(pilot, lambda: "read-only" in screen_text(app))
        assert {entry.because for entry in entries("users", parse_user(user(2, "ann")), Safe("frozen"))} == {
            "read-only: frozen",
            "",
        }
        assert app.screen is screen


def test_every_cell_is_safe_whatever_the_house_says() -> None:
    hostile: Json = dict.fromkeys(("id", "username", "name", "email", "phone", "full_name", "status", "user"), HOSTILE)
    hostile |= {"roles": [{"name": HOSTILE}, HOSTILE], "value": HOSTILE, "expires_at": HOSTILE, "by": [HOSTILE]}
    hostile |= {"flags": {"view_host": [HOSTILE]}, "scope": HOSTILE, "flag": HOSTILE, "granted_by": [HOSTILE]}
    made: list[tuple[Spec[PlainRow], PlainRow]] = []
    for record in (hostile, {}):
        made += [(USERS, parse_user(record)), (ROLES, role_row(record, [HOSTILE])), (TOKENS, token_row(record, 0.0))]
        made += [(matrix_spec(FLAGS), matrix_row(0, record, ascii_only=True)), (USERS, right_row(0, record))]
    for spec, row in made:
        for column in spec.columns:
            assert type(column.cell(row, View(0.0)).text) is Safe
            column.sort(row)
        assert spec.subject.words(row) == spec.subject.words(row).lower()


def test_only_what_is_shown_once_is_a_secret() -> None:
    assert secret_in({"value": VALUE}) == VALUE
    assert secret_in({"reset_code": VALUE, "user": "ann"}) == VALUE
    assert secret_in({"message": "success"}) is None
    assert secret_in(None) is None
