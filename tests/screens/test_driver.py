"""What is typed and pasted, as it comes out of a terminal: whole, in pieces, and with an escape in the paste."""

from __future__ import annotations

import itertools

import pytest
from textual import events

from screens.shell import driver
from screens.shell.driver import KeyParser

BEGIN, END = "\x1b[200~", "\x1b[201~"
HOSTILE = "rm\x1b[A\x1b]52;c;eA==\x07\x1bOP\x1b[<0;1;1M\x1b[200~x\r\n"


def read(*pieces: str) -> list[str]:
    """Keys by name and pastes in brackets, in their order."""
    parser = KeyParser()
    found = []
    for piece in pieces:
        for event in parser.feed(piece):
            assert isinstance(event, events.Key | events.Paste), event
            found.append(event.key if isinstance(event, events.Key) else f"<{event.text}>")
    return found


def test_a_paste_is_one_text_whatever_is_in_it() -> None:
    assert read(f"a{BEGIN}{HOSTILE}{END}\x1b[Bb") == ["a", f"<{HOSTILE}>", "down", "b"]


def test_two_pastes_and_keys_between_them() -> None:
    assert read(f"{BEGIN}one{END}x{BEGIN}\x1b{END}{BEGIN}{END}") == ["<one>", "x", "<\x1b>", "<>"]


def test_however_it_is_cut_in_reads() -> None:
    text = f"a{BEGIN}x\x1b[Ay\x1b{END}\x1b[Bb"
    for one, two in itertools.combinations(range(1, len(text)), 2):
        assert read(text[:one], text[one:two], text[two:]) == ["a", "<x\x1b[Ay\x1b>", "down", "b"], (one, two)


def test_a_paste_without_end_costs_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MOST_PASTED", 100)
    parser = KeyParser()
    assert list(parser.feed(BEGIN)) == []
    for _ in range(50):
        assert list(parser.feed("z" * 30)) == []
        assert len(parser._text) <= 100
    assert list(parser.feed("\x1b[20")) == []
    (paste,) = parser.feed("1~")
    assert isinstance(paste, events.Paste)
    assert set(paste.text) == {"z"}
    assert len(paste.text) <= 100
    assert [event.key for event in parser.feed("a") if isinstance(event, events.Key)] == ["a"]


def test_other_keys_are_the_library_s() -> None:
    assert read("\x1b[21~", "\x1b[A", "\x1bOP", "é", "\x1b[20~") == ["f10", "up", "f1", "é", "f9"]


def test_escape_and_the_key_after_it_are_two_keys_however_they_come() -> None:
    for pieces in (("\x1b:q",), ("\x1b", ":q"), ("\x1b:", "q")):
        assert read(*pieces) == ["escape", "colon", "q"], pieces
    assert read("\x1b\x1bj", "\x1b[A\x1bé") == ["escape", "escape", "j", "up", "escape", "é"]


def test_escape_alone_is_escape_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(driver, "get_time", lambda: now)
    monkeypatch.setattr("textual._parser.get_time", lambda: now)
    parser = KeyParser()
    assert list(parser.feed("\x1b")) == []
    assert 0 < parser.patience <= 0.1
    assert list(parser.tick()) == []
    now += 0.2
    assert parser.patience == 0
    (event,) = parser.tick()
    assert isinstance(event, events.Key)
    assert event.key == "escape"
    assert [event.key for event in parser.feed("[") if isinstance(event, events.Key)] == ["left_square_bracket"]
