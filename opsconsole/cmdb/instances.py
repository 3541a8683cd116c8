"""cmdb.instances.list, add, remove: where an application runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import AppInstance, Application, Host
from opsconsole.cmdb.fields import OneApplication, Ref
from opsconsole.cmdb.lookup import AppFacts, as_id, facts_of, find_application, lock_tree, several
from opsconsole.engine.audit import Entry
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import HostOffline, InstanceBusy, InvalidParameter, ObjectNotFound, StateConflict
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.fields import Ref as HostRef
from opsconsole.hosts.lookup import LEVELS, HostFacts, find_host
from opsconsole.hosts.lookup import facts_of as host_facts_of

EDIT = "app.edit_app"
BUSY = ("restarting", "updating", "reverting")


class ListInstances(Paged, OneApplication):
    pass


class HostItem(Input):
    """`hostname`, when given, must be the name of that host."""

    hostid: Annotated[HostRef, Field(validation_alias=AliasChoices("hostid", "host_id"), description="host id or name")]
    hostname: Annotated[str | None, Field(max_length=253)] = None


class InstanceItem(Input):
    id: Ref


class AddInstances(OneApplication):
    items: Annotated[list[HostItem], Field(min_length=1, max_length=1000)]


class RemoveInstances(OneApplication):
    items: Annotated[list[InstanceItem], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance with what plans and drivers need to know about its application and host. `id` 0 is a new one."""

    id: int
    status: str
    version: str
    application: AppFacts
    host: HostFacts

    @property
    def name(self) -> str:
        return f"{self.application.full_name}@{self.host.name}"

    def subject(self) -> Subject:
        """Rights are those of the application; what freezes the application or the host freezes the instance."""
        host, mine = self.host, self.application
        base = mine.subject()
        held = mine if mine.maintenance_by else host
        return replace(
            base,
            kind="instance",
            name=self.name,
            ids=(("app", mine.id), ("host", host.id)),
            environment=host.environment,
            environment_read_only=host.environment_read_only,
            protected=mine.protected or host.protected,
            maintenance_by=held.maintenance_by,
            maintenance_reason=held.maintenance_reason,
            maintenance_until=held.maintenance_until,
        )

    def target(self, before: Json, after: Json) -> Target:
        mine, host = self.application, self.host
        return Target(
            kind="instance",
            id=str(self.id) if self.id else f"{mine.id}@{host.id}",
            name=mine.full_name,
            resource=f"instance:{mine.id}@{host.id}",
            subject=self.subject(),
            host=host.name,
            before=before,
            after=after,
            journal=("application", str(mine.id), mine.full_name),
        )

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "application_id": self.application.id,
            "application": self.application.full_name,
            "host_id": self.host.id,
            "hostid": self.host.id,
            "hostname": self.host.name,
            "status": self.status,
            "version": self.version,
            "environment": self.host.environment,
            "level": self.host.level,
        }


def instances_of(tx: Session, rows: Sequence[AppInstance]) -> list[Instance]:
    """Loaded rows with their applications and hosts, in order."""
    applications = _by_id(tx, Application, {row.application_id for row in rows})
    hosts = _by_id(tx, Host, {row.host_id for row in rows})
    facts = {fact.id: fact for fact in facts_of(tx, list(applications.values()))}
    machines = {fact.id: fact for fact in host_facts_of(tx, list(hosts.values()))}
    return [Instance(row.id, row.status, row.version, facts[row.application_id], machines[row.host_id]) for row in rows]


def _by_id(tx: Session, table: Any, ids: set[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), 500):
        part = select(table).where(table.id.in_(wanted[start : start + 500]))
        found |= {row.id: row for row in tx.exec(part)}
    return found


def find_instances(tx: Session, application: Application, refs: Sequence[Ref]) -> list[AppInstance]:
    """Instances of this application by id or host name; one of another application refuses the whole list."""
    names = [ref for ref in refs if isinstance(ref, str)]
    rows = tx.exec(
        select(AppInstance, Host.name)
        .join(Host, col(Host.id) == col(AppInstance.host_id))
        .where(
            AppInstance.application_id == application.id,
            col(Host.name).in_(names) | col(AppInstance.id).in_([as_id(ref) for ref in refs]),
        )
    ).all()
    by_name, by_id = {name: row for row, name in rows}, {row.id: row for row, _ in rows}
    found: dict[int, AppInstance] = {}
    for ref in refs:
        row = (by_name.get(ref) if isinstance(ref, str) else None) or by_id.get(as_id(ref))
        if row is None:
            hint = f" of {application.full_name}; see: cmdb instances list"
            raise ObjectNotFound(entity="instance", id=ref, hint=hint, field="items")
        found.setdefault(row.id, row)
    return list(found.values())


@read(
    "cmdb.instances.list",
    summary="List the instances of an application",
    permission="app.view_app",
    input=ListInstances,
    objects=("application",),
)
async def list_instances(ctx: Context, query: ListInstances) -> Json:
    def work(tx: Session) -> Json:
        row = find_application(tx, ctx.caller, query.id)
        where = [col(AppInstance.application_id) == row.id]
        return page_of(
            tx,
            AppInstance,
            where,
            [col(AppInstance.id)],
            query,
            lambda rows: [one.as_json() for one in instances_of(tx, rows)],
        )

    return await ctx.database.read(work)


class _Instances(Change[Any]):
    audit_kind = "application"
    host_op_type = ""

    def audit_entries(self, outcomes: list[Outcome]) -> list[Entry]:
        """The same in the history of each host."""
        return [
            Entry(
                operation=self.operation,
                actor=self.ctx.caller.username,
                result="done",
                kind="host",
                target_kind="host",
                target_id=str(outcome.target.subject.id_of("host")),
                target_name=outcome.target.host,
                environment=outcome.target.subject.environment,
                detail={"op_type": self.host_op_type, "application": outcome.target.name},
                before=dict(outcome.target.before),
                after=outcome.after,
            )
            for outcome in outcomes
            if outcome.state == "done"
        ]

    operation = ""

    def plan_of(self, summary: str, targets: Sequence[Target], instances: Sequence[Instance], undo: str) -> Plan:
        level = max((one.host.level for one in instances), key=LEVELS.__getitem__, default="dev")
        return record_plan(self.operation, summary, targets, self.input, undo=undo, level=level)


@change(
    "cmdb.instances.add",
    summary="Add instances of an application on hosts",
    permission=EDIT,
    input=AddInstances,
    objects=("application",),
    bulk=True,
)
class Add(_Instances):
    operation, op_type, host_op_type = "cmdb.instances.add", "attach_host", "attach_app"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            new = self._new(tx)
            after = {"status": "stopped", "version": ""}
            return self.plan_of(
                f"add {several(len(new), 'instance')} of {new[0].application.full_name}",
                [one.target({}, {**after, "host_status": "attached"}) for one in new],
                new,
                "cmdb.instances.remove",
            )

        return await self.ctx.database.read(work)

    def _new(self, tx: Session) -> list[Instance]:
        row = find_application(tx, self.ctx.caller, self.input.id, permission=EDIT)
        application = facts_of(tx, [row])[0]
        hosts: dict[int, Host] = {}
        for item in self.input.items:
            host = find_host(tx, self.ctx.caller, item.hostid)
            if item.hostname is not None and item.hostname != host.name:
                raise InvalidParameter(field="hostname", reason=f"the host {item.hostid} is {host.name}")
            refuse_offline(host)
            hosts[host.id] = host
        have = select(AppInstance.host_id).where(
            AppInstance.application_id == row.id, col(AppInstance.host_id).in_(hosts)
        )
        there = [hosts[key].name for key in tx.exec(have)]
        if there:
            raise StateConflict(f"{row.full_name} has an instance already on {', '.join(sorted(there)[:5])}")
        return [Instance(0, "stopped", "", application, fact) for fact in host_facts_of(tx, list(hosts.values()))]

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        by_host = {one.host.id: one for one in self._new(tx)}
        made: list[Instance] = []
        for outcome in outcomes:
            planned = by_host[outcome.target.subject.id_of("host") or 0]
            row = AppInstance(application_id=planned.application.id, host_id=planned.host.id)
            tx.add(row)
            host = tx.get(Host, planned.host.id)
            if host is not None and host.status != "attached":
                host.status, host.updated_at = "attached", self.ctx.now()
                tx.add(host)
                announce(tx, "host", host.id, "updated")
            tx.flush()
            made.append(replace(planned, id=row.id))
            outcome.target = replace(outcome.target, id=str(row.id))
            announce(tx, "instance", row.id, "created")
        announce(tx, "application", made[0].application.id, "updated")
        return [one.as_json() for one in made]


def refuse_offline(host: Host) -> None:
    if host.status == "offline":
        raise HostOffline(host=host.name, field="items")


@change(
    "cmdb.instances.remove",
    summary="Remove instances of an application",
    permission=EDIT,
    input=RemoveInstances,
    danger="high",
    objects=("application",),
    bulk=True,
)
class Remove(_Instances):
    operation, op_type, host_op_type = "cmdb.instances.remove", "detach_host", "detach_app"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_application(tx, self.ctx.caller, self.input.id, permission=EDIT)
            found = instances_of(tx, find_instances(tx, row, [item.id for item in self.input.items]))
            refuse_not_stopped(found)
            return self.plan_of(
                f"remove {several(len(found), 'instance')} of {row.full_name} from the records, nothing on a host",
                [one.target(_state(one), {"removed": True}) for one in found],
                found,
                "cmdb.instances.add; the version is not kept",
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        for outcome in outcomes:
            target = outcome.target
            row = tx.get(AppInstance, int(target.id))
            if row is None:
                raise ObjectNotFound(entity="instance", id=target.id, hint="; it was removed already", field="items")
            refuse_if_changed(f"the instance on {target.host}", target.before, {n: getattr(row, n) for n in _STATE})
            host_id = row.host_id
            tx.delete(row)
            tx.flush()
            _free(tx, host_id)
            announce(tx, "instance", target.id, "deleted")
        announce(tx, "application", outcomes[0].target.subject.id_of("app") or 0, "updated")
        return success()


_STATE = ("status", "version")


def _state(one: Instance) -> Json:
    return {name: getattr(one, name) for name in _STATE}


def _free(tx: Session, host_id: int) -> None:
    """A host that has lost its last instance is only initialised again."""
    host = tx.get(Host, host_id)
    left = tx.exec(select(AppInstance.id).where(AppInstance.host_id == host_id).limit(1)).first()
    if host is not None and left is None and host.status == "attached":
        host.status = "inited"
        tx.add(host)
        tx.flush()
        announce(tx, "host", host_id, "updated")


def refuse_not_stopped(found: Sequence[Instance]) -> None:
    """An instance that runs or is being worked on is not removed, and neither is any other of the list."""
    for one in found:
        if one.status in BUSY:
            raise InstanceBusy(
                application=one.application.full_name, host=one.host.name, state=one.status, field="items"
            )
        if one.status != "stopped":
            raise StateConflict(
                f"{one.application.full_name} on {one.host.name} is {one.status}; stop it first; nothing was removed"
            )
