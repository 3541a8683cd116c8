"""leases.list and leases.steal: who is at work on what, and taking it over."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Lease, Run
from opsconsole.engine import authorise, leases
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, read
from opsconsole.hosts.fields import Text
from opsconsole.hosts.lookup import visible_hosts
from opsconsole.journal.runs import sees_all


class ListLeases(Input):
    """One's own leases, those of everybody with the right to view the journal; `resource` finds one by its name."""

    resource: Text | None = None


class Steal(Input):
    resource: Annotated[Text, Field(min_length=1)]


@read(
    "leases.list",
    summary="List what is being worked on now, by whom and for how long",
    permission="self | module.audit.view_audit",
    input=ListLeases,
)
async def list_leases(ctx: Context, query: ListLeases) -> list[Json]:
    now = ctx.now()

    def work(tx: Session) -> list[Json]:
        where = [col(Lease.released).is_(False), col(Lease.expires_at) > now]
        if query.resource:
            where.append(col(Lease.resource) == query.resource)
        elif not sees_all(ctx):
            where.append(col(Lease.actor) == ctx.caller.username)
        return [_json(row, now) for row in tx.exec(select(Lease).where(*where).order_by(col(Lease.resource)))]

    return await ctx.database.read(work)


def _json(row: Lease, now: datetime) -> Json:
    return {
        "resource": row.resource,
        "holder": row.holder,
        "operator": row.actor,
        "purpose": row.purpose,
        "token": row.token,
        "age": round((now - row.acquired_at).total_seconds(), 1),
        "expires_at": utc_text(row.expires_at),
    }


@change(
    "leases.steal",
    summary="Take a lease from its holder, with a reason; he does nothing more to what it stands for",
    permission="self",
    input=Steal,
    kind="action",
    danger="high",
    reversible=False,
    objects=("lease",),
)
class StealLease(Change[Steal]):
    """Everybody may take over his own; another's only who could have begun the same work himself."""

    async def plan(self) -> Plan:
        resource, now = self.input.resource, self.ctx.now()

        def work(tx: Session) -> tuple[Lease, Run | None]:
            row = tx.get(Lease, resource)
            if row is None or row.released or row.expires_at <= now:
                raise ObjectNotFound(entity="lease on", id=resource, hint="; nobody holds it", field="resource")
            return row, tx.get(Run, row.holder)

        row, run = await self.ctx.database.read(work)
        if row.actor != self.ctx.caller.username:
            await self._authorise(row, run)
        shown = _json(row, now)
        target = Target(
            kind="lease",
            id=resource,
            name=resource,
            resource=f"steal:{resource}",
            subject=Subject("lease", resource, owner_id=self.ctx.caller.user_id),
            before={"operator": row.actor, "purpose": row.purpose, "token": row.token},
            after={"operator": None, "token": row.token + 1},
            warnings=(f"{row.actor} has been at work for {shown['age']} s: {row.purpose}",),
        )
        summary = f"take {resource} from {row.actor}"
        return record_plan("leases.steal", summary, [target], self.input, undo=None)

    async def _authorise(self, row: Lease, run: Run | None) -> None:
        """By the rights of the operation that holds it; of what is not known, only an administrator decides."""
        operation = find(run.operation if run is not None else "audit.anchor")
        kind, _, rest = row.resource.partition(":")
        host_id = rest.split(":")[0]
        subject = Subject("lease", row.resource)
        if kind in {"host", "service", "unit"} and host_id.isdigit():
            subject = (await self.ctx.database.read(lambda tx: visible_hosts(tx, self.ctx.caller, [int(host_id)])))[
                0
            ].subject("lease", row.resource)
        await authorise.subjects(self.ctx, operation, [subject])

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now = self.ctx.now()
        row = leases.steal(tx, self.input.resource, now)
        if row is None or row.token != outcomes[0].target.after["token"]:
            raise StateConflict(f"{self.input.resource} has changed hands or is free by now; look again")
        announce(tx, "lease", row.resource, "updated")
        return {"resource": row.resource, "taken_from": outcomes[0].target.before["operator"], "token": row.token}
