"""A VPN client as a row of its table, and an authority as one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from screens.render.host import glyph, span, timestamp
from screens.text import Safe
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Grouping, Spec, View

DAY: Final = 86400.0
ENDING: Final = 30
"""Days before its end from which on a client is worth a word."""

_CONNECTED: Final = 1e12

ALARMS: Final[dict[str, tuple[str, str]]] = {
    "ok": ("ok", "ok"),
    "due": ("due to be signed", "warn"),
    "soon": ("ENDS SOON", "bad"),
    "expired": ("EXPIRED: every client is refused", "bad"),
    "missing": ("MISSING: everybody is let in", "bad"),
}
_KEYS: Final = {"sealed": "key here", "passphrase": "key under a passphrase", "offline": "key offline"}


@dataclass(frozen=True, slots=True)
class Session:
    """A client that is connected now: on which server, since when (Unix seconds)."""

    server: Safe
    since: float | None
    address: Safe


@dataclass(frozen=True, slots=True)
class ClientRow:
    """`record` is what `vpn.clients.list` answered; `name` is safe to show. `seen` is the last sight of a session:
    its `since` is when it was seen."""

    name: Safe
    ca: Safe
    status: str
    ends: float
    email: Safe
    organization: Safe
    about: Safe
    session: Session | None
    seen: Session | None
    record: Mapping[str, Any]

    @property
    def id(self) -> int:
        return int(self.record["id"])


@dataclass(frozen=True, slots=True)
class CaRow:
    """An authority with its newest list. `alarm` is one of ALARMS."""

    name: Safe
    environment: Safe
    key: Safe
    key_type: Safe
    ends: float
    alarm: str
    number: Safe
    list_ends: float | None
    entries: int
    valid: int | None
    expired: int | None
    revoked: int | None
    unsigned: int
    months: tuple[tuple[str, int], ...]
    record: Mapping[str, Any]

    @property
    def id(self) -> int:
        return int(self.record["id"])


def parse_client(record: Mapping[str, Any], ca: str, session: Session | None, now: float) -> ClientRow:
    """A row; a client that is about to end says so by its status."""
    ends = timestamp(record.get("expiry_date")) or 0.0
    status = str(record.get("status"))
    if status == "valid":
        status = "expired" if ends <= now else "ending" if ends - now < ENDING * DAY else "valid"
    return ClientRow(
        name=Safe(record.get("name")),
        ca=Safe(ca),
        status=status,
        ends=ends,
        email=Safe(record.get("email")),
        organization=Safe(record.get("organization")),
        about=Safe(record.get("description")),
        session=session,
        seen=_seen(record.get("last_seen")),
        record=record,
    )


def _seen(data: object) -> Session | None:
    return Session(Safe(data.get("server")), timestamp(data.get("at")), Safe("")) if isinstance(data, Mapping) else None


def gone(session: Session, at: float) -> dict[str, Any]:
    """What a record says of a session that was there at `at` (Unix seconds) and is no longer."""
    return {"last_seen": {"at": datetime.fromtimestamp(at, UTC).isoformat(), "server": session.server}}


def parse_session(data: Mapping[str, Any]) -> Session:
    """A row of `vpn.sessions.list`."""
    return Session(Safe(data.get("server")), timestamp(data.get("connected_since")), Safe(data.get("real_address")))


def parse_ca(record: Mapping[str, Any], more: Mapping[str, Any] | None) -> CaRow:
    """A row from `vpn.cas.list`, and the horizon of its clients from `vpn.cas.get` once that is there."""
    crl = record.get("crl_status")
    crl = crl if isinstance(crl, Mapping) else {}
    horizon = (more or {}).get("horizon")
    horizon = horizon if isinstance(horizon, Mapping) else {}
    months = [(str(one.get("month")), int(one.get("clients") or 0)) for one in horizon.get("months") or ()]
    return CaRow(
        name=Safe(record.get("name")),
        environment=Safe(record.get("environment")),
        key=Safe(_KEYS.get(str(record.get("key_state")), record.get("key_state"))),
        key_type=Safe(record.get("key_type")),
        ends=timestamp(record.get("not_after")) or 0.0,
        alarm=str(crl.get("alarm") or "missing"),
        number=Safe("" if crl.get("number") is None else f"#{crl.get('number')}"),
        list_ends=timestamp(crl.get("next_update")),
        entries=int(crl.get("entries") or 0),
        valid=horizon.get("valid"),
        expired=horizon.get("expired"),
        revoked=horizon.get("revoked"),
        unsigned=int((more or {}).get("unsigned_revocations") or 0),
        months=tuple(months),
        record=record,
    )


def status_word(row: ClientRow) -> tuple[str, str]:
    """Word and role; a revoked client that is connected all the same is the worst there is."""
    if row.status == "revoked" and row.session is not None:
        return "REVOKED, CONNECTED", "bad"
    roles = {"valid": "ok", "ending": "warn", "expired": "bad", "revoked": "muted"}
    return row.status, roles.get(row.status, "unknown")


def left(ends: float, now: float) -> str:
    """`812d`, `5h`, `over 3d`."""
    return span(ends - now) if ends > now else f"over {span(now - ends)}"


def _days(row: ClientRow, view: View) -> Cell:
    if row.status == "revoked":
        return Cell(Safe("-"), "muted")
    role = {"valid": "", "ending": "warn", "expired": "bad"}.get(row.status, "")
    days = int((row.ends - view.now) // DAY)
    return Cell(Safe(f"{days}d" if 0 < days < 10000 else left(row.ends, view.now)), role)


def _status(row: ClientRow, view: View) -> Cell:
    word, role = status_word(row)
    return Cell(Safe(f"{glyph(role, view.ascii)} {word}"), role)


def _connected(row: ClientRow, view: View) -> Cell:
    if row.session is None:
        return Cell(Safe("-"), "muted")
    return Cell(row.session.server, "bad" if row.status == "revoked" else "ok")


def last_seen(row: ClientRow, now: float) -> Safe:
    """`up 2h on gw-1` while it is connected, else `3h ago on gw-1`; empty when nobody ever saw it."""
    if row.session is not None:
        up = "now" if row.session.since is None else f"up {span(now - row.session.since)}"
        return Safe(f"{up} on {row.session.server}")
    if row.seen is None or row.seen.since is None:
        return Safe("")
    return Safe(f"{span(now - row.seen.since)} ago on {row.seen.server}")


def _last_seen(row: ClientRow, view: View) -> Cell:
    return Cell(last_seen(row, view.now) or Safe("never"), "" if row.session else "muted")


def _by_sight(row: ClientRow) -> float:
    """Those who are connected first, then those who were seen last."""
    if row.session is not None:
        return -_CONNECTED - (row.session.since or 0.0)
    return -((row.seen.since if row.seen else None) or 0.0)


def _field(row: ClientRow, name: str) -> str:
    values = {
        "name": row.name,
        "status": status_word(row)[0],
        "ca": row.ca,
        "email": row.email,
        "org": row.organization,
        "on": row.session.server if row.session else "",
        "serial": str(row.record.get("serial") or ""),
    }
    return values.get(name, "").lower()


def _words(row: ClientRow) -> str:
    on = row.session.server if row.session else ""
    return " ".join((row.name, row.status, row.ca, row.email, row.organization, row.about, on)).lower()


CLIENTS: Final[Spec[ClientRow]] = Spec(
    columns=(
        Column("status", "STATUS", _status, lambda row: status_word(row)[0], minimum=9, maximum=20),
        Column("name", "CLIENT", lambda row, view: Cell(row.name), lambda row: row.name.lower(), 10, 30),
        Column("left", "LEFT", _days, lambda row: row.ends, 9, 9, right=True, volatile=True),
        Column("ca", "CA", lambda row, view: Cell(row.ca, "muted"), lambda row: row.ca.lower(), 6, 24),
        Column(
            "on", "CONNECTED ON", _connected, lambda row: row.session.server if row.session else "~", 12, 24,
            above=100,
        ),
        Column(
            "since", "LAST SEEN", _last_seen, _by_sight, 15, 26, above=70, stretch=True, volatile=True,
        ),
        Column(
            "email", "E-MAIL", lambda row, view: Cell(row.email), lambda row: row.email.lower(),
            8, 40, above=100, stretch=True,
        ),
        Column(
            "org", "ORGANIZATION", lambda row, view: Cell(row.organization), lambda row: row.organization.lower(),
            8, 40, above=120, stretch=True,
        ),
    ),
    subject=Subject(
        words=_words, fields=("name", "status", "ca", "email", "org", "on", "serial"), field=_field
    ),
    order=lambda row: row.name.lower(),
    noun="clients",
    state=status_word,
    groupings=(
        Grouping("ca", "authority", lambda row: row.ca),
        Grouping("status", "status", lambda row: row.status),
        Grouping("on", "server", lambda row: row.session.server if row.session else "not connected"),
        Grouping("org", "organization", lambda row: row.organization or "no organization"),
    ),
)  # fmt: skip


def _alarm(row: CaRow, view: View) -> Cell:
    word, role = ALARMS.get(row.alarm, (row.alarm, "unknown"))
    return Cell(Safe(f"{glyph(role, view.ascii)} {word}"), role)


def _list_left(row: CaRow, view: View) -> Cell:
    role = ALARMS.get(row.alarm, ("", "unknown"))[1]
    return Cell(Safe(left(row.list_ends, view.now) if row.list_ends else "-"), "" if role == "ok" else role)


def _ca_left(row: CaRow, view: View) -> Cell:
    days = (row.ends - view.now) / DAY
    return Cell(Safe(left(row.ends, view.now)), "bad" if days < 90 else "warn" if days < 365 else "")


def _valid(row: CaRow, view: View) -> Cell:
    return Cell(Safe(_count(row.valid)))


def _count(value: int | None) -> str:
    return "…" if value is None else str(value)


CAS: Final[Spec[CaRow]] = Spec(
    columns=(
        Column("alarm", "LIST", _alarm, lambda row: row.alarm, minimum=6, maximum=32),
        Column("name", "AUTHORITY", lambda row, view: Cell(row.name), lambda row: row.name.lower(), 8, 32),
        Column("number", "NO", lambda row, view: Cell(row.number), lambda row: row.number, 4, 8, right=True),
        Column("list", "LIST LEFT", _list_left, lambda row: row.list_ends or 0.0, 9, 9, right=True, volatile=True),
        Column("left", "CA LEFT", _ca_left, lambda row: row.ends, 9, 9, right=True, volatile=True),
        Column("valid", "VALID", _valid, lambda row: row.valid or 0, 5, 7, right=True),
        Column("key", "KEY", lambda row, view: Cell(row.key, "muted"), lambda row: row.key, 8, 24, above=70),
        Column(
            "revoked", "REVOKED", lambda row, view: Cell(Safe(_count(row.revoked))), lambda row: row.revoked or 0, 7, 7,
            above=90, right=True,
        ),
        Column("env", "ENV", lambda row, view: Cell(row.environment), lambda row: row.environment, 4, 16, above=100),
    ),
    subject=Subject(
        words=lambda row: f"{row.name} {row.alarm} {row.key} {row.environment}".lower(),
        fields=("name", "alarm"),
        field=lambda row, name: {"name": row.name, "alarm": row.alarm}.get(name, "").lower(),
        environments=lambda row: (row.environment.lower(),),
    ),
    order=lambda row: (list(ALARMS)[::-1].index(row.alarm) if row.alarm in ALARMS else 0, row.name.lower()),
    noun="authorities",
    state=lambda row: (row.alarm, ALARMS.get(row.alarm, ("", "unknown"))[1]),
)  # fmt: skip
