"""Log files by offset: the same lines as the file has, from whichever side they are read; and what befalls a file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screens.widgets import logfile as module
from screens.widgets.lines import NO_LEVEL
from screens.widgets.logfile import KEPT_OF_LINE, Block, FileWindow, LogFile
from screens.widgets.stamps import file_line, stamp, urgency

LINES = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")), max_size=60)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_read_from_either_end_it_is_the_same_file(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    kept, module.BLOCK = module.BLOCK, 64  # type: ignore[misc]
    file = LogFile(path)
    try:
        backwards: list[bytes] = []
        end = file.size
        while end:
            block = file.before(end)
            assert block.end == end
            assert block.start < end
            backwards, end = block.lines + backwards, block.start
        assert backwards == lines
        forwards: list[bytes] = []
        start = 0
        while (block := file.after(start, 64)).lines:
            forwards += block.lines
            start = block.end
        assert forwards == lines
    finally:
        module.BLOCK = kept  # type: ignore[misc]
        file.close()


def test_a_line_of_megabytes_is_cut_but_one_line_from_either_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * 3_000_000 + b"\nlast\n")
    file = LogFile(path)
    block = file.before(file.size)
    assert [len(line) for line in block.lines] == [KEPT_OF_LINE, 4]
    assert block.start == 6
    assert file.before(6).lines == [b"first"]
    assert file.after(0).lines == [b"first"]
    long = file.after(6)
    assert [len(line) for line in long.lines] == [KEPT_OF_LINE]
    assert file.after(long.end).lines == [b"last"]
    file.close()


def test_a_file_without_a_line_end_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 1_000_000)
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    log = LogFile(path)
    block = log.before(log.size)
    assert block.start < block.end == 1 << 30
    assert len(block.lines) == 1
    assert len(block.lines[0]) <= KEPT_OF_LINE
    assert log.before(block.start).end == block.start
    log.close()


@pytest.mark.usefixtures("small")
def test_what_is_added_and_what_befalls_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    file = LogFile(path)
    end = 4
    assert file.news(end).block.lines == []
    with path.open("ab") as more:
        more.write(b"two\nhalf")
    news = file.news(end)
    assert (news.block.lines, news.happened) == ([b"two"], "")
    end = news.block.end
    assert file.news(end).block.lines == []
    assert file.news(end).block.lines == [b"half"], "what does not grow is shown without its end"
    path.rename(tmp_path / "log.1")
    assert file.news(end + 4).happened == "", "the new one may take its time"
    with (tmp_path / "log.1").open("ab") as more:
        more.write(b"!\n")
    path.write_bytes(b"new\n")
    assert file.news(end + 4).block.lines == [b"!"], "the rest of the old one comes first"
    news = file.news(end + 6)
    assert (news.block, news.happened, news.anew) == (Block(0, 4, [b"new"]), "the file was rotated", True)
    path.write_bytes(b"")
    news = file.news(4)
    assert (news.block.lines, news.happened) == ([], "the file was truncated")
    with path.open("ab") as more:
        more.write(b"x\n" * 5_000_000)
    news = file.news(0)
    assert "too fast" in news.happened
    assert news.block.end == 10_000_000
    file.close()
    with pytest.raises(OSError, match="descriptor"):
        file.before(4)


@pytest.mark.usefixtures("small")
def test_texts_and_times_are_found_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [
        f"2026-11-21T{n // 60:02}:{n % 60:02}:00Z line {n} {'Needle' if n % 100 == 50 else 'hay'}" for n in range(600)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    file = LogFile(path)

    def never() -> bool:
        return False

    assert file.find("needle", 0, 1, never) == starts[50]
    assert file.find("needle", starts[51], 1, never) == starts[150]
    assert file.find("needle", file.size, -1, never) == starts[550]
    assert file.find("NEEDLE", starts[550], -1, never) == starts[450]
    assert file.find("nothing", 0, 1, never) is None
    assert file.find("needle", 0, 1, lambda: True) is None
    wanted = stamp("2026-11-21T05:00:00Z")
    assert wanted is not None
    found = file.at_time(wanted, lambda raw: stamp(raw.decode()))
    assert starts[295] <= found <= starts[300]
    file.close()


def test_the_window_forgets_at_the_other_end() -> None:
    window = FileWindow(capacity=10)
    for number in range(4):
        assert window.append(Block(number * 10, number * 10 + 10, [b""] * 4)) == (0 if number < 2 else 4)
    assert (window.start, window.end) == (20, 40)
    assert window.prepend(Block(10, 20, [b""] * 4)) == 4
    assert (window.start, window.end) == (10, 30)
    assert window.lines_before(20) == 4
    window.begin_anew()
    assert window.start == 0


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-21T03:55:09Z x", 1795233309.0),
        ("2026-11-21 03:55:09.250+00:00 x", 1795233309.25),
        ("[2026-11-21T04:55:09,5+0100] x", 1795233309.5),
        ('10.0.0.1 - - [21/Nov/2026:03:55:09 +0000] "GET /"', 1795233309.0),
        ("2026-13-41T03:55:09Z", None),
        ("no time at all", None),
        ("", None),
    ],
)
def test_times_of_lines(text: str, at: float | None) -> None:
    assert stamp(text) == at


def test_syslog_times_are_local_and_of_the_last_year_it_can_be() -> None:
    now = time.mktime((2026, 1, 3, 12, 0, 0, 0, 0, -1))
    assert stamp("Jan  2 11:00:00 host x", now) == time.mktime((2026, 1, 2, 11, 0, 0, 0, 0, -1))
    assert stamp("<13>Dec 31 23:00:00 host x", now) == time.mktime((2025, 12, 31, 23, 0, 0, 0, 0, -1))
    assert stamp("Feb 30 23:00:00", now) is None


def test_levels_of_lines() -> None:
    assert [urgency(text) for text in ("x ERROR y", "[warn] y", "info: y", "terror", "FATAL", "")] == [
        3,
        4,
        6,
        NO_LEVEL,
        2,
        NO_LEVEL,
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line(raw: bytes) -> None:
    found = file_line(raw)
    assert found.text.isprintable()
    assert 0 <= found.priority <= NO_LEVEL


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x\n")
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    LogFile(tmp_path / "log").close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
