"""cmdb.instances.start, stop, restart: the application's own commands as its own user, proven by pid file and process.

What the command says does not count: an instance runs when the process its pid file names lives and is its user's.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import AppInstance
from drivers import process
from drivers.detached import JobSpec
from drivers.process import Seen
from drivers.runner import Runner
from opsconsole.cmdb.fields import OneApplication, Ref
from opsconsole.cmdb.instances import BUSY, InstanceItem, find_instances, instances_of
from opsconsole.cmdb.lookup import find_application, several
from opsconsole.engine.errors import (
    EmptyList,
    HostOffline,
    InstanceBusy,
    NotSupported,
    OutcomeUnknown,
    StateConflict,
    StepFailed,
    StepTimedOut,
)
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import REGISTRY, Change, Json, Outcome, change
from opsconsole.hosts.lookup import LEVELS

RESTART = "app.restart_app"
_ENDS_WITHIN, _LIVES_FOR = 20.0, 2.0


class OnInstances(OneApplication):
    """One instance by `instance_id` (or the name of its host), or several as `items`."""

    instance_id: Annotated[Ref | None, Field(description="id of the instance, or the name of its host")] = None
    items: Annotated[list[InstanceItem], Field(max_length=1000)] = []
    timeout: Annotated[float, Field(gt=0, le=86_400, description="seconds each command may take")] = 120.0

    def refs(self) -> list[Ref]:
        """The instances that are meant."""
        given = [item.id for item in self.items]
        return [self.instance_id, *given] if self.instance_id is not None else given


class _Action(Change[OnInstances]):
    """Commands that were begun are attached to by whoever comes next; a look says whether they are needed at all."""

    resumes = True
    concurrency = 20
    audit_kind = "application"
    op_type = "update"
    operation: ClassVar[str]
    verb: ClassVar[str]
    wanted: ClassVar[str]
    undo: ClassVar[str | None]
    commands: ClassVar[tuple[str, ...]]

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        if not given.refs():
            raise EmptyList(field="instance_id")
        row = find_application(tx, self.ctx.caller, given.id, permission=RESTART)
        found = instances_of(tx, find_instances(tx, row, given.refs()))
        for field in (*self.commands, "pid_path"):
            if not getattr(row, field):
                raise StateConflict(f"{row.full_name} has no {field}; set it with cmdb.applications.update")
        for one in found:
            if one.host.status == "offline":
                raise HostOffline(host=one.host.name, field="instance_id")
            # Our own task may have set the state before it was taken over.
            if one.status in BUSY and (self.ctx.task is None or one.status != "restarting"):
                raise InstanceBusy(application=row.full_name, host=one.host.name, state=one.status, field="instance_id")
        work = {name: getattr(row, name) for name in ("startup_cmd", "stop_cmd", "pid_path", "run_user", "directory")}
        targets = []
        for one in found:
            target = one.target({}, {"status": self.wanted})
            targets.append(_with_work(target, {**work, "host": one.host, "was": one.status}))
        declared = REGISTRY[self.operation]
        commands = [f"{name.replace('_', ' ')}: {work[name]}" for name in self.commands]
        where = f" as {row.run_user}" if row.run_user else ""
        return Plan(
            operation=self.operation,
            summary=f"{self.verb} {several(len(found), 'instance')} of {row.full_name}{where}",
            targets=tuple(targets),
            verification="the process that the pid file names is looked at on the host",
            undo=self.undo,
            reversible=declared.reversible,
            danger=declared.danger,
            level=max((one.host.level for one in found), key=LEVELS.__getitem__, default="dev"),
            warnings=tuple(commands),
            input=given.model_dump(mode="json", exclude_unset=True),
            material={name: work[name] for name in (*self.commands, "run_user", "directory", "pid_path")},
        )

    async def execute(self, target: Target) -> Json | None:
        task = self.ctx.task
        if task is None:
            raise NotSupported(what=self.operation, reason="it runs as a task only")
        runner = await self.ctx.house.fleet.runner(target.work["host"], retry=True)
        before = await process.look(runner, target.work["pid_path"])
        await self._mark(target, self.during)
        try:
            await self._act(target, runner, before)
        except BaseException:
            await self._settle(target, runner)
            raise
        return {"before": before.pid}

    during: ClassVar[str | None] = None

    async def _act(self, target: Target, runner: Runner, before: Seen) -> None:
        raise NotImplementedError

    async def _command(self, target: Target, runner: Runner, step: int, name: str) -> None:
        task = self.ctx.task
        if task is None:
            return
        work = target.work
        await task.progress(target, step, len(self.commands), name.replace("_", " "))
        script = f"{work[name]}\n".encode()
        spec = JobSpec("", script, run_as=work["run_user"], cwd=work["directory"], timeout=self.input.timeout)
        ended = await task.detached(target, runner, step, spec)
        if ended.timed_out:
            raise StepTimedOut(host=runner.name, step=step, seconds=f"{self.input.timeout:g}", said=work[name][:80])
        if ended.exit_status != 0:
            how = f"signal {ended.signal}" if ended.signal else f"exit status {ended.exit_status}"
            raise StepFailed(host=runner.name, step=step, how=how, said=work[name][:80])

    async def stopped(self, target: Target, runner: Runner) -> None:
        """Wait until the process is gone."""
        until = time.monotonic() + _ENDS_WITHIN
        while (seen := await process.look(runner, target.work["pid_path"])).alive:
            if time.monotonic() > until:
                raise StateConflict(
                    f"{target.name} on {runner.name}: process {seen.pid} still lives {_ENDS_WITHIN:g} s after its stop "
                    f"command; look at it there"
                )
            await asyncio.sleep(0.5)

    async def started(self, target: Target, runner: Runner) -> Seen:
        """The process, after it has lived for a while and is the user's."""
        until = time.monotonic() + _ENDS_WITHIN
        while not (seen := await process.look(runner, target.work["pid_path"])).alive:
            if time.monotonic() > until:
                raise StateConflict(f"{target.name} on {runner.name} did not come up: {_why(seen, target)}")
            await asyncio.sleep(0.5)
        await asyncio.sleep(_LIVES_FOR)
        again = await process.look(runner, target.work["pid_path"])
        if not again.alive or again.pid != seen.pid:
            raise StateConflict(f"{target.name} on {runner.name} did not stay up: {_why(again, target)}")
        user = target.work["run_user"]
        if not again.belongs_to(user):
            raise OutcomeUnknown(
                reason=f"process {again.pid} belongs to {again.processes[0].user} and not to {user}",
                check=f"{target.work['pid_path']} on {runner.name}",
            )
        return again

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        runner = await self.ctx.house.fleet.runner(target.work["host"], retry=True)
        if self.wanted == "stopped":
            await self.stopped(target, runner)
            return {"status": "stopped", "pid": None}
        seen = await self.started(target, runner)
        return {"status": "running", "pid": seen.pid}

    async def _mark(self, target: Target, status: str | None) -> None:
        if status is not None:
            await self.ctx.database.write(lambda tx: set_status(tx, int(target.id), status))

    async def _settle(self, target: Target, runner: Runner) -> None:
        """After a failure: what the host says now; where it cannot be asked, what was known before."""
        if self.during is None:
            return
        status = target.work["was"] if target.work["was"] not in BUSY else "stopped"
        try:
            status = "running" if (await process.look(runner, target.work["pid_path"])).alive else "stopped"
        finally:
            await self._mark(target, status)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        for outcome in outcomes:
            if outcome.state == "done" and outcome.after:
                set_status(tx, int(outcome.target.id), outcome.after["status"])
        return {}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        kept = {key: value for key, value in given.items() if key not in {"instance_id", "items"}}
        return {**kept, "items": [{"id": int(str(target["id"]))} for target in targets]}


def _with_work(target: Target, work: Json) -> Target:
    return replace(target, work=work, before={"status": work["was"]} if work["was"] not in BUSY else {})


def _why(seen: Seen, target: Target) -> str:
    path = target.work["pid_path"]
    if seen.odd:
        return f"{path} holds {seen.odd!r}"
    return f"there is no process {seen.pid}" if seen.pid is not None else f"there is no pid file {path}"


def set_status(tx: Session, instance: int, status: str) -> None:
    """Write the state of an instance and say so."""
    row = tx.exec(select(AppInstance).where(col(AppInstance.id) == instance)).one_or_none()
    if row is not None and row.status != status:
        row.status = status
        tx.add(row)
        tx.flush()
        announce(tx, "instance", instance, "updated")


@change(
    "cmdb.instances.start",
    summary="Start an instance with the startup command of its application",
    permission=RESTART,
    input=OnInstances,
    kind="task",
    objects=("instance",),
    bulk=True,
)
class Start(_Action):
    operation, verb, wanted, undo = "cmdb.instances.start", "start", "running", "cmdb.instances.stop"
    commands = ("startup_cmd",)

    async def _act(self, target: Target, runner: Runner, before: Seen) -> None:
        if not before.alive:
            await self._command(target, runner, 1, "startup_cmd")


@change(
    "cmdb.instances.stop",
    summary="Stop an instance with the stop command of its application",
    permission=RESTART,
    input=OnInstances,
    kind="task",
    danger="high",
    objects=("instance",),
    bulk=True,
)
class Stop(_Action):
    operation, verb, wanted, undo = "cmdb.instances.stop", "stop", "stopped", "cmdb.instances.start"
    commands = ("stop_cmd",)

    async def _act(self, target: Target, runner: Runner, before: Seen) -> None:
        if before.alive:
            await self._command(target, runner, 1, "stop_cmd")


@change(
    "cmdb.instances.restart",
    summary="Restart an instance",
    permission=RESTART,
    input=OnInstances,
    kind="task",
    danger="high",
    objects=("instance",),
    bulk=True,
)
class Restart(_Action):
    operation, verb, wanted, undo = "cmdb.instances.restart", "restart", "running", None
    commands = ("stop_cmd", "startup_cmd")
    during = "restarting"

    async def _act(self, target: Target, runner: Runner, before: Seen) -> None:
        if before.alive:
            await self._command(target, runner, 1, "stop_cmd")
            await self.stopped(target, runner)
        await self._command(target, runner, 2, "startup_cmd")
