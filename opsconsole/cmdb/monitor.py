"""cmdb.applications.monitor: what the console itself sees of an application's processes, over ssh."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from sqlmodel import Session, col, select

from data.models import AppInstance
from drivers import process
from drivers.errors import DriverError
from opsconsole.cmdb.fields import OneApplication
from opsconsole.cmdb.instances import Instance, instances_of
from opsconsole.cmdb.lookup import facts_of, find_application
from opsconsole.engine import authorise
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.registry import Json, find, read

MONITOR = "app.view_app_monitor"
_AT_ONCE = 20
_MOST = 200


class Monitor(OneApplication):
    """`from` and `to` bound the series; the console keeps no history of its own, so it holds what is seen now."""

    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None


@read(
    "cmdb.applications.monitor",
    summary="Show monitoring data of an application",
    permission=MONITOR,
    input=Monitor,
    objects=("application",),
)
async def monitor(ctx: Context, query: Monitor) -> Json:
    """`series` has one entry per instance and moment: state (running, stopped, unreachable), processes, ports, `cpu` in
    percent of one processor and `memory` in KiB, each the sum over the process and its descendants."""

    def work(tx: Session) -> tuple[str, str | None, list[Instance], Any]:
        row = find_application(tx, ctx.caller, query.id, permission=MONITOR)
        mine = select(AppInstance).where(AppInstance.application_id == row.id).order_by(col(AppInstance.id))
        rows = list(tx.exec(mine.limit(_MOST)).all())
        return row.full_name, row.pid_path, instances_of(tx, rows), facts_of(tx, [row])[0].subject()

    name, pid_path, instances, subject = await ctx.database.read(work)
    await authorise.subjects(ctx, find("cmdb.applications.monitor"), [subject])
    if pid_path is None:
        raise StateConflict(f"{name} has no pid_path, which tells its process; set it with cmdb.applications.update")
    now = ctx.now()
    wanted = (query.from_ is None or query.from_ <= now) and (query.to is None or now <= query.to)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(instance: Instance) -> Json:
        async with gate:
            return await _seen(ctx, instance, pid_path)

    found = await asyncio.gather(*(one(instance) for instance in instances)) if wanted else []
    return {"application": name, "source": "observed", "series": found}


async def _seen(ctx: Context, instance: Instance, pid_path: str) -> Json:
    base: Json = {"instance_id": instance.id, "hostname": instance.host.name, "recorded": instance.status}
    try:
        runner = await ctx.house.fleet.runner(instance.host)
        seen = await process.look(runner, pid_path, ports=True)
    except DriverError as error:
        failed = translate(error).as_json(ctx.house.settings.language)
        return {**base, "at": utc_text(ctx.now()), "state": "unreachable", "error": failed}
    return {
        **base,
        "at": utc_text(ctx.now()),
        "state": "running" if seen.alive else "stopped",
        "error": None,
        "pid": seen.pid,
        "processes": [
            {"pid": one.pid, "user": one.user, "cpu": one.cpu, "memory": one.memory, "command": one.command}
            for one in seen.processes
        ],
        "ports": list(seen.ports),
        "cpu": round(sum(one.cpu for one in seen.processes), 1),
        "memory": sum(one.memory for one in seen.processes),
    }
