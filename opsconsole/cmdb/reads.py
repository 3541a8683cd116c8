"""cmdb.applications.list, get, list_by_users, and the lists of children, requirements and dependants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from data.models import Application, ApplicationRequirement, ResponsePerson, User
from data.textsearch import TRIGRAM, text_match
from opsconsole.access.lookup import find_role, find_user
from opsconsole.cmdb.fields import Line, OneApplication, Ref, Refs, applications_json, full_json
from opsconsole.cmdb.lookup import find_application, seen_by
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.registry import Input, Json, read
from opsconsole.engine.users import caller_of, rights_of

VIEW = "app.view_app"
MOST_PER_USER = 1000


FullPath = Annotated[str | None, Field(max_length=2000, validation_alias=AliasChoices("full_path", "full_name"))]


class Filters(Paged):
    """`name` is a piece of one node's name, `full_path` of the whole path, in any case; below three characters the
    beginning. `user` and `role` keep what that user or role may view."""

    name: Line | None = None
    full_path: FullPath = None
    user: Line | None = None
    role: Line | None = None


class ListApplications(Filters):
    """`has_parent`: 0 only roots, 1 only applications with a parent. `response_persons`: ids of users, one of whom
    must answer for the application."""

    response_persons: Refs = []
    has_parent: Literal[0, 1] | None = None


class ListLinked(Filters, OneApplication):
    """The application whose links are listed, and filters over them."""


def filters(tx: Session, query: Filters) -> list[ColumnElement[bool]]:
    """WHERE clauses of the filters that were given."""
    dialect = tx.get_bind().dialect.name
    found: list[ColumnElement[bool]] = []
    if query.name:
        found.append(text_match(dialect, Application, ("name",), query.name))
    if query.full_path:
        found.append(path_match(dialect, query.full_path))
    if query.user is not None:
        found.append(seen_by(caller_of(tx, find_user(tx, query.user, "user"))))
    if query.role is not None:
        found.append(seen_by(_as_role(tx, query.role)))
    if isinstance(query, ListApplications):
        if query.has_parent is not None:
            parent = col(Application.parent_id)
            found.append(parent.is_not(None) if query.has_parent else parent.is_(None))
        if query.response_persons:
            users = [find_user(tx, ref, "response_persons").id for ref in query.response_persons]
            answered = select(ResponsePerson.application_id).where(col(ResponsePerson.user_id).in_(users))
            found.append(col(Application.id).in_(answered))
    return found


def path_match(dialect: str, needle: str) -> ColumnElement[bool]:
    """Applications whose full name contains `needle`; a short one must begin it."""
    if len(needle) >= TRIGRAM:
        return text_match(dialect, Application, ("full_name",), needle)
    start, lowered = needle.lower(), func.lower(Application.full_name)
    if dialect == "postgresql":
        return lowered.startswith(start, autoescape=True)
    return (lowered >= start) & (lowered < start + "\U0010ffff")


def _as_role(tx: Session, name: str) -> Caller:
    """Somebody who holds this role and nothing else."""
    role = find_role(tx, name, "role")
    ids = frozenset({role.id})
    return Caller(0, f"role {role.name}", frozenset({role.name}), ids, rights=rights_of(tx, 0, ids))


@read(
    "cmdb.applications.list",
    summary="List applications with filters name, full_path, response_persons, has_parent, user, role",
    permission=VIEW,
    input=ListApplications,
    objects=("application",),
)
async def list_applications(ctx: Context, query: ListApplications) -> Json:
    return await ctx.database.read(lambda tx: _page(tx, ctx, query, []))


def _page(tx: Session, ctx: Context, query: Filters, more: Sequence[ColumnElement[bool]]) -> Json:
    where = [seen_by(ctx.caller), *more, *filters(tx, query)]
    return page_of(
        tx,
        Application,
        where,
        [col(Application.id)],
        query,
        lambda rows: applications_json(tx, rows, ctx.caller, ctx.now()),
    )


@read(
    "cmdb.applications.get",
    summary="Show one application with all fields",
    permission=VIEW,
    input=OneApplication,
    objects=("application",),
)
async def get_application(ctx: Context, query: OneApplication) -> Json:
    def work(tx: Session) -> Json:
        row = find_application(tx, ctx.caller, query.id)
        return full_json(tx, [row], ctx.caller, ctx.now())[0]

    return await ctx.database.read(work)


async def _linked(ctx: Context, query: ListLinked, clause: Any) -> Json:
    def work(tx: Session) -> Json:
        row = find_application(tx, ctx.caller, query.id)
        return _page(tx, ctx, query, [clause(row.id)])

    return await ctx.database.read(work)


@read(
    "cmdb.child_apps.list",
    summary="List the child applications",
    permission=VIEW,
    input=ListLinked,
    objects=("application",),
)
async def list_children(ctx: Context, query: ListLinked) -> Json:
    return await _linked(ctx, query, lambda key: col(Application.parent_id) == key)


@read(
    "cmdb.required_apps.list",
    summary="List the applications this one depends on",
    permission=VIEW,
    input=ListLinked,
    objects=("application",),
)
async def list_required(ctx: Context, query: ListLinked) -> Json:
    return await _linked(ctx, query, lambda key: col(Application.id).in_(_others(key, reverse=False)))


@read(
    "cmdb.required_by_apps.list",
    summary="List the applications that depend on this one",
    permission=VIEW,
    input=ListLinked,
    objects=("application",),
)
async def list_required_by(ctx: Context, query: ListLinked) -> Json:
    return await _linked(ctx, query, lambda key: col(Application.id).in_(_others(key, reverse=True)))


def _others(key: int, *, reverse: bool) -> Any:
    source, other = ApplicationRequirement.application_id, ApplicationRequirement.required_id
    if reverse:
        source, other = other, source
    return select(other).where(source == key)


class UserItem(Input):
    id: Ref


class ByUsers(Input):
    items: Annotated[list[UserItem], Field(min_length=1, max_length=200)]


@read(
    "cmdb.applications.list_by_users",
    summary="For each given user list the applications the user may see",
    permission="module.access.view_user",
    input=ByUsers,
)
async def list_by_users(ctx: Context, query: ByUsers) -> list[Json]:
    """`applications` holds the first thousand by full name, `count` how many there are. `available_actions` are that
    user's. Applications the caller may not view himself are left out."""

    def work(tx: Session) -> list[Json]:
        users = {user.id: user for user in (find_user(tx, item.id, "items") for item in query.items)}
        return [_of_user(tx, ctx, user) for user in users.values()]

    return await ctx.database.read(work)


def _of_user(tx: Session, ctx: Context, user: User) -> Json:
    his = caller_of(tx, user)
    where = [seen_by(his), seen_by(ctx.caller)]
    count = tx.exec(select(func.count()).select_from(Application).where(*where)).one()
    wanted = select(Application).where(*where).order_by(col(Application.full_name)).limit(MOST_PER_USER)
    rows = tx.exec(wanted).all()
    return {"user_id": user.id, "count": count, "applications": full_json(tx, rows, his, ctx.now())}
