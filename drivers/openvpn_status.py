"""What `status 2` and `status 3` of OpenVPN say, read by the names in their HEADER lines.

Columns came and went between versions, so no position is assumed. Version 2 separates by commas and quotes nothing,
version 3 by tabs; what a peer put into a name is data and never moves a column that is told by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

MAX_SESSIONS = 100_000
_NAMES = {
    "common name": "common_name",
    "real address": "real_address",
    "virtual address": "virtual_address",
    "virtual ipv6 address": "virtual_ipv6",
    "bytes received": "bytes_received",
    "bytes sent": "bytes_sent",
    "connected since (time_t)": "since",
    "username": "username",
    "client id": "client_id",
    "peer id": "peer_id",
    "data channel cipher": "cipher",
}
_NO_NAME = "UNDEF"


@dataclass(frozen=True, slots=True)
class Session:
    """One connected client. `client_id` is None in a status too old to tell it; bytes are as the server counts them.

    `common_name` is None while the client has not proven who it is; with username-as-common-name it is a user name.
    """

    common_name: str | None
    real_address: str
    virtual_address: str | None = None
    virtual_ipv6: str | None = None
    bytes_received: int | None = None
    bytes_sent: int | None = None
    since: datetime | None = None
    username: str | None = None
    client_id: int | None = None
    peer_id: int | None = None
    cipher: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A network or address that leads to a client."""

    network: str
    common_name: str | None
    real_address: str


@dataclass(slots=True)
class Status:
    """One answer. `complete` says that its END was seen; `odd` counts lines nothing could be made of."""

    title: str = ""
    at: datetime | None = None
    sessions: list[Session] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    stats: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    odd: int = 0


def parse_status(text: str) -> Status:
    """Read a whole status. Never raises: what is odd is counted, and what is missing is None."""
    status = Status()
    headers: dict[str, list[str]] = {}
    for raw in text.splitlines() if "\r" not in text else text.replace("\r\n", "\n").split("\n"):
        line = raw.rstrip("\r")
        if not line:
            continue
        if line == "END":
            status.complete = True
            break
        kind, mark, rest = _kind(line)
        if not mark:
            status.odd += 1
        elif kind == "HEADER":
            words = rest.split(mark)
            headers[words[0]] = [word.strip().lower() for word in words[1:]]
        else:
            _take(status, kind, rest, mark, headers)
    return status


def _kind(line: str) -> tuple[str, str, str]:
    """First word, separator and rest; the separator is what follows the first word of capitals."""
    for at, sign in enumerate(line):
        if sign in "\t,":
            return line[:at], sign, line[at + 1 :]
        if not (sign.isupper() or sign == "_"):
            break
    return "", "", line


def _take(status: Status, kind: str, rest: str, mark: str, headers: dict[str, list[str]]) -> None:
    if kind == "TITLE":
        status.title = rest
    elif kind == "TIME":
        status.at = _moment(rest.rsplit(mark, maxsplit=1)[-1])
    elif kind == "GLOBAL_STATS":
        name, _, value = rest.rpartition(mark)
        status.stats[name] = value
    elif kind in ("CLIENT_LIST", "ROUTING_TABLE") and kind in headers:
        values = rest.split(mark)
        if len(values) != len(headers[kind]) or len(status.sessions) >= MAX_SESSIONS:
            # A comma in a name moves every column of version 2 behind it: better none than a wrong client id.
            status.odd += 1
            return
        row = dict(zip(headers[kind], values, strict=True))
        if kind == "CLIENT_LIST":
            status.sessions.append(_session(row))
        else:
            owner = _name(row.get("common name"))
            status.routes.append(Route(row.get("virtual address", ""), owner, row.get("real address", "")))
    else:
        status.odd += 1


def _session(row: dict[str, str]) -> Session:
    got = {ours: row[theirs] for theirs, ours in _NAMES.items() if theirs in row}
    return Session(
        common_name=_name(got.get("common_name")),
        real_address=got.get("real_address", ""),
        virtual_address=got.get("virtual_address") or None,
        virtual_ipv6=got.get("virtual_ipv6") or None,
        bytes_received=_number(got.get("bytes_received")),
        bytes_sent=_number(got.get("bytes_sent")),
        since=_moment(got.get("since")),
        username=_name(got.get("username")),
        client_id=_number(got.get("client_id")),
        peer_id=_number(got.get("peer_id")),
        cipher=got.get("cipher") or None,
    )


def _name(text: str | None) -> str | None:
    return None if not text or text == _NO_NAME else text


def _number(text: str | None) -> int | None:
    """A plain decimal number of at most 64 bit; anything else is unknown."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return int(text)


def _moment(text: str | None) -> datetime | None:
    seconds = _number(text)
    if not seconds or seconds > 253_402_300_799:
        return None
    return datetime.fromtimestamp(seconds, UTC)
