"""From what systemd says to what an operator reads: rows, with the rich state kept and the four words projected.

status: `started` (active, reloading, refreshing, activating), `stopped`, `error` (failed, auto-restart, a unit file
that does not load), `instance_stopped` (some instances run, some do not). A masked unit is stopped and carries a
badge: somebody wanted it so. A name that others only mention (not-found) is no service unless it failed or runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drivers.systemd import HostUnits, UnitState
from opsconsole.services.conf import Known, ServiceConf

Row = dict[str, Any]
_STARTED = frozenset({"active", "reloading", "refreshing", "activating"})
_BROKEN_LOAD = frozenset({"not-found", "bad-setting", "error", "merged"})
_SERVICE_ONLY = frozenset({"main", "module_link", "multiple_instances", "instances", "instances_up"})
_ENABLED = frozenset({"enabled", "enabled-runtime", "alias"})


def status_of(unit: UnitState) -> str:
    """started | stopped | error, of one unit."""
    if unit.active_state == "failed" or unit.sub_state.startswith("auto-restart"):
        return "error"
    if unit.load_state in _BROKEN_LOAD:
        return "error"
    return "started" if unit.active_state in _STARTED else "stopped"


def enabled_of(unit: UnitState) -> str:
    return "enabled" if unit.unit_file_state in _ENABLED else "disabled"


def group_status(statuses: Iterable[str]) -> str:
    """The status of a service with several instances from theirs."""
    found = list(statuses)
    if "error" in found:
        return "error"
    if not found or all(status == "stopped" for status in found):
        return "stopped"
    return "started" if all(status == "started" for status in found) else "instance_stopped"


def is_service(unit: UnitState) -> bool:
    """Whether a unit is a row: installed or loaded, and neither another name of one nor merely mentioned by others."""
    if unit.is_template or (unit.installed_only and unit.unit_file_state == "alias"):
        return False
    return unit.load_state != "not-found" or unit.active_state not in {"inactive", ""}


def service_name(unit_id: str) -> str:
    return unit_id.removesuffix(".service")


def rows_of(seen: HostUnits, known: Known) -> list[Row]:
    """All rows of one host, by name: single services, services with several instances, and those instances."""
    by_template, by_unit = known.by_template, known.by_unit
    instances: dict[str, list[UnitState]] = {template: [] for template in by_template if template in seen.units}
    rows: list[Row] = []
    umbrellas = {f"{conf.name}.service" for conf in by_template.values()}
    for unit in seen.units.values():
        if not is_service(unit):
            continue
        if unit.template:
            instances.setdefault(unit.template, []).append(unit)
        elif unit.id not in umbrellas or not _has_group(unit.id, known, seen):
            rows.append(_single(unit, by_unit.get(unit.id)))
    for template, units in instances.items():
        conf = by_template.get(template)
        if units or conf is not None:
            rows.extend(_group(template, units, conf))
    return sorted(rows, key=lambda row: (row["parent"] or row["name"], row["parent"] is not None, row["name"]))


def _has_group(unit_id: str, known: Known, seen: HostUnits) -> bool:
    """Debian's openvpn.service only pulls in openvpn@…: where the template is there, the group stands for both."""
    conf = known.services.get(service_name(unit_id))
    if conf is None or conf.template is None:
        return False
    return conf.template in seen.units or any(unit.template == conf.template for unit in seen.units.values())


def _base(unit: UnitState) -> Row:
    return {
        "unit": unit.id,
        "description": unit.description,
        "enabled": enabled_of(unit),
        "status": status_of(unit),
        "main": False,
        "module_link": None,
        "multiple_instances": False,
        "active": unit.active_state,
        "sub": unit.sub_state,
        "result": unit.result,
        "restarts": unit.n_restarts,
        "since": unit.state_change,
        "pending_reload": unit.need_daemon_reload,
        "masked": unit.load_state == "masked" or unit.unit_file_state.startswith("masked"),
        "auto_restart": unit.sub_state.startswith("auto-restart"),
        "unit_file_state": unit.unit_file_state,
        "load": unit.load_state,
        "memory": unit.memory,
        "cpu_nsec": unit.cpu_nsec,
        "instances": None,
        "instances_up": None,
        "parent": None,
        "instance": None,
    }


def _single(unit: UnitState, conf: ServiceConf | None) -> Row:
    row = {"name": service_name(unit.id), **_base(unit)}
    if conf is not None:
        row |= {
            "name": conf.name,
            "main": conf.main,
            "module_link": conf.module_link,
            "description": conf.description or unit.description,
        }
    return row


def _group(template: str, units: list[UnitState], conf: ServiceConf | None) -> list[Row]:
    name = conf.name if conf else service_name(template)
    children = []
    for unit in sorted(units, key=lambda unit: unit.id):
        child = {"name": service_name(unit.id), **_base(unit)}
        child |= {"parent": name, "instance": unit.instance}
        children.append(child)
    head: Row = {
        "name": name,
        **_base(UnitState(id=template)),
        "description": (conf.description if conf else "") or name,
        "main": bool(conf and conf.main),
        "module_link": conf.module_link if conf else None,
        "multiple_instances": True,
        "status": group_status(child["status"] for child in children),
        "enabled": "enabled" if any(child["enabled"] == "enabled" for child in children) else "disabled",
        "restarts": sum(child["restarts"] or 0 for child in children) if children else None,
        "since": max((child["since"] for child in children if child["since"]), default=None),
        "pending_reload": any(child["pending_reload"] for child in children),
        "auto_restart": any(child["auto_restart"] for child in children),
        "instances": len(children),
        "instances_up": sum(child["status"] == "started" for child in children),
    }
    return [head, *children]


def as_service(row: Row, host: str) -> Row:
    """The `service` of the document, and what more we know, in its names."""
    return {"host": host, **{key: row[key] for key in row if key not in {"parent", "instance"}}}


def as_instance(row: Row, host: str) -> Row:
    """The `service_instance` of the document: `name` is the service, `instance_name` the instance."""
    shown = {key: value for key, value in as_service(row, host).items() if key not in _SERVICE_ONLY}
    return {**shown, "name": row["parent"], "instance_name": row["instance"]}
