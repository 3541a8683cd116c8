"""VPN sessions as rows of a table: who is connected where, and how much goes through; and servers that need a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import glyph, span, timestamp
from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Grouping, Spec, View

_UNITS: Final = ("B", "K", "M", "G", "T", "P")
ORDER: Final = {"bad": 0, "warn": 1, "unknown": 2}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes as the server counts them (received from the client, sent to it), and per second since the last look."""

    received: int | None = None
    sent: int | None = None
    rate_received: float | None = None
    rate_sent: float | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session; or, with `is_server`, a server whose sessions are not known or that has an alarm.

    `state` and `role` are the word and its role, `why` what stands behind them; `since` Unix seconds.
    """

    is_server: bool
    name: Safe
    server: Safe
    environment: Safe
    level: str
    inside: Safe
    outside: Safe
    since: float | None
    client_id: int | None
    traffic: Traffic
    state: str
    role: str
    why: Safe
    record: Mapping[str, Any]

    @property
    def lit(self) -> tuple[str, int | None, Safe]:
        """What an operator should see change; traffic changes all the time."""
        return (self.state, self.client_id, self.why)


def session_key(record: Mapping[str, Any]) -> str:
    """One session over all servers; a daemon without client ids is told by address."""
    number = record.get("client_id")
    return f"{record.get('server_id')}/{number if number is not None else record.get('real_address')}"


def parse_session(record: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> SessionRow:
    """A row of `vpn.sessions.list`; `before` is the same session `seconds` earlier, for the rates."""
    state, role, why = _state(record)
    inside = join([Safe(record.get(name)) for name in ("virtual_address", "virtual_ipv6") if record.get(name)], " ")
    return SessionRow(
        is_server=False,
        name=Safe(record.get("name") or "(not proven yet)"),
        server=Safe(record.get("server")),
        environment=Safe(record.get("environment")),
        level=str(record.get("level") or ""),
        inside=inside,
        outside=Safe(record.get("real_address")),
        since=timestamp(record.get("connected_since")),
        client_id=_number(record.get("client_id")),
        traffic=_traffic(record, before, seconds),
        state=state,
        role=role,
        why=Safe(why),
        record=record,
    )


def _state(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if record.get("revoked") is True:
        return "REVOKED", "bad", "its client is revoked and yet it is connected: F locks it out"
    if not record.get("name"):
        return "no name", "unknown", "it has not proven who it is"
    if record.get("vpn_client_id") is None:
        return "not ours", "warn", "no client of this name is in the records"
    return "up", "ok", ""


def _traffic(record: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> Traffic:
    received, sent = _number(record.get("bytes_received")), _number(record.get("bytes_sent"))
    earlier = before or {}
    same = earlier.get("connected_since") == record.get("connected_since")
    rates = [
        _rate(now, _number(earlier.get(name)), seconds) if same else None
        for now, name in ((received, "bytes_received"), (sent, "bytes_sent"))
    ]
    return Traffic(received, sent, rates[0], rates[1])


def _rate(now: int | None, before: int | None, seconds: float) -> float | None:
    if now is None or before is None or now < before or seconds <= 0:
        return None
    return (now - before) / seconds


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_server(record: Mapping[str, Any], alarms: list[Mapping[str, Any]]) -> SessionRow | None:
    """A server's entry in `vpn.sessions.list` with its alarms; None when there is nothing to say about it."""
    raw = record.get("error")
    error: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    red = any(alarm.get("level") == "red" for alarm in alarms)
    said = [str(error.get("message"))] if error else []
    said += [str(alarm.get("message")) for alarm in alarms]
    if not said:
        return None
    return SessionRow(
        is_server=True,
        name=Safe(f"server {Safe(record.get('server'))}"),
        server=Safe(record.get("server")),
        environment=Safe(record.get("environment")),
        level=str(record.get("level") or ""),
        inside=Safe(""),
        outside=Safe(record.get("host")),
        since=None,
        client_id=None,
        traffic=Traffic(),
        state="not seen" if error else "ALARM" if red else "notice",
        role="bad" if error or red else "warn",
        why=Safe("; ".join(said)),
        record=record,
    )


def size(count: float | None) -> str:
    """Bytes in at most four characters and a unit; empty when it is not known."""
    if count is None:
        return ""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f}{_UNITS[unit]}" if count >= 9.95 or unit == 0 else f"{count:.1f}{_UNITS[unit]}"


def rate(traffic: Traffic) -> str:
    """`in/out` per second, empty until two looks are there."""
    if traffic.rate_received is None or traffic.rate_sent is None:
        return ""
    return f"{size(traffic.rate_received)}/{size(traffic.rate_sent)}"


def total(traffic: Traffic) -> str:
    if traffic.received is None or traffic.sent is None:
        return ""
    return f"{size(traffic.received)}/{size(traffic.sent)}"


def _server(row: SessionRow, view: View) -> Cell:
    """A server's row has nothing but its reason to show, and all the room for it."""
    return Cell(row.why, row.role, until="the end") if row.is_server else Cell(row.server)


def _since(row: SessionRow, view: View) -> Cell:
    return Cell(Safe(""), "muted") if row.since is None else Cell(Safe(span(view.now - row.since)), "muted")


def _state_cell(row: SessionRow, view: View) -> Cell:
    return Cell(Safe(f"{glyph(row.role, view.ascii)} {row.state}"), row.role)


def _environment(row: SessionRow, view: View) -> Cell:
    return Cell(row.environment, {"prod": "bad", "stage": "warn"}.get(row.level, ""))


def _field(row: SessionRow, name: str) -> str:
    values = {
        "name": row.name,
        "state": row.state,
        "server": row.server,
        "address": f"{row.inside} {row.outside}",
        "cid": "" if row.client_id is None else str(row.client_id),
    }
    return values.get(name, "").lower()


def _words(row: SessionRow) -> str:
    return " ".join((row.name, row.state, row.server, row.inside, row.outside, row.why)).lower()


def _busy(row: SessionRow) -> float:
    return -((row.traffic.rate_received or 0.0) + (row.traffic.rate_sent or 0.0))


SPEC: Final[Spec[SessionRow]] = Spec(
    columns=(
        Column("state", "STATE", _state_cell, lambda row: (ORDER.get(row.role, 3), row.state), 6, 11),
        Column("name", "CLIENT", lambda row, view: Cell(row.name), lambda row: row.name.lower(), 8, 32),
        Column("server", "SERVER", _server, lambda row: row.server.lower(), 5, 20),
        Column("environment", "ENV", _environment, lambda row: row.environment, 4, 14, above=100),
        Column("inside", "INSIDE", lambda row, view: Cell(row.inside), lambda row: row.inside, 7, 24, above=70),
        Column("outside", "FROM", lambda row, view: Cell(row.outside), lambda row: row.outside, 7, 28, above=100),
        Column("rate", "IN/OUT /s", lambda row, view: Cell(Safe(rate(row.traffic))), _busy, 9, 11, right=True),
        Column(
            "total",
            "TOTAL",
            lambda row, view: Cell(Safe(total(row.traffic)), "muted"),
            lambda row: -((row.traffic.received or 0) + (row.traffic.sent or 0)),
            7,
            11,
            above=90,
            right=True,
        ),
        Column("since", "FOR", _since, lambda row: row.since or 0.0, 4, 4, right=True, volatile=True),
        Column(
            "why",
            "WHY",
            lambda row, view: Cell(row.why, row.role if row.why else "muted"),
            lambda row: row.why,
            10,
            80,
            stretch=True,
        ),
    ),
    subject=Subject(
        words=_words,
        fields=("name", "state", "server", "address", "cid"),
        field=_field,
        environments=lambda row: (row.environment.lower(), row.level.lower()),
    ),
    order=lambda row: (ORDER.get(row.role, 3), row.name.lower(), row.server.lower()),
    noun="sessions",
    state=lambda row: (row.state, row.role),
    groupings=(Grouping("server", "server", lambda row: row.server),),
    notable=lambda old, new: old.lit != new.lit,
)
