"""Journal lines, recorded and hostile."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from drivers.journal_parse import MAX_MESSAGE, Entry, parse_line

_FRAME = {"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1795230186691718"}


def _parse(**fields: object) -> Entry:
    entry = parse_line(json.dumps(_FRAME | fields).encode())
    assert entry is not None
    return entry


def test_a_recorded_line() -> None:
    line = (
        b'{"__CURSOR":"s=509f;i=b2","__REALTIME_TIMESTAMP":"1795230186691718","PRIORITY":"5","_PID":"132",'
        b'"_SYSTEMD_UNIT":"work.service","SYSLOG_IDENTIFIER":"sh","_HOSTNAME":"a","MESSAGE":"about to fail"}'
    )
    assert parse_line(line) == Entry(
        "s=509f;i=b2", 1795230186691718, 5, "work.service", "sh", 132, "a", b"about to fail", False
    )


def test_systemd_speaks_about_a_unit_in_another_field() -> None:
    entry = _parse(_SYSTEMD_UNIT="init.scope", UNIT="work.service", MESSAGE="Started", _PID="1")
    assert entry.unit == "work.service"


def test_a_message_of_bytes() -> None:
    assert _parse(MESSAGE=[27, 91, 255, 0, 65]).message == b"\x1b[\xff\x00A"


def test_a_message_that_was_not_given_is_known_to_be_cut() -> None:
    entry = _parse(MESSAGE=None)
    assert (entry.message, entry.truncated) == (b"", True)
    assert not _parse().truncated


def test_fields_that_come_twice() -> None:
    entry = _parse(MESSAGE=["one", "two"], _HOSTNAME=["a", "b"], _PID=["7", "8"])
    assert (entry.message, entry.hostname, entry.pid) == (b"one\ntwo", "a\nb", 7)


def test_a_long_message_is_capped_and_says_so() -> None:
    entry = _parse(MESSAGE="x" * (MAX_MESSAGE + 1))
    assert (len(entry.message), entry.truncated) == (MAX_MESSAGE, True)


def test_a_line_whose_end_was_dropped_keeps_its_place() -> None:
    line = json.dumps(_FRAME | {"MESSAGE": "x" * 100}).encode()[:90]
    entry = parse_line(line, cut=True)
    assert entry is not None
    assert (entry.cursor, entry.realtime_us, entry.truncated) == ("s=1;i=2", 1795230186691718, True)


def test_lines_that_are_no_entries() -> None:
    for line in (b"", b"{", b"[]", b"{}", b"-- No entries --", b'{"__CURSOR":"x"}', b"\xff"):
        assert parse_line(line) is None
    assert parse_line(b"rubbish", cut=True) is None


_VALUES = st.recursive(st.none() | st.text() | st.integers() | st.booleans(), st.lists, max_leaves=5)


@given(st.dictionaries(st.sampled_from(["MESSAGE", "PRIORITY", "_PID", "UNIT", "_HOSTNAME"]), _VALUES))
def test_no_value_of_a_field_is_an_exception(fields: dict[str, object]) -> None:
    assert _parse(**fields).cursor == "s=1;i=2"
