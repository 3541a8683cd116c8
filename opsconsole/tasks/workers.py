"""The rows of workers: who is alive, and whose tasks may be taken up by another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, or_, select, update

from data.models import Task, Worker
from opsconsole.engine import clock, holder
from opsconsole.engine.ids import uuid7

BEAT = 5.0
DEAD_AFTER = timedelta(seconds=20)
_FOR_OTHERS = timedelta(seconds=1)


def new_id() -> str:
    """Unique among all workers that ever were: host, boot and process, and a number in case all three come again."""
    here = holder.here()
    return f"{here['host']}:{str(here['boot_id'])[:8]}:{here['pid']}:{uuid7()[-12:]}"


def register(tx: Session, worker_id: str, now: datetime, *, stay: bool, attached: bool = False) -> None:
    """`attached` is a process that performs one task of its own, and takes no other."""
    mark = holder.here() | ({"attached": True} if attached else {})
    tx.add(Worker(id=worker_id, holder=mark, stay=stay, started_at=now, heartbeat_at=clock.shared(tx, now)))


def beat(tx: Session, worker_id: str, now: datetime) -> bool:
    """Still here; False when somebody has declared us dead."""
    alive = (col(Worker.id) == worker_id) & col(Worker.ended_at).is_(None)
    found: Any = tx.execute(update(Worker).where(alive).values(heartbeat_at=clock.shared(tx, now)))
    return bool(found.rowcount)


def end(tx: Session, worker_id: str, now: datetime) -> None:
    tx.execute(update(Worker).where(col(Worker.id) == worker_id).values(ended_at=now))


def is_alive(worker: Worker, now: datetime) -> bool:
    """On this machine the process itself tells; elsewhere only its heartbeat can. `now` is `clock.shared`."""
    if worker.ended_at is not None:
        return False
    dead = holder.is_dead(worker.holder)
    return not dead if dead is not None else abs(now - worker.heartbeat_at) < DEAD_AFTER


def living(tx: Session, now: datetime) -> list[Worker]:
    """Workers that take tasks: not the processes that perform one attached."""
    now = clock.shared(tx, now)
    rows = tx.exec(select(Worker).where(col(Worker.ended_at).is_(None))).all()
    return [row for row in rows if not row.holder.get("attached") and is_alive(row, now)]


def orphans(tx: Session, worker_id: str, now: datetime) -> list[str]:
    """Take over the running tasks of dead workers; answers their ids. Two who look at once share them out."""
    now = clock.shared(tx, now)
    others = tx.exec(select(Worker).where(col(Worker.id) != worker_id)).all()
    gone = [row.id for row in others if not is_alive(row, now)]
    known = select(Worker.id)
    query = (
        select(Task)
        .where(
            Task.state == "running",
            or_(col(Task.executor_id).in_(gone), col(Task.executor_id).is_(None), ~col(Task.executor_id).in_(known)),
        )
        .order_by(col(Task.created_at))
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    taken = list(tx.exec(query).all())
    for task in taken:
        task.executor_id = worker_id
        tx.add(task)
    return [task.id for task in taken]


def claim(tx: Session, worker_id: str, room: int, now: datetime) -> list[str]:
    """Take up to `room` tasks that nobody works on, the oldest first; answers their ids.

    What was asked for just now is left to a worker with less to do: who is quickest to look would else take it all.
    """
    query = select(Task).where(Task.state == "pending")
    if _others_have_less(tx, worker_id, now):
        query = query.where(col(Task.created_at) <= clock.shared(tx, now) - _FOR_OTHERS)
    query = query.order_by(col(Task.created_at)).limit(room).with_for_update(skip_locked=True)
    taken = list(tx.exec(query).all())
    for task in taken:
        task.state, task.executor_id = "running", worker_id
        tx.add(task)
    return [task.id for task in taken]


def _others_have_less(tx: Session, worker_id: str, now: datetime) -> bool:
    others = [row.id for row in living(tx, now) if row.id != worker_id]
    if not others:
        return False
    query = select(Task.executor_id, func.count()).where(Task.state == "running").group_by(col(Task.executor_id))
    load = dict(tx.exec(query).all())
    return min(load.get(name, 0) for name in others) < load.get(worker_id, 0)


def anything_pending(tx: Session) -> bool:
    """Whether a worker would find something to do: a task that nobody has, or that a dead one had."""
    if tx.exec(select(Task.id).where(Task.state == "pending").limit(1)).first() is not None:
        return True
    at_work = set(tx.exec(select(Task.executor_id).where(Task.state == "running").distinct()).all())
    if not at_work:
        return False
    now = clock.shared(tx, datetime.now(UTC))
    rows = tx.exec(select(Worker).where(col(Worker.id).in_([name for name in at_work if name]))).all()
    return bool(at_work - {row.id for row in rows if is_alive(row, now)})
