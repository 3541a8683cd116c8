"""cmdb.productions.*: product lines and which applications belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import func
from sqlmodel import Session, col, or_, select

from data.feed import announce
from data.models import Application, Production
from data.textsearch import text_match
from opsconsole.cmdb.fields import Items, Line, Ref, Text, applications_json
from opsconsole.cmdb.lookup import (
    as_id,
    facts_of,
    find_applications,
    highest_level,
    lock_tree,
    reload,
    seen_by,
    several,
)
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Needs, Subject, decide
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, ObjectInUse, ObjectNotFound, StateConflict
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.permissions import BUSINESS_FLAGS
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.engine.visible import visible

VIEW, EDIT = "module.business.view_business", "module.business.edit_business"
LineName = Annotated[Line, Field(min_length=1)]
_FIELDS = ("name", "description")


class OneProduction(Input):
    """A product line by id or name."""

    id: Ref


class ListProductions(Paged):
    name: Line | None = None


class ListOfLine(Paged, OneProduction):
    """`name` is a piece of the application's name."""

    name: Line | None = None


class CreateProduction(Input):
    name: LineName
    description: Text | None = None


class UpdateProduction(OneProduction):
    name: LineName | None = None
    description: Text | None = None


class LineItems(OneProduction):
    items: Items


def find_production(tx: Session, caller: Caller, ref: Ref, field: str = "id") -> Production:
    """The product line with this name or id, if the caller may see it."""
    asked = or_(Production.name == str(ref), col(Production.id) == as_id(ref))
    rows = tx.exec(select(Production).where(asked, visible(caller, "business.view"))).all()
    found = next((row for row in rows if row.name == ref), None) or next(iter(rows), None)
    if found is None:
        raise ObjectNotFound(entity="product line", id=ref, hint="; see: cmdb productions list", field=field)
    return found


_NEEDS = tuple(
    (
        flag,
        Needs(
            operation=f"cmdb.productions.{flag}",
            permission=f"business.{flag}",
            kind="read" if flag == "view" else "write",
            danger="high" if flag == "delete" else "low",
            module="business",
        ),
    )
    for flag in BUSINESS_FLAGS
)


def subject_of(row: Production) -> Subject:
    return Subject("production", row.name, ids=(("business", row.id),))


def productions_json(tx: Session, rows: Sequence[Production], ctx: Context) -> list[Json]:
    """The objects of several lines, with the number of their applications."""
    ids = [row.id for row in rows]
    counted = tx.exec(
        select(Application.production_id, func.count())
        .where(col(Application.production_id).in_(ids))
        .group_by(col(Application.production_id))
    )
    counts = dict(counted.all())
    now = ctx.now()
    return [
        {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "application_count": counts.get(row.id, 0),
            "available_actions": {
                flag: decide(ctx.caller, needs, subject_of(row), now=now).allowed for flag, needs in _NEEDS
            },
        }
        for row in rows
    ]


@read(
    "cmdb.productions.list",
    summary="List product lines",
    permission=VIEW,
    input=ListProductions,
    objects=("production",),
)
async def list_productions(ctx: Context, query: ListProductions) -> Json:
    def work(tx: Session) -> Json:
        where = [visible(ctx.caller, "business.view")]
        if query.name:
            where.append(contains(tx, Production.name, query.name))
        return page_of(tx, Production, where, [col(Production.id)], query, lambda rows: productions_json(tx, rows, ctx))

    return await ctx.database.read(work)


@read(
    "cmdb.productions.get",
    summary="Show a product line",
    permission=VIEW,
    input=OneProduction,
    objects=("production",),
)
async def get_production(ctx: Context, query: OneProduction) -> Json:
    return await ctx.database.read(lambda tx: productions_json(tx, [find_production(tx, ctx.caller, query.id)], ctx)[0])


@read(
    "cmdb.productions.applications.list",
    summary="List the applications of a product line",
    permission=VIEW,
    input=ListOfLine,
    objects=("production",),
)
async def list_applications(ctx: Context, query: ListOfLine) -> Json:
    def work(tx: Session) -> Json:
        line = find_production(tx, ctx.caller, query.id)
        where = [col(Application.production_id) == line.id, seen_by(ctx.caller)]
        if query.name:
            where.append(text_match(tx.get_bind().dialect.name, Application, ("name",), query.name))
        return page_of(
            tx,
            Application,
            where,
            [col(Application.id)],
            query,
            lambda rows: applications_json(tx, rows, ctx.caller, ctx.now()),
        )

    return await ctx.database.read(work)


def _refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(Production.id).where(Production.name == name)).first() is not None:
        raise NameNotUnique(entity="product line", name=name, field="name")


def _target(row: Production | None, name: str, before: Json, after: Json) -> Target:
    return Target(
        kind="production",
        id=str(row.id) if row is not None else "",
        name=name,
        resource=f"production:{row.id}" if row is not None else f"production-name:{name}",
        subject=subject_of(row) if row is not None else Subject("production", name),
        before=before,
        after=after,
    )


def _reload(tx: Session, target: Target) -> Production:
    row = tx.get(Production, int(target.id))
    if row is None:
        raise ObjectNotFound(entity="product line", id=target.name, hint="; it was deleted in the meantime", field="id")
    return row


@change(
    "cmdb.productions.create",
    summary="Create a product line",
    permission="module.business.add_business",
    input=CreateProduction,
    objects=("production",),
)
class Create(Change[CreateProduction]):
    async def plan(self) -> Plan:
        given = self.input
        await self.ctx.database.read(lambda tx: _refuse_taken(tx, given.name))
        target = _target(None, given.name, {}, given.model_dump(exclude_none=True))
        summary = f"add the product line {given.name}"
        return record_plan("cmdb.productions.create", summary, [target], given, undo="cmdb.productions.delete")

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        _refuse_taken(tx, self.input.name)
        row = Production(name=self.input.name, description=self.input.description or None)
        tx.add(row)
        tx.flush()
        announce(tx, "production", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        return productions_json(tx, [row], self.ctx)[0]


@change(
    "cmdb.productions.update",
    summary="Change a product line",
    permission=EDIT,
    input=UpdateProduction,
    objects=("production",),
)
class Update(Change[UpdateProduction]):
    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        row = find_production(tx, self.ctx.caller, given.id)
        wanted = {name: getattr(given, name) or None for name in _FIELDS if name in given.model_fields_set}
        if "name" in wanted:
            if wanted["name"] is None:
                raise InvalidParameter(field="name", reason="a product line must have one")
            if wanted["name"] != row.name:
                _refuse_taken(tx, wanted["name"])
        before, after = difference({name: getattr(row, name) for name in _FIELDS}, wanted)
        return record_plan(
            "cmdb.productions.update",
            f"change the product line {row.name}: {', '.join(after) or 'nothing differs'}",
            [_target(row, row.name, before, after)],
            given,
            undo="cmdb.productions.update with the values before",
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        row = _reload(tx, target)
        refuse_if_changed(f"the product line {row.name}", target.before, {n: getattr(row, n) for n in _FIELDS})
        for name, value in target.after.items():
            setattr(row, name, value)
        tx.add(row)
        tx.flush()
        announce(tx, "production", row.id, "updated")
        return productions_json(tx, [row], self.ctx)[0]


@change(
    "cmdb.productions.delete",
    summary="Delete a product line",
    permission="module.business.delete_business",
    input=OneProduction,
    danger="high",
    reversible=False,
    objects=("production",),
)
class Delete(Change[OneProduction]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_production(tx, self.ctx.caller, self.input.id)
            _refuse_in_use(tx, row)
            before = {name: getattr(row, name) for name in _FIELDS}
            summary = f"delete the product line {row.name}"
            target = _target(row, row.name, before, {"deleted": True})
            return record_plan("cmdb.productions.delete", summary, [target], self.input, undo=None)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        row = _reload(tx, outcomes[0].target)
        _refuse_in_use(tx, row)
        tx.delete(row)
        tx.flush()
        announce(tx, "production", outcomes[0].target.id, "deleted")
        return success()


def _refuse_in_use(tx: Session, row: Production) -> None:
    name = col(Application.full_name)
    names = tx.exec(select(name).where(Application.production_id == row.id).order_by(name).limit(6)).all()
    if names:
        more = " and more" if len(names) > 5 else ""
        raise ObjectInUse(entity="product line", name=row.name, users=", ".join(names[:5]) + more)


class _Membership(Change[LineItems]):
    """Applications as targets; what changes is only which line they belong to."""

    audit_kind = "application"
    op_type = "update"
    operation = ""

    def summary(self, line: Production, count: int) -> str:
        raise NotImplementedError

    def line_after(self, line: Production) -> Production | None:
        raise NotImplementedError

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        caller, given = self.ctx.caller, self.input
        line = find_production(tx, caller, given.id)
        rows = find_applications(tx, caller, [item.id for item in given.items])
        self.check(line, rows)
        wanted = self.line_after(line)
        names = _names(tx, rows)
        facts = facts_of(tx, rows)
        targets = [
            fact.target(*difference({"production": names.get(row.production_id or 0)}, _named(wanted)))
            for fact, row in zip(facts, rows, strict=True)
        ]
        return record_plan(
            self.operation,
            self.summary(line, len(rows)),
            targets,
            given,
            undo="adding them to the lines they belong to now",
            level=highest_level(facts),
        )

    def check(self, line: Production, rows: Sequence[Application]) -> None:
        return None

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        line = find_production(tx, self.ctx.caller, self.input.id)
        wanted = self.line_after(line)
        for outcome in outcomes:
            row = reload(tx, outcome.target)
            now = {"production": _names(tx, [row]).get(row.production_id or 0)}
            refuse_if_changed(f"the application {row.full_name}", outcome.target.before, now)
            row.production_id = wanted.id if wanted is not None else None
            tx.add(row)
            announce(tx, "application", row.id, "updated")
        tx.flush()
        return success()


def _named(line: Production | None) -> Json:
    return {"production": line.name if line is not None else None}


def _names(tx: Session, rows: Sequence[Application]) -> dict[int, str]:
    ids = {row.production_id for row in rows if row.production_id is not None}
    return {row.id: row.name for row in tx.exec(select(Production).where(col(Production.id).in_(ids)))}


@change(
    "cmdb.productions.applications.add",
    summary="Add applications to a product line",
    permission=EDIT,
    input=LineItems,
    objects=("production",),
    bulk=True,
)
class AddApplications(_Membership):
    operation = "cmdb.productions.applications.add"

    def summary(self, line: Production, count: int) -> str:
        return f"add {several(count)} to the product line {line.name}; one in another line leaves that"

    def line_after(self, line: Production) -> Production | None:
        return line


@change(
    "cmdb.productions.applications.remove",
    summary="Remove applications from a product line",
    permission=EDIT,
    input=LineItems,
    objects=("production",),
    bulk=True,
)
class RemoveApplications(_Membership):
    operation = "cmdb.productions.applications.remove"

    def summary(self, line: Production, count: int) -> str:
        return f"take {several(count)} out of the product line {line.name}; none is deleted"

    def line_after(self, line: Production) -> Production | None:
        return None

    def check(self, line: Production, rows: Sequence[Application]) -> None:
        foreign = [row.full_name for row in rows if row.production_id != line.id]
        if foreign:
            raise StateConflict(f"not in the product line {line.name}: {', '.join(foreign[:5])}; nothing was changed")
