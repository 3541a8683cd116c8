"""cmdb.applications.create, update, delete: our own records and their places in the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import (
    AppInstance,
    Application,
    ApplicationGrant,
    ApplicationRequirement,
    Host,
    Production,
)
from opsconsole.cmdb import graph, wanted
from opsconsole.cmdb.fields import COLUMNS, ApplicationFields, Name, OneApplication, Ref, full_json
from opsconsole.cmdb.lookup import AppFacts, facts_of, find_application, highest_level, lock_tree, reload
from opsconsole.cmdb.productions import find_production
from opsconsole.engine import authorise
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectInUse, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Json, Outcome, change, find
from opsconsole.hosts.lookup import LEVELS

EDIT = "app.edit_app"


class CreateApplication(ApplicationFields):
    """`production` is the id or name of its product line."""

    name: Name
    production: Ref | None = None


class UpdateApplication(ApplicationFields, OneApplication):
    """`version` is that of the application one looked at: when given, a newer one is a conflict."""

    name: Name | None = None
    version: int | None = None


@change(
    "cmdb.applications.create",
    summary="Create an application",
    permission="module.application.create_app",
    input=CreateApplication,
    objects=("application",),
    key="n",
)
class Create(Change[CreateApplication]):
    audit_kind = "application"
    op_type = "add"

    async def plan(self) -> Plan:
        target, others, level = await self.ctx.database.read(self._target)
        await authorise.subjects(self.ctx, find("cmdb.applications.update"), [one.subject() for one in others])
        return record_plan(
            "cmdb.applications.create",
            f"add the application {target.name}",
            [target],
            self.input,
            undo="cmdb.applications.delete",
            level=level,
        )

    def _draft(self, tx: Session) -> tuple[Application, Application | None, Production | None]:
        """The row as it will be, not part of the session."""
        given, caller = self.input, self.ctx.caller
        parent = None
        if given.parent_app is not None:
            parent = find_application(tx, caller, given.parent_app, field="parent_app")
        full_name = f"{parent.full_name}.{given.name}" if parent is not None else given.name
        graph.refuse_taken(tx, full_name)
        graph.refuse_long(len(full_name.encode()))
        line = find_production(tx, caller, given.production, "production") if given.production is not None else None
        row = Application(
            id=0, name=given.name, full_name=full_name, parent_id=parent.id if parent is not None else None
        )
        for name, value in given.columns().items():
            setattr(row, name, value)
        row.production_id = line.id if line is not None else None
        return row, parent, line

    def _links(self, tx: Session, row: Application) -> wanted.Links:
        given = self.input.model_copy(update={"parent_app": row.parent_id})
        return wanted.look_up(tx, self.ctx.caller, row, given, None)

    def _target(self, tx: Session) -> tuple[Target, list[AppFacts], str]:
        row, parent, line = self._draft(tx)
        links = self._links(tx, row)
        _, _, after = wanted.compare(tx, row, self.input, links, {})
        after = {name: value for name, value in self.input.columns().items() if value is not None} | after
        after |= {"parent_app": parent.full_name} if parent is not None else {}
        after |= {"production": line.name} if line is not None else {}
        others = facts_of(tx, [*links.touched, *([parent] if parent is not None else [])])
        target = Target(
            kind="application",
            id="",
            name=row.full_name,
            resource=f"application-name:{row.full_name}",
            subject=Subject("application", row.full_name),
            after=after,
        )
        return target, others, highest_level(others)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        lock_tree(tx)
        again, _, _ = self._target(tx)
        wanted.refuse_moved(again.name, dict(outcomes[0].target.after), dict(again.after))
        row, _, _ = self._draft(tx)
        fields = {name: getattr(row, name) for name in (*COLUMNS, "full_name", "parent_id", "production_id")}
        made = Application(**fields)
        tx.add(made)
        tx.flush()
        links = self._links(tx, made)
        wanted.write_links(tx, made, links)
        announce(tx, "application", made.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(made.id))
        return full_json(tx, [made], self.ctx.caller, self.ctx.now())[0]


@change(
    "cmdb.applications.update",
    summary="Change fields of an application",
    permission=EDIT,
    input=UpdateApplication,
    objects=("application",),
    key="e",
)
class Update(Change[UpdateApplication]):
    audit_kind = "application"
    op_type = "update"

    async def plan(self) -> Plan:
        target, others, level = await self.ctx.database.read(self._target)
        await authorise.subjects(self.ctx, find("cmdb.applications.update"), [one.subject() for one in others])
        paths = len(target.after.get("full_names", ()))
        return record_plan(
            "cmdb.applications.update",
            f"change the application {target.name}: {', '.join(target.after) or 'nothing differs'}",
            [target],
            self.input,
            undo="cmdb.applications.update with the values before",
            level=level,
            warnings=[f"{paths} full names change"] if paths > 1 else [],
        )

    def _target(self, tx: Session) -> tuple[Target, list[AppFacts], str]:
        given = self.input
        wanted.refuse_cleared_name(given, given.name)
        row = find_application(tx, self.ctx.caller, given.id, permission=EDIT)
        if given.version is not None and given.version != row.version:
            raise StateConflict(
                f"{row.full_name} was changed since you looked: it has version {row.version} now, you saw "
                f"{given.version}"
            )
        links = wanted.look_up(tx, self.ctx.caller, row, given, given.name)
        _, before, after = wanted.compare(tx, row, given, links, given.columns())
        mine, *others = facts_of(tx, [row, *links.touched])
        return mine.target(before, after), others, max(mine.level, highest_level(others), key=LEVELS.__getitem__)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        lock_tree(tx)
        planned, given = outcomes[0].target, self.input
        row = reload(tx, planned)
        links = wanted.look_up(tx, self.ctx.caller, row, given, given.name)
        now, _, after = wanted.compare(tx, row, given, links, given.columns())
        refuse_if_changed(f"the application {planned.name}", planned.before, now)
        wanted.refuse_moved(planned.name, dict(planned.after), after)
        if after:
            wanted.write(tx, row, links, given.columns(), after)
            announce(tx, "application", row.id, "updated")
        return success()


@change(
    "cmdb.applications.delete",
    summary="Delete an application",
    permission="app.delete_app",
    input=OneApplication,
    danger="high",
    reversible=False,
    objects=("application",),
    key="D",
)
class Delete(Change[OneApplication]):
    audit_kind = "application"
    op_type = "delete"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_application(tx, self.ctx.caller, self.input.id, permission="app.delete_app")
            refuse_in_use(tx, row)
            facts = facts_of(tx, [row])[0]
            before: Json = {name: getattr(row, name) for name in ("full_name", *COLUMNS)}
            target = facts.target(before, {"deleted": True}, _going_with_it(tx, row))
            return record_plan(
                "cmdb.applications.delete",
                f"delete the application {row.full_name} from the records; nothing is touched on a host",
                [target],
                self.input,
                undo=None,
                level=facts.level,
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        row = reload(tx, outcomes[0].target)
        refuse_in_use(tx, row)
        tx.delete(row)
        tx.flush()
        announce(tx, "application", outcomes[0].target.id, "deleted")
        return success()


def _going_with_it(tx: Session, row: Application) -> Sequence[str]:
    lines: list[str] = []
    users = graph.required_of(tx, [row.id], reverse=True)
    if users:
        names = tx.exec(
            select(Application.full_name)
            .join(ApplicationRequirement, col(ApplicationRequirement.application_id) == col(Application.id))
            .where(ApplicationRequirement.required_id == row.id)
            .order_by(col(Application.full_name))
            .limit(5)
        ).all()
        more = f" and {len(users) - len(names)} more" if len(users) > len(names) else ""
        lines.append(f"{', '.join(names)}{more} require it; the links go with it")
    grants = select(func.count()).where(ApplicationGrant.application_id == row.id)
    count = tx.exec(grants).one()
    if count:
        lines.append(f"{count} permissions on it go with it")
    return lines


def refuse_in_use(tx: Session, row: Application) -> None:
    """ObjectInUse naming the children, or the hosts of its instances."""
    name, mine = col(Application.full_name), Application.parent_id == row.id
    children = tx.exec(select(name).where(mine).order_by(name).limit(6)).all()
    if children:
        raise ObjectInUse(entity="application", name=row.full_name, users=f"its children {_listed(children)}")
    hosts = tx.exec(
        select(Host.name)
        .join(AppInstance, col(AppInstance.host_id) == col(Host.id))
        .where(AppInstance.application_id == row.id)
        .order_by(col(Host.name))
        .limit(6)
    ).all()
    if hosts:
        raise ObjectInUse(entity="application", name=row.full_name, users=f"its instances on {_listed(hosts)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
