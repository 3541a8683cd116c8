"""The journal of one simulated machine, and `journalctl` over it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

KEPT = 20_000
_CURSOR = re.compile(r"s=[0-9a-f]{32};i=([0-9a-f]{1,16});")
_PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]*")


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. `at` is Unix seconds by the machine's clock; `by_manager` lines are systemd's own about `unit`."""

    number: int
    at: float
    priority: int
    unit: str
    by_manager: bool
    identifier: str
    pid: int
    message: str


class Journal:
    """The newest `KEPT` entries, in order."""

    def __init__(self, hostname: str, machine_id: str, boot_id: str) -> None:
        self._hostname = hostname
        self._machine = machine_id
        self.boot_id = boot_id
        self._lines: list[Line] = []
        self._count = 0

    @property
    def count(self) -> int:
        """Entries ever written."""
        return self._count

    def add(
        self, at: float, priority: int, unit: str, message: str, *, pid: int = 1, identifier: str = "systemd"
    ) -> None:
        """An entry without an identifier of its own is the manager's."""
        last = self._lines[-1].at if self._lines else 0.0
        self._count += 1
        line = Line(
            self._count, max(at, last), priority, unit, identifier == "systemd" and pid == 1, identifier, pid, message
        )
        self._lines.append(line)
        if len(self._lines) > KEPT + KEPT // 4:
            del self._lines[: len(self._lines) - KEPT]

    def after(self, number: int) -> Iterator[Line]:
        """Entries behind this number, as far as they are still kept."""
        first = self._lines[0].number if self._lines else 1
        return islice(self._lines, max(0, number + 1 - first), None)

    def cursor(self, line: Line) -> str:
        stamp = int(line.at * 1_000_000)
        return f"s={self._machine};i={line.number:x};b={self.boot_id};m={stamp & 0xFFFFFFFF:x};t={stamp:x};x=0"

    def as_json(self, line: Line) -> bytes:
        """As `journalctl -o json` prints it: what is not printable text is a list of byte values."""
        message: str | list[int] = line.message
        if not _PLAIN.fullmatch(line.message):
            message = list(line.message.encode("utf-8", "surrogateescape"))
        fields: dict[str, object] = {
            "__CURSOR": self.cursor(line),
            "__REALTIME_TIMESTAMP": str(int(line.at * 1_000_000)),
            "__MONOTONIC_TIMESTAMP": str(int(line.at * 1_000_000) & 0xFFFFFFFFFF),
            "_BOOT_ID": self.boot_id,
            "_HOSTNAME": self._hostname,
            "PRIORITY": str(line.priority),
            "SYSLOG_IDENTIFIER": line.identifier,
            "_COMM": line.identifier[:15],
            "_PID": str(line.pid),
            "MESSAGE": message,
        }
        if line.by_manager:
            fields |= {"_SYSTEMD_UNIT": "init.scope", "UNIT": line.unit}
        else:
            fields["_SYSTEMD_UNIT"] = line.unit
        return json.dumps(fields, ensure_ascii=False).encode("utf-8") + b"\n"


@dataclass(slots=True)
class Query:
    """What one `journalctl` was asked for; times are Unix seconds, `after` is the number of an entry."""

    units: list[str]
    lines: int | None = None
    after: int | None = None
    since: float | None = None
    until: float | None = None
    priority: int = 7
    boot: str | None = None
    following: bool = False
    tail: bool = True

    def wants(self, line: Line) -> bool:
        return (
            line.priority <= self.priority
            and (not self.units or line.unit in self.units)
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at <= self.until)
        )

    def backlog(self, journal: Journal) -> list[Line]:
        """What is printed before anything new comes."""
        if self.boot is not None and self.boot not in {journal.boot_id, "0", "-0", "+0"}:
            return []
        found = [line for line in journal.after(self.after or 0) if self.wants(line)]
        most = self.lines if self.lines is not None else 10 if self.following and self.tail else None
        return found if most is None else found[len(found) - min(most, len(found)) :]


def read(words: list[str]) -> Query | None:
    """The arguments of `journalctl` as our driver gives them; None for any other."""
    query = Query([])
    rest = list(words)
    takes: dict[str, Callable[[str], None]] = {
        "-u": query.units.append,
        "-p": lambda value: setattr(query, "priority", int(value)),
        "-n": lambda value: setattr(query, "lines", int(value)),
        "-b": lambda value: setattr(query, "boot", value),
        "-o": lambda _: None,
        "--cursor": lambda value: setattr(query, "after", _position(value) - 1),
        "--since": lambda value: setattr(query, "since", float(value.removeprefix("@"))),
        "--until": lambda value: setattr(query, "until", float(value.removeprefix("@"))),
        "--output-fields": lambda _: None,
        "--follow": lambda _: setattr(query, "following", True),
        "--no-tail": lambda _: setattr(query, "tail", False),
        **dict.fromkeys(("-q", "--no-pager", "--all"), lambda _: None),
    }
    try:
        while rest:
            name, _, value = rest.pop(0).partition("=")
            takes[name](rest.pop(0) if len(name) == 2 and name != "-q" else value)
    except (KeyError, ValueError, IndexError):
        return None
    return query


def _position(cursor: str) -> int:
    """The number in a cursor; with one that is none, the journal is read from its beginning."""
    found = _CURSOR.match(cursor)
    return int(found[1], 16) if found else 1
