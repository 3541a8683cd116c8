"""hosts.create, hosts.update, hosts.delete: our own records, nothing on the machine itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, delete, select

from data.feed import announce
from data.models import AppInstance, Application, Environment, Host, HostGrant, HostTag, VpnServer, utc_now
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import (
    FieldImmutable,
    InvalidParameter,
    NameNotUnique,
    ObjectInUse,
    ObjectNotFound,
    RequiredFieldMissing,
    StateConflict,
)
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.fields import HostFields, Name, Ref, Type, hosts_json
from opsconsole.hosts.lookup import LEVELS, HostFacts, facts_of, find_host, highest_level, tags_of

_COLUMNS = ("name", "cpu", "memory", "os_type", "location", "description", "address", "ssh_port", "ssh_user", "become")


class CreateHost(HostFields):
    name: Name
    host_type: Type


class UpdateHost(HostFields):
    """`version` is that of the host one looked at: when given, a newer one is a conflict."""

    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "host"))]
    name: Name | None = None
    version: int | None = None


def find_environment(tx: Session, name: str, field: str = "environment") -> Environment:
    """The environment of this name; ObjectNotFound lists those there are."""
    rows = tx.exec(select(Environment).order_by(col(Environment.name))).all()
    for row in rows:
        if row.name == name:
            return row
    raise ObjectNotFound(
        entity="environment", id=name, hint=f"; there are: {', '.join(row.name for row in rows)}", field=field
    )


def snapshot(host: Host, facts: HostFacts) -> Json:
    """The fields a change may touch, as plans show them."""
    return {name: getattr(host, name) for name in _COLUMNS} | {
        "environment": facts.environment,
        "tags": list(facts.tags),
    }


def set_tags(tx: Session, host_id: int, tags: Sequence[str]) -> None:
    """Replace the tags of a host."""
    tx.exec(delete(HostTag).where(col(HostTag.host_id) == host_id))
    tx.add_all([HostTag(host_id=host_id, tag=tag) for tag in sorted(set(tags))])


def refuse_taken_name(tx: Session, name: str) -> None:
    if tx.exec(select(Host.id).where(Host.name == name)).first() is not None:
        raise NameNotUnique(entity="host", name=name, field="name")


@change(
    "hosts.create",
    summary="Add a host",
    permission="module.host.add_host",
    input=CreateHost,
    objects=("host",),
)
class Create(Change[CreateHost]):
    audit_kind = "host"
    op_type = "add"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Environment:
            refuse_taken_name(tx, self.input.name)
            return find_environment(tx, self._environment())

        environment = await self.ctx.database.read(work)
        after = {"name": self.input.name, "host_type": self.input.host_type, **self.input.columns()}
        after |= {"environment": environment.name, "tags": sorted(set(self.input.tags))}
        target = Target(
            kind="host",
            id="",
            name=self.input.name,
            resource=f"host-name:{self.input.name}",
            subject=Subject(
                "host",
                self.input.name,
                environment=environment.name,
                environment_read_only=environment.read_only,
            ),
            after=after,
        )
        return record_plan(
            "hosts.create",
            f"add the host {self.input.name}",
            [target],
            self.input,
            undo="hosts.delete",
            level=environment.level,
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        refuse_taken_name(tx, self.input.name)
        environment = find_environment(tx, self._environment())
        host = Host(
            name=self.input.name,
            host_type=self.input.host_type,
            environment_id=environment.id,
            **self.input.columns(),
        )
        tx.add(host)
        tx.flush()
        set_tags(tx, host.id, self.input.tags)
        announce(tx, "host", host.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(host.id))
        tx.flush()
        return hosts_json(tx, [host], self.ctx.caller, self.ctx.now())[0]

    def _environment(self) -> str:
        return self.input.environment or self.ctx.house.settings.default_environment


@change(
    "hosts.update",
    summary="Change a host",
    permission="host.edit_host",
    input=UpdateHost,
    objects=("host",),
    key="e",
)
class Update(Change[UpdateHost]):
    audit_kind = "host"
    op_type = "update"

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        host = find_host(tx, self.ctx.caller, given.id, permission="host.edit_host")
        facts = facts_of(tx, [host])[0]
        if given.version is not None and given.version != host.version:
            raise StateConflict(
                f"{host.name} was changed since you looked: it has version {host.version} now, you saw {given.version}"
            )
        wanted = self._wanted(tx, host)
        before, after = difference(snapshot(host, facts), wanted)
        level = facts.level
        if "environment" in after:
            level = max(level, find_environment(tx, after["environment"]).level, key=LEVELS.__getitem__)
        target = host_target(facts, before, after)
        return record_plan(
            "hosts.update",
            f"change the host {host.name}: {', '.join(after) or 'nothing differs'}",
            [target],
            given,
            undo="hosts.update with the values before",
            level=level,
        )

    def _wanted(self, tx: Session, host: Host) -> Json:
        given = self.input
        wanted = given.columns()
        if "become" in wanted and wanted["become"] is None:
            raise InvalidParameter(field="become", reason="true or false")
        if "name" in given.model_fields_set:
            wanted["name"] = self._new_name(tx, host)
        if "environment" in given.model_fields_set:
            name = given.environment or self.ctx.house.settings.default_environment
            wanted["environment"] = find_environment(tx, name).name
        if "tags" in given.model_fields_set:
            wanted["tags"] = sorted(set(given.tags))
        return wanted

    def _new_name(self, tx: Session, host: Host) -> str:
        name = self.input.name
        if name is None:
            raise InvalidParameter(field="name", reason="a host must have one")
        if name != host.name:
            if host.local:
                raise FieldImmutable("name: the host local cannot be renamed", field="name")
            refuse_taken_name(tx, name)
        return name

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        host = reload(tx, target)
        facts = facts_of(tx, [host])[0]
        refuse_if_changed(f"the host {host.name}", target.before, snapshot(host, facts))
        apply_fields(tx, host, dict(target.after))
        return hosts_json(tx, [host], self.ctx.caller, self.ctx.now())[0]


def host_target(
    facts: HostFacts, before: Json | None = None, after: Json | None = None, warnings: Sequence[str] = ()
) -> Target:
    """A host as the target of a change of its record."""
    return Target(
        kind="host",
        id=str(facts.id),
        name=facts.name,
        resource=facts.resource,
        subject=facts.subject(),
        host=facts.name,
        before=before or {},
        after=after or {},
        warnings=tuple(warnings),
    )


def reload(tx: Session, target: Target) -> Host:
    """The row of a planned host inside the recording transaction."""
    host = tx.get(Host, int(target.id))
    if host is None:
        raise ObjectNotFound(entity="host", id=target.name, hint="; it was deleted in the meantime", field="id")
    return host


def apply_fields(tx: Session, host: Host, fields: Json) -> None:
    """Write planned fields to a loaded row and say so; nothing when there are none."""
    if not fields:
        return
    environment_id = find_environment(tx, fields["environment"]).id if "environment" in fields else host.environment_id
    if "tags" in fields:
        set_tags(tx, host.id, fields["tags"])
    host.environment_id = environment_id
    for name in _COLUMNS:
        if name in fields:
            setattr(host, name, fields[name])
    host.updated_at = utc_now()
    tx.add(host)
    tx.flush()
    announce(tx, "host", host.id, "updated")


class DeleteHosts(Input):
    """One host by `id` (or its name), or several as `hosts`, in one plan and one transaction."""

    id: Annotated[Ref | None, Field(validation_alias=AliasChoices("id", "host"))] = None
    hosts: Annotated[
        list[Ref] | None, Field(min_length=1, max_length=1000, validation_alias=AliasChoices("hosts", "items"))
    ] = None

    def refs(self) -> list[Ref]:
        """Those meant; RequiredFieldMissing for neither, InvalidParameter for both."""
        if self.hosts is None:
            if self.id is None:
                raise RequiredFieldMissing(field="id")
            return [self.id]
        if self.id is not None:
            raise InvalidParameter(field="hosts", reason="give either id or hosts")
        return self.hosts


@change(
    "hosts.delete",
    summary="Delete a host",
    permission="host.delete_host",
    input=DeleteHosts,
    danger="high",
    reversible=False,
    objects=("host",),
    bulk=True,
    key="D",
)
class Delete(Change[DeleteHosts]):
    audit_kind = "host"
    op_type = "delete"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            found = [find_host(tx, self.ctx.caller, ref, permission="host.delete_host") for ref in self.input.refs()]
            hosts = list({host.id: host for host in found}.values())
            facts = facts_of(tx, hosts)
            what = f"the host {hosts[0].name}" if len(hosts) == 1 else f"{len(hosts)} hosts"
            machines = "the machine itself is" if len(hosts) == 1 else "the machines themselves are"
            return record_plan(
                "hosts.delete",
                f"delete {what} from the records; {machines} not touched",
                [self._target(tx, host, fact) for host, fact in zip(hosts, facts, strict=True)],
                self.input,
                undo=None,
                level=highest_level(facts),
            )

        return await self.ctx.database.read(work)

    def _target(self, tx: Session, host: Host, facts: HostFacts) -> Target:
        refuse_in_use(tx, host)
        grants = tx.exec(select(HostGrant).where(HostGrant.host_id == host.id)).all()
        warnings = [f"{len(grants)} permissions on it go with it"] if grants else []
        return host_target(facts, _all_fields(tx, host), {"deleted": True}, warnings)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        for outcome in outcomes:
            if outcome.state != "done":
                continue
            host = reload(tx, outcome.target)
            refuse_in_use(tx, host)
            tx.delete(host)
            tx.flush()
            announce(tx, "host", outcome.target.id, "deleted")
        return success()

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return {"hosts": [int(str(target["id"])) for target in targets]}


def _all_fields(tx: Session, host: Host) -> Json:
    return snapshot(host, facts_of(tx, [host])[0]) | {
        "host_type": host.host_type,
        "status": host.status,
        "tags": list(tags_of(tx, [host.id]).get(host.id, ())),
    }


def refuse_in_use(tx: Session, host: Host) -> None:
    """ObjectInUse naming the applications on it; StateConflict for the machine we run on."""
    if host.local:
        raise StateConflict("the host local is this machine itself and cannot be deleted")
    names = tx.exec(
        select(Application.full_name)
        .join(AppInstance, col(AppInstance.application_id) == col(Application.id))
        .where(AppInstance.host_id == host.id)
        .order_by(col(Application.full_name))
    ).all()
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        users = f"instances of {', '.join(names[:5])}{more}"
        raise ObjectInUse(
            entity="host", name=host.name, users=users, targets=[{"kind": "application", "name": n} for n in names]
        )
    servers = tx.exec(select(VpnServer.name).where(VpnServer.host_id == host.id).order_by(col(VpnServer.name))).all()
    if servers:
        targets = [{"kind": "vpn_server", "name": name} for name in servers]
        users = f"the OpenVPN servers {', '.join(servers[:5])}"
        raise ObjectInUse(entity="host", name=host.name, users=users, targets=targets)
