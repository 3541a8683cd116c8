"""audit.verify, audit.anchor, audit.records.list."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from data.models import Audit
from opsconsole.engine import anchors
from opsconsole.engine.audit import head_of
from opsconsole.engine.audit_verify import Anchor, verify
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import HostAgentCallFailed, StateConflict
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Nothing, Outcome, change, read
from opsconsole.hosts.fields import Text

_VIEW = "module.audit.view_audit"


@read(
    "audit.verify",
    summary="Check that the journal is whole: edited, deleted, inserted, reordered, cut",
    permission=_VIEW,
)
async def verify_journal(ctx: Context, query: Nothing) -> Json:
    """The anchors are read before the table, so that a row written meanwhile is not missed as cut off."""
    places = ctx.house.settings.anchors

    def known() -> list[Anchor]:
        return [*anchors.read_home(ctx.house.home), *(found for place in places for found in anchors.read(place))]

    noted = await asyncio.to_thread(known)
    report = await ctx.database.read(lambda tx: verify(tx, ctx.house.audit_key, noted, set(places)))
    return report.as_json()


@change(
    "audit.anchor",
    summary="Note the newest head of the journal in the configured places off this machine",
    permission="module.audit.export_audit",
    kind="action",
)
class SendAnchor(Change[Nothing]):
    async def plan(self) -> Plan:
        places = self.ctx.house.settings.anchors
        if not places:
            raise StateConflict(
                "no place is configured; set anchors in settings.toml, for example file:/mnt/log/anchor"
            )
        targets = [
            Target("anchor", place, place, f"anchor:{place}", Subject("anchor", place), after={"place": place})
            for place in places
        ]
        return record_plan("audit.anchor", f"note the head in {', '.join(places)}", targets, self.input, undo=None)

    async def execute(self, target: Target) -> Json | None:
        head = await self.ctx.database.read(head_of)
        try:
            await asyncio.to_thread(anchors.send, target.id, head)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or b"").decode("utf-8", "replace").strip()
            raise HostAgentCallFailed(host=target.id, reason=f"git: {reason or error.returncode}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostAgentCallFailed(host=target.id, reason=str(error)) from error
        return head

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        """Read back where that is possible; syslog cannot be asked."""
        head = effect or {}
        if target.id != "syslog":
            noted = await asyncio.to_thread(anchors.read, target.id)
            if not any(anchor.mac == head.get("mac") for anchor in noted):
                raise StateConflict(f"{target.id} does not hold the head that was just written there")
        return {"step": head.get("step"), "last_seq": head.get("last_seq")}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return {"anchored": [{"where": o.target.id, **(o.after or {})} for o in outcomes if o.state == "done"]}


class ListRecords(Paged):
    """`before` pages by key instead: rows with a lower `id`, no count. Time bounds are inclusive."""

    operator: Text | None = None
    operation: Text | None = None
    target: Text | None = None
    result: Text | None = None
    kind: Text | None = None
    run_id: Text | None = None
    incident_id: Text | None = None
    time__gt: AwareDatetime | None = None
    time__lt: AwareDatetime | None = None
    before: Annotated[int | None, Field(ge=1, lt=2**62)] = None


@read("audit.records.list", summary="List journal records, newest first", permission=_VIEW, input=ListRecords)
async def list_records(ctx: Context, query: ListRecords) -> Json:
    def work(tx: Session) -> Json:
        where = _filters(tx, query)
        order: list[Any] = [col(Audit.seq).desc()]
        if query.before is None:
            return page_of(tx, Audit, where, order, query, _shape, key=Audit.__table__.c.seq)  # type: ignore[attr-defined]
        wanted = select(Audit).where(*where, col(Audit.seq) < query.before).order_by(*order).limit(query.page_size + 1)
        rows = list(tx.exec(wanted).all())
        more, rows = len(rows) > query.page_size, rows[: query.page_size]
        return {"prev": None, "next": rows[-1].seq if more else None, "count": None, "results": _shape(rows)}

    return await ctx.database.read(work)


def _filters(tx: Session, query: ListRecords) -> list[ColumnElement[bool]]:
    """`operation` also means everything below it: `hosts` finds `hosts.update`."""
    where: list[ColumnElement[bool]] = []
    if query.operator:
        where.append(col(Audit.actor) == query.operator)
    if query.operation:
        below = col(Audit.operation).startswith(f"{query.operation}.", autoescape=True)
        where.append(or_(col(Audit.operation) == query.operation, below))
    if query.target:
        where.append(contains(tx, Audit.target_name, query.target))
    for name in ("result", "kind", "run_id", "incident_id"):
        value = getattr(query, name)
        if value:
            where.append(getattr(Audit, name) == value)
    if query.time__gt is not None:
        where.append(col(Audit.at) >= query.time__gt)
    if query.time__lt is not None:
        where.append(col(Audit.at) <= query.time__lt)
    return where


def _shape(rows: list[Audit]) -> list[Json]:
    return [
        {
            "id": row.seq,
            "op_time": utc_text(row.at),
            "kind": row.kind,
            "operation_id": row.operation,
            "operator": row.actor,
            "source": row.source,
            "target": {"kind": row.target_kind, "id": row.target_id, "name": row.target_name},
            "environment": row.environment,
            "result": row.result,
            "error": row.error_code,
            "reason": row.reason,
            "op_detail": row.detail,
            "before": row.before,
            "after": row.after,
            "run_id": row.run_id,
            "incident_id": row.incident_id,
            "step": row.step,
        }
        for row in rows
    ]
