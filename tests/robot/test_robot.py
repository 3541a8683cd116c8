"""What a person does in the middle of an incident, by keyboard alone, at both sizes and in every kind of terminal."""

from __future__ import annotations

import re

import pytest

from tests.robot.conftest import Open
from tests.robot.terminal import Terminal

SIZES = [(80, 24), (120, 40)]
pytestmark = pytest.mark.timeout(180)


def filtered(terminal: Terminal, text: str) -> str:
    """Filter in one burst, as somebody types who knows where he is going."""
    terminal.type(f"/{text}")
    terminal.keys("Enter")
    terminal.see(f"/{text} hides", "6 of", "app-1", within=40)
    terminal.keys("g")
    return terminal.picture()


@pytest.mark.parametrize("size", SIZES)
def test_find_what_fails_and_look_at_it(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    terminal.keys("e")
    picture = terminal.see("errors only", "crash loop", "billing-worker")
    assert "● started" not in picture
    terminal.keys("d")
    terminal.see("about: Sends the invoices")
    terminal.keys("Escape")
    terminal.gone("about:")
    terminal.keys("e")
    terminal.gone("errors only hides")
    terminal.keys("q")
    assert terminal.ended() == 0


@pytest.mark.parametrize("size", SIZES)
def test_restart_one_in_production_by_count(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    filtered(terminal, "shop-api")
    terminal.keys("R")
    terminal.see("restart app-1/shop-api", "prod", "Type 1")
    terminal.keys("Escape")
    terminal.gone("Type 1")
    terminal.keys("R")
    terminal.see("Type 1")
    terminal.type("7")
    terminal.keys("Enter")
    terminal.see("Type 1")
    terminal.keys("BSpace")
    terminal.type("1")
    terminal.keys("Enter")
    terminal.see("restarting app-1/shop-api: 1 done", within=40)


@pytest.mark.parametrize("size", SIZES)
def test_many_marked_need_the_count_the_name_and_a_reason(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    filtered(terminal, "shop-api")
    terminal.keys("*")
    terminal.see("6 marked")
    terminal.keys("T")
    terminal.see("6 targets", "6 shop-api")
    terminal.keys("Escape")
    terminal.gone("6 targets")
    assert terminal.picture().count("started") >= 6


@pytest.mark.parametrize("size", SIZES)
def test_a_journal_that_follows_through_resizes(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    filtered(terminal, "shop-api")
    terminal.keys("l")
    terminal.see("shop-api", within=30)
    for width, height in ((100, 30), (61, 16), (140, 50), size):
        terminal.resize(width, height)
    terminal.see("app-1")
    terminal.resize(50, 12)
    terminal.see("The window is 50x12")
    terminal.resize(*size)
    terminal.gone("The window is")
    terminal.keys("Escape")
    terminal.see("services")


@pytest.mark.parametrize("term", ["xterm", "screen-256color", "linux"])
def test_every_kind_of_terminal(console: Open, term: str) -> None:
    terminal = console((80, 24), TERM=term)
    picture = terminal.picture()
    if term == "linux":
        assert picture.isascii()
    terminal.keys("q")
    assert terminal.ended() == 0


def test_without_colours_there_are_none(console: Open) -> None:
    terminal = console((80, 24), NO_COLOR="1")
    coloured = terminal.picture(colours=True)
    codes = {code for codes in re.findall(r"\x1b\[([0-9;]*)m", coloured) for code in codes.split(";")}
    assert not codes & {str(n) for n in (*range(31, 38), *range(41, 48), *range(90, 98), *range(100, 108))}
    assert "38" not in codes


def test_read_only_is_said_in_letters_and_nothing_acts(console: Open) -> None:
    terminal = console((120, 40), "--readonly")
    terminal.see("READ-ONLY")
    filtered(terminal, "shop-api")
    terminal.keys("R")
    terminal.see("--readonly")
    assert "restart app-1" not in terminal.picture()


def test_hostile_text_is_harmless(console: Open) -> None:
    terminal = console((120, 40))
    picture = terminal.picture(colours=True)
    assert "\x1b]" not in picture
    assert "\u202e" not in picture


def test_help_is_there_and_esc_always_leads_back(console: Open) -> None:
    terminal = console((80, 24))
    terminal.keys("?")
    terminal.see("filter")
    for _ in range(4):
        terminal.keys("Escape")
    terminal.see("services", "STATUS")
