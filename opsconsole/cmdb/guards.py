"""Protection and maintenance of an application: small switches that stand in the way of accidents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, Field
from sqlmodel import Session

from data.feed import announce
from data.models import Application
from opsconsole.cmdb.fields import Line, OneApplication, applications_json
from opsconsole.cmdb.lookup import AppFacts, facts_of, find_application, reload
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.errors import InvalidParameter, StateConflict
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import difference, record_plan, refuse_if_changed
from opsconsole.engine.registry import Change, Json, Outcome, change

EDIT = "app.edit_app"
_GUARDS = ("protected", "maintenance_by", "maintenance_reason", "maintenance_until")


def _state(row: Application) -> Json:
    until = row.maintenance_until
    shown: Json = {name: getattr(row, name) for name in _GUARDS}
    return shown | {"maintenance_until": utc_text(until) if until is not None else None}


class _Guard(Change[Any]):
    """One application, a few columns. Subclasses say what is wanted."""

    operation: ClassVar[str]
    undo: ClassVar[str]
    doing: ClassVar[str]
    audit_kind = "application"
    op_type = "update"

    def columns(self, row: Application) -> Json:
        """The columns to set, by name."""
        raise NotImplementedError

    def adjusted(self, plan: Plan, facts: AppFacts) -> Plan:
        return plan

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_application(tx, self.ctx.caller, self.input.id, permission=EDIT)
            facts = facts_of(tx, [row])[0]
            wanted = Application(name=row.name, full_name=row.full_name, **{n: getattr(row, n) for n in _GUARDS})
            for name, value in self.columns(row).items():
                setattr(wanted, name, value)
            target = facts.target(*difference(_state(row), _state(wanted)))
            summary = f"{self.doing} {row.full_name}"
            plan = record_plan(self.operation, summary, [target], self.input, undo=self.undo, level=facts.level)
            return self.adjusted(plan, facts)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row = reload(tx, outcomes[0].target)
        refuse_if_changed(f"the application {row.full_name}", outcomes[0].target.before, _state(row))
        for name, value in self.columns(row).items():
            setattr(row, name, value)
        row.updated_at = self.ctx.now()
        tx.add(row)
        tx.flush()
        announce(tx, "application", row.id, "updated")
        return applications_json(tx, [row], self.ctx.caller, self.ctx.now())[0]


@change(
    "cmdb.applications.protect",
    summary="Protect an application: dangerous operations on it and its instances are refused",
    permission=EDIT,
    input=OneApplication,
    objects=("application",),
)
class Protect(_Guard):
    operation, undo, doing = "cmdb.applications.protect", "cmdb.applications.unprotect", "protect"

    def columns(self, row: Application) -> Json:
        return {"protected": True}


@change(
    "cmdb.applications.unprotect",
    summary="Take the protection off an application",
    permission=EDIT,
    input=OneApplication,
    objects=("application",),
)
class Unprotect(_Guard):
    operation, undo = "cmdb.applications.unprotect", "cmdb.applications.protect"
    doing = "take the protection off"

    def columns(self, row: Application) -> Json:
        return {"protected": False}


class Begin(OneApplication):
    """`until` with a time zone; without it the maintenance lasts until somebody ends it."""

    reason: Annotated[Line, Field(min_length=1)]
    until: AwareDatetime | None = None


@change(
    "cmdb.applications.maintenance.begin",
    summary="Begin maintenance on an application: nobody else may change anything of it",
    permission=EDIT,
    input=Begin,
    objects=("application",),
)
class BeginMaintenance(_Guard):
    operation, undo = "cmdb.applications.maintenance.begin", "cmdb.applications.maintenance.end"
    doing = "begin maintenance on"

    def columns(self, row: Application) -> Json:
        until = self.input.until
        if until is not None and until <= self.ctx.now():
            raise InvalidParameter(field="until", reason="this moment is past")
        return {
            "maintenance_by": self.ctx.caller.username,
            "maintenance_reason": self.input.reason,
            "maintenance_until": until,
        }


@change(
    "cmdb.applications.maintenance.end",
    summary="End the maintenance of an application, another's after a confirmation",
    permission=EDIT,
    input=OneApplication,
    objects=("application",),
)
class EndMaintenance(_Guard):
    operation, undo = "cmdb.applications.maintenance.end", "cmdb.applications.maintenance.begin"
    doing = "end the maintenance of"

    def columns(self, row: Application) -> Json:
        if row.maintenance_by is None:
            raise StateConflict(f"{row.full_name} is not in maintenance")
        return {"maintenance_by": None, "maintenance_reason": None, "maintenance_until": None}

    def adjusted(self, plan: Plan, facts: AppFacts) -> Plan:
        """Another's maintenance stands in the way of everything but its own end."""
        target = plan.targets[0]
        free = replace(target.subject, maintenance_by=None)
        danger = "low" if facts.maintenance_by == self.ctx.caller.username else "high"
        return replace(plan, targets=(replace(target, subject=free),), danger=danger)
