"""What a leg works with: its owner as he is now, the plan, and which targets are left.

The first leg plans everything and holds the plan against the digest that was consented to. A later one plans only what
is left, host by host, so that one host that has died does not end the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select

from data.errors import DataError
from data.feed import announce
from data.models import Run, RunTarget, Task, User
from drivers.errors import AuthRefused, DriverError
from opsconsole.engine import audit, authorise, runs
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.dispatch import validate
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import (
    ConsoleError,
    HostUnreachable,
    LeaseHeld,
    NotSignedIn,
    NotSupported,
    OutcomeUnknown,
    PlanStale,
    SecretsLocked,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.execute import Work
from opsconsole.engine.given import bound
from opsconsole.engine.perform import plan_change
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import Change, Input, Operation, Outcome, find
from opsconsole.engine.users import caller_of
from opsconsole.house import House
from opsconsole.house import translate as translate_data
from opsconsole.tasks import awaiting, record
from opsconsole.tasks.handle import TaskHandle
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.output import mine
from opsconsole.tasks.patience import patient_read, patient_write


class Parked(Exception):
    """The task has to wait for a person: `waiting_for` is credentials, unlock or lease."""

    def __init__(self, waiting_for: str, error: ConsoleError) -> None:
        super().__init__(error.message)
        self.waiting_for = waiting_for
        self.error = error


@dataclass(slots=True)
class Item:
    """One target of a leg. `in_flight`: an earlier worker had begun it; `proof` is the evidence that it is done."""

    position: int
    wave: int
    target: Target
    work: Work
    outcome: Outcome
    in_flight: bool = False
    proof: dict[str, Any] | None = None


@dataclass(slots=True)
class Prepared:
    """`refused` are targets that cannot be gone on with, and why; `failed` counts those of earlier legs."""

    ctx: Context
    operation: Operation
    items: list[Item] = field(default_factory=list)
    refused: list[tuple[Item, ConsoleError]] = field(default_factory=list)
    waves: int = 0
    failed: int = 0


async def caller_now(house: House, task: Task) -> Caller:
    """The owner with the rights he has at this moment; raises when there is no such user any more."""

    def work(tx: Session) -> Caller | None:
        user = tx.get(User, task.actor_id)
        if user is None:
            return None
        more = {"via": "task", "source": task.source, "on_behalf": task.on_behalf, "incident_id": task.incident_id}
        return caller_of(tx, user, **more)

    caller = await patient_read(house, work)
    if caller is None:
        raise NotSignedIn(reason=f"{task.actor} is not a user of this console any more")
    if not caller.enabled:
        raise UserDisabled(user=caller.username, administrators="see access.users.list")
    return caller.with_read_only("settings.toml says read_only" if house.settings.read_only else None)


async def prepare(house: House, task: Task, attempt: int, handle: TaskHandle) -> Prepared:
    """Raises Parked, Superseded, or the ConsoleError that ends the task before its first effect."""
    try:
        ctx = Context(house, await caller_now(house, task), task=handle)
        operation = find(task.operation)
        given = validate(operation, await record.input_of(house, task))
        begun = await patient_read(house, lambda tx: tx.get(Run, task.id) is not None)
        if begun:
            return await _again(ctx, operation, given, task, attempt, handle)
        return await _first(ctx, operation, given, task, attempt, handle)
    except AuthRefused as error:
        raise Parked("credentials", translate(error)) from error
    except DriverError as error:
        raise translate(error) from error
    except SecretsLocked as error:
        raise Parked("unlock", error) from error
    except LeaseHeld as error:
        raise Parked("lease", error) from error
    except HostUnreachable as error:
        if error.data.get("kind") == "auth":
            raise Parked("credentials", error) from error
        raise
    except DataError as error:
        raise translate_data(error) from error


async def _first(
    ctx: Context, operation: Operation, given: Input, task: Task, attempt: int, handle: TaskHandle
) -> Prepared:
    change, plan, _ = await plan_change(ctx, operation, given)
    if plan.digest != task.plan_digest:
        raise PlanStale(plan_digest=plan.digest)
    work = _work(ctx, operation, change, plan, task)
    sizes = TaskOptions.kept(task.options).sizes(len(plan.targets))
    waves = [number for number, size in enumerate(sizes) for _ in range(size)]

    seal = bound(ctx.house.audit_key, operation.id, given)

    def begin(tx: Session) -> int:
        work.agreed = awaiting.use(tx, ctx, mine(tx, task.id, attempt), plan.digest, seal)
        # Committed already, and only the answer of the database was lost: nobody else can be this attempt.
        if (run := tx.get(Run, task.id)) is not None:
            return run.lease_token or 0
        shown = given.shown()
        fence = runs.begin(tx, task.id, plan, ctx.caller, given=shown, reason=task.reason, now=audit.now(), waves=waves)
        announce(tx, "task", task.id, "updated", run_id=task.id)
        return fence

    work.fence = await patient_write(ctx.house, begin)
    found = Prepared(ctx, operation, waves=len(sizes))
    for position, target in enumerate(plan.targets):
        handle.positions[target.key] = position
        found.items.append(_item(position, waves[position], target, work))
    return found


def _work(ctx: Context, operation: Operation, change: Change[Any], plan: Plan, task: Task) -> Work:
    return Work(ctx, operation, change, plan, task.reason, task.id, agreed=task.options.get("agreed") or {})


def _item(position: int, wave: int, target: Target, work: Work, *, in_flight: bool = False) -> Item:
    outcome = Outcome(target, state="skipped", before=dict(target.before))
    return Item(position, wave, target, work, outcome, in_flight)


async def _again(
    ctx: Context, operation: Operation, given: Input, task: Task, attempt: int, handle: TaskHandle
) -> Prepared:
    rows = await patient_read(ctx.house, lambda tx: _rows(tx, task.id))
    await authorise.coarse(ctx, operation)
    found = Prepared(ctx, operation, waves=max((row.wave for row in rows), default=-1) + 1)
    found.failed = sum(row.state in {"failed", "unknown"} for row in rows)
    left = [row for row in rows if row.state in {"waiting", "in_flight"}]
    for host_rows in _by_host(left):
        await _plan_left(found, ctx, operation, given, task, host_rows, handle)
    items = [*found.items, *(item for item, _ in found.refused)]

    def resume(tx: Session) -> int:
        mine(tx, task.id, attempt)
        return runs.resume(tx, task.id, [item.target.resource for item in items], ctx.caller, task.summary, audit.now())

    fence = await patient_write(ctx.house, resume)
    for item in items:
        item.work.fence = fence
    return found


def _rows(tx: Session, task_id: str) -> list[RunTarget]:
    query = select(RunTarget).where(RunTarget.run_id == task_id).order_by(col(RunTarget.position))
    return list(tx.exec(query).all())


def _by_host(rows: list[RunTarget]) -> list[list[RunTarget]]:
    groups: dict[str | None, list[RunTarget]] = {}
    for row in rows:
        groups.setdefault(row.host, []).append(row)
    return list(groups.values())


async def _plan_left(
    found: Prepared,
    ctx: Context,
    operation: Operation,
    given: Input,
    task: Task,
    rows: list[RunTarget],
    handle: TaskHandle,
) -> None:
    """Plan the targets that are left on one host; what cannot be planned any more is refused with the reason."""
    planned: dict[tuple[str, str], tuple[Target, Work]] = {}
    problem: ConsoleError = StateConflict("it is no longer among the targets of this operation")
    try:
        for target, work in await _narrowed(ctx, operation, given, task, rows):
            planned[target.key] = (target, work)
    except AuthRefused:
        raise
    except DriverError as error:
        problem = translate(error)
    except ConsoleError as error:
        if isinstance(error, SecretsLocked) or error.data.get("kind") == "auth":
            raise
        problem = error
    for row in rows:
        in_flight = row.state == "in_flight"
        target, work = planned.get((row.kind, row.object_id or "")) or _stand_in(ctx, operation, given, task, row)
        handle.positions[target.key] = row.position
        if in_flight:
            handle.in_flight.add(row.position)
        item = _item(row.position, row.wave, target, work, in_flight=in_flight)
        if target.key not in planned:
            found.refused.append((item, _unknown(row, problem) if in_flight else problem))
        elif in_flight and not work.change.resumes:
            item.proof = await work.change.proven(target, row.before or {})
            if item.proof is not None:
                found.items.append(item)
            else:
                found.refused.append((item, _unknown(row, None)))
        else:
            found.items.append(item)


def _unknown(row: RunTarget, problem: ConsoleError | None) -> ConsoleError:
    more = f", and it cannot be looked at now ({problem.message})" if problem else ""
    return OutcomeUnknown(reason=f"its worker died in the middle{more}", check=runs.what_to_check(row))


async def _narrowed(
    ctx: Context, operation: Operation, given: Input, task: Task, rows: list[RunTarget]
) -> list[tuple[Target, Work]]:
    if operation.change is None:
        raise NotSupported(what="a task", reason=f"{operation.id} is no change")
    whole = given.model_dump(mode="python", exclude_unset=True)
    if len(rows) < task.total:
        chosen = [{"kind": row.kind, "id": row.object_id, "name": row.name, "host": row.host} for row in rows]
        given = validate(operation, operation.change.narrow(whole, chosen))
    change = operation.change(ctx, given)
    plan = await change.plan()
    work = _work(ctx, operation, change, plan, task)
    return [(target, work) for target in plan.targets]


def _stand_in(ctx: Context, operation: Operation, given: Input, task: Task, row: RunTarget) -> tuple[Target, Work]:
    """A target that can only be written down, since it cannot be planned any more."""
    from opsconsole.engine.decide import Subject

    subject = Subject(row.kind, row.name)
    target = Target(row.kind, row.object_id or "", row.name, f"task:{task.id}:{row.position}", subject, host=row.host)
    if operation.change is None:
        raise NotSupported(what="a task", reason=f"{operation.id} is no change")
    plan = Plan(operation.id, task.summary, (target,), "", None, operation.reversible, operation.danger)
    return target, _work(ctx, operation, operation.change(ctx, given), plan, task)
