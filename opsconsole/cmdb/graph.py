"""The two relations between applications: the tree of parents, and what requires what. Neither may hold a circle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import LargeBinary, cast, func, literal, update
from sqlmodel import Session, col, select

from data.models import Application, ApplicationRequirement, utc_now
from opsconsole.cmdb.fields import FULL_NAME_BYTES
from opsconsole.cmdb.lookup import CHUNK
from opsconsole.engine.errors import InvalidParameter, LinkCycle, NameNotUnique
from opsconsole.engine.registry import Json

_DEEPEST = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where an application hangs: its parent (None: a root) and the full names this gives."""

    parent_id: int | None
    name: str
    full_name: str


def below(root: int) -> Any:
    """A recursive common table expression with the `id` of `root` and of everything under it."""
    top = select(literal(root).label("id")).cte("below", recursive=True)
    return top.union_all(select(col(Application.id)).join(top, col(Application.parent_id) == top.c.id))


def ancestors(tx: Session, application: Application) -> list[Application]:
    """The chain above an application, root first."""
    chain: list[Application] = []
    seen = {application.id}
    parent_id = application.parent_id
    while parent_id is not None and parent_id not in seen and len(chain) < _DEEPEST:
        row = tx.get(Application, parent_id)
        if row is None:
            break
        chain.append(row)
        seen.add(row.id)
        parent_id = row.parent_id
    return chain[::-1]


def place_under(
    tx: Session,
    application: Application,
    parent: Application | None,
    *,
    name: str | None = None,
    above: str | None = None,
    chain: Sequence[Application] | None = None,
    leaving: Iterable[int] = (),
) -> Place:
    """The place `application` gets under `parent`. Refuses circles, taken and overlong full names.

    `above` is the parent's full name and `chain` what will be over the application, where the parent moves in the same
    change; names of `leaving` are given up in it.
    """
    new_name = name or application.name
    if parent is not None:
        over = list(chain) if chain is not None else [*ancestors(tx, parent), parent]
        _refuse_circle(application, parent, over)
    prefix = above if above is not None else parent.full_name if parent is not None else ""
    full_name = f"{prefix}.{new_name}" if parent is not None else new_name
    refuse_taken(tx, full_name, {application.id, *leaving})
    grown = len(full_name.encode()) - len(application.full_name.encode())
    if grown > 0:
        tree = below(application.id)
        longest = select(func.max(_bytes(tx))).where(col(Application.id).in_(select(tree.c.id)))
        refuse_long(int(tx.exec(longest).one() or 0) + grown)
    return Place(parent.id if parent is not None else None, new_name, full_name)


def _bytes(tx: Session) -> Any:
    if tx.get_bind().dialect.name == "postgresql":
        return func.octet_length(Application.full_name)
    return func.length(cast(Application.full_name, LargeBinary))


def refuse_taken(tx: Session, full_name: str, but: Iterable[int] = ()) -> None:
    taken = tx.exec(select(Application.id).where(Application.full_name == full_name)).first()
    if taken is not None and taken not in set(but):
        raise NameNotUnique(entity="application", name=full_name, field="name")


def refuse_long(size: int) -> None:
    if size > FULL_NAME_BYTES:
        raise InvalidParameter(
            field="name", reason=f"the full name would have {size} bytes; {FULL_NAME_BYTES} are the most"
        )


def _refuse_circle(application: Application, parent: Application, over: Sequence[Application]) -> None:
    ids = [row.id for row in over]
    if application.id in ids:
        circle = [row.full_name for row in over[ids.index(application.id) :]]
        raise LinkCycle(
            what=f"{application.full_name} under {parent.full_name}",
            path=" → ".join([*circle, application.full_name]),
            field="parent_app",
        )


def renamed(tx: Session, application: Application, place: Place, most: int | None = None) -> list[Json]:
    """Every full name that changes with the move, as `{name, becomes}`, the application's own first."""
    if place.full_name == application.full_name:
        return []
    tree = below(application.id)
    wanted = (
        select(Application.full_name)
        .where(col(Application.id).in_(select(tree.c.id)))
        .order_by(col(Application.full_name))
        .limit(most)
    )
    cut = len(application.full_name)
    return [{"name": name, "becomes": place.full_name + name[cut:]} for name in tx.exec(wanted).all()]


def move(tx: Session, application: Application, place: Place) -> None:
    """Put an application and all under it at `place`, in two statements however many they are."""
    old, now = application.full_name, utc_now()
    if place.full_name != old:
        tree = below(application.id)
        under = select(tree.c.id).where(tree.c.id != application.id)
        tx.connection().execute(
            update(Application)
            .where(col(Application.id).in_(under))
            .values(
                full_name=literal(place.full_name).concat(func.substr(Application.full_name, len(old) + 1)),
                version=Application.version + 1,
                updated_at=now,
            )
        )
    application.parent_id, application.name, application.full_name = place.parent_id, place.name, place.full_name
    application.updated_at = now
    tx.add(application)
    tx.flush()
    tx.expire_all()


def required_of(tx: Session, ids: Iterable[int], *, reverse: bool = False) -> list[tuple[int, int]]:
    """Pairs (one of `ids`, what it requires); `reverse`: (one of `ids`, what requires it)."""
    source, other = ApplicationRequirement.application_id, ApplicationRequirement.required_id
    if reverse:
        source, other = other, source
    wanted = list(ids)
    found: list[tuple[int, int]] = []
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        rows = tx.exec(select(source, other).where(col(source).in_(part)).order_by(col(source), col(other)))
        found += [(int(one), int(two)) for one, two in rows]
    return found


def refuse_required_circle(tx: Session, application: Application, required: Sequence[Application]) -> None:
    """LinkCycle with the way from what would be required back to the application."""
    came: dict[int, int] = {}
    for row in required:
        if row.id == application.id:
            raise LinkCycle(
                what=f"{application.full_name} requiring itself",
                path=f"{application.full_name} → {application.full_name}",
                field="items",
            )
        came.setdefault(row.id, application.id)
    frontier = list(came)
    while frontier:
        following: list[int] = []
        for one, two in required_of(tx, frontier):
            if two == application.id:
                raise LinkCycle(
                    what=f"{application.full_name} requiring {_name(tx, _first(came, one, application.id))}",
                    path=" → ".join(_way(tx, came, one, application)),
                    field="items",
                )
            if two not in came:
                came[two] = one
                following.append(two)
        frontier = following


def _first(came: dict[int, int], last: int, start: int) -> int:
    while came[last] != start:
        last = came[last]
    return last


def _way(tx: Session, came: dict[int, int], last: int, application: Application) -> list[str]:
    way = [application.id, last]
    while way[-1] != application.id:
        way.append(came[way[-1]])
    return [_name(tx, one) for one in reversed(way)]


def _name(tx: Session, application_id: int) -> str:
    row = tx.get(Application, application_id)
    return row.full_name if row is not None else str(application_id)


def count_below(tx: Session, root: int) -> int:
    """How many applications there are under `root`, itself not counted."""
    tree = below(root)
    return int(tx.exec(select(func.count()).select_from(tree)).one()) - 1
