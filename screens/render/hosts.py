"""A host's record as a row of the hosts table, with what the last look at it said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import Host, Seen, age_cell, parse_host, state_cell, state_word
from screens.text import Safe, join
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Spec, View

NOT_LOOKED: Final = "never seen"


@dataclass(frozen=True, slots=True)
class HostRow:
    """`record` is what `hosts.list` answered, to fill forms with; all else is safe to show."""

    host: Host
    address: Safe
    user: Safe
    kind: Safe
    protected: bool
    maintenance: Safe
    local: bool
    record: Mapping[str, Any]


def parse_row(
    record: Mapping[str, Any], sight: Mapping[str, Any] | None, now: float, seen: Seen | None = None
) -> HostRow:
    """A row from the record and from the host's entry in `services.list`; without one nothing was seen yet.

    `seen` is kept from reading to reading and brought up to date here, since a younger age alone makes no row new.
    """
    sight = sight or {}
    age, error = sight.get("age"), sight.get("error")
    error = error if isinstance(error, Mapping) else {}
    data = {
        **{name: record.get(name) for name in ("id", "name", "environment", "level", "tags")},
        "state": sight.get("state") or NOT_LOOKED,
        "error": error.get("message"),
        "remedy": (error.get("data") or {}).get("remedy"),
        "observed_at": now - age if isinstance(age, (int, float)) else None,
    }
    port = record.get("ssh_port")
    return HostRow(
        host=parse_host(data, Seen() if seen is None else seen),
        address=Safe(f"{record.get('address') or ''}{f':{port}' if port else ''}"),
        user=Safe(record.get("ssh_user")),
        kind=Safe(record.get("host_type")),
        protected=bool(record.get("protected")),
        maintenance=_maintenance(record.get("maintenance")),
        local=bool(record.get("local")),
        record=record,
    )


def _maintenance(given: object) -> Safe:
    """`ann until 01-31 22:00: new disk`; empty when nobody works on it."""
    if not isinstance(given, Mapping):
        return Safe("")
    until = Safe(f"until {str(given['until'])[5:16].replace('T', ' ')} UTC" if given.get("until") else "")
    who = join([part for part in (Safe(given.get("by")), until) if part], " ")
    return join([part for part in (who, Safe(given.get("reason"))) if part], ": ")


def guards(row: HostRow) -> str:
    """What stands in the way of accidents on this host, in words."""
    maintenance = f"maintenance {row.maintenance}" if row.maintenance else ""
    return ", ".join(word for word in ("protected" if row.protected else "", maintenance) if word)


def key_is_open(row: HostRow) -> bool:
    """Whether the host waits for somebody to accept its key."""
    return row.host.state in ("host_key_unknown", "host_key_changed")


def _state(row: HostRow, view: View) -> Cell:
    if row.local and row.host.state == NOT_LOOKED:
        return Cell(Safe("this machine"), "muted")
    return state_cell(row.host, view.ascii)


def _environment(row: HostRow, view: View) -> Cell:
    level = row.host.level
    word = row.host.environment if row.host.environment == level else join([row.host.environment, Safe(level)], "/")
    return Cell(word, {"prod": "bad", "stage": "warn"}.get(level, ""))


def _field(row: HostRow, name: str) -> str:
    values = {
        "name": row.host.name,
        "state": state_word(row.host.state)[0],
        "address": row.address,
        "user": row.user,
        "type": row.kind,
        "guards": guards(row),
    }
    return values.get(name, "").lower()


def _words(row: HostRow) -> str:
    host = row.host
    parts = (host.name, state_word(host.state)[0], row.address, row.user, guards(row), host.error, *host.tags)
    return " ".join(parts).lower()


SPEC: Final[Spec[HostRow]] = Spec(
    columns=(
        Column("state", "STATE", _state, lambda row: state_word(row.host.state)[0], minimum=11, maximum=15),
        Column("name", "HOST", lambda row, view: Cell(row.host.name), lambda row: row.host.name.lower(), 6, 32),
        Column("environment", "ENV", _environment, lambda row: row.host.environment, 4, 16),
        Column("address", "ADDRESS", lambda row, view: Cell(row.address), lambda row: row.address, 7, 28, above=70),
        Column("user", "USER", lambda row, view: Cell(row.user), lambda row: row.user, 4, 14, above=90),
        Column(
            "guards",
            "GUARDS",
            lambda row, view: Cell(Safe(guards(row)), "warn"),
            guards,
            9,
            40,
            stretch=True,
        ),
        Column(
            "tags",
            "TAGS",
            lambda row, view: Cell(join(row.host.tags, " "), "muted"),
            lambda row: row.host.tags,
            6,
            40,
            above=100,
            stretch=True,
        ),
        Column(
            "error",
            "WHY",
            lambda row, view: Cell(row.host.error, "muted"),
            lambda row: row.host.error,
            10,
            60,
            above=120,
            stretch=True,
        ),
        Column(
            "age",
            "SEEN",
            lambda row, view: age_cell(row.host, view.now),
            lambda row: -(row.host.seen.at or 0.0),
            minimum=9,
            maximum=9,
            right=True,
            volatile=True,
        ),
    ),
    subject=Subject(
        words=_words,
        fields=("name", "state", "address", "user", "type", "guards"),
        field=_field,
        environments=lambda row: (row.host.environment.lower(), row.host.level.lower()),
        tags=lambda row: tuple(tag.lower() for tag in row.host.tags),
    ),
    order=lambda row: (not row.local, row.host.name.lower()),
    noun="hosts",
)
