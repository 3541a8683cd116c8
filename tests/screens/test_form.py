"""Forms: what a schema becomes, what may be typed, and that nothing typed is lost and no secret kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from textual.widgets import Input

from opsconsole.client import Json, OperationFailed
from screens.render.form import Field, Wrong, changed, fields, hint, read, schema, shown
from screens.widgets.form import Form
from screens.widgets.inputs import Area, Pick, clean
from screens.widgets.menu import Menu
from tests.screens.fake import HOSTILE, FakeClient
from tests.screens.support import check_snapshot, console, screen_text, until

TEXT = Field("name", "text", required=True, least=1, most=5, pattern="^[a-z]+$")
PORT = Field("port", "integer", nullable=True, least=1, most=65535)
ROWS = Field("items", "rows", columns=(Field("name", "text", required=True), Field("host", "text", integers=True)))


def test_every_operation_of_the_house_becomes_a_form() -> None:
    from opsconsole import index

    for operation in index.OPERATIONS:
        for field in fields(schema(operation[0])):
            assert hint(field) is not None
            assert shown(field, field.default) is not None


def test_a_schema_becomes_fields_required_ones_first() -> None:
    made = {field.name: field for field in fields(schema("hosts.create"), ("ip_address",))}
    assert list(made)[:2] == ["name", "host_type"]
    assert {name: field.kind for name, field in made.items()} == {
        "name": "text",
        "host_type": "choice",
        "cpu": "integer",
        "memory": "integer",
        "os_type": "text",
        "location": "text",
        "description": "long",
        "address": "text",
        "ssh_port": "integer",
        "ssh_user": "text",
        "become": "yesno",
        "environment": "text",
        "tags": "list",
    }
    assert (made["ssh_port"].least, made["ssh_port"].most, made["ssh_port"].nullable) == (1, 65535, True)
    secrets = {field.name for field in fields(schema("access.credentials.create")) if field.kind == "secret"}
    assert secrets == {"password", "private_key", "passphrase"}
    assert next(f for f in fields(schema("services.stop")) if f.name == "items").kind == "rows"
    assert next(f for f in fields(schema("access.hosts.roles.update")) if f.name == "items").kind == "json"
    assert next(f for f in fields(schema("hosts.maintenance.begin")) if f.name == "until").kind == "time"


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        (TEXT, " abc ", "abc"),
        (PORT, "22", 22),
        (PORT, "", None),
        (Field("x", "number"), "1.5", 1.5),
        (Field("x", "yesno"), "Yes", True),
        (Field("x", "choice", choices=("a", "b")), "b", "b"),
        (Field("x", "text", integers=True), "7", 7),
        (Field("x", "list", item=Field("x", "text")), "a, b,", ["a", "b"]),
        (Field("x", "list"), "", []),
        (Field("x", "json"), '{"a": [1]}', {"a": [1]}),
        (Field("x", "time"), "2027-01-31 22:00+03:00", "2027-01-31T22:00:00+03:00"),
        (Field("x", "secret"), " with blanks ", " with blanks "),
        (ROWS, "name=a host=web1\n\nname='b c'", [{"name": "a", "host": "web1"}, {"name": "b c"}]),
    ],
)
def test_what_is_typed_becomes_a_value(field: Field, typed: str, value: Any) -> None:
    assert read(field, typed) == value


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        (TEXT, "", "needed"),
        (TEXT, "abcdef", "at most 5"),
        (TEXT, "A1", "does not match"),
        (PORT, "http", "whole number"),
        (PORT, "70000", "1 to 65535"),
        (Field("x", "yesno"), "maybe", "yes or no"),
        (Field("x", "choice", choices=("a", "b")), "c", "one of a, b"),
        (Field("x", "time"), "tomorrow", "a time"),
        (Field("x", "list", item=Field("x", "integer")), "1, b", "b: a whole number"),
        (Field("x", "list", item=Field("x", "text"), most=1), "a, b", "at most 1"),
        (Field("x", "json"), "{", "no JSON at line 1"),
        (Field("x", "json"), "[" * 100_000, "nested too deeply"),
        (ROWS, "name=a\nhost=b", "line 2: this is needed"),
        (ROWS, "name=a colour=red", "there is no colour"),
        (ROWS, "just words", "name=…"),
    ],
)
def test_what_cannot_be_meant_says_what_is_expected(field: Field, typed: str, says: str) -> None:
    with pytest.raises(Wrong, match=says.replace("[", r"\[")):
        read(field, typed)


def test_shown_values_read_back_and_secrets_are_not_shown() -> None:
    for field, value in (
        (Field("x", "list", item=Field("x", "text")), ["a", "b"]),
        (ROWS, [{"name": "b c", "host": "web1"}]),
        (Field("x", "json"), {"a": None}),
        (Field("x", "yesno"), False),
    ):
        assert read(field, shown(field, value)) == value
    assert shown(Field("x", "secret"), "hunter2") == ""


def test_only_what_differs_is_sent_and_emptied_fields_are_cleared() -> None:
    made = [Field("a", "text"), PORT, Field("tags", "list"), Field("kept", "text"), Field("never", "text")]
    before = {"a": "x", "port": 22, "tags": ["t"], "kept": "same", "never": None}
    values: Json = {"a": None, "port": None, "tags": [], "kept": "same", "never": None}
    assert changed(made, values, before) == {"a": "", "port": None, "tags": []}


def test_pasted_lines_are_cleaned() -> None:
    assert "\x1b" not in clean(HOSTILE)
    assert clean("a\r\nb") == "a\nb"


class Asked:
    """What a form sends, and what the house makes of it."""

    def __init__(self, *answers: Any) -> None:
        self.sent: list[Json] = []
        self.answers = list(answers)

    async def __call__(self, data: Json) -> Any:
        self.sent.append(data)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def environments() -> Sequence[str]:
    return ["default", "prod"]


def host_form(asked: Asked) -> Form:
    made = fields(schema("hosts.create"), ("ip_address", "cpu", "memory", "os_type", "location"))
    return Form("New host", made, asked, choices={"environment": environments}, helps={"name": "what it is called"})


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_form_by_keyboard(size: tuple[int, int]) -> None:
    asked = Asked(OperationFailed({"code": "name_not_unique", "message": "web1 is taken", "field": "name"}, 5), {})
    answers: list[Any] = []
    async with console(FakeClient(), size) as (app, pilot, _):
        form = host_form(asked)
        app.push_screen(form, answers.append)
        await until(pilot, lambda: "what it is called" in screen_text(app) and form.rows[-2].choices)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "2 fields not right yet" in screen_text(app))
        await pilot.press(*"web1", "enter", "p", "enter")
        await pilot.press(*"disk", "enter", *"full", "tab", *"10.0.0.9", "enter", *"99999", "enter")
        await until(pilot, lambda: "1 to 65535" in screen_text(app))
        check_snapshot(app, f"form-{size[0]}")
        await pilot.press("up", *["backspace"] * 5, "ctrl+s")
        await until(pilot, lambda: "web1 is taken" in screen_text(app))
        assert form.rows[0].input.has_focus
        await pilot.resize_terminal(100, 30)
        await pilot.press("2", "ctrl+s")
        await until(pilot, lambda: answers == [{}])
    host = {"name": "web1", "host_type": "PHY_HOST", "description": "disk\nfull", "address": "10.0.0.9"}
    assert asked.sent == [host, {**host, "name": "web12"}]


async def test_choices_of_the_database_are_listed_and_checked() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        form = host_form(Asked())
        app.push_screen(form)
        row = next(row for row in form.rows if row.field.name == "environment")
        await until(pilot, lambda: row.choices)
        row.input.focus()
        await pilot.press(*"pro", "enter")
        await until(pilot, lambda: "there is no pro; there are: prod" in screen_text(app))
        row.input.focus()
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("down", "enter")
        await until(pilot, lambda: row.typed == "prod" and "there is no" not in screen_text(app))


async def test_esc_asks_only_when_something_was_typed() -> None:
    answers: list[Any] = []
    async with console(FakeClient()) as (app, pilot, screen):
        app.push_screen(host_form(Asked()), answers.append)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        form = host_form(Asked())
        app.push_screen(form, answers.append)
        await pilot.press("w", "escape")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("n")
        await until(pilot, lambda: app.screen is form)
        assert form.rows[0].typed == "w"
        await pilot.press("escape", "y")
        await until(pilot, lambda: app.screen is screen)
        assert answers == [None, None]


async def test_secrets_are_never_on_the_screen_and_gone_with_the_form() -> None:
    asked = Asked(None, {"id": 1})
    async with console(FakeClient()) as (app, pilot, _):
        form = Form("New credential", fields(schema("access.credentials.create")), asked)
        app.push_screen(form)
        await until(pilot, lambda: app.screen is form)
        secret = next(row for row in form.rows if row.field.name == "password")
        await pilot.press(*"root1", "enter", "right")
        secret.input.focus()
        await pilot.press(*"hunter2")
        await pilot.pause()
        assert "hunter2" not in screen_text(app)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "what you typed is still here" in screen_text(app))
        assert secret.typed == "hunter2"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
        assert isinstance(secret.input, Input)
        assert secret.input.value == ""
    assert asked.sent[-1]["password"] == "hunter2"
    assert "hunter2" not in json.dumps([repr(row) for row in form.rows])


async def test_foreign_text_in_a_form_is_clean() -> None:
    made = [Field("note", "long", most=4000), Field("kind", "choice", choices=("a", HOSTILE)), Field("t", "text")]
    async with console(FakeClient()) as (app, pilot, _):
        form = Form(
            HOSTILE, made, Asked(), before={"note": HOSTILE, "t": HOSTILE, "kind": HOSTILE}, helps={"t": HOSTILE}
        )
        app.push_screen(form)
        await until(pilot, lambda: app.screen is form)
        area = form.rows[0].input
        assert isinstance(area, Area)
        area.insert(HOSTILE)
        await pilot.press("ctrl+s")
        await pilot.pause()
        text = screen_text(app)
        assert not any(sign in text for sign in "\x1b\x07\x9b\u202e\u200b")
        assert "\x1b" not in area.text


async def test_a_choice_turns_by_arrows_and_by_letter() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        form = Form("x", [Field("kind", "choice", choices=("alpha", "beta", "bravo"))], Asked({}))
        app.push_screen(form)
        await until(pilot, lambda: app.screen is form)
        pick = form.rows[0].input
        assert isinstance(pick, Pick)
        for key, value in (("b", "beta"), ("b", "bravo"), ("right", ""), ("left", "bravo"), ("a", "alpha")):
            await pilot.press(key)
            assert pick.value == value
