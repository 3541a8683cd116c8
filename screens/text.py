"""The only door for text that is not ours: logs, unit names, descriptions, errors, whatever a host or a person wrote.

The library hands control sequences of such text to the terminal (a log line could set the window title or write the
operator's clipboard), reads `[/x]` in a bare `str` as markup and stops, and counts cells wrongly for some characters,
which breaks columns. Everything therefore becomes `Safe` first: one line of printable characters whose width in cells
is known. Our widgets accept nothing else; `content()` makes what the library's own widgets take.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rich.cells import cell_len, get_character_cell_size
from textual.content import Content

LIMIT: Final = 4096
"""Characters kept of one line; a longer one ends in an ellipsis, so a megabyte costs what 4 KiB do."""

TAB: Final = 8
MAX_COMBINING: Final = 2
ELLIPSIS: Final = "…"
NEWLINE: Final = "⏎"
UNSHOWABLE: Final = "�"

_SEQUENCES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, modes
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]+[0-~]"  # character sets and the like
    r"|\x1b[0-OQ-WYZ\\`-~]"  # two characters: reset, save cursor
)
_LINE_ENDS: Final = re.compile(r"\r\n|[\n\x0b\x0c\x85\u2028\u2029]")
_SPACES: Final = re.compile(r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_JOINERS: Final = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])|[\ufe00-\ufe0f]|^\ufeff")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\r]")
_LONG_RUN: Final = re.compile(f"{UNSHOWABLE}{{2,}}")
_LINES: Final = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")


class Safe(str):
    """One line of text that may go to the terminal: printable characters only, of known width, of bounded length.

    Making one cleans whatever is given (`bytes` are read as UTF-8, None is empty), so there is no instance that is not
    clean. Escape sequences vanish whole; what is left of them, control characters and line ends become visible marks;
    bidirectional and zero-width characters become one `�` per run, so names that differ only by them look different.
    """

    __slots__ = ()

    def __new__(cls, raw: object = "", limit: int = LIMIT) -> Safe:
        if type(raw) is Safe and len(raw) <= limit:
            return raw
        if isinstance(raw, (bytes, bytearray)):
            text = bytes(raw[: limit * 4 + 4]).decode("utf-8", "replace")
        else:
            text = "" if raw is None else str(raw)
        if not (text.isascii() and text.isprintable() and len(text) <= limit):
            text = _clean(text, limit)
        return str.__new__(cls, text)

    @property
    def cells(self) -> int:
        """Width in terminal cells."""
        return width(self)


def _trusted(text: str) -> Safe:
    """A `Safe` of characters that came out of `Safe`s or are our own."""
    return str.__new__(Safe, text)


def _clean(text: str, limit: int) -> str:
    cut = len(text) > limit * 4
    text = _SEQUENCES.sub("", text[: limit * 4])
    text = _LINE_ENDS.sub(NEWLINE, text)
    text = _CONTROLS.sub(lambda match: _picture(match.group()), text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = _SPACES.sub(" ", _JOINERS.sub("", text))
        if not text.isprintable() or not _plain(text):
            text = _printable(text)
    if "\t" in text:
        text = text.expandtabs(TAB)
    if cut or len(text) > limit:
        text = text[: max(limit - 1, 0)] + ELLIPSIS
    return text


def _picture(control: str) -> str:
    code = ord(control)
    return "␡" if code == 0x7F else chr(0x2400 + code)


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    """`keep`, `mark` (combining), or `drop` (shown as unshowable)."""
    if not character.isprintable() and character != "\t":
        return "drop"
    if get_character_cell_size(character) > 0:
        return "keep"
    return "mark" if unicodedata.category(character) in ("Mn", "Mc", "Me") else "drop"


def _plain(text: str) -> bool:
    return all(_kind(character) == "keep" for character in set(text))


def _printable(text: str) -> str:
    """Unshowable characters as one mark per run, at most two combining marks on one character."""
    out: list[str] = []
    combining = MAX_COMBINING
    for character in text:
        kind = _kind(character)
        if kind == "keep":
            out.append(character)
            combining = 0
        elif kind == "drop":
            out.append(UNSHOWABLE)
            combining = MAX_COMBINING
        elif combining < MAX_COMBINING:
            out.append(character)
            combining += 1
    return _LONG_RUN.sub(UNSHOWABLE, "".join(out))


def width(text: str) -> int:
    """Cells a cleaned text takes on the terminal."""
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, cells: int, ellipsis: str = ELLIPSIS) -> Safe:
    """At most `cells` cells of the text, with an ellipsis for what is missing; never half of a wide character."""
    safe = Safe(text)
    if width(safe) <= cells:
        return safe
    if cells <= 0:
        return _trusted("")
    room = cells - width(ellipsis)
    if room < 0:
        return clip(ellipsis, cells, "")
    if safe.isascii():
        return _trusted(safe[:room] + ellipsis)
    used = 0
    for index, character in enumerate(safe):
        used += get_character_cell_size(character)
        if used > room:
            return _trusted(safe[:index] + ellipsis)
    return safe


def fit(text: str, cells: int, *, right: bool = False, ellipsis: str = ELLIPSIS) -> Safe:
    """The text in exactly `cells` cells: cut or padded, so that the next column starts where it should."""
    clipped = clip(text, cells, ellipsis)
    gap = " " * max(cells - width(clipped), 0)
    return _trusted(gap + clipped if right else clipped + gap)


def join(parts: Iterable[str], between: str = "") -> Safe:
    """The parts as one safe line; what is not `Safe` yet is cleaned."""
    return _trusted(Safe(between).join(Safe(part) for part in parts))


def paragraphs(raw: object, limit: int = LIMIT, lines: int = 500) -> tuple[Safe, ...]:
    """A text of several lines as safe lines, at most `lines` of them (one more says what is left)."""
    if isinstance(raw, (bytes, bytearray)):
        raw = bytes(raw[: limit * lines * 4]).decode("utf-8", "replace")
    text = "" if raw is None else str(raw)[: limit * lines]
    parts = _LINES.split(text)
    safe = tuple(Safe(part, limit) for part in parts[:lines])
    more = len(parts) - lines
    return (*safe, Safe(f"{ELLIPSIS} {more} more lines")) if more > 0 else safe


def wrap(text: Safe, cells: int) -> tuple[Safe, ...]:
    """The line cut into pieces of at most `cells` cells each; an empty line is one empty piece."""
    cells = max(cells, 2)
    if width(text) <= cells:
        return (text,)
    if text.isascii():
        return tuple(_trusted(text[start : start + cells]) for start in range(0, len(text), cells))
    pieces: list[Safe] = []
    start = used = 0
    for index, character in enumerate(text):
        size = get_character_cell_size(character)
        if used + size > cells:
            pieces.append(_trusted(text[start:index]))
            start, used = index, 0
        used += size
    pieces.append(_trusted(text[start:]))
    return tuple(pieces)


def content(*parts: str | tuple[str, str]) -> Content:
    """What the library's widgets take: text and `(text, style)` pairs, cleaned, with no markup read in them."""
    pieces: list[str | tuple[str, str]] = []
    for part in parts:
        pieces.append(_keep_ends(part) if isinstance(part, str) else (_keep_ends(part[0]), part[1]))
    return Content.assemble(*pieces, strip_control_codes=False)


def _keep_ends(text: str) -> str:
    """Line ends of our own layout survive; `Safe` holds none, so foreign text cannot make any."""
    if isinstance(text, Safe) or "\n" not in text:
        return Safe(text)
    return "\n".join(Safe(line) for line in text.split("\n"))
