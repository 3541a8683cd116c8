"""The general record: audit.records.list, everything that happened to one object, and the journal as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StrictInt, StrictStr
from sqlalchemy import ColumnElement, union
from sqlmodel import Session, col, or_, select

from data.models import Audit, Host
from opsconsole.engine import audit
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import RequiredFieldMissing
from opsconsole.engine.pages import Paged, contains
from opsconsole.engine.registry import Input, Json, read, stream
from opsconsole.hosts.fields import Text
from opsconsole.journal import paging
from opsconsole.journal.projections import VIEW

_CHUNK = 500


class Filters(Input):
    """Time bounds are inclusive; `operation` also means everything below it: `hosts` finds `hosts.update`."""

    operator: Text | None = None
    operation: Text | None = None
    target: Text | None = None
    result: Text | None = None
    kind: Text | None = None
    run_id: Text | None = None
    incident_id: Text | None = None
    time__gt: AwareDatetime | None = None
    time__lt: AwareDatetime | None = None

    def where(self, tx: Session) -> list[ColumnElement[bool]]:
        """All of them but `kind`."""
        found = paging.between(self.time__gt, self.time__lt)
        if self.operator:
            found.append(col(Audit.actor) == self.operator)
        if self.operation:
            below = col(Audit.operation).startswith(f"{self.operation}.", autoescape=True)
            found.append(or_(col(Audit.operation) == self.operation, below))
        if self.target:
            found.append(contains(tx, Audit.target_name, self.target))
        for name in ("result", "run_id", "incident_id"):
            value = getattr(self, name)
            if value:
                found.append(getattr(Audit, name) == value)
        return found


class ListRecords(Filters, Paged):
    """`before` pages by key instead: rows with a lower `id`, no count."""

    before: Annotated[int | None, Field(ge=1, lt=2**62)] = None


@read("audit.records.list", summary="List journal records, newest first", permission=VIEW, input=ListRecords)
async def list_records(ctx: Context, query: ListRecords) -> Json:
    def work(tx: Session) -> Json:
        where = query.where(tx)
        if query.before is None:
            timed = query.time__gt is not None or query.time__lt is not None
            return paging.page(tx, query, shape, where, query.kind or None, timed=timed)
        if query.kind:
            where.append(col(Audit.kind) == query.kind)
        return paging.before(tx, query, shape, where, query.before)

    return await ctx.database.read(work)


class History(Paged):
    """An object by its `kind` and its `id` (a text or a number), or its `name` when it has no id any more. For a host,
    what happened to its services and to everything else on it belongs to it, unless `parts` is false."""

    kind: Annotated[Text, Field(min_length=1)]
    id: StrictInt | Annotated[StrictStr, Field(min_length=1, max_length=512)] | None = None
    name: Text | None = None
    parts: bool = True
    before: Annotated[int | None, Field(ge=1, lt=2**62)] = None


@read("audit.history", summary="Show everything that happened to one object", permission=VIEW, input=History)
async def history(ctx: Context, query: History) -> Json:
    if query.id is None and not query.name:
        raise RequiredFieldMissing(field="id")

    def work(tx: Session) -> Json:
        of_kind = col(Audit.target_kind) == query.kind
        if query.id is not None:
            own = of_kind & (col(Audit.target_id) == str(query.id))
        else:
            own = of_kind & (col(Audit.target_name) == query.name)
        names = _names(tx, own, query) if query.kind == "host" and query.parts else []
        where: list[ColumnElement[bool]] = [own]
        if names:
            # Two indexes, joined by their keys: one condition with OR would walk over every line on SQLite.
            both = union(select(Audit.seq).where(own), select(Audit.seq).where(col(Audit.host).in_(names)))
            where = [col(Audit.seq).in_(both)]
        if query.before is not None:
            return paging.before(tx, query, shape, where, query.before)
        return paging.page(tx, query, shape, where)

    return await ctx.database.read(work)


def _names(tx: Session, own: ColumnElement[bool], query: History) -> list[str]:
    """Every name the host has had: what is on it is recorded under the name of its time."""
    known = tx.exec(select(Audit.target_name).where(own).distinct().limit(100)).all()
    now = None
    if str(query.id).isdecimal() and int(str(query.id)) < 2**31:
        now = tx.exec(select(Host.name).where(Host.id == int(str(query.id)))).one_or_none()
    return sorted({name for name in [query.name, now, *known] if name})


class Export(Filters):
    """The same filters as the list; oldest first."""


@stream(
    "audit.export",
    summary="Write the journal as one JSON object per line, oldest first; the export itself is recorded",
    permission="module.audit.export_audit",
    input=Export,
)
async def export(ctx: Context, query: Export) -> AsyncIterator[Json]:
    """Recorded before the first line goes out, so that one which was cut off is on record too."""
    last = await ctx.database.read(lambda tx: audit.head_of(tx)["last_seq"])
    await _record(ctx, query, last)
    after = 0
    while True:
        rows = await ctx.database.read(lambda tx, after=after: _chunk(tx, query, after, last))  # type: ignore[misc]
        for row in rows:
            yield row
        if len(rows) < _CHUNK:
            return
        after = rows[-1]["id"]


def _chunk(tx: Session, query: Export, after: int, last: int) -> list[Json]:
    where = query.where(tx)
    if query.kind:
        where.append(col(Audit.kind) == query.kind)
    wanted = select(Audit).where(*where, col(Audit.seq) > after, col(Audit.seq) <= last).order_by(col(Audit.seq))
    return [one | {"mac": row.mac} for row in tx.exec(wanted.limit(_CHUNK)) for one in shape([row])]


async def _record(ctx: Context, query: Export, last: int) -> None:
    caller = ctx.caller
    entry = audit.Entry(
        operation="audit.export",
        actor=caller.username,
        actor_id=caller.user_id,
        source=caller.source,
        result="done",
        target_kind="journal",
        target_name="the journal",
        detail={
            "filters": query.model_dump(mode="json", exclude_unset=True),
            "up_to": last,
            "via": caller.via,
            "on_behalf": caller.on_behalf,
        },
        incident_id=caller.incident_id,
    )

    def work(tx: Session) -> dict[str, Any]:
        audit.append(tx, ctx.house.audit_key, [entry], at=ctx.now())
        return audit.head_of(tx)

    note_at_home(ctx.house.home, **await ctx.database.write(work))


def shape(rows: list[Audit]) -> list[Json]:
    """Journal records as they are answered."""
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
