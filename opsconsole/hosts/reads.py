"""hosts.list and hosts.get."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from data.models import Environment, Host, HostTag
from data.textsearch import text_match
from opsconsole.engine.context import Context
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.registry import Json, read
from opsconsole.engine.visible import visible
from opsconsole.hosts.fields import OneHost, Tags, Text, Type, hosts_json
from opsconsole.hosts.lookup import find_host


class ListHosts(Paged):
    """`name` is a case-insensitive substring; a host must carry every tag of `tag`."""

    name: Text | None = None
    host_type: Type | None = None
    status: Annotated[str | None, Field(pattern="^(attached|inited|raw|offline)$")] = None
    tag: Tags = []
    environment: Text | None = None


@read(
    "hosts.list",
    summary="List hosts with filters name, host_type, status, tag, environment",
    permission="host.view_host",
    input=ListHosts,
    objects=("host",),
)
async def list_hosts(ctx: Context, query: ListHosts) -> Json:
    def work(tx: Session) -> Json:
        where = [visible(ctx.caller, "host.view_host"), *filters(tx, query)]
        return page_of(tx, Host, where, [col(Host.id)], query, lambda rows: hosts_json(tx, rows, ctx.caller, ctx.now()))

    return await ctx.database.read(work)


def filters(tx: Session, query: ListHosts) -> list[ColumnElement[bool]]:
    """WHERE clauses of the filters that were given."""
    found: list[ColumnElement[bool]] = []
    if query.name:
        dialect = tx.get_bind().dialect.name
        found.append(text_match(dialect, Host, ("name",), query.name, short="scan"))
    if query.host_type is not None:
        found.append(col(Host.host_type) == query.host_type)
    if query.status is not None:
        found.append(col(Host.status) == query.status)
    if query.environment:
        named = select(Environment.id).where(Environment.name == query.environment)
        found.append(col(Host.environment_id).in_(named))
    for tag in query.tag:
        found.append(col(Host.id).in_(select(HostTag.host_id).where(HostTag.tag == tag)))
    return found


@read("hosts.get", summary="Show one host", permission="host.view_host", input=OneHost, objects=("host",))
async def get_host(ctx: Context, query: OneHost) -> Json:
    def work(tx: Session) -> Json:
        host = find_host(tx, ctx.caller, query.id)
        return hosts_json(tx, [host], ctx.caller, ctx.now())[0]

    return await ctx.database.read(work)
