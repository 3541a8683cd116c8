"""Protection, maintenance and the credential of a host: small switches that stand in the way of accidents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, AwareDatetime, Field, StrictInt, StrictStr
from sqlmodel import Session, col, or_, select

from data.feed import announce
from data.models import Credential, Host, utc_now
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.errors import InvalidParameter, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import difference, record_plan, refuse_if_changed
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.changes import host_target, reload
from opsconsole.hosts.fields import OneHost, Ref, Text, hosts_json
from opsconsole.hosts.lookup import HostFacts, facts_of, find_host

_GUARDS = ("protected", "maintenance_by", "maintenance_reason", "maintenance_until", "ssh_credential_id")
SSH_KINDS = ("password", "ssh_key")


def _state(host: Host) -> Json:
    until = host.maintenance_until
    return {name: getattr(host, name) for name in _GUARDS} | {
        "maintenance_until": utc_text(until) if until is not None else None
    }


class _Guard(Change[Any]):
    """One host, a few columns. Subclasses say what is wanted."""

    operation: ClassVar[str]
    undo: ClassVar[str]
    audit_kind = "host"
    op_type = "update"

    def summary(self, host: Host) -> str:
        raise NotImplementedError

    def columns(self, tx: Session, host: Host) -> Json:
        """The columns to set, by name."""
        raise NotImplementedError

    def adjusted(self, plan: Plan, facts: HostFacts) -> Plan:
        return plan

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            host = find_host(tx, self.ctx.caller, self.input.id, permission="host.edit_host")
            facts = facts_of(tx, [host])[0]
            wanted = Host(name=host.name, host_type=host.host_type, **{n: getattr(host, n) for n in _GUARDS})
            for name, value in self.columns(tx, host).items():
                setattr(wanted, name, value)
            before, after = difference(_state(host), _state(wanted))
            plan = record_plan(
                self.operation,
                self.summary(host),
                [host_target(facts, before, after)],
                self.input,
                undo=self.undo,
                level=facts.level,
            )
            return self.adjusted(plan, facts)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        host = reload(tx, outcomes[0].target)
        refuse_if_changed(f"the host {host.name}", outcomes[0].target.before, _state(host))
        for name, value in self.columns(tx, host).items():
            setattr(host, name, value)
        host.updated_at = utc_now()
        tx.add(host)
        tx.flush()
        announce(tx, "host", host.id, "updated")
        return hosts_json(tx, [host], self.ctx.caller, self.ctx.now())[0]


@change(
    "hosts.protect",
    summary="Protect a host: dangerous operations on it are refused",
    permission="host.edit_host",
    input=OneHost,
    objects=("host",),
)
class Protect(_Guard):
    operation, undo = "hosts.protect", "hosts.unprotect"

    def summary(self, host: Host) -> str:
        return f"protect the host {host.name}"

    def columns(self, tx: Session, host: Host) -> Json:
        return {"protected": True}


@change(
    "hosts.unprotect",
    summary="Take the protection off a host",
    permission="host.edit_host",
    input=OneHost,
    objects=("host",),
)
class Unprotect(_Guard):
    operation, undo = "hosts.unprotect", "hosts.protect"

    def summary(self, host: Host) -> str:
        return f"take the protection off the host {host.name}"

    def columns(self, tx: Session, host: Host) -> Json:
        return {"protected": False}


class Begin(Input):
    """`until` with a time zone; without it the maintenance lasts until somebody ends it."""

    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "host"))]
    reason: Annotated[Text, Field(min_length=1)]
    until: AwareDatetime | None = None


@change(
    "hosts.maintenance.begin",
    summary="Begin maintenance on a host: nobody else may change anything on it",
    permission="host.edit_host",
    input=Begin,
    objects=("host",),
    key="m",
)
class BeginMaintenance(_Guard):
    operation, undo = "hosts.maintenance.begin", "hosts.maintenance.end"

    def summary(self, host: Host) -> str:
        return f"begin maintenance on {host.name}: {self.input.reason}"

    def columns(self, tx: Session, host: Host) -> Json:
        until = self.input.until
        if until is not None and until <= self.ctx.now():
            raise InvalidParameter(field="until", reason="this moment is past")
        return {
            "maintenance_by": self.ctx.caller.username,
            "maintenance_reason": self.input.reason,
            "maintenance_until": until,
        }


@change(
    "hosts.maintenance.end",
    summary="End the maintenance of a host, another's after a confirmation",
    permission="host.edit_host",
    input=OneHost,
    objects=("host",),
    key="M",
)
class EndMaintenance(_Guard):
    operation, undo = "hosts.maintenance.end", "hosts.maintenance.begin"

    def summary(self, host: Host) -> str:
        return f"end the maintenance of {host.name} by {host.maintenance_by}: {host.maintenance_reason}"

    def columns(self, tx: Session, host: Host) -> Json:
        if host.maintenance_by is None:
            raise StateConflict(f"{host.name} is not in maintenance")
        return {"maintenance_by": None, "maintenance_reason": None, "maintenance_until": None}

    def adjusted(self, plan: Plan, facts: HostFacts) -> Plan:
        """Another's maintenance stands in the way of everything but its own end."""
        target = plan.targets[0]
        free = replace(target.subject, maintenance_by=None)
        danger = "low" if facts.maintenance_by == self.ctx.caller.username else "high"
        return replace(plan, targets=(replace(target, subject=free),), danger=danger)


class SetCredential(Input):
    """`credential` is the name or id of a stored one of kind password or ssh_key; null goes back to ssh_config."""

    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "host"))]
    credential: StrictInt | StrictStr | None


@change(
    "hosts.set_credential",
    summary="Say which stored credential opens a host over ssh",
    permission="host.edit_host",
    input=SetCredential,
    objects=("host",),
)
class ChooseCredential(_Guard):
    operation, undo = "hosts.set_credential", "hosts.set_credential with the one before"

    def summary(self, host: Host) -> str:
        return f"use the credential {self.input.credential or 'of ssh_config'} for {host.name}"

    def columns(self, tx: Session, host: Host) -> Json:
        ref = self.input.credential
        if ref is None or ref == "":
            return {"ssh_credential_id": None}
        row = find_credential(tx, ref)
        if row.kind not in SSH_KINDS:
            raise InvalidParameter(
                field="credential", reason=f"{row.name} is a {row.kind}; ssh takes {' or '.join(SSH_KINDS)}"
            )
        return {"ssh_credential_id": row.id}


def find_credential(tx: Session, ref: int | str) -> Credential:
    """A stored credential by name or id."""
    by_id = ref if isinstance(ref, int) else -1
    row = tx.exec(
        select(Credential).where(or_(col(Credential.name) == str(ref), col(Credential.id) == min(by_id, 2**31 - 1)))
    ).first()
    if row is None:
        raise ObjectNotFound(entity="credential", id=ref, hint="; see: access.credentials.list", field="credential")
    return row
