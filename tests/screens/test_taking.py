"""Copying and dumping without a terminal: what is sent, how long it may be, what a file holds."""

from __future__ import annotations

import base64
import csv
import io
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screens.frame import filter_crumb
from screens.shell import clipboard, dump
from screens.shell.trail import Place, Trail
from screens.text import Safe
from screens.widgets.status import trimmed
from tests.screens.fake import HOSTILE

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)


def test_foreign_text_in_the_clipboard_is_clean() -> None:
    sent = clipboard.sequence(f"a\tb\n{HOSTILE}", {}).data
    assert sent.startswith("\x1b]52;c;")
    text = base64.b64decode(sent[7:-1]).decode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.startswith("a")
    assert "evil[/x]" in text


def test_tmux_and_screen_get_their_wrapping_and_a_hint() -> None:
    plain = clipboard.sequence("x", {}).data
    tmux = clipboard.sequence("x", {"TMUX": "/tmp/tmux-0/default,1,0"})
    assert tmux.data == "\x1bPtmux;" + plain.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    assert "allow-passthrough" in tmux.hint
    assert clipboard.sequence("x", {"STY": "1.pts", "TERM": "screen"}).data == f"\x1bP{plain}\x1b\\"


def test_what_terminals_drop_is_refused() -> None:
    most = clipboard.MOST // 4 * 3
    assert clipboard.sequence("x" * most, {})
    with pytest.raises(clipboard.TooLong):
        clipboard.sequence("x" * (most + 3), {})


def test_csv_holds_no_formula_and_no_sequence() -> None:
    text = dump.as_csv(["A", "B"], [["=1+1", HOSTILE], ["-x", 'q"uote, comma']])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["A", "B"]
    assert rows[1][0] == "'=1+1"
    assert rows[2] == ["'-x", 'q"uote, comma']
    assert "\x1b" not in text
    assert json.loads(dump.as_json(["A", "B"], [["1", HOSTILE]]))[0]["a"] == "1"
    assert "\x1b" not in json.dumps(dump.safe_json({HOSTILE: [HOSTILE, 1, None]}), ensure_ascii=False)


def test_dumps_of_one_second_get_names_of_their_own(tmp_path: Path) -> None:
    paths = [dump.write(tmp_path, "services > @prod /../x", "csv", "a", NOW) for _ in range(3)]
    assert len(set(paths)) == 3
    assert paths[0].name == "20270115-080000-services-prod-x.csv"
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE((tmp_path / "dumps").stat().st_mode) == 0o700


def test_the_trail_goes_back_forward_and_forgets_what_lay_ahead() -> None:
    trail, a, b, c = Trail(), Place("s", "a", 0), Place("s", "b", 1), Place("t", "c", 0)
    for place in (a, b, b):
        trail.visit(place)
    assert trail.neighbour(-1) == a
    assert trail.neighbour(1) is None
    trail.visit(a)
    assert (trail.neighbour(1), trail.before) == (b, b)
    trail.visit(c)
    assert trail.places == [a, c]
    assert trail.neighbour(1) is None


def test_crumbs_lose_their_beginning_and_never_their_end() -> None:
    crumbs = [Safe("services"), Safe("@prod /nginx"), Safe("web-14"), Safe("journal")]
    assert trimmed(crumbs, 80) == "services > @prod /nginx > web-14 > journal"
    assert trimmed(crumbs, 30) == "… > web-14 > journal"
    assert trimmed(crumbs, 5) == "… > …"
    assert filter_crumb("nginx @prod !#edge x") == ["@prod !#edge /nginx x"]
    assert filter_crumb(" ") == []
