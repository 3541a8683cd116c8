"""The frame around the screens: help, messages, questions, small windows, bindings, refused terminals, imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from opsconsole.client import OperationFailed, Question
from screens.app import OpsConsole, run
from screens.frame import TooSmall
from screens.shell.themes import theme_name
from screens.widgets.help import HelpPane, MessagesPane
from screens.widgets.plan import PlanPane
from screens.widgets.question import QuestionPane
from tests.screens.fake import HOSTILE, FakeClient
from tests.screens.support import check_snapshot, console, screen_text, until


def our_nodes() -> list[type[DOMNode]]:
    found: list[type[DOMNode]] = []
    waiting: list[type[Any]] = [DOMNode]
    while waiting:
        node = waiting.pop()
        waiting += node.__subclasses__()
        if node.__module__.startswith("screens.") and "BINDINGS" in vars(node) and node not in found:
            found.append(node)
    return found


def test_every_binding_has_an_id_of_its_own() -> None:
    ids: list[str] = []
    for node in our_nodes():
        for binding in node.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.id, f"{node.__name__}: {binding.key}"
            ids.append(binding.id)
    assert len(ids) > 60
    assert len(ids) == len(set(ids)), sorted(name for name in ids if ids.count(name) > 1)


def test_capital_letters_act_and_nothing_else_does() -> None:
    acting = [
        key
        for node in our_nodes()
        for binding in node.BINDINGS
        if isinstance(binding, Binding) and binding.action.startswith("act(")
        for key in binding.key.split(",")
    ]
    assert {"D", "E", "F", "L", "R", "S", "T"} <= set(acting)
    assert [key for key in acting if not key.isupper()] == []


async def test_help_is_made_of_the_active_bindings() -> None:
    async with console(FakeClient(), (80, 24)) as (app, pilot, _):
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpPane))
        await pilot.pause()
        check_snapshot(app, "help-80")
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpPane)


async def test_messages_are_kept() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        app.say(f"something odd {HOSTILE}", "bad")
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, MessagesPane))
        await until(pilot, lambda: "E something odd evil[/x]" in screen_text(app))


async def test_host_key_is_accepted_by_the_word_yes_only() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        client.asked.put_nowait(
            Question(
                7, "host_key", "web9", "The host key of web9 is not known.", {"SHA256": "abc[/x]", "type": "ed25519"}
            )
        )
        await until(pilot, lambda: isinstance(app.screen, QuestionPane))
        await pilot.pause()
        check_snapshot(app, "question-host-key")
        await pilot.press("y", "enter")
        await until(pilot, lambda: "Expected yes or no" in screen_text(app))
        assert client.answers == []
        await pilot.press("e", "s", "enter")
        await until(pilot, lambda: client.answers == [(7, "yes")])
        await until(pilot, lambda: app.screen is screen)


async def test_secrets_are_never_shown_and_esc_gives_up() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, _):
        client.asked.put_nowait(Question(1, "secret", "web1", "Password of ann", {}))
        client.asked.put_nowait(Question(2, "text", "web1", "Code", {}))
        await until(pilot, lambda: isinstance(app.screen, QuestionPane))
        await pilot.press(*"hunter2")
        await pilot.pause()
        assert "hunter2" not in screen_text(app)
        assert "•" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: client.answers == [(1, "hunter2")])
        await until(pilot, lambda: isinstance(app.screen, QuestionPane) and app.screen.question.id == 2)
        await pilot.press("escape")
        await until(pilot, lambda: client.answers == [(1, "hunter2"), (2, None)])
        assert not any("hunter2" in line.text for line in app.messages)


async def test_a_window_too_small_gets_a_sentence_and_confirms_nothing() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        await pilot.resize_terminal(50, 12)
        await until(pilot, lambda: "The window is 50x12" in screen_text(app))
        await pilot.press("enter")
        assert isinstance(app.screen, PlanPane)
        assert client.calls == []
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "restart 1 service" in screen_text(app))
        assert not any(cover.display for cover in app.screen.query(TooSmall))


@pytest.mark.parametrize("size", [(59, 30), (100, 14), (10, 3)])
async def test_starting_in_a_tiny_window(size: tuple[int, int]) -> None:
    async with console(FakeClient(), size) as (app, _, _screen):
        said = " ".join(screen_text(app).split())
        assert said.startswith("The window is"[: size[0]].strip())
        assert "opsconsole needs 60x15" in said or size[0] < 20


async def test_a_bug_in_a_worker_is_said_and_the_screen_goes_on() -> None:
    client = FakeClient()
    client.results = [ZeroDivisionError("of ours")]
    client.plan_more = {"rung": 0}
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("S")
        await until(pilot, lambda: "a bug of ours in act: ZeroDivisionError: of ours" in screen_text(app))
        await pilot.press("j")


async def test_a_house_that_cannot_say_who_is_asking_is_survived() -> None:
    class Mute(FakeClient):
        async def facts(self) -> Any:
            raise OperationFailed({"code": "database_unavailable", "message": "who are you"}, 6)

    app = OpsConsole(Mute)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "who are you" in screen_text(app))
        await until(pilot, lambda: "postgresql" in screen_text(app))


async def test_who_is_no_user_is_turned_away_with_a_sentence() -> None:
    class Closed(FakeClient):
        async def facts(self) -> Any:
            raise OperationFailed({"code": "not_signed_in", "message": "eve is no user; ask: root\x1b[2J"}, 3)

    app = OpsConsole(Closed)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.return_code == 3)
    assert app.crash == "opsconsole: eve is no user; ask: root"


@pytest.mark.parametrize("first", [True, False])
async def test_who_is_disabled_is_sent_away_at_once(first: bool) -> None:
    class Changing(FakeClient):
        enabled = not first

        async def facts(self) -> Any:
            return {**await super().facts(), "enabled": self.enabled}

    client = Changing()
    app = OpsConsole(lambda: client)
    async with app.run_test(size=(120, 40)) as pilot:
        if not first:
            await until(pilot, lambda: app.facts and client.changed.listeners)
            client.changed.put_nowait([{"entity": "user", "key": "2", "verb": "updated"}])
            await pilot.pause()
            assert app.return_code is None
            client.enabled = False
            client.changed.put_nowait([{"entity": "user", "key": "1", "verb": "updated"}])
        await until(pilot, lambda: app.return_code == 3)
    assert app.crash == "opsconsole: the user ann is disabled; ask an administrator"


async def test_q_leaves_with_status_zero() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        await pilot.press("q")
        await until(pilot, lambda: app.return_code == 0)


@pytest.mark.parametrize(
    ("environment", "no_color", "theme"),
    [
        ({"COLORTERM": "truecolor"}, False, "textual-dark"),
        ({"COLORTERM": "truecolor"}, True, "ansi-dark"),
        ({}, False, "ansi-dark"),
    ],
)
def test_theme(environment: dict[str, str], no_color: bool, theme: str) -> None:
    assert theme_name("auto", environment, no_color=no_color) == theme


def test_without_a_terminal_it_refuses_and_names_the_verbs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never() -> FakeClient:
        raise AssertionError("the house was made for nothing")

    assert run(never) == 2
    monkeypatch.setenv("TERM", "dumb")
    assert run(never) == 2
    said = capsys.readouterr().err
    assert "opsconsole call ID" in said
    assert "'dumb'" in said


def test_nothing_heavy_is_imported_before_the_first_frame() -> None:
    code = "import sys, screens.app; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    heavy = {"pydantic", "sqlalchemy", "sqlmodel", "asyncssh", "cryptography", "openstack", "pysnmp", "pyghmi", "data"}
    assert loaded & (heavy | {"drivers", "alembic", "psycopg"}) == set()
    assert "textual" in loaded
