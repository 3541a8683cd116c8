"""The door for foreign text: nothing that moves a terminal gets through, and widths are what is painted."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from screens.text import LIMIT, Safe, clip, content, fit, join, paragraphs, width, wrap

CONTROLS = "\x1b\x9b\x9d\x90\x07\x9c[]P;?0m\\\t\r\n\x7f\x00"
BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
NASTY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(CONTROLS + BIDI + "\u200b\u200d\ufe0f\ufeff\u0301漢🙂"),
    ),
    max_size=80,
)


def is_clean(text: str) -> bool:
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") and c.isprintable() for c in text)


@given(NASTY)
def test_nothing_unprintable_survives(raw: str) -> None:
    safe = Safe(raw)
    assert is_clean(safe)
    assert len(safe) <= LIMIT
    assert Safe(str(safe)) == safe


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read(raw: bytes) -> None:
    assert is_clean(Safe(raw))


@given(NASTY, st.integers(0, 40), st.booleans())
def test_fit_fills_its_cells_exactly(raw: str, cells: int, right: bool) -> None:
    fitted = fit(raw, cells, right=right)
    assert cell_len(fitted) == cells
    assert is_clean(fitted)
    assert width(clip(raw, cells)) <= cells


@given(NASTY, st.integers(2, 30))
def test_wrap_loses_nothing_and_never_overflows(raw: str, cells: int) -> None:
    safe = Safe(raw)
    pieces = wrap(safe, cells)
    assert "".join(pieces) == safe
    assert all(cell_len(piece) <= cells for piece in pieces)


@given(NASTY)
@settings(max_examples=50)
def test_content_keeps_markup_literal(raw: str) -> None:
    made = content(f"[/x][b]{raw}", (raw, "bold"))
    assert made.plain.startswith("[/x][b]")
    assert is_clean(made.plain.replace("\n", ""))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
        ("a\x1b]0;title\x1b\\b", "ab"),
        ("a\x9b31mb\x9d0;t\x9cc", "abc"),
        ("a\x1bP1$tx\x1b\\b", "ab"),
        ("\x1b(0\x1b7\x1bcx", "x"),
        ("\x1b]52;c;never ended", "␛]52;c;never ended"),
        ("lone\x1b", "lone␛"),
        ("bell\x07 nul\x00 del\x7f", "bell␇ nul␀ del␡"),
        ("one\ntwo\r\nthree\rfour", "one⏎two⏎three␍four"),
        ("a\tb", "a       b"),
        ("nginx\u200b.service", "nginx�.service"),
        ("\u202egnp.exe\u202c", "�gnp.exe�"),
        ("a\u200b\u200b\u2060\u200db", "a�b"),
        ("\ufeffbom", "bom"),
        ("e" + "\u0301" * 50, "é\u0301\u0301"),
        ("\u0301x", "x"),
        ("👩\u200d🚀", "👩🚀"),
        ("sur\ud800rogate", "sur�rogate"),
        ("nb\u00a0sp", "nb sp"),
        ("[/x] [red]", "[/x] [red]"),
        (b"bad \xff utf", "bad � utf"),
        (None, ""),
        (7, "7"),
    ],
)
def test_known_attacks(raw: object, shown: str) -> None:
    assert Safe(raw) == shown


def test_a_megabyte_costs_little_and_is_bounded() -> None:
    for raw in ("x" * 1_000_000, "\x9d" * 1_000_000, "\x1b]" * 500_000, "\x1b[" + "0" * 1_000_000, "́" * 1_000_000):
        start = time.perf_counter()
        safe = Safe(raw)
        assert time.perf_counter() - start < 0.5
        assert len(safe) <= LIMIT
        assert safe.endswith("…")


def test_columns_stay_aligned_with_wide_characters() -> None:
    for raw in ("漢字漢字漢字", "ascii", "🙂🙂🙂🙂", "é́́́", "한국어"):
        assert cell_len(fit(raw, 7)) == 7
    assert clip("漢字漢字", 5) == "漢字…"
    assert clip("漢字漢字", 4, "") == "漢字"
    assert clip("漢字漢字", 3, "") == "漢"
    assert clip("abc", 0) == ""
    assert fit("7", 3, right=True) == "  7"


def test_joining_and_paragraphs() -> None:
    joined = join(["a\x1b[0m", Safe("b")], " · ")
    assert joined == "a · b"
    assert isinstance(joined, Safe)
    assert paragraphs("one\ntwo\r\n\x1b[1mthree") == ("one", "two", "three")
    assert paragraphs(b"x\xff") == ("x�",)
    assert paragraphs("l\n" * 10, lines=3)[-1] == "… 8 more lines"


def test_content_keeps_our_own_line_ends_only() -> None:
    assert content("ours\nline", (Safe("theirs\nline"), "bold")).plain == "ours\nlinetheirs⏎line"
