"""A change that outlives its caller: a row instead of an execution, and a worker that will find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from data.feed import announce
from data.models import Task
from opsconsole.engine import audit
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.errors import HostUnreachable
from opsconsole.engine.execute import anchor
from opsconsole.engine.given import split
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Confirmation, Plan
from opsconsole.engine.registry import Change, Input, Json, Operation
from opsconsole.engine.second_person import Second
from opsconsole.hosts.lookup import HostFacts
from opsconsole.tasks import workers
from opsconsole.tasks.options import TaskOptions


def is_task(operation: Operation, change: Change[Any], plan: Plan, options: TaskOptions | None, above: int) -> bool:
    """Whether a worker performs it: tasks always, the rest when asked for, or with more targets than a handful."""
    if operation.kind == "task" or options is not None:
        return True
    return type(change).many_as_task and len(plan.targets) > above


async def needing_operator(ctx: Context, plan: Plan) -> list[str]:
    """Hosts of the plan that a worker could not log in to, for only the operator's agent or answers open them."""
    hosts: dict[str, HostFacts] = {}
    for target in plan.targets:
        host = target.work.get("host")
        if isinstance(host, HostFacts):
            hosts[host.name] = host
    return [name for name, host in hosts.items() if not await ctx.house.fleet.unattended(host)]


@dataclass(frozen=True, slots=True)
class Draft:
    """A task to be written in somebody's transaction. `sealed` holds the secrets of the input, if it has any."""

    id: str
    options: TaskOptions
    shown: Json
    sealed: bytes | None

    def row(
        self, caller: Caller, operation: Operation, plan: Plan, confirmation: Confirmation, *, reason: str | None
    ) -> Task:
        return Task(
            id=self.id,
            operation=operation.id,
            summary=plan.summary,
            actor=caller.username,
            actor_id=caller.user_id,
            on_behalf=caller.on_behalf,
            source=caller.source,
            reason=reason,
            incident_id=caller.incident_id,
            input=self.shown,
            sealed=self.sealed,
            plan=audit.redact(plan.as_json(confirmation)),
            plan_digest=plan.digest,
            options=self.options.as_json(),
            total=len(plan.targets),
        )


async def draft(ctx: Context, given: Input, options: TaskOptions) -> Draft:
    """Secrets in the input are sealed beside it and erased at the task's end."""
    task_id, parts = uuid7(), split(given)
    sealed = await ctx.house.seal(parts.packed(), context=f"task:{task_id}") if parts.secrets else None
    return Draft(task_id, options, parts.shown, sealed)


def write(tx: Session, task: Task) -> None:
    tx.add(task)
    tx.flush()
    announce(tx, "task", task.id, "created", run_id=task.id)


async def submit(
    ctx: Context,
    operation: Operation,
    given: Input,
    plan: Plan,
    confirmation: Confirmation,
    second: Second | None,
    *,
    reason: str | None,
    options: TaskOptions,
    executor: str | None = None,
) -> tuple[str, Json]:
    """Write the task, and use the approval or open the review with it; answers its id, and what stood for the second
    person. With `executor` it belongs from the first moment to this very process (`attached`). Raises HostUnreachable
    for hosts that a worker has no way into."""
    if not options.attached and (needing := await needing_operator(ctx, plan)):
        raise HostUnreachable(
            host=", ".join(needing[:5]) + (" …" if len(needing) > 5 else ""),
            reason="a worker has no key for it: store a credential, or stay for it with --attached",
            kind="auth",
            hosts=needing,
        )
    drafted = await draft(ctx, given, options)

    def work(tx: Session) -> tuple[Json, Json | None]:
        said = second.take(tx, ctx, run_id=None, task_id=drafted.id) if second is not None else {}
        task = drafted.row(ctx.caller, operation, plan, confirmation, reason=reason)
        if executor is not None:
            # Never pending: a worker would take it at once, and be refused where only the operator is let in.
            workers.register(tx, executor, audit.now(), stay=False, attached=True)
            task.state, task.executor_id = "running", executor
        if said:
            task.options, task.approval_id = task.options | {"agreed": said}, said.get("approval_id")
        write(tx, task)
        return said, audit.head_of(tx) if second is not None else None

    said, head = await ctx.database.write(work)
    anchor(ctx, head)
    return drafted.id, said
