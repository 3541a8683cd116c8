"""hosts.export: the records of hosts as CSV for a spreadsheet, or as JSON."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

from sqlmodel import Session, col, select

from data.models import Host
from opsconsole.engine.canonical import dumps
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json, read
from opsconsole.engine.visible import visible
from opsconsole.hosts.fields import hosts_json
from opsconsole.hosts.reads import ListHosts, filters

COLUMNS = (
    "id", "name", "host_type", "status", "os_status", "os_type", "cpu", "memory", "location", "address", "environment",
    "level", "tags", "ssh_user", "ssh_port", "protected", "description", "created_at", "updated_at",
)  # fmt: skip
MOST = 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Export(ListHosts):
    """The filters of hosts.list; all that match are exported, whatever page is asked for."""

    format: Literal["csv", "json"] = "csv"


@read(
    "hosts.export",
    summary="Export hosts as CSV or JSON, with the filters of hosts.list",
    permission="host.view_host",
    input=Export,
    objects=("host",),
)
async def export_hosts(ctx: Context, query: Export) -> Json:
    """`content` is the text of the file, `count` how many hosts are in it. In CSV a cell a spreadsheet would take for a
    formula begins with an apostrophe."""

    def work(tx: Session) -> list[Json]:
        where = [visible(ctx.caller, "host.view_host"), *filters(tx, query)]
        rows = tx.exec(select(Host).where(*where).order_by(col(Host.name)).limit(MOST)).all()
        found: list[Json] = []
        for start in range(0, len(rows), 1000):
            part = hosts_json(tx, rows[start : start + 1000], ctx.caller, ctx.now())
            found += [{name: one[name] for name in COLUMNS} for one in part]
        return found

    found = await ctx.database.read(work)
    content = dumps(found) + "\n" if query.format == "json" else _csv(found)
    return {"format": query.format, "count": len(found), "content": content}


def _csv(rows: list[Json]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    """No formula: what a spreadsheet would compute stays text."""
    if value is None:
        return ""
    text = " ".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if isinstance(value, (str, list)) and text.startswith(_FORMULA) else text
