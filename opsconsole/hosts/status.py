"""hosts.change_status, hosts.deactivate, hosts.applications.list: the life of a host and what runs on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import AppInstance, Application, Host
from opsconsole.cmdb.fields import applications_json
from opsconsole.cmdb.lookup import seen_by
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.errors import HostHasInstances, StateConflict
from opsconsole.engine.pages import Paged, page_of
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Json, Outcome, change, find, read
from opsconsole.hosts.changes import host_target, reload
from opsconsole.hosts.fields import OneHost, Ref
from opsconsole.hosts.lookup import facts_of, find_host

Status = Literal["attached", "inited", "raw", "offline"]


class ListOnHost(Paged):
    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "host"))]


@read(
    "hosts.applications.list",
    summary="List the applications that have instances on a host",
    permission="host.view_host",
    input=ListOnHost,
    objects=("host",),
)
async def list_applications(ctx: Context, query: ListOnHost) -> Json:
    """Those the caller may view."""

    def work(tx: Session) -> Json:
        host = find_host(tx, ctx.caller, query.id)
        there = select(AppInstance.application_id).where(AppInstance.host_id == host.id)
        where = [col(Application.id).in_(there), seen_by(ctx.caller)]
        return page_of(
            tx,
            Application,
            where,
            [col(Application.id)],
            query,
            lambda rows: applications_json(tx, rows, ctx.caller, ctx.now()),
        )

    return await ctx.database.read(work)


class ChangeStatus(OneHost):
    status: Status


class _Status(Change[Any]):
    """A record of ours; written by a worker as the documents have it."""

    resumes = True
    audit_kind = "host"
    op_type = "update"
    operation = ""

    @property
    def wanted(self) -> str:
        raise NotImplementedError

    async def plan(self) -> Plan:
        plan = await self.ctx.database.read(self._plan)
        if self.wanted == "offline":
            await authorise.subjects(self.ctx, find("hosts.deactivate"), [target.subject for target in plan.targets])
        return plan

    def _plan(self, tx: Session) -> Plan:
        permission = find(self.operation).permission
        host = find_host(tx, self.ctx.caller, self.input.id, permission=permission)
        refuse_status(tx, host, self.wanted)
        facts = facts_of(tx, [host])[0]
        return record_plan(
            self.operation,
            f"make the host {host.name} {self.wanted}, it is {host.status}",
            [host_target(facts, {"status": host.status}, {"status": self.wanted})],
            self.input,
            undo="hosts.change_status with the status before",
            level=facts.level,
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        host = reload(tx, target)
        refuse_if_changed(f"the host {host.name}", target.before, {"status": host.status})
        refuse_status(tx, host, self.wanted)
        host.status, host.updated_at = self.wanted, self.ctx.now()
        tx.add(host)
        tx.flush()
        announce(tx, "host", host.id, "updated")
        return success()


def refuse_status(tx: Session, host: Host, status: str) -> None:
    """`attached` needs an instance there, the others need that there is none; the machine we run on stays."""
    names = tx.exec(
        select(Application.full_name)
        .join(AppInstance, col(AppInstance.application_id) == col(Application.id))
        .where(AppInstance.host_id == host.id)
        .order_by(col(Application.full_name))
        .limit(6)
    ).all()
    if status == "attached" and not names:
        raise StateConflict(f"{host.name} cannot become attached: no application has an instance there")
    if status != "attached" and names:
        more = " and more" if len(names) > 5 else ""
        raise HostHasInstances(host=host.name, status=status, applications=", ".join(names[:5]) + more, field="status")
    if status == "offline" and host.local:
        raise StateConflict("the host local is this machine itself and cannot be taken out of service")


@change(
    "hosts.change_status",
    summary="Change the life-cycle status of a host (attached, inited, raw, offline)",
    permission="host.edit_host",
    input=ChangeStatus,
    kind="task",
    danger="high",
    objects=("host",),
)
class ChangeHostStatus(_Status):
    operation = "hosts.change_status"

    @property
    def wanted(self) -> str:
        return str(self.input.status)


@change(
    "hosts.deactivate",
    summary="Take a host out of service (change status to offline)",
    permission="host.deactivate_host",
    input=OneHost,
    kind="task",
    danger="high",
    objects=("host",),
)
class Deactivate(_Status):
    operation = "hosts.deactivate"

    @property
    def wanted(self) -> str:
        return "offline"
