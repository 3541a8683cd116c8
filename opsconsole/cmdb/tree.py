"""cmdb.tree.*: product lines, applications and instances as a tree that is read piece by piece.

Product lines hold those of their applications whose parent is not one of theirs; an application holds its children and
its instances. Somebody who may not see an application sees its visible children one level higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt
from sqlalchemy import ColumnElement, func, literal, literal_column, tuple_
from sqlmodel import Session, and_, col, or_, select

from data.models import SERVICES_SEEN, AppInstance, Application, Host, HostObservation, Production
from opsconsole.cmdb.fields import with_children
from opsconsole.cmdb.lookup import CHUNK, find_application, seen_by
from opsconsole.cmdb.reads import path_match
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Input, Json, read
from opsconsole.engine.visible import visible

VIEW = "app.view_app"
Kind = Literal["root", "production", "application"]
NO_LINE = "(no product line)"
MOST_BELOW = 200_000


class Children(Input):
    """`kind` root: the product lines, and id 0 for what belongs to none. `after` is that of the page before."""

    kind: Kind = "root"
    id: StrictInt = 0
    after: tuple[Annotated[str, Field(max_length=200)], StrictInt] | None = None
    size: Annotated[int, Field(ge=1, le=1000)] = 500


class Node(Input):
    kind: Literal["production", "application"]
    id: StrictInt


class Nodes(Input):
    items: Annotated[list[Node], Field(min_length=1, max_length=500)]


class Search(Input):
    """`needle` is a piece of the full name; below three characters its beginning."""

    needle: Annotated[str, Field(min_length=1, max_length=2000)]
    size: Annotated[int, Field(ge=1, le=2000)] = 500


class Below(Input):
    """Everything under an application (`id`), or the whole forest without one."""

    id: StrictInt | None = None


@read(
    "cmdb.tree.children",
    summary="List what hangs directly under a product line or application",
    permission=VIEW,
    input=Children,
)
async def children(ctx: Context, query: Children) -> Json:
    """`nodes` by name, applications before instances, and `after` to go on with (null at the end)."""
    return await ctx.database.read(lambda tx: _children(tx, ctx.caller, query))


def _children(tx: Session, caller: Caller, query: Children) -> Json:
    if query.kind == "root":
        return {"nodes": _roots(tx, caller), "after": None}
    if query.kind == "production":
        where = _tops(caller, query.id or None)
    else:
        row = find_application(tx, caller, query.id)
        where = [col(Application.parent_id) == row.id, seen_by(caller)]
    if query.after is not None:
        where.append(tuple_(col(Application.name), col(Application.id)) > tuple_(*map(literal, query.after)))
    wanted = select(Application).where(*where).order_by(col(Application.name), col(Application.id))
    rows = list(tx.exec(wanted.limit(query.size + 1)).all())
    more = len(rows) > query.size
    nodes = application_nodes(tx, rows[: query.size])
    if query.kind == "application" and not more:
        nodes += _instances(tx, query.id)
    last = rows[query.size - 1] if more else None
    return {"nodes": nodes, "after": [last.name, last.id] if last is not None else None}


def _roots(tx: Session, caller: Caller) -> list[Json]:
    lines = tx.exec(select(Production).where(visible(caller, "business.view")).order_by(col(Production.name))).all()
    found = [
        {"kind": "production", "id": row.id, "name": row.name, "full_name": row.name, "has_child": True}
        for row in lines
    ]
    if tx.exec(select(Application.id).where(*_tops(caller, None)).limit(1)).first() is not None:
        found.append({"kind": "production", "id": 0, "name": NO_LINE, "full_name": "", "has_child": True})
    return found


def _tops(caller: Caller, line: int | None) -> list[ColumnElement[bool]]:
    """Applications that stand directly under a product line (None: that belong to none)."""
    inside: list[ColumnElement[bool]] = [seen_by(caller)]
    if line is not None:
        inside.append(col(Application.production_id) == line)
    within = select(col(Application.id)).where(*inside).correlate(None)
    parent = col(Application.parent_id)
    free = or_(parent.is_(None), parent.not_in(within))
    mine = col(Application.production_id)
    return [mine.is_(None) if line is None else mine == line, free, seen_by(caller)]


def application_nodes(tx: Session, rows: Sequence[Application]) -> list[Json]:
    """Nodes of loaded applications; a leaf without instances has nothing to open."""
    ids = [row.id for row in rows]
    parents = with_children(tx, ids) | _with_instances(tx, ids)
    return [
        {
            "kind": "application",
            "id": row.id,
            "parent": row.parent_id,
            "production": row.production_id,
            "name": row.name,
            "full_name": row.full_name,
            "has_child": row.id in parents,
            "protected": row.protected,
            "maintenance": row.maintenance_by is not None,
        }
        for row in rows
    ]


def _with_instances(tx: Session, ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(ids), CHUNK):
        mine = col(AppInstance.application_id)
        found |= set(tx.exec(select(mine).where(mine.in_(ids[start : start + CHUNK])).distinct()).all())
    return found


def _instances(tx: Session, application_id: int) -> list[Json]:
    rows = tx.exec(
        select(AppInstance, Host.name, HostObservation.state)
        .join(Host, col(Host.id) == col(AppInstance.host_id))
        .outerjoin(
            HostObservation,
            and_(col(HostObservation.host_id) == col(Host.id), col(HostObservation.kind) == SERVICES_SEEN),
        )
        .where(AppInstance.application_id == application_id)
        .order_by(col(Host.name))
        .limit(1000)
    )
    return [
        {
            "kind": "instance",
            "id": row.id,
            "parent": application_id,
            "name": host,
            "full_name": host,
            "has_child": False,
            "status": row.status,
            "version": row.version,
            "host_id": row.host_id,
            "host_state": state,
        }
        for row, host, state in rows
    ]


@read(
    "cmdb.tree.rollup",
    summary="Count applications and instance states below product lines and applications",
    permission=VIEW,
    input=Nodes,
)
async def rollup(ctx: Context, query: Nodes) -> list[Json]:
    """Per node `applications` below it and `instances` by state, those on hosts that do not answer as `unreachable`."""

    def work(tx: Session) -> list[Json]:
        found: list[Json] = []
        lines = [node.id for node in query.items if node.kind == "production"]
        applications = [node.id for node in query.items if node.kind == "application"]
        found += _roll(tx, ctx.caller, "production", lines, by_line=True) if lines else []
        found += _roll(tx, ctx.caller, "application", applications, by_line=False) if applications else []
        return found

    return await ctx.database.read(work)


def _roll(tx: Session, caller: Caller, kind: str, ids: Sequence[int], *, by_line: bool) -> list[Json]:
    """Two grouped statements for all nodes of one kind."""
    if by_line:
        root: Any = func.coalesce(Application.production_id, literal_column("0"))
        counted = select(root, func.count()).where(seen_by(caller), root.in_(ids)).group_by(root)
        joined = select(root, *_STATE, func.count()).select_from(Application)
    else:
        top: Any = select(col(Application.id).label("root"), col(Application.id).label("id")).where(
            col(Application.id).in_(ids)
        )
        tree = top.cte("under", recursive=True)
        tree = tree.union_all(
            select(tree.c.root, col(Application.id)).join(tree, col(Application.parent_id) == tree.c.id)
        )
        root = tree.c.root
        counted = (
            select(root, func.count() - literal(1))
            .select_from(tree)
            .join(Application, col(Application.id) == tree.c.id)
            .where(seen_by(caller))
            .group_by(root)
        )
        joined = (
            select(root, *_STATE, func.count()).select_from(tree).join(Application, col(Application.id) == tree.c.id)
        )
    states = (
        joined.join(AppInstance, col(AppInstance.application_id) == col(Application.id))
        .outerjoin(
            HostObservation,
            and_(col(HostObservation.host_id) == col(AppInstance.host_id), col(HostObservation.kind) == SERVICES_SEEN),
        )
        .where(seen_by(caller), root.in_(ids))
        .group_by(root, *_STATE)
    )
    found: dict[int, Json] = {key: {"kind": kind, "id": key, "applications": 0, "instances": {}} for key in ids}
    for key, count in tx.exec(counted).all():
        found[key]["applications"] = count
    for key, status, sight, count in tx.exec(states).all():
        word = status if sight in REACHED or status == "stopped" else "unreachable"
        instances = found[key]["instances"]
        instances[word] = instances.get(word, 0) + count
    return list(found.values())


REACHED = (None, "ok")
_STATE = (col(AppInstance.status), col(HostObservation.state))


@read(
    "cmdb.tree.search",
    summary="Find applications by a piece of their full name, with all that stands over them",
    permission=VIEW,
    input=Search,
)
async def search(ctx: Context, query: Search) -> Json:
    """`nodes` holds matches (`match` true) and their ancestors, `count` how many match in all."""

    def work(tx: Session) -> Json:
        where = [seen_by(ctx.caller), path_match(tx.get_bind().dialect.name, query.needle)]
        wanted = select(Application).where(*where).order_by(col(Application.full_name)).limit(query.size + 1)
        rows = list(tx.exec(wanted).all())
        count = len(rows)
        if count > query.size:
            count = tx.exec(select(func.count()).select_from(Application).where(*where)).one()
            rows = rows[: query.size]
        matches = {row.id for row in rows}
        every = [*rows, *_over(tx, ctx.caller, rows)]
        nodes = [node | {"match": node["id"] in matches} for node in application_nodes(tx, every)]
        lines = _lines_of(tx, ctx.caller, every)
        return {"nodes": [*lines, *nodes], "count": count, "complete": count <= query.size}

    return await ctx.database.read(work)


def _over(tx: Session, caller: Caller, rows: Sequence[Application]) -> list[Application]:
    """All that stands over these, each once, level by level."""
    known = {row.id for row in rows}
    found: list[Application] = []
    wanted = {row.parent_id for row in rows if row.parent_id is not None} - known
    while wanted:
        ids = sorted(wanted)
        level: list[Application] = []
        for start in range(0, len(ids), CHUNK):
            part = select(Application).where(col(Application.id).in_(ids[start : start + CHUNK]), seen_by(caller))
            level += tx.exec(part).all()
        found += level
        known |= wanted
        wanted = {row.parent_id for row in level if row.parent_id is not None} - known
    return found


def _lines_of(tx: Session, caller: Caller, rows: Sequence[Application]) -> list[Json]:
    ids = {row.production_id for row in rows}
    wanted = [key for key in ids if key is not None]
    lines = tx.exec(select(Production).where(col(Production.id).in_(wanted), visible(caller, "business.view"))).all()
    found = [
        {"kind": "production", "id": row.id, "name": row.name, "full_name": row.name, "has_child": True}
        for row in lines
    ]
    if None in ids:
        found.append({"kind": "production", "id": 0, "name": NO_LINE, "full_name": "", "has_child": True})
    return found


@read(
    "cmdb.tree.below",
    summary="Read everything under an application, or all applications, as short rows",
    permission=VIEW,
    input=Below,
)
async def below(ctx: Context, query: Below) -> Json:
    """`rows` are [id, parent, product line, name] in the order of full names, at most 200 000 of them."""

    def work(tx: Session) -> Json:
        where: list[ColumnElement[bool]] = [seen_by(ctx.caller)]
        if query.id is not None:
            row = find_application(tx, ctx.caller, query.id)
            start = f"{row.full_name}."
            where.append(
                col(Application.full_name).startswith(start, autoescape=True)
                if tx.get_bind().dialect.name == "postgresql"
                else and_(col(Application.full_name) >= start, col(Application.full_name) < start[:-1] + "/")
            )
        columns: tuple[Any, ...] = (Application.id, Application.parent_id, Application.production_id, Application.name)
        wanted = select(*columns).where(*where).order_by(col(Application.full_name)).limit(MOST_BELOW + 1)
        rows = [list(found) for found in tx.connection().execute(wanted).all()]
        return {"rows": rows[:MOST_BELOW], "complete": len(rows) <= MOST_BELOW}

    return await ctx.database.read(work)
