"""What the services screen knows of the fleet: hosts, their services, and how an event changes the table's rows.

No terminal here. A host that does not answer keeps its last known services, greyed, below a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from screens.render.host import Host, Seen, parse_host
from screens.render.service import Item, Service, parse_service

HOST_KEY = "host:"


@dataclass
class Difference:
    """Rows that came or changed, and keys that went."""

    changed: dict[str, Item] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


@dataclass
class _Known:
    host: Host
    raw: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    shown: dict[str, Item] = field(default_factory=dict)


@dataclass
class Fleet:
    """All hosts by id. Events go in, differences of the table come out."""

    _known: dict[str, _Known] = field(default_factory=dict)

    @property
    def hosts(self) -> list[Host]:
        return [known.host for known in self._known.values()]

    def apply(self, events: Iterable[Mapping[str, Any]]) -> Difference:
        """Take `services.watch` events. An event without `rows` leaves the services of its host as they were; `gone`
        takes a host out."""
        difference = Difference()
        for event in events:
            data = event.get("host")
            if event.get("event") == "host" and isinstance(data, Mapping):
                self._host(data, event.get("rows"), difference)
            elif event.get("event") == "gone" and isinstance(data, Mapping):
                gone = self.forget([str(data.get("id"))]).removed
                difference.removed |= gone
                for key in gone:
                    difference.changed.pop(key, None)
        return difference

    def forget(self, host_ids: Iterable[str]) -> Difference:
        """Hosts that are no longer there."""
        difference = Difference()
        for host_id in host_ids:
            known = self._known.pop(host_id, None)
            if known is not None:
                difference.removed |= known.shown.keys()
        return difference

    def ids(self) -> set[str]:
        return set(self._known)

    def _host(self, data: Mapping[str, Any], rows: object, difference: Difference) -> None:
        host_id = str(data.get("id"))
        known = self._known.get(host_id)
        host = parse_host(data, known.host.seen if known else Seen())
        if known is None:
            known = self._known[host_id] = _Known(host)
        elif known.host != host:
            known.host = host
        if isinstance(rows, list):
            self._services(known, rows)
        shown = self._rows(known)
        for key, item in shown.items():
            if known.shown.get(key) != item:
                difference.changed[key] = item
                difference.removed.discard(key)
        gone = known.shown.keys() - shown.keys()
        for key in gone:
            difference.changed.pop(key, None)
        difference.removed |= gone
        known.shown = shown

    def _services(self, known: _Known, rows: list[Any]) -> None:
        raw = {f"{known.host.id}:{row.get('key')}": row for row in rows if isinstance(row, Mapping)}
        services = known.services
        main = {str(row.get("name")) for row in raw.values() if row.get("main") and row.get("multiple_instances")}
        known.services = {
            key: services[key] if known.raw.get(key) == row else parse_service(row, of_main=row.get("parent") in main)
            for key, row in raw.items()
        }
        known.raw = raw

    def _rows(self, known: _Known) -> dict[str, Item]:
        host = known.host
        old = not host.up or host.seen.cached
        rows = {key: Item(host, service, old) for key, service in known.services.items()}
        if (not host.up and (host.state != "connecting" or not rows)) or not rows:
            rows[HOST_KEY + host.id] = Item(host)
        return rows


def merge(pending: dict[str, dict[str, Any]], event: Mapping[str, Any]) -> None:
    """Keep the newest of what a host said while nothing may be shown (or until the next paint), rows included."""
    host = event.get("host")
    if not isinstance(host, Mapping) or event.get("event") not in ("host", "gone"):
        return
    host_id = str(host.get("id"))
    if event["event"] == "gone":
        pending[host_id] = dict(event)
        return
    kept = pending.get(host_id)
    if kept is None or kept["event"] == "gone":
        kept = pending[host_id] = {"event": "host"}
    kept["host"] = host
    if event.get("rows") is not None:
        kept["rows"] = event["rows"]
