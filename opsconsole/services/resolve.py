"""From the name a person wrote to the units it means on one host."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from drivers.systemd import UnitState
from opsconsole.engine.errors import NotSupported, ObjectNotFound
from opsconsole.services.observe import Sight
from opsconsole.services.project import Row, service_name


@dataclass(frozen=True, slots=True)
class Meant:
    """`row` is what was named; `units` what an action acts on: one unit, or every instance in order of name."""

    row: Row
    units: tuple[UnitState, ...]


def resolve(sight: Sight, name: str) -> Meant:
    """The service, unit or instance called `name`. ObjectNotFound names the nearest ones."""
    if sight.units is None:
        raise ObjectNotFound(entity="service", id=name, hint=f" on {sight.host.name}: it was not seen", field="name")
    row = _row_named(sight.rows, name)
    if row is not None:
        if not row["multiple_instances"]:
            return Meant(row, (sight.units.units[row["unit"]],))
        children = sorted((child for child in sight.rows if child["parent"] == row["name"]), key=lambda c: c["unit"])
        return Meant(row, tuple(sight.units.units[child["unit"]] for child in children))
    full = name if name.endswith(".service") else f"{name}.service"
    unit = sight.units.find(full)
    if unit is not None and not unit.is_template and unit.load_state != "not-found":
        alias = _row_named(sight.rows, unit.id)
        if alias is not None:
            return Meant(alias, (unit,))
    close = difflib.get_close_matches(service_name(name), [row["name"] for row in sight.rows], n=3, cutoff=0.5)
    hint = f" on {sight.host.name}" + (f"; did you mean {', '.join(close)}?" if close else "")
    raise ObjectNotFound(entity="service", id=name, hint=hint, field="name")


def instance(sight: Sight, name: str, instance_name: str) -> Row:
    """One instance of a service with several."""
    meant = resolve(sight, name)
    if not meant.row["multiple_instances"]:
        raise NotSupported(what="instances", reason=f"{name} has no instances", field="name")
    children = [row for row in sight.rows if row["parent"] == meant.row["name"]]
    for row in children:
        if instance_name in {row["instance"], row["name"], row["unit"]}:
            return row
    known = ", ".join(str(row["instance"]) for row in children[:10]) or "none"
    raise ObjectNotFound(
        entity="instance",
        id=instance_name,
        hint=f" of {name} on {sight.host.name}; there are: {known}",
        field="instance_name",
    )


def _row_named(rows: list[Row], name: str) -> Row | None:
    """Exact names first; then the plain name of a template that has no unit of that name (`work` for `work@`)."""
    for row in rows:
        if row["name"] == name or row["unit"] == name:
            return row
    bare = service_name(name)
    for row in rows:
        if row["name"] == bare or row["name"] == f"{bare}@":
            return row
    return None
