"""The log buffer against a plain list: what is kept, shown, laid out and found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screens.text import Safe, wrap
from screens.widgets.lines import LogBuffer, LogLine, level


def line(text: str, priority: int = 6) -> LogLine:
    return LogLine(None, Safe("h"), Safe("u"), priority, Safe(text))


def texts(buffer: LogBuffer) -> list[str]:
    """The shown rows as text, through the row mapping."""
    found = []
    for row in range(buffer.rows):
        place = buffer.at_row(row)
        assert place is not None
        found.append(f"{buffer.line(place[0]).text}/{place[1]}")
    return found


def rows_of(found: LogLine) -> int:
    return len(wrap(found.text, 4))


@given(
    st.lists(st.lists(st.text("ab漢", max_size=9), max_size=12), max_size=8),
    st.integers(1, 15),
    st.booleans(),
    st.booleans(),
)
def test_the_buffer_is_the_end_of_a_list(
    batches: list[list[str]], capacity: int, wrapped: bool, filtered: bool
) -> None:
    buffer = LogBuffer(capacity)
    if filtered:
        buffer.set_filter("a")
    if wrapped:
        buffer.set_layout(rows_of)
    every: list[str] = []
    rows = 0
    for batch in batches:
        grown = buffer.extend([line(text) for text in batch])
        rows += grown.added - grown.dropped
        every += batch
        kept = every[-capacity:]
        shown = [text for text in kept if not filtered or "a" in f"h u {text}"]
        parts = [(text, len(wrap(Safe(text), 4)) if wrapped else 1) for text in shown]
        assert texts(buffer) == [f"{text}/{part}" for text, count in parts for part in range(count)]
        assert buffer.rows == rows
        assert buffer.dropped == max(len(every) - capacity, 0)
    for row in range(buffer.rows):
        place = buffer.at_row(row)
        assert place is not None
        first = buffer.row_of(place[0])
        assert first is not None
        assert first + place[1] == row


def test_memory_is_given_back() -> None:
    buffer = LogBuffer(1000)
    for _ in range(50):
        buffer.extend([line("x")] * 700)
    assert len(buffer) == 1000
    assert len(buffer.lines._items) <= 3000
    assert buffer.dropped == 34_000


def test_filter_and_levels() -> None:
    buffer = LogBuffer()
    buffer.extend([line("one", 3), line("two", 6), line("one more", 6)])
    buffer.set_filter("one")
    assert texts(buffer) == ["one/0", "one more/0"]
    buffer.set_filter("one", 3)
    assert texts(buffer) == ["one/0"]
    buffer.set_filter("level:err")
    assert texts(buffer) == ["one/0"]
    buffer.set_filter("")
    assert buffer.shown == 3


def test_find_goes_both_ways_and_only_among_the_shown() -> None:
    buffer = LogBuffer()
    buffer.extend([line(text) for text in ("needle 0", "hay", "Needle 2", "hay needle 3")])
    assert buffer.find("needle", 4, -1) == 3
    assert buffer.find("needle", 3, -1) == 2
    assert buffer.find("needle", 0, 1) == 2
    assert buffer.find("needle", 0, -1) is None
    assert buffer.find("nothing", 0, 1) is None
    buffer.set_filter("!hay")
    assert buffer.find("needle", 4, -1) == 2
    assert buffer.row_of(3) is None


def test_an_empty_buffer_has_nothing() -> None:
    buffer = LogBuffer()
    assert buffer.at_row(0) is None
    assert buffer.find("x", 0, 1) is None
    assert buffer.row_of(0) is None


PARTS = st.lists(st.text("ab漢", max_size=9), max_size=12)


@given(st.lists(st.tuples(st.sampled_from("<>()"), PARTS), max_size=12), st.booleans(), st.booleans())
def test_both_ends_grow_and_shrink(steps: list[tuple[str, list[str]]], wrapped: bool, filtered: bool) -> None:
    """`<` puts lines before, `>` behind, `(` and `)` take as many off again."""
    buffer = LogBuffer(1000)
    if filtered:
        buffer.set_filter("a")
    if wrapped:
        buffer.set_layout(rows_of)
    every: list[str] = []
    first = 0
    for step, part in steps:
        count = min(len(part), len(every))
        if step == "<":
            rows, before = buffer.prepend([line(text) for text in part]), buffer.rows
            every, first = part + every, first - len(part)
            assert rows <= before
        elif step == ">":
            buffer.extend([text.encode() for text in part])
            every = every + part
        elif step == "(":
            buffer.forget(count)
            every, first = every[count:], first + count
        else:
            buffer.forget_end(count)
            every = every[: len(every) - count]
        shown = [text for text in every if not filtered or "a" in text]
        parts = [(text, len(wrap(Safe(text), 4)) if wrapped else 1) for text in shown]
        assert texts(buffer) == [f"{text}/{part}" for text, count in parts for part in range(count)]
        assert buffer.first == first
        assert buffer._weights.total == pytest.approx(sum(len(text) for text in every), abs=len(every) * 30 + 1)


TIMES = st.lists(st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=6), max_size=8)


@given(TIMES)
def test_lines_of_several_sources_stand_in_order_of_time(batches: list[list[int | None]]) -> None:
    buffer = LogBuffer(by_time=True)
    count = 0
    for batch in batches:
        lines = [line(f"{count + index}")._replace(at=at) for index, at in enumerate(batch)]
        count += len(lines)
        buffer.extend(lines)
        assert len(buffer) == count
        times = [at for kept in buffer.lines if isinstance(kept, LogLine) and (at := kept.at) is not None]
        assert times == sorted(times)
        assert {kept.text for kept in buffer.lines if isinstance(kept, LogLine)} == {f"{n}" for n in range(count)}


def test_a_line_without_a_time_stays_behind_the_newest_before_it() -> None:
    buffer = LogBuffer(by_time=True)
    buffer.extend([line("note 0")])
    buffer.extend([line("a")._replace(at=1), line("c")._replace(at=3)])
    assert not buffer.extend([line("gap")]).mixed
    buffer.extend([line("b")._replace(at=2)])
    buffer.extend([line("d")._replace(at=4)])
    assert texts(buffer) == ["note 0/0", "a/0", "b/0", "c/0", "gap/0", "d/0"]


def test_what_comes_late_is_said_to_be_mixed_in() -> None:
    buffer = LogBuffer(by_time=True)
    assert not buffer.extend([line("a")._replace(at=1), line("c")._replace(at=3)]).mixed
    assert buffer.extend([line("b")._replace(at=2)]).mixed
    assert texts(buffer) == ["a/0", "b/0", "c/0"]


def test_memory_is_bounded_by_bytes_too() -> None:
    buffer = LogBuffer(most_bytes=100_000)
    for number in range(100):
        buffer.extend([f"{number} {'x' * 4000}".encode()] * 2)
    assert len(buffer) * 4000 <= 110_000
    assert buffer.dropped == 200 - len(buffer)
    assert buffer.line(buffer.first + len(buffer) - 1).text.startswith("99 x")


@given(st.lists(st.integers(0, 100), min_size=1).map(sorted), st.integers(-5, 105))
def test_a_time_is_found(times: list[int], at: int) -> None:
    buffer = LogBuffer()
    buffer.extend([line("x")._replace(at=time) for time in times])
    found = buffer.at_time(at)
    expected = next((index for index, time in enumerate(times) if time >= at), len(times) - 1)
    assert found == expected


def test_without_times_there_is_none_to_find() -> None:
    buffer = LogBuffer()
    assert buffer.at_time(3) is None
    buffer.extend([line("x")])
    assert buffer.at_time(3) is None


def test_levels() -> None:
    assert [level(value) for value in (0, 7, 8, -1, None, "3")] == [0, 7, 8, 8, 8, 8]
