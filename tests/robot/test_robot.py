"""What a person does in the middle of an incident, by keyboard alone, at both sizes and in every kind of terminal."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.robot.conftest import Open
from tests.robot.terminal import Terminal

SIZES = [(80, 24), (120, 40)]
KEYS = ["j", "k", "j", "j", "NPage", "PPage", "g", "G", "space", "d", "C-d", "C-u"]
pytestmark = pytest.mark.timeout(180)


def filtered(terminal: Terminal, text: str) -> str:
    """Filter in one burst, as somebody types who knows where he is going."""
    terminal.type(f"/{text}")
    terminal.keys("Enter")
    terminal.see(f"/{text} hides", "6 of", "app-1", within=40)
    terminal.keys("g")
    return terminal.picture()


def servers(directory: Path) -> list[int]:
    """The processes of simulated fleets whose directory is in this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"opsconsole.demo.server" in words and any(word.startswith(bytes(directory)) for word in words):
                found.append(int(path.parent.name))
    return found


def settled(terminal: Terminal) -> list[str]:
    """The picture with its colours once nothing moves but ages, with every number in it the same."""
    last: list[str] = []
    while last != (now := [looks(line) for line in terminal.picture(colours=True).splitlines()]):
        last = now
        time.sleep(0.2)
    return now


def looks(line: str) -> str:
    """A line with the codes before each run of equal looks; blanks at its end that have no looks are nothing."""
    runs: list[tuple[str, str]] = []
    codes: list[str] = []
    for code, text in re.findall(r"\x1b\[([0-9;]*)m|([^\x1b]+)", line):
        if text:
            shown = re.sub(r" +", " ", re.sub(r"\d+", "0", text))
            runs.append((";".join(codes), shown))
        for number in code.split(";") if not text else ():
            codes = [] if number in ("", "0") else [*codes, number]
    return "".join(f"<{codes}>{text}" if codes else text for codes, text in runs).rstrip()


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
    time.sleep(0.5)  # an Enter that nobody can have meant yet does not count
    terminal.type("7")
    terminal.keys("Enter")
    terminal.see("Type 1", "typed 7")
    terminal.keys("BSpace")
    terminal.type("1")
    terminal.keys("Enter")
    terminal.see("restarting app-1/shop-api: done", within=40)


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


@pytest.mark.parametrize("size", SIZES)
def test_a_shell_on_a_host_and_back(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    terminal.keys("2")
    terminal.see("hosts ·", "30 hosts")
    terminal.keys("g", "s")
    terminal.see("the shell on app-1 ended", "hosts ·")
    terminal.keys("G", "s")
    terminal.see("Enter leads back", within=40)
    terminal.keys("Enter")
    terminal.see("the shell on web-4 ended with status 255", "hosts ·")


@pytest.mark.parametrize("size", SIZES)
def test_a_fleet_that_falls_silent_leaves_the_keys_alone(console: Open, size: tuple[int, int], tmp_path: Path) -> None:
    """Every host stops answering at once, with all connections open, as behind a router that died."""
    terminal = console(size, TMPDIR=str(tmp_path))
    (server,) = servers(tmp_path)
    filtered(terminal, "shop-api")
    os.kill(server, signal.SIGSTOP)
    try:
        terminal.see("hosts 0/30", "no answer", within=90)
        for key, seen in (("e", "errors only"), ("e", "6 of"), ("*", "6 marked"), ("U", "6 of"), ("?", "filter")):
            terminal.keys(key)
            terminal.see(seen, within=5)
        terminal.keys("Escape")
        terminal.type(":hosts\r")
        terminal.see("30 hosts", within=10)
        terminal.keys("1")
        terminal.see("/shop-api hides", within=5)
    finally:
        os.kill(server, signal.SIGCONT)
    terminal.see("28/30", within=60)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_picture_is_the_one_a_whole_redraw_gives(console: Open, seed: int) -> None:
    """Whatever keys led to a screen: what was written as differences is what is written as a whole."""
    terminal = console(SIZES[seed % 2])
    terminal.see("28/30", "1 REVIEW", within=60)
    terminal.gone("something waits for you", within=60)
    terminal.keys("z")
    terminal.see("FROZEN")
    chance = random.Random(seed)
    for _ in range(12):
        terminal.keys(
            *chance.choices(["j", "k", "j", "j", "NPage", "PPage", "g", "G", "space", "d", "C-d", "C-u"], k=25)
        )
        if chance.random() < 0.3:
            terminal.resize(chance.randrange(70, 140), chance.randrange(18, 45))
        terminal.keys("Escape", "Escape", "Escape", "z", "z")
        time.sleep(0.5)
        before = settled(terminal)
        terminal.keys("C-l")
        time.sleep(0.2)
        assert settled(terminal) == before


@pytest.mark.parametrize("size", SIZES)
def test_six_at_once_are_a_task_that_is_watched_to_its_end(console: Open, size: tuple[int, int]) -> None:
    terminal = console(size)
    filtered(terminal, "shop-api")
    terminal.keys("*")
    terminal.see("6 marked")
    terminal.keys("R")
    terminal.see("Type 6 shop-api", within=40)
    time.sleep(0.5)  # an Enter that nobody can have meant yet does not count
    terminal.type("6 shop-api")
    terminal.keys("Enter")
    terminal.type("a try")
    terminal.keys("Enter")
    terminal.see("as a task", within=40)
    terminal.keys("t")
    terminal.see("tasks ·", "restart shop-api on 6 hosts", within=40)
    terminal.keys("Enter")
    terminal.see("app-1/shop-api ", "— done", "ended: finished", within=90)
    terminal.keys("Escape")
    terminal.see("tasks ·", "finished")
    terminal.keys("t")
    terminal.see("/shop-api hides")
