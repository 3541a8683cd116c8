"""The shell around the screens: command line, palette, modes and the way back, panes, copying, dumps, keys, themes."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.engine import locations
from screens.app import OpsConsole
from screens.journal import JournalScreen
from screens.shell.answer import AnswerScreen
from screens.shell.command_line import CommandLine
from screens.shell.jump import JumpPane
from screens.shell.modes import NUMBERS, on_key
from screens.shell.palette import PalettePane
from screens.widgets.form import Form
from screens.widgets.menu import Menu
from screens.widgets.plan import PlanPane
from tests.screens.fake import HOSTILE, FakeClient, host_event, row
from tests.screens.support import console, screen_text, until
from tests.screens.test_ahead import burst

NGINX = "web1:web1/nginx.service"


def home() -> Path:
    found = locations.home()
    found.mkdir(parents=True, exist_ok=True)
    return found


def caught(app: OpsConsole, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console sends to the terminal beside its frames."""
    sent: list[str] = []
    monkeypatch.setattr(app, "send_to_terminal", sent.append)
    return sent


async def typed(app: OpsConsole, pilot: Pilot[Any], line: str) -> None:
    burst(pilot, f":{line}\r")
    await pilot.pause()
    await until(pilot, lambda: not app._ahead.busy)


async def test_a_filter_from_the_command_line() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        await typed(app, pilot, "svc nginx @lab")
        await until(pilot, lambda: screen.rows.filter == "nginx @lab")
        await until(pilot, lambda: "services > @lab /nginx" in screen_text(app))
        assert (home() / "history").read_text() == "svc nginx @lab\n"
        assert stat.S_IMODE((home() / "history").stat().st_mode) == 0o600


async def test_a_read_shows_its_answer_and_the_way_back_and_forward() -> None:
    client = FakeClient()
    client.results = [{"name": f"x{HOSTILE}", "more": [1, None]}]
    async with console(client) as (app, pilot, screen):
        await typed(app, pilot, "environments list")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen) and '"more": [' in screen_text(app))
        assert client.calls == [("environments.list", {}, None, None)]
        assert "services > environments.list" in screen_text(app)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        await pilot.press("minus")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("minus")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        await pilot.press("q")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "there is nothing further that way" in screen_text(app))


async def test_a_journal_is_made_again_on_the_way_forward() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        screen.table.move_to(NGINX)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        await until(pilot, lambda: "services > web1/nginx > journal" in screen_text(app))
        await until(pilot, lambda: "DB1" in screen_text(app) or "hosts 3/5 up" in screen_text(app))
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        assert [stream[0] for stream in client.streams].count("services.journal.follow") == 2


async def test_a_change_from_the_command_line_goes_through_its_plan() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, _):
        await typed(app, pilot, "services restart nginx --host web1")
        await until(pilot, lambda: isinstance(app.screen, PlanPane))
        assert client.planned == [("services.restart", {"name": "nginx", "host": "web1"})]
        assert [call for call in client.calls if call[0] == "services.restart"] == []
        await pilot.press("enter")
        await until(pilot, lambda: [call[0] for call in client.calls] == ["services.restart"])
        assert client.calls[0][1] == {"name": "nginx", "host": "web1"}


async def test_a_read_only_console_refuses_a_typed_change() -> None:
    client = FakeClient()
    async with console(client, readonly=True) as (app, pilot, _):
        await typed(app, pilot, "services restart nginx --host web1")
        await until(pilot, lambda: "read-only: started with --readonly" in screen_text(app))
        assert client.planned == []
        assert client.calls == []


async def test_what_means_nothing_stays_to_be_mended() -> None:
    async with console(FakeClient(), (80, 24)) as (app, pilot, _):
        await typed(app, pilot, "servces")
        await until(pilot, lambda: "did you mean services" in screen_text(app))
        assert isinstance(app.screen, CommandLine)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, CommandLine))
        assert not (home() / "history").exists()


async def test_completion_and_history_in_the_line() -> None:
    (home() / "history").write_text("svc one\nsvc two\n")
    async with console(FakeClient()) as (app, pilot, screen):
        burst(pilot, ":services rest")
        await until(pilot, lambda: isinstance(app.screen, CommandLine) and "restart" in screen_text(app))
        assert isinstance(app.screen, CommandLine)
        line = app.screen._input
        await pilot.press("tab")
        await until(pilot, lambda: line.value == "services restart ")
        await pilot.press("up")
        assert line.value == "svc two"
        await pilot.press("up", "up")
        assert line.value == "svc one"
        await pilot.press("down", "down")
        assert line.value == "services restart "
        await pilot.press("up", "enter")
        await until(pilot, lambda: screen.rows.filter == "two")


async def test_q_leaves_and_theme_changes_the_colours() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        await typed(app, pilot, "theme contrast")
        await until(pilot, lambda: app.theme == "contrast")
        await typed(app, pilot, "q")
        await until(pilot, lambda: app.return_code == 0)


async def test_the_palette_finds_actions_with_keys_and_reasons() -> None:
    async with console(FakeClient(), (80, 24), readonly=True) as (app, pilot, _):
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, PalettePane))
        burst(pilot, "restart")
        await until(pilot, lambda: "read-only: started with" in screen_text(app))
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, PalettePane)
        assert "read-only: started with --readonly" in screen_text(app)


async def test_the_palette_does_what_was_chosen() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, PalettePane))
        burst(pilot, "detail\r")
        await until(pilot, lambda: app.screen is screen and screen.detail.is_open)


async def test_the_palette_goes_to_objects_also_hidden_ones() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        screen.narrow("web1")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, PalettePane))
        burst(pilot, "postgresql")
        await until(pilot, lambda: "db1  postgresql" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and screen.table.cursor == "db1:db1/postgresql.service")
        assert screen.rows.filter == ""


async def test_a_missing_mode_says_what_there_is() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        free = next(key for key in NUMBERS if on_key(key) is None)
        await pilot.press(free)
        await until(pilot, lambda: f"there is no mode on {free}; there is: 0 home, 1 services" in screen_text(app))
        await pilot.press("1")
        assert app.screen is screen


async def test_jump_labels_lead_to_panes() -> None:
    async with console(FakeClient()) as (app, pilot, screen):
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "there is only one pane here" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: screen.detail.is_open)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, JumpPane) and app.screen.is_mounted)
        await pilot.pause()
        assert " s " in screen_text(app)
        await pilot.press("s")
        await until(pilot, lambda: app.screen is screen and not screen.table.has_focus)


async def test_header_and_pane_can_be_put_away() -> None:
    async with console(FakeClient(), (80, 24)) as (app, pilot, screen):
        assert "ann@jump" in screen_text(app) or "hosts" in screen_text(app).splitlines()[0]
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "hosts 3/5 up" not in screen_text(app))
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "hosts 3/5 up" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: screen.detail.is_open)
        await pilot.press("f11")
        await until(pilot, lambda: screen.maximized is screen.pane)
        await pilot.press("f11")
        await until(pilot, lambda: screen.maximized is None)


async def test_copying_says_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with console(FakeClient()) as (app, pilot, screen):
        sent = caught(app, monkeypatch)
        screen.table.move_to(NGINX)
        await pilot.press("y")
        await until(pilot, lambda: "nginx sent to the terminal" in screen_text(app))
        assert sent == ["\x1b]52;c;" + base64.b64encode(b"nginx").decode() + "\x07"]
        await pilot.press("Y")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("j")
        await until(pilot, lambda: len(sent) == 2)
        row = json.loads(base64.b64decode(sent[1].removeprefix("\x1b]52;c;").removesuffix("\x07")))[0]
        assert (row["host"], row["name"]) == ("web1", "nginx")
        assert "copied" not in screen_text(app)


async def test_dumps_are_private_and_clean() -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, screen):
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("c")
        await until(pilot, lambda: "saved in" in screen_text(app))
        table = next((home() / "dumps").glob("*.csv"))
        assert table.read_text().splitlines()[0].startswith("STATUS,HOST,SERVICE")
        assert len(table.read_text().splitlines()) == len(screen.rows.shown) + 1
        await pilot.press("f8")
        await until(pilot, lambda: len(list((home() / "dumps").iterdir())) == 3)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (home() / "dumps").iterdir()} == {0o600}
        assert "nginx" in next((home() / "dumps").glob("*.txt")).read_text()
        assert next((home() / "dumps").glob("*.svg")).read_text().startswith("<svg")


async def test_a_captive_console_saves_nothing_and_keeps_no_history() -> None:
    async with console(FakeClient()) as (app, pilot, _):
        app.facts["captive"] = True
        await pilot.press("f8")
        await until(pilot, lambda: "not in captive mode" in screen_text(app))
        await typed(app, pilot, "svc nginx")
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "no shell behind" in screen_text(app))
        assert not (home() / "dumps").exists()
        assert not (home() / "history").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory that is another's")
async def test_a_captive_console_saves_in_the_exchange_directory_alone(tmp_path: Path) -> None:
    mine, elsewhere = tmp_path / "exchange" / "ann", tmp_path / "elsewhere"
    for place in (mine, elsewhere):
        place.mkdir(parents=True)
    os.chown(mine, 1000, -1)
    mine.chmod(0o2770)
    async with console(FakeClient()) as (app, pilot, _):
        app.facts |= {"captive": True, "exchange": str(mine)}
        await pilot.press("f8")
        await until(pilot, lambda: len(list(mine.iterdir())) == 2)
        for path in mine.iterdir():
            assert path.stat().st_mode & 0o777 == 0o644
        for wrong in (elsewhere, tmp_path / "none", mine / "link"):
            if wrong.name == "link":
                wrong.symlink_to(elsewhere)
            app.facts["exchange"] = str(wrong)
            app.messages.clear()
            await pilot.press("f8")
            await until(pilot, lambda: any("nothing saved" in line.text for line in app.messages))
        mine.chmod(0o777)
        app.facts["exchange"] = str(mine)
        app.messages.clear()
        await pilot.press("f8")
        await until(pilot, lambda: any("one person alone" in line.text for line in app.messages))
        assert list(elsewhere.iterdir()) == []
        assert not (home() / "dumps").exists()


async def test_own_keys_are_taken_and_mistakes_said() -> None:
    (home() / "keymap.toml").write_text('[keys]\n"services.detail" = "ctrl+t"\nservices.restart = "esc"\n')
    async with console(FakeClient()) as (app, pilot, screen):
        await until(pilot, lambda: any("line 3: services.restart" in line.text for line in app.messages))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.detail.is_open)
        await pilot.press("escape")
        await until(pilot, lambda: not screen.detail.is_open)
        await pilot.press("d")
        await pilot.pause()
        assert not screen.detail.is_open


async def test_the_frame_takes_the_colour_of_what_is_shown() -> None:
    client = FakeClient()
    async with console(client, (80, 24)) as (app, pilot, screen):
        assert screen.has_class("-level-prod")
        assert "PROD +1" in screen_text(app).splitlines()[0]
        screen.narrow("web1")
        screen._heading()
        await pilot.pause()
        assert screen.has_class("-level-dev")
        assert not screen.has_class("-level-prod")
        assert "PROD" not in screen_text(app).splitlines()[0]
        assert "hosts 3/5 up" in screen_text(app).splitlines()[0]
        screen.narrow("")
        screen._heading()
        screen.table.move_to(NGINX)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, JournalScreen))
        await until(pilot, lambda: app.screen.has_class("-level-prod"))


@pytest.mark.parametrize("theme", ["terminal", "dark", "light", "contrast", "auto"])
async def test_every_theme_draws_every_screen_state(theme: str) -> None:
    async with console(FakeClient(), (80, 24)) as (app, pilot, screen):
        await typed(app, pilot, f"theme {theme}")
        for keys in ("d", "?\x1b", "a\x1b", "!\x1b"):
            burst(pilot, keys)
            await pilot.pause()
        await until(pilot, lambda: not app._ahead.busy and app.screen is screen)
        assert "nginx" in screen_text(app)


async def test_a_line_that_is_not_enough_opens_the_form_with_what_was_typed() -> None:
    client = FakeClient()
    client.plan_more = {"rung": 0}
    async with console(client) as (app, pilot, _):
        await typed(app, pilot, "access roles create")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Form))
        await typed(app, pilot, "access credentials create --name deploy")
        await until(pilot, lambda: isinstance(app.screen, Form) and "deploy" in screen_text(app))
        assert client.calls == []


async def test_no_dump_holds_what_a_terminal_would_act_on() -> None:
    """Hostile names in the table, then all four kinds of dump: none of it stands there raw."""
    evil = [row("web1", f"evil{number}", description=HOSTILE, sub=HOSTILE) | {"name": HOSTILE} for number in range(2)]
    async with console(FakeClient([host_event("web1", rows=evil)])) as (app, pilot, _):
        await until(pilot, lambda: "evil" in screen_text(app))
        for key, ending in (("c", "csv"), ("j", "json")):
            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, Menu))
            await pilot.press(key)
            await until(pilot, lambda ending=ending: any((home() / "dumps").glob(f"*.{ending}")))  # type: ignore[misc]
        await pilot.press("f8")
        await until(pilot, lambda: len(list((home() / "dumps").iterdir())) == 4)
        for path in (home() / "dumps").iterdir():
            text = path.read_text("utf-8")
            assert "evil" in text, path.suffix
            acted_on = [hex(ord(sign)) for sign in text if sign != "\n" and (ord(sign) < 32 or 127 <= ord(sign) < 160)]
            assert (path.suffix, acted_on) == (path.suffix, [])
            assert not set(text) & set("\u202e\u200b\u2066\ufeff")
