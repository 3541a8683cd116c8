"""The last thing every painted line goes through: nothing unprintable leaves, and in ASCII mode no glyph outside ASCII.

The text door (`screens.text`) is where foreign text is cleaned; this net is for what a widget of the library
might still let through (a placeholder, a tooltip, a pasted value).
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from screens.text import Safe, width

_PAIRS: Final = {
    "●": "+",
    "○": "-",
    "✖": "x",
    "▲": "^",
    "▼": "v",
    "◌": "~",
    "◆": "*",
    "…": "~",
    "·": "-",
    "–": "-",
    "—": "-",
    "→": ">",
    "⏎": "\\",
    "␛": "^",
    "�": "?",
    "│": "|",
    "┃": "|",
    "─": "-",
    "━": "-",
    "█": "#",
}


def _plain(character: str) -> str:
    """An ASCII stand-in of the same width; letters of any script stay, as fonts have them and words need them."""
    if character.isascii():
        return character
    if character in _PAIRS:
        return _PAIRS[character]
    if unicodedata.category(character).startswith("L") or unicodedata.combining(character):
        return character
    if 0x2500 <= ord(character) < 0x2580:
        return "+"
    if 0x2580 <= ord(character) < 0x25A0:
        return "#"
    return "?" * max(width(character), 1)


class LastFilter(LineFilter):
    """Cleans what is unprintable; with `ascii` also replaces glyphs."""

    def __init__(self, *, ascii: bool) -> None:  # noqa: A002 - the name of the mode everywhere
        super().__init__()
        self._ascii = ascii

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [self._segment(segment) for segment in segments]

    def _segment(self, segment: Segment) -> Segment:
        text = segment.text
        if not text.isprintable():
            text = str(Safe(text))
        if self._ascii and not text.isascii():
            text = "".join(map(_plain, text))
        return segment if text is segment.text else Segment(text, segment.style, segment.control)
