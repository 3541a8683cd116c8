"""environments.list | create | update | delete: the rings of machines and their policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, StrictStr
from sqlalchemy import func
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Credential, Environment, Host
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, ObjectInUse, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.fields import Name, Text
from opsconsole.hosts.lookup import LEVELS

Level = Literal["prod", "stage", "dev"]
_FIELDS = ("name", "level", "colour_role", "read_only")


class CreateEnvironment(Input):
    """`colour_role` names a colour of the theme; `read_only` refuses every change on what stands in it."""

    name: Name
    level: Level = "dev"
    colour_role: Text = ""
    read_only: bool = False


class OneEnvironment(Input):
    id: StrictInt | Annotated[StrictStr, Field(min_length=1, max_length=253)]


class UpdateEnvironment(OneEnvironment):
    name: Name | None = None
    level: Level | None = None
    colour_role: Text | None = None
    read_only: bool | None = None


def environment_json(row: Environment, hosts: int) -> Json:
    return {"id": row.id, **{name: getattr(row, name) for name in _FIELDS}, "hosts": hosts}


def _find(tx: Session, ref: int | str) -> Environment:
    rows = tx.exec(select(Environment).order_by(col(Environment.name))).all()
    for row in rows:
        if ref in (row.name, row.id):
            return row
    names = ", ".join(row.name for row in rows)
    raise ObjectNotFound(entity="environment", id=ref, hint=f"; there are: {names}", field="id")


def _count(tx: Session, model: Any, environment_id: int) -> int:
    return int(tx.exec(select(func.count()).where(model.environment_id == environment_id)).one())


@read(
    "environments.list",
    summary="List the environments with the number of their hosts",
    permission="host.view_host",
)
async def list_environments(ctx: Context, query: Input) -> list[Json]:
    def work(tx: Session) -> list[Json]:
        rows = tx.exec(select(Environment).order_by(col(Environment.id))).all()
        return [environment_json(row, _count(tx, Host, row.id)) for row in rows]

    return await ctx.database.read(work)


def _target(row: Environment | None, name: str, before: Json, after: Json) -> Target:
    """Its own read-only switch must not stand in the way of switching it off."""
    return Target(
        kind="environment",
        id=str(row.id) if row is not None else "",
        name=name,
        resource=f"environment:{row.id}" if row is not None else f"environment-name:{name}",
        subject=Subject("environment", name, environment=name),
        before=before,
        after=after,
    )


def _refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(Environment.id).where(Environment.name == name)).first() is not None:
        raise NameNotUnique(entity="environment", name=name, field="name")


@change(
    "environments.create",
    summary="Add an environment",
    permission="module.host.add_host",
    input=CreateEnvironment,
    objects=("environment",),
)
class Create(Change[CreateEnvironment]):
    async def plan(self) -> Plan:
        given = self.input
        await self.ctx.database.read(lambda tx: _refuse_taken(tx, given.name))
        target = _target(None, given.name, {}, given.model_dump())
        summary = f"add the environment {given.name} ({given.level})"
        return record_plan("environments.create", summary, [target], given, undo="environments.delete")

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        _refuse_taken(tx, self.input.name)
        row = Environment(**self.input.model_dump())
        tx.add(row)
        tx.flush()
        announce(tx, "environment", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        return environment_json(row, 0)


@change(
    "environments.update",
    summary="Change an environment: its level, colour, and whether it is read-only",
    permission="module.host.edit_host",
    input=UpdateEnvironment,
    objects=("environment",),
)
class Update(Change[UpdateEnvironment]):
    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        row = _find(tx, given.id)
        wanted = {name: getattr(given, name) for name in _FIELDS if name in given.model_fields_set}
        for name, value in wanted.items():
            if value is None:
                raise InvalidParameter(field=name, reason="cannot be cleared")
        if wanted.get("name", row.name) != row.name:
            if row.name == "default":
                raise StateConflict("the environment default keeps its name: hosts without one belong to it")
            _refuse_taken(tx, wanted["name"])
        before, after = difference({name: getattr(row, name) for name in _FIELDS}, wanted)
        level = max(row.level, str(after.get("level", row.level)), key=LEVELS.__getitem__)
        count = _count(tx, Host, row.id)
        return record_plan(
            "environments.update",
            f"change the environment {row.name} of {count} hosts: {', '.join(after) or 'nothing differs'}",
            [_target(row, row.name, before, after)],
            given,
            undo="environments.update with the values before",
            level=level,
            dependents=[f"{count} hosts"],
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        row = _reload(tx, target)
        refuse_if_changed(f"the environment {row.name}", target.before, {n: getattr(row, n) for n in _FIELDS})
        for name, value in target.after.items():
            setattr(row, name, value)
        tx.add(row)
        tx.flush()
        announce(tx, "environment", row.id, "updated")
        return environment_json(row, _count(tx, Host, row.id))


def _reload(tx: Session, target: Target) -> Environment:
    row = tx.get(Environment, int(target.id))
    if row is None:
        raise ObjectNotFound(entity="environment", id=target.name, hint="; it was deleted in the meantime")
    return row


@change(
    "environments.delete",
    summary="Delete an environment that holds nothing",
    permission="module.host.edit_host",
    input=OneEnvironment,
    danger="high",
    reversible=False,
    objects=("environment",),
)
class Delete(Change[OneEnvironment]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = _find(tx, self.input.id)
            _refuse_used(tx, row)
            target = _target(row, row.name, environment_json(row, 0), {"deleted": True})
            summary = f"delete the environment {row.name}"
            return record_plan(
                "environments.delete", summary, [target], self.input, undo="environments.create", level=row.level
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row = _reload(tx, outcomes[0].target)
        _refuse_used(tx, row)
        tx.delete(row)
        tx.flush()
        announce(tx, "environment", outcomes[0].target.id, "deleted")
        return dict(success())


def _refuse_used(tx: Session, row: Environment) -> None:
    if row.name == "default":
        raise StateConflict("the environment default stays: hosts without one belong to it")
    hosts, credentials = _count(tx, Host, row.id), _count(tx, Credential, row.id)
    if hosts or credentials:
        raise ObjectInUse(entity="environment", name=row.name, users=f"{hosts} hosts and {credentials} credentials")
