"""What a change of an application comes to: compared with the records for the plan and again when written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel import Session, col, delete, select

from data.feed import announce
from data.models import Application, ApplicationRequirement, ResponsePerson, User, utc_now
from opsconsole.access.lookup import find_user
from opsconsole.cmdb import graph
from opsconsole.cmdb.fields import COLUMNS, ApplicationFields, Ref
from opsconsole.cmdb.graph import Place
from opsconsole.cmdb.lookup import find_application, find_applications
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, StateConflict
from opsconsole.engine.records import difference, refuse_if_changed
from opsconsole.engine.registry import Json

SHOWN = 2000


@dataclass(slots=True)
class Links:
    """Parent, children, requirements and persons after the change; None = stays as it is."""

    parent: Application | None = None
    place: Place | None = None
    joining: list[tuple[Application, Place]] = field(default_factory=list)
    leaving: list[tuple[Application, Place]] = field(default_factory=list)
    required: list[Application] | None = None
    persons: list[User] | None = None

    @property
    def touched(self) -> list[Application]:
        """Other applications that the caller must be allowed to edit."""
        moved = [row for row, _ in [*self.joining, *self.leaving]]
        return [*moved, self.parent] if self.parent is not None else moved


def look_up(tx: Session, caller: Caller, row: Application, given: ApplicationFields, name: str | None) -> Links:
    """The links that `given` asks for. Refuses unknown applications and people, circles and taken names."""
    said = given.model_fields_set
    links = Links()
    parent = tx.get(Application, row.parent_id) if row.parent_id is not None else None
    if "parent_app" in said:
        parent = None
        if given.parent_app is not None:
            parent = find_application(tx, caller, given.parent_app, field="parent_app")
    moves = (parent.id if parent else None) != row.parent_id
    if moves or (name is not None and name != row.name):
        links.place = graph.place_under(tx, row, parent, name=name)
        links.parent = parent if moves else None
    if "child_apps" in said:
        _children(tx, caller, row, parent, given.child_apps, links)
    if "required_apps" in said:
        links.required = find_applications(tx, caller, given.required_apps, field="required_apps")
        graph.refuse_required_circle(tx, row, links.required)
    if "response_person" in said:
        links.persons = [find_user(tx, ref, "response_person") for ref in given.response_person]
    return links


def _children(
    tx: Session, caller: Caller, row: Application, parent: Application | None, refs: Sequence[Ref], links: Links
) -> None:
    wanted = find_applications(tx, caller, refs, field="child_apps")
    now = tx.exec(select(Application).where(Application.parent_id == row.id).order_by(col(Application.id))).all()
    keep, have = {child.id for child in wanted}, {child.id for child in now}
    gone = [child for child in now if child.id not in keep]
    above = links.place.full_name if links.place else row.full_name
    chain = [*(graph.ancestors(tx, parent) if parent else []), *([parent] if parent else []), row]
    links.leaving = [(child, graph.place_under(tx, child, None)) for child in gone]
    links.joining = [
        (child, graph.place_under(tx, child, row, above=above, chain=chain, leaving=[one.id for one in gone]))
        for child in wanted
        if child.id not in have
    ]
    refuse_namesakes(place for _, place in links.joining)


def refuse_namesakes(places: object) -> None:
    """Two of a list may not get the same full name."""
    seen: set[str] = set()
    for place in places:  # type: ignore[attr-defined]
        if place.full_name in seen:
            raise NameNotUnique(entity="application", name=place.full_name, field="child_apps")
        seen.add(place.full_name)


def compare(
    tx: Session, row: Application, given: ApplicationFields, links: Links, columns: Json
) -> tuple[Json, Json, Json]:
    """Everything as it is now, and the fields that differ, before and after, with names for people; `full_names` lists
    every path that changes."""
    now: Json = {name: getattr(row, name) for name in COLUMNS}
    now["full_name"], now["parent_app"] = row.full_name, _name_of(tx, row.parent_id)
    wanted: Json = dict(columns)
    if links.place is not None:
        wanted["name"] = links.place.name
        wanted["full_name"] = links.place.full_name
        wanted["parent_app"] = _name_of(tx, links.place.parent_id)
    if "child_apps" in given.model_fields_set:
        children = select(Application.name).where(Application.parent_id == row.id).order_by(col(Application.name))
        now["child_apps"] = list(tx.exec(children).all())
        gone = {child.name for child, _ in links.leaving}
        added = [child.name for child, _ in links.joining]
        wanted["child_apps"] = sorted([*(name for name in now["child_apps"] if name not in gone), *added])
    if links.required is not None:
        now["required_apps"] = required_names(tx, row.id)
        wanted["required_apps"] = sorted(one.full_name for one in links.required)
    if links.persons is not None:
        now["response_person"] = person_names(tx, row.id)
        wanted["response_person"] = sorted(user.username for user in links.persons)
    before, after = difference(now, wanted)
    paths = full_names(tx, row, links)
    if paths:
        after["full_names"] = paths
    return now, before, after


def refuse_moved(name: str, planned: Json, after: Json) -> None:
    """StateConflict when the plan would be another one now; the long list of paths is only counted."""
    if planned == after:
        return
    paths = "full_names"
    refuse_if_changed(f"what would become of {name}", _without(planned, paths), _without(after, paths))
    count, was = len(after.get(paths, ())), len(planned.get(paths, ()))
    raise StateConflict(
        f"the applications under {name} were changed by somebody else in the meantime: other full names would change "
        f"({count} now, {was} were shown); look at it again"
    )


def _without(fields: Json, name: str) -> Json:
    return {key: value for key, value in fields.items() if key != name}


def full_names(tx: Session, row: Application, links: Links) -> list[Json]:
    """Every path that changes; beyond `SHOWN` of them the last line says how many more there are."""
    moves = [*links.joining, *links.leaving]
    if links.place is not None:
        moves.insert(0, (row, links.place))
    return paths_of(tx, moves)


def paths_of(tx: Session, moves: Sequence[tuple[Application, Place]]) -> list[Json]:
    """The paths that change with several moves, bounded as in `full_names`."""
    found: list[Json] = []
    for one, place in moves:
        found += graph.renamed(tx, one, place, SHOWN + 1)
        if len(found) > SHOWN:
            total = sum(graph.count_below(tx, moved.id) + 1 for moved, to in moves if to.full_name != moved.full_name)
            return [*found[:SHOWN], {"name": f"and {total - SHOWN} more", "becomes": "in the same way"}]
    return found


def write(tx: Session, row: Application, links: Links, columns: Json, after: Json) -> None:
    """Apply what was compared; `after` names the fields that differ."""
    for name in set(columns) & set(after) - {"name"}:
        setattr(row, name, columns[name])
    row.updated_at = utc_now()
    tx.add(row)
    tx.flush()
    write_links(tx, row, links)


def write_links(tx: Session, row: Application, links: Links) -> None:
    """Apply the moves and the lists, in an order in which no two of them want the same name."""
    if links.place is not None:
        graph.move(tx, row, links.place)
    for child, place in [*links.leaving, *links.joining]:
        graph.move(tx, child, place)
        announce(tx, "application", child.id, "updated")
    if links.required is not None:
        set_required(tx, row.id, [one.id for one in links.required])
    if links.persons is not None:
        set_persons(tx, row.id, [user.id for user in links.persons])
    tx.flush()


def set_required(tx: Session, application_id: int, required: Sequence[int]) -> None:
    mine = ApplicationRequirement.application_id
    tx.exec(delete(ApplicationRequirement).where(col(mine) == application_id))
    tx.add_all(
        [ApplicationRequirement(application_id=application_id, required_id=one) for one in dict.fromkeys(required)]
    )


def set_persons(tx: Session, application_id: int, users: Sequence[int]) -> None:
    """Who stays keeps his types; who is new answers as `ops`."""
    rows = tx.exec(select(ResponsePerson).where(ResponsePerson.application_id == application_id)).all()
    for row in rows:
        if row.user_id not in users:
            tx.delete(row)
    have = {row.user_id for row in rows}
    tx.add_all(
        [
            ResponsePerson(application_id=application_id, user_id=one, type="ops")
            for one in dict.fromkeys(users)
            if one not in have
        ]
    )


def refuse_cleared_name(given: ApplicationFields, name: str | None) -> None:
    if "name" in given.model_fields_set and name is None:
        raise InvalidParameter(field="name", reason="an application must have one")


def _name_of(tx: Session, application_id: int | None) -> str | None:
    row = tx.get(Application, application_id) if application_id is not None else None
    return row.full_name if row is not None else None


def required_names(tx: Session, application_id: int) -> list[str]:
    wanted = (
        select(Application.full_name)
        .join(ApplicationRequirement, col(ApplicationRequirement.required_id) == col(Application.id))
        .where(ApplicationRequirement.application_id == application_id)
        .order_by(col(Application.full_name))
    )
    return sorted(tx.exec(wanted).all())


def person_names(tx: Session, application_id: int) -> list[str]:
    wanted = (
        select(User.username)
        .join(ResponsePerson, col(ResponsePerson.user_id) == col(User.id))
        .where(ResponsePerson.application_id == application_id)
        .distinct()
    )
    return sorted(tx.exec(wanted).all())
