"""A service, or a host in place of its services, as a row: columns, words, roles, sort keys, filter fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from screens.render.host import Host, age_cell, glyph, span, state_cell, state_word
from screens.text import Safe
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Grouping, Spec, View

_STATUS: Final = {
    "started": ("started", "ok"),
    "stopped": ("stopped", "muted"),
    "error": ("error", "bad"),
    "instance_stopped": ("instance stopped", "warn"),
}
_BUSY: Final = ("activating", "deactivating", "reloading", "refreshing")
_RANK: Final = {"bad": 0, "warn": 1, "unknown": 2, "busy": 3, "ok": 4, "muted": 5, "": 6}


@dataclass(frozen=True, slots=True)
class Service:
    """One unit of one host. Texts are safe; `since` is Unix seconds; None is unknown, never zero.

    `target` is host and name exactly as given, to ask with and never to show; `words` is what a filter searches.
    `name` shows an instance as it was written, not as systemd escapes it. `instances` are how many are up of how many,
    None for a service that has none; `of_main`: an instance of a main service; `loaded`: systemd has it in memory.
    """

    name: Safe
    unit: Safe
    description: Safe
    status: str
    enabled: Safe
    active: Safe
    sub: Safe
    result: Safe
    restarts: int | None
    since: float | None
    pending_reload: bool
    masked: bool
    auto_restart: bool
    main: bool
    of_main: bool
    parent: Safe
    unit_file_state: Safe
    loaded: bool
    instances: tuple[int, int] | None
    target: tuple[str, str]
    words: str


@dataclass(frozen=True, slots=True)
class Item:
    """A row of the services table: a service, or (`service` None) a host that has no fresh ones to show.

    `last_known` marks a service of a host that does not answer: it is shown, greyed, as what was true once.
    """

    host: Host
    service: Service | None = None
    last_known: bool = False


def parse_service(row: Mapping[str, Any], *, of_main: bool = False) -> Service:
    """A service from the event's JSON row."""
    restarts, since = row.get("restarts"), row.get("since")
    return Service(
        name=_shown_name(row),
        unit=Safe(row.get("unit")),
        description=Safe(row.get("description")),
        status=str(row.get("status") or "unknown"),
        enabled=Safe(row.get("enabled")),
        active=Safe(row.get("active")),
        sub=Safe(row.get("sub")),
        result=Safe(row.get("result")),
        restarts=restarts if isinstance(restarts, int) else None,
        since=float(since) if isinstance(since, (int, float)) else None,
        pending_reload=bool(row.get("pending_reload")),
        masked=bool(row.get("masked")),
        auto_restart=bool(row.get("auto_restart")),
        main=bool(row.get("main")),
        of_main=of_main,
        parent=Safe(row.get("parent")),
        unit_file_state=Safe(row.get("unit_file_state")),
        loaded=row.get("load", "loaded") == "loaded",
        instances=_instances(row),
        words=f"{_shown_name(row)} {row.get('name')} {row.get('description')} {row.get('sub')}".lower(),
        target=(str(row.get("host") or row.get("host_id") or ""), str(row.get("name") or "")),
    )


def _shown_name(row: Mapping[str, Any]) -> Safe:
    """`work@a-b` for the unit `work@a\\x2db`."""
    name, instance = Safe(row.get("name")), row.get("instance")
    before, at, _ = name.partition("@")
    return Safe(f"{before}@{instance}") if at and instance else name


def _instances(row: Mapping[str, Any]) -> tuple[int, int] | None:
    total, up = row.get("instances"), row.get("instances_up")
    if not row.get("multiple_instances") or not isinstance(total, int):
        return None
    return (up if isinstance(up, int) else -1), total


def instances_word(service: Service) -> str:
    """`1/2 up`; empty for a service without instances."""
    if service.instances is None:
        return ""
    up, total = service.instances
    return f"{'?' if up < 0 else up}/{total} up" if total else "no instances"


def status_word(item: Item) -> tuple[str, str]:
    """Word and role of what this row is about."""
    service = item.service
    if service is None:
        return state_word(item.host.state)
    word, role = _STATUS.get(service.status, (str(Safe(service.status)), "unknown"))
    if service.active in _BUSY and service.status != "error":
        word, role = str(service.active), "busy"
    if service.auto_restart and service.status == "error":
        word = "crash loop"
    return word, role


def is_bad(item: Item) -> bool:
    """What `errors only` shows: failed services and hosts that cannot be asked."""
    return status_word(item)[1] in ("bad", "warn") or (item.service is None and not item.host.up)


def _text(item: Item, text: str, role: str = "") -> Cell:
    return Cell(Safe(text), "muted" if item.last_known else role)


def _status(item: Item, view: View) -> Cell:
    if item.service is None:
        return state_cell(item.host, view.ascii)
    word, role = status_word(item)
    if item.last_known:
        return Cell(Safe(f"? {word}"), "muted")
    return Cell(Safe(f"{glyph(role, view.ascii)} {word}"), role)


def _why(host: Host) -> str:
    """Why a host shows nothing, without what its row says already: which host, and that it is down."""
    return host.error.removeprefix(f"{host.name} cannot be reached: ").removeprefix(f"{host.name}: ")


def _name(item: Item, view: View) -> Cell:
    if item.service is None:
        word, role = state_word(item.host.state)
        way_out = "K trusts its key · " if item.host.state in ("host_key_unknown", "host_key_changed") else ""
        return Cell(Safe(way_out + (_why(item.host) or f"({word})")), role, until="age")
    return _text(item, f"  {item.service.name}" if item.service.parent else item.service.name)


def _state(item: Item, view: View) -> Cell:
    service = item.service
    if service is None:
        return Cell(Safe(""))
    if service.instances is not None:
        up, total = service.instances
        return _text(item, instances_word(service), "warn" if 0 <= up < total else "")
    result = f" {service.result}" if service.result not in ("", "success") else ""
    return _text(item, f"{service.active}/{service.sub}{result}", status_word(item)[1] if result else "")


def _enabled(item: Item, view: View) -> Cell:
    return _text(item, item.service.enabled if item.service else "")


def _restarts(item: Item, view: View) -> Cell:
    service = item.service
    if service is None or service.restarts == 0:
        return Cell(Safe(""))
    if service.restarts is None:
        running = service.loaded and service.active not in ("", "inactive") and service.instances is None
        return Cell(Safe("?" if running else ""))
    return _text(item, str(service.restarts), "warn")


def _since(item: Item, view: View) -> Cell:
    service = item.service
    return _text(item, "" if service is None or service.since is None else span(view.now - service.since))


def flags(service: Service) -> str:
    """What is odd about a unit, in words: masked, reload pending, restarts by itself."""
    words = (("masked", service.masked), ("reload", service.pending_reload), ("restarting", service.auto_restart))
    return " ".join(word for word, true in words if true)


def _flags(item: Item, view: View) -> Cell:
    return _text(item, flags(item.service) if item.service else "", "warn")


def _description(item: Item, view: View) -> Cell:
    return _text(item, item.service.description if item.service else item.host.remedy, "muted")


def _environment(item: Item, view: View) -> Cell:
    return _text(item, item.host.environment, "bad" if item.host.level == "prod" else "")


def _words(item: Item) -> str:
    service, host = item.service, item.host
    if service is None:
        return f"{host.name} {state_word(host.state)[0]} {host.error}".lower()
    return f"{host.name.lower()} {status_word(item)[0]} {service.words}"


def _field(item: Item, name: str) -> str:
    service, host = item.service, item.host
    if name == "host":
        return host.name.lower()
    if service is None:
        return state_word(host.state)[0].lower() if name == "status" else ""
    values = {
        "name": service.name,
        "unit": service.unit,
        "status": status_word(item)[0],
        "state": instances_word(service) or f"{service.active}/{service.sub}",
        "enabled": service.enabled,
        "flags": flags(service) + (" main" if service.main else ""),
        "description": service.description,
    }
    return values.get(name, "").lower()


def _order(item: Item) -> tuple[str, int, str]:
    """Hosts by name; a host's own row before its services."""
    return item.host.name.lower(), 0 if item.service is None else 1, item.service.name.lower() if item.service else ""


def _number(value: float | None) -> tuple[int, float]:
    return (1, 0.0) if value is None else (0, value)


SPEC: Final[Spec[Item]] = Spec(
    columns=(
        Column("status", "STATUS", _status, lambda item: _RANK[status_word(item)[1]], minimum=9, maximum=18),
        Column("host", "HOST", lambda item, view: _text(item, item.host.name), lambda i: i.host.name, 4, 16),
        Column("name", "SERVICE", _name, lambda i: _order(i)[2], 18, 44, stretch=True),
        Column(
            "state",
            "STATE",
            _state,
            lambda i: (i.service.active, i.service.sub) if i.service else ("", ""),
            12,
            26,
            above=1,
            stretch=True,
        ),
        Column("enabled", "ENABLED", _enabled, lambda i: i.service.enabled if i.service else "", 7, 9, above=90),
        Column(
            "restarts",
            "RST",
            _restarts,
            lambda i: -(i.service.restarts or 0) if i.service else 0,
            minimum=4,
            maximum=5,
            right=True,
            above=60,
        ),
        Column(
            "since",
            "SINCE",
            _since,
            lambda i: _number(-i.service.since if i.service and i.service.since is not None else None),
            minimum=5,
            maximum=5,
            right=True,
            above=90,
            volatile=True,
        ),
        Column("flags", "FLAGS", _flags, lambda i: flags(i.service) if i.service else "", 6, 17, above=100),
        Column(
            "age",
            "AGE",
            lambda item, view: age_cell(item.host, view.now),
            lambda i: _number(i.host.seen.at),
            minimum=9,
            maximum=9,
            right=True,
            volatile=True,
        ),
        Column("environment", "ENV", _environment, lambda i: i.host.environment, 4, 10, above=110),
        Column("description", "DESCRIPTION", _description, lambda i: "", 12, 60, above=130, stretch=True),
    ),
    subject=Subject(
        words=_words,
        fields=("host", "name", "unit", "status", "state", "enabled", "flags", "description"),
        field=_field,
        environments=lambda item: (item.host.environment.lower(), item.host.level.lower()),
        tags=lambda item: tuple(tag.lower() for tag in item.host.tags),
    ),
    order=_order,
    noun="rows",
    state=status_word,
    groupings=(
        Grouping("host", "host", lambda item: item.host.name),
        Grouping("environment", "environment", lambda item: item.host.environment),
        Grouping("status", "status", lambda item: status_word(item)[0]),
    ),
    notable=lambda old, new: old.last_known == new.last_known and (old.service is None) == (new.service is None),
)
