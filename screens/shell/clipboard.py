"""Copying over any distance: the terminal is asked (OSC 52) to put a text into the clipboard of where the person sits.

Nothing ever answers, so nobody can say that it was copied; only that it was sent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from screens.text import Safe, paragraphs

MOST: Final = 74_994
"""Encoded bytes that go in one sequence; terminals drop longer ones without a word."""
TMUX_HINT: Final = "tmux passes it on with: set -g allow-passthrough on (or set-clipboard on)"
SCREEN_HINT: Final = "GNU screen may swallow it"


class TooLong(ValueError):
    """The text is more than a terminal takes."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """What goes to the terminal, and what the person should know about it."""

    data: str
    hint: str = ""


def cleaned(text: str) -> str:
    """The text as it may be pasted into a shell: lines of printable characters."""
    return "\n".join(str(line) for line in paragraphs(text, limit=MOST, lines=MOST))


def sequence(text: str, environment: Mapping[str, str]) -> Sequence:
    """The OSC 52 sequence of a cleaned text, wrapped for tmux where that stands between; raises `TooLong`."""
    encoded = base64.b64encode(cleaned(text).encode()).decode("ascii")
    if len(encoded) > MOST:
        raise TooLong(f"{len(encoded)} bytes encoded; a terminal takes {MOST}")
    plain = f"\x1b]52;c;{encoded}\x07"
    if environment.get("TMUX"):
        return Sequence("\x1bPtmux;" + plain.replace("\x1b", "\x1b\x1b") + "\x1b\\", TMUX_HINT)
    if environment.get("TERM", "").startswith("screen") and environment.get("STY"):
        return Sequence("\x1bP" + plain + "\x1b\\", SCREEN_HINT)
    return Sequence(plain)


def tsv(cells: Mapping[str, str]) -> str:
    """One row with tabs between; a tab within a cell is a space."""
    return "\t".join(str(Safe(value)).replace("\t", " ") for value in cells.values())
