"""The rows of a task: made, parked, failed, closed; every write of a worker only while the task is its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select, update

from data.feed import announce
from data.models import Run, RunTarget, Task
from opsconsole.engine import audit, execute, leases, outbox, runs
from opsconsole.engine.errors import ConsoleError, OutcomeUnknown
from opsconsole.engine.given import whole
from opsconsole.house import House
from opsconsole.tasks.output import fence, mine
from opsconsole.tasks.patience import patient_write

_log = logging.getLogger(__name__)

_TOLD_AS = "task_ended"
_WOKEN = 3
"""Tasks tried again when one has ended and given its leases back; the rest are by a timer."""
_STATES = select(RunTarget.state).where(RunTarget.run_id == bindparam("task_id")).distinct()
_LEFT = frozenset({"waiting", "in_flight"})
ENDED = frozenset({"finished", "partial", "failed", "timeout", "cancelled", "unknown"})


async def input_of(house: House, task: Task) -> Any:
    """The whole input, with its secrets where it has any. Raises SecretsLocked."""
    if task.sealed is None:
        return task.input
    return whole(task.input, await house.unseal(task.sealed, context=f"task:{task.id}"))


async def park(house: House, task_id: str, attempt: int, waiting_for: str, error: ConsoleError) -> str:
    """Wait for a person, or for what holds it up; nothing is lost and nothing is done meanwhile. Answers the state: who
    asked for a cancel or a pause while it came to this gets that."""

    def work(tx: Session) -> tuple[str, dict[str, Any] | None]:
        task = mine(tx, task_id, attempt)
        if task.state in ENDED:
            return task.state, None
        if task.wanted == "cancel":
            return _end_left(tx, house, task, None)
        if task.wanted == "pause":
            return _at_rest(tx, task, "paused"), None
        task.waiting_for, task.error = waiting_for, error.as_json()
        return _at_rest(tx, task, "waiting"), None

    state, head = await patient_write(house, work)
    await _over(house, task_id, head)
    return state


def _at_rest(tx: Session, task: Task, state: str) -> str:
    """Nobody is at work on it, and what it holds is free for others."""
    task.state, task.wanted, task.wanted_by, task.executor_id = state, None, None, None
    tx.add(task)
    leases.release(tx, task.id)
    announce(tx, "task", task.id, "updated", run_id=task.id)
    return state


async def fail(house: House, task_id: str, attempt: int, error: ConsoleError, *, state: str = "failed") -> None:
    """End a task of which nothing was begun (or whose rest cannot be gone on with), with its audit row."""

    def work(tx: Session) -> dict[str, Any] | None:
        task = mine(tx, task_id, attempt)
        if task.state in ENDED:
            return None
        task.error = error.as_json()
        return end_task(tx, house, task, state)

    head = await patient_write(house, work)
    await _over(house, task_id, head)


async def close(house: House, task_id: str, attempt: int, *, pausing: bool, reason: str | None) -> str:
    """The end of a leg: paused with the rest waiting, or ended with the rest skipped; answers the task's state. A
    cancel that was asked for while a pause was carried out stands."""

    def work(tx: Session) -> tuple[str, dict[str, Any] | None]:
        task = mine(tx, task_id, attempt)
        if task.state in ENDED:
            return task.state, None
        if pausing and _states(tx, task_id) & _LEFT and task.wanted != "cancel":
            return _at_rest(tx, task, "paused"), None
        return _end_left(tx, house, task, reason)

    state, head = await patient_write(house, work)
    await _over(house, task_id, head)
    return state


async def break_off(house: House, task_id: str, attempt: int, error: ConsoleError) -> None:
    """End a task that cannot be gone on with: what was in flight is unknown, what was not begun is skipped."""

    def work(tx: Session) -> dict[str, Any] | None:
        task = mine(tx, task_id, attempt)
        if task.state in ENDED:
            return None
        task.error = error.as_json()
        return _end_left(tx, house, task, error.message)[1]

    head = await patient_write(house, work)
    await _over(house, task_id, head)


def _end_left(tx: Session, house: House, task: Task, reason: str | None) -> tuple[str, dict[str, Any] | None]:
    """End it with its targets as they are: never begun is skipped, in flight is unknown. Answers state and head."""
    cancelled = task.wanted == "cancel"
    if cancelled:
        reason = reason or f"cancelled by {task.wanted_by}"
        task.error = task.error or {"code": "cancelled", "message": reason}
    states = _states(tx, task.id)
    if states & _LEFT:
        skip_rest(tx, task.id, reason)
        lose_in_flight(tx, house, task, "nobody was left who knew what became of it")
        states = _states(tx, task.id)
    state = ended_as(states, cancelled=cancelled, timed_out="failed" in states and _timed_out(tx, task.id))
    return state, end_task(tx, house, task, state)


def lose_in_flight(tx: Session, house: House, task: Task, reason: str) -> None:
    """What is in flight, with nobody at work on it any more, is unknown: with what to check, and a journal row each."""
    rows = tx.exec(select(RunTarget).where(RunTarget.run_id == task.id, RunTarget.state == "in_flight")).all()
    run = tx.get(Run, task.id)
    if not rows or run is None:
        return
    for row in rows:
        row.state, row.finished_at = "unknown", audit.now()
        row.error = OutcomeUnknown(reason=reason, check=runs.what_to_check(row)).as_json()
        tx.add(row)
    tx.flush()
    entries = [runs.swept_entry(run, row, reason) for row in rows]
    audit.append(tx, house.audit_key, entries, at=audit.now())


async def _over(house: House, task_id: str, head: dict[str, Any] | None) -> None:
    """After the commit; `head` is there when the task has ended in it."""
    anchor(house, head)
    if head is not None:
        await tell_end(house, task_id)


async def tell_end(house: House, task_id: str) -> None:
    """Tell whoever the settings name; what cannot be told now is tried again, and is in the journal all the same."""
    problem = await outbox.send(house, task_id, _TOLD_AS)
    if problem is not None:
        _log.warning("the end of task %s was not told: %s", task_id, problem)


def hold_back(tx: Session, task_id: str, attempt: int, positions: list[int]) -> None:
    """Targets that could not be begun for want of credentials: they wait, as if nobody had come."""
    fence(tx, task_id, attempt)
    tx.execute(
        update(RunTarget)
        .where(col(RunTarget.run_id) == task_id, col(RunTarget.position).in_(positions))
        .values(state="waiting", started_at=None, error=None)
    )


def skip_rest(tx: Session, task_id: str, reason: str | None) -> None:
    error = {"code": "skipped", "message": reason} if reason else None
    tx.execute(
        update(RunTarget)
        .where(col(RunTarget.run_id) == task_id, col(RunTarget.state) == "waiting")
        .values(state="skipped", finished_at=audit.now(), error=error)
    )


def ended_as(states: Iterable[str], *, cancelled: bool, timed_out: bool) -> str:
    """The task's state from its targets': unknown wins, for it is what a person must look at."""
    state = execute.state_of(states)
    if state == "failed" and timed_out:
        return "timeout"
    if cancelled and state not in {"unknown", "finished"}:
        return "cancelled"
    return state


def end_task(tx: Session, house: House, task: Task, state: str) -> dict[str, Any] | None:
    """Write the end: secrets erased, the run closed, leases back, one audit row for the task itself."""
    now = audit.now()
    task.state, task.finished_at, task.sealed = state, now, None
    task.wanted = task.waiting_for = None
    tx.add(task)
    if tx.exec(select(Run.id).where(Run.id == task.id)).first() is not None:
        runs.finish(tx, task.id, "failed" if state == "timeout" else state, now, answer=task.answer, error=task.error)
    announce(tx, "task", task.id, "updated", run_id=task.id)
    about: dict[str, Any] = {"id": task.id, "task_id": task.id, "operation": task.operation, "summary": task.summary}
    about |= {"state": state, "who": task.actor, "reason": task.reason}
    outbox.put(tx, house, _TOLD_AS, about, actor_id=task.actor_id)
    wake_waiting(tx, ["lease"], _WOKEN)
    entry = audit.Entry(
        operation=task.operation,
        actor=task.actor,
        actor_id=task.actor_id,
        source=task.source,
        result=state,
        target_kind="task",
        target_id=task.id,
        target_name=task.summary[:200],
        error_code=(task.error or {}).get("code"),
        reason=task.reason,
        detail={"via": "task", "by": task.wanted_by, "error": (task.error or {}).get("message")},
        run_id=task.id,
        plan_digest=task.plan_digest,
        incident_id=task.incident_id,
    )
    head = audit.append(tx, house.audit_key, [entry], at=now)
    return {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None


def wake_waiting(tx: Session, waits: list[str], most: int) -> list[str]:
    """Let tasks that wait for one of these be tried again, the oldest first; answers their ids."""
    waiting = select(Task).where(Task.state == "waiting", col(Task.waiting_for).in_(waits))
    oldest = waiting.order_by(col(Task.created_at)).limit(most).with_for_update(skip_locked=True)
    woken = list(tx.exec(oldest).all())
    for task in woken:
        task.state, task.leg = "pending", task.leg + 1
        tx.add(task)
        announce(tx, "task", task.id, "updated", run_id=task.id)
    return [task.id for task in woken]


def keep_answer(tx: Session, task_id: str, answer: Any) -> None:
    tx.execute(update(Task).where(col(Task.id) == task_id).values(answer=audit.redact(answer)))


def anchor(house: House, head: dict[str, Any] | None) -> None:
    if head is not None:
        from opsconsole.engine.anchors import note_at_home

        note_at_home(house.home, **head)


def _states(tx: Session, task_id: str) -> set[str]:
    """The states its targets are in."""
    return set(tx.execute(_STATES, {"task_id": task_id}).scalars())


def _timed_out(tx: Session, task_id: str) -> bool:
    rows = tx.exec(select(RunTarget.error).where(RunTarget.run_id == task_id, RunTarget.state == "failed")).all()
    return bool(rows) and all((error or {}).get("code") == "step_timed_out" for error in rows)
