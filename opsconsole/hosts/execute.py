"""hosts.execute: commands on many hosts, step by step, as a task that outlives everybody who watches it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.models import SERVICES_SEEN, HostObservation, Run, RunTarget
from drivers import detached
from drivers.detached import JobSpec
from drivers.runner import Runner
from opsconsole.engine.canonical import digest
from opsconsole.engine.context import TaskWork
from opsconsole.engine.errors import InvalidParameter, NotSupported, StateConflict, StepFailed, StepTimedOut
from opsconsole.engine.plan import Plan, Target, some
from opsconsole.engine.registry import Change, Input, Json, change
from opsconsole.hosts.fields import LongText, Ref
from opsconsole.hosts.lookup import HostFacts, highest_level, visible_hosts

Command = Annotated[str, Field(min_length=1, max_length=100_000)]
Account = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
_SHOWN = 80
_LOOKED_AT = 20


class Execute(Input):
    """Each step is a script for /bin/sh (or for what its first line `#!…` names); the next begins when it ended with 0.

    `timeout` is seconds per step: then the host itself ends it. `run_as` is another account there.
    """

    hosts: Annotated[list[Ref], Field(min_length=1, max_length=1000, validation_alias=AliasChoices("hosts", "items"))]
    steps: Annotated[list[Command], Field(min_length=1, max_length=100, description="a script each, run in this order")]
    timeout: Annotated[float, Field(gt=0, le=604_800, description="seconds per step")] = 3600.0
    run_as: Annotated[Account | None, Field(description="the account on the host, when not the login")] = None
    cwd: Annotated[str | None, Field(pattern=r"^/[^\x00]*$", max_length=4096)] = None
    description: LongText | None = None


@change(
    "hosts.execute",
    summary="Run commands on hosts, step by step, and keep what they print",
    permission="host.login_host",
    input=Execute,
    kind="task",
    danger="high",
    reversible=False,
    objects=("host",),
    bulk=True,
    key="E",
)
class ExecuteOnHosts(Change[Execute]):
    """One target per host. A step that was begun is attached to by whoever comes next, never begun again."""

    concurrency = 50
    resumes = True

    async def plan(self) -> Plan:
        given, caller = self.input, self.ctx.caller

        def work(tx: Session) -> tuple[list[HostFacts], dict[int, str]]:
            found = visible_hosts(tx, caller, given.hosts, permission="host.login_host")
            return found, _silent(tx, [host.id for host in found])

        hosts, silent = await self.ctx.database.read(work)
        for number, step in enumerate(given.steps):
            if "\0" in step:
                raise InvalidParameter(field=f"steps.{number}", reason="it has a NUL byte")
        count = f"{len(given.steps)} steps" if len(given.steps) > 1 else _first_line(given.steps[0])
        names = [host.name for host in hosts]
        where = f"{', '.join(names)}: {count}" if len(names) <= 3 else f"{len(names)} hosts: {count} ({some(names)})"
        return Plan(
            operation="hosts.execute",
            summary=given.description or f"run on {where}",
            targets=tuple(self._target(host, silent.get(host.id)) for host in hosts),
            verification="the exit status of each step, written down by the host itself",
            undo=None,
            reversible=False,
            danger="high",
            level=highest_level(hosts),
            warnings=tuple(f"step {n}: {_first_line(step)}" for n, step in enumerate(given.steps, start=1)),
            material={"ways": {str(host.id): [host.address, host.ssh_port, host.ssh_user] for host in hosts}},
            input={"steps": given.steps, "timeout": given.timeout, "run_as": given.run_as, "cwd": given.cwd},
        )

    def _target(self, host: HostFacts, silent: str | None) -> Target:
        return Target(
            kind="host",
            id=str(host.id),
            name=host.name,
            host=host.name,
            resource=f"host:{host.id}/execute:{self._same()}",
            subject=host.subject(),
            after={"steps": len(self.input.steps)},
            warnings=(silent,) if silent else (),
            work={"host": host},
        )

    def _same(self) -> str:
        """What must not run twice at once on a host: the same steps. Different ones are no business of each other."""
        return digest({"steps": self.input.steps, "run_as": self.input.run_as})[:16]

    async def execute(self, target: Target) -> Json | None:
        task = self.ctx.task
        if task is None:
            raise NotSupported(what="hosts.execute", reason="it runs as a task only")
        runner = await self.ctx.house.fleet.runner(target.work["host"], retry=True)
        steps, given = self.input.steps, self.input
        await self._refuse_twin(task, target, runner)
        for number, script in enumerate(steps, start=1):
            said = _first_line(script)
            await task.progress(target, number, len(steps), said)
            spec = JobSpec(name="", script=script.encode(), run_as=given.run_as, cwd=given.cwd, timeout=given.timeout)
            ended = await task.detached(target, runner, number, spec)
            if ended.timed_out:
                raise StepTimedOut(host=target.name, step=number, seconds=f"{given.timeout:g}", said=said)
            if ended.exit_status != 0:
                how = f"signal {ended.signal}" if ended.signal else f"exit status {ended.exit_status}"
                raise StepFailed(host=target.name, step=number, how=how, said=said)
        return {"steps": len(steps)}

    async def _refuse_twin(self, task: TaskWork, target: Target, runner: Runner) -> None:
        """Not beside itself: an earlier task with the same steps, of which nobody knows how it ended here, may be at it
        still."""
        steps = self.input.steps

        def unknown(tx: Session) -> list[str]:
            query = (
                select(Run.id, Run.input)
                .join(RunTarget, col(RunTarget.run_id) == col(Run.id))
                .where(Run.operation == "hosts.execute", Run.id != task.task_id)
                .where(RunTarget.kind == target.kind, RunTarget.object_id == target.id, RunTarget.state == "unknown")
                .order_by(col(Run.started_at).desc())
                .limit(_LOOKED_AT)
            )
            return [run_id for run_id, given in tx.exec(query) if (given or {}).get("steps") == steps]

        earlier = await self.ctx.database.read(unknown)
        if not earlier:
            return
        for job in await detached.leftovers(runner):
            if job.state == "running" and job.name[:36] in earlier:
                raise StateConflict(
                    f"the same steps of task {job.name[:36]} still run on {target.name}; nothing was begun: wait for "
                    "their end, or end them with tasks.sweep",
                    state="running",
                )

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        return dict(effect or {})

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        kept = {key: value for key, value in given.items() if key not in {"hosts", "items"}}
        return {**kept, "hosts": [int(str(target["id"])) for target in targets]}


def _first_line(script: str) -> str:
    lines: list[Any] = [line.strip() for line in script.splitlines() if line.strip() and not line.startswith("#!")]
    first = lines[0] if lines else script.strip()
    return first if len(first) <= _SHOWN else first[: _SHOWN - 1] + "…"


def _silent(tx: Session, ids: list[int]) -> dict[int, str]:
    """What the last look at them says of hosts that did not let us in; it is said, and tried all the same."""
    query = select(HostObservation.host_id, HostObservation.state, HostObservation.observed_at).where(
        HostObservation.kind == SERVICES_SEEN,
        col(HostObservation.host_id).in_(ids),
        col(HostObservation.state).not_in(("ok", "unsupported")),
    )
    return {
        host_id: f"did not let us in at the last look ({seen:%Y-%m-%d %H:%M}Z: {state.replace('_', ' ')})"
        for host_id, state, seen in tx.exec(query).all()
    }
