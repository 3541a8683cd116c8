"""tasks.sweep: what steps of tasks have left on hosts, looked for and cleared away with a plan.

A step's files stay on its host until they are copied; when host or worker died in between, nobody came back for them.
Whatever belongs to a task that has not ended is left alone, and so is what no task of this database has begun: other
consoles have their jobs on the same hosts, and to end one of those makes its own task wrong.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.models import Task
from drivers import detached
from drivers.detached import Leftover
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import Change, Input, Json, change
from opsconsole.hosts.fields import Ref
from opsconsole.hosts.lookup import HostFacts, highest_level, visible_hosts
from opsconsole.tasks.record import ENDED

_ID = 36
_AT_ONCE = 20
_ALIVE = frozenset({"running", "stray"})


class Sweep(Input):
    """`hosts` to look at; every visible one without it. `foreign` clears away also what no task of this database knows,
    as long as nothing of it is alive: of another console, or of a database that was put back."""

    hosts: Annotated[
        list[Ref] | None, Field(min_length=1, max_length=1000, validation_alias=AliasChoices("hosts", "items"))
    ] = None
    foreign: Annotated[bool, Field(description="also dead jobs of other consoles")] = False


@change(
    "tasks.sweep",
    summary="Clear away what steps of ended tasks have left on hosts",
    permission="host.login_host",
    input=Sweep,
    kind="action",
    danger="high",
    reversible=False,
    objects=("host",),
    bulk=True,
)
class SweepHosts(Change[Sweep]):
    """One target per thing that was found; what still runs is stopped first, and proven to be gone."""

    async def plan(self) -> Plan:
        given, caller = self.input, self.ctx.caller

        def work(tx: Session) -> list[HostFacts]:
            return visible_hosts(tx, caller, given.hosts, permission="host.login_host")

        hosts = await self.ctx.database.read(work)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def look(host: HostFacts) -> list[Leftover]:
            async with gate:
                runner = await self.ctx.house.fleet.runner(host, retry=True)
                return await detached.leftovers(runner)

        found = await asyncio.gather(*(look(host) for host in hosts), return_exceptions=given.hosts is None)
        targets: list[Target] = []
        silent: list[str] = []
        unseen = 0
        for host, jobs in zip(hosts, found, strict=True):
            if isinstance(jobs, BaseException):
                silent.append(f"{host.name} could not be looked at: {jobs}"[:300])
                unseen += 1
                continue
            ended, open_ones = await self._known(jobs)
            left = [job for job in jobs if job.state != "torn" and job.name[:_ID] not in open_ones]
            strange = [job for job in left if job.name[:_ID] not in ended]
            spared = [job for job in strange if not given.foreign or job.state in _ALIVE or job.processes]
            if spared:
                more = "one of them alive" if any(job.state in _ALIVE for job in spared) else "none of them alive"
                silent.append(f"{host.name}: {len(spared)} jobs of other consoles are left alone, {more}")
            targets += [_target(host, job, foreign=job in strange) for job in left if job not in spared]
        if not targets:
            more = f" ({'; '.join(silent)})" if silent else ""
            raise StateConflict(f"nothing of ours was left on {len(hosts) - unseen} hosts{more}")
        running = sum(target.before["state"] in _ALIVE for target in targets)
        return Plan(
            operation="tasks.sweep",
            summary=f"clear away {len(targets)} leftovers of tasks" + (f", {running} of them alive" if running else ""),
            targets=tuple(targets),
            verification="the host has no such job any more",
            undo=None,
            reversible=False,
            danger="high",
            level=highest_level(hosts),
            warnings=tuple(silent),
            input=given.model_dump(mode="json", exclude_unset=True),
        )

    async def _known(self, jobs: list[Leftover]) -> tuple[set[str], set[str]]:
        """Ids of tasks of ours among these names: those that have ended, and those that have not."""
        ids = {job.name[:_ID] for job in jobs}
        query = select(Task.id, Task.state).where(col(Task.id).in_(ids))
        found = await self.ctx.database.read(lambda tx: tx.exec(query).all())
        ended = {task_id for task_id, state in found if state in ENDED}
        return ended, {task_id for task_id, _ in found} - ended

    async def execute(self, target: Target) -> Json | None:
        runner = await self.ctx.house.fleet.runner(target.work["host"], retry=True)
        if target.work["foreign"]:
            # Not begun by us: what has come alive since the plan is not ours to stop.
            await detached.remove(runner, target.name)
            return {}
        if target.before["state"] in _ALIVE:
            await detached.stop(runner, target.name)
        await detached.remove(runner, target.name)
        return {}

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        runner = await self.ctx.house.fleet.runner(target.work["host"], retry=True)
        seen = await detached.look(runner, target.name, limit=0)
        if seen.state != "absent":
            raise StateConflict(f"{target.name} is still there on {target.host}: {seen.state}", state=seen.state)
        return {"state": "absent"}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return {**given, "hosts": list(dict.fromkeys(str(target["host"]) for target in targets))}


def _target(host: HostFacts, job: Leftover, *, foreign: bool) -> Target:
    warnings: tuple[str, ...] = ("no task of this database has begun it",) if foreign else ()
    if job.state in _ALIVE:
        warnings += ("it is still alive and will be stopped",)
    elif job.processes:
        # A service that the step has started, most likely: the step itself has ended.
        warnings += (f"{job.processes} processes that it left in the background go on",)
    return Target(
        kind="job",
        id=f"{host.id}/{job.name}",
        name=job.name,
        host=host.name,
        resource=f"host:{host.id}/job:{job.name}",
        subject=host.subject("job", job.name),
        before={"state": job.state, "processes": job.processes},
        after={"state": "absent"},
        warnings=warnings + ((f"{job.size} bytes of output go with it",) if job.size else ()),
        work={"host": host, "foreign": foreign},
    )
