"""The five lists the documents ask for, each a view of the one journal: DNS, hosts, applications, and both grants."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import ColumnElement
from sqlmodel import Session, col

from data.models import Audit
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.pages import Paged, contains
from opsconsole.engine.registry import Json, read
from opsconsole.hosts.fields import Text
from opsconsole.journal import paging

VIEW = "module.audit.view_audit"


class Recorded(Paged):
    """`operator` is part of a user name; the time bounds are inclusive."""

    operator: Text | None = None
    op_time__lt: AwareDatetime | None = None
    op_time__gt: AwareDatetime | None = None

    @property
    def timed(self) -> bool:
        return self.op_time__gt is not None or self.op_time__lt is not None

    def common(self, tx: Session) -> list[ColumnElement[bool]]:
        found = paging.between(self.op_time__gt, self.op_time__lt)
        if self.operator:
            found.append(paging.by_operator(tx, self.operator))
        return found


class Operations(Recorded):
    op_type: Text | None = None
    op_detail: Text | None = None

    def narrowed(self, tx: Session, target: str | None) -> list[ColumnElement[bool]]:
        found = self.common(tx)
        if self.op_type:
            found.append(_said("op_type") == self.op_type)
        if target:
            found.append(contains(tx, Audit.target_name, target))
        if self.op_detail:
            found.append(contains(tx, _said("text"), self.op_detail))
        return found


class DnsOperations(Operations):
    op_target: Text | None = None


class HostOperations(Operations):
    hostname: Text | None = None


class ApplicationOperations(Operations):
    app_name: Text | None = None


class Grants(Recorded):
    perm_name: Text | None = None
    action: Literal["enable", "disable"] | None = None
    authorized_target_type: Literal["role", "user"] | None = None
    authorized_target_name: Text | None = None

    def narrowed(self, tx: Session) -> list[ColumnElement[bool]]:
        found = self.common(tx)
        for name in ("action", "authorized_target_type"):
            if value := getattr(self, name):
                found.append(_said(name) == value)
        for name in ("perm_name", "authorized_target_name"):
            if value := getattr(self, name):
                found.append(contains(tx, _said(name), value))
        return found


class ModuleGrants(Grants):
    module_name: Text | None = None


class ResourceGrants(Grants):
    resource_type: Literal["host", "application", "business"] | None = None
    resource_id: int | None = None


def _said(name: str) -> Any:
    """A text inside `detail`, in the words of either database."""
    return col(Audit.detail)[name].as_string()


def _of(row: Audit, name: str) -> Any:
    return row.detail.get(name) if isinstance(row.detail, dict) else None


def _operation(row: Audit) -> Json:
    return {
        "op_type": _of(row, "op_type"),
        "op_detail": _of(row, "text"),
        "op_time": utc_text(row.at),
        "operator": row.actor,
    }


def _grant(row: Audit) -> Json:
    names = ("perm_name", "action", "authorized_target_type", "authorized_target_name")
    return {"operator": row.actor, **{name: _of(row, name) for name in names}, "op_time": utc_text(row.at)}


@read("audit.dns.list", summary="List DNS operation records", permission=VIEW, input=DnsOperations)
async def list_dns(ctx: Context, query: DnsOperations) -> Json:
    def shape(rows: list[Audit]) -> list[Json]:
        return [
            {"id": row.seq, "op_target": _of(row, "op_target") or row.target_name, **_operation(row)} for row in rows
        ]

    return await ctx.database.read(
        lambda tx: paging.page(tx, query, shape, query.narrowed(tx, query.op_target), "dns", timed=query.timed)
    )


@read("audit.hosts.list", summary="List host operation records", permission=VIEW, input=HostOperations)
async def list_hosts(ctx: Context, query: HostOperations) -> Json:
    def shape(rows: list[Audit]) -> list[Json]:
        return [{"id": row.seq, "hostname": row.target_name, **_operation(row)} for row in rows]

    return await ctx.database.read(
        lambda tx: paging.page(tx, query, shape, query.narrowed(tx, query.hostname), "host", timed=query.timed)
    )


@read(
    "audit.applications.list",
    summary="List application operation records",
    permission=VIEW,
    input=ApplicationOperations,
)
async def list_applications(ctx: Context, query: ApplicationOperations) -> Json:
    def shape(rows: list[Audit]) -> list[Json]:
        return [{"id": row.seq, "app_name": row.target_name, **_operation(row)} for row in rows]

    return await ctx.database.read(
        lambda tx: paging.page(tx, query, shape, query.narrowed(tx, query.app_name), "application", timed=query.timed)
    )


@read("audit.module_grants.list", summary="List module permission grant records", permission=VIEW, input=ModuleGrants)
async def list_module_grants(ctx: Context, query: ModuleGrants) -> Json:
    def shape(rows: list[Audit]) -> list[Json]:
        return [{"id": row.seq, "module_name": _of(row, "module_name"), **_grant(row)} for row in rows]

    def work(tx: Session) -> Json:
        where = query.narrowed(tx)
        if query.module_name:
            where.append(col(Audit.target_id) == query.module_name)
        return paging.page(tx, query, shape, where, "module_grant", timed=query.timed)

    return await ctx.database.read(work)


@read(
    "audit.resource_grants.list",
    summary="List resource permission grant records",
    permission=VIEW,
    input=ResourceGrants,
)
async def list_resource_grants(ctx: Context, query: ResourceGrants) -> Json:
    def shape(rows: list[Audit]) -> list[Json]:
        return [
            {
                "id": row.seq,
                "resource_type": row.target_kind,
                "resource": {"id": _of(row, "resource_id"), row.target_kind or "name": row.target_name},
                **_grant(row),
            }
            for row in rows
        ]

    def work(tx: Session) -> Json:
        where = query.narrowed(tx)
        if query.resource_type:
            where.append(col(Audit.target_kind) == query.resource_type)
        if query.resource_id is not None:
            where.append(col(Audit.target_id) == str(query.resource_id))
        return paging.page(tx, query, shape, where, "resource_grant", timed=query.timed)

    return await ctx.database.read(work)
