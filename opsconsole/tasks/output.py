"""What tasks print: every byte once, whoever copies it, and readable from any point by any console."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Task, TaskOutput
from opsconsole.engine.canonical import utc_text

PIECE = 64 * 1024
"""Bytes of one row at most."""
KEPT = 64 * 1024 * 1024
"""Bytes of one task that are copied; the rest stays on the host, and the output says so."""


class Superseded(Exception):
    """Another worker has taken this task up: whatever we still hold of it is not ours any more."""


_FENCE = select(Task.attempt).where(Task.id == bindparam("task_id")).with_for_update()
_END = (
    select(TaskOutput.offset, func.length(col(TaskOutput.data)))
    .where(
        TaskOutput.task_id == bindparam("task_id"),
        TaskOutput.position == bindparam("position"),
        TaskOutput.step == bindparam("step"),
    )
    .order_by(col(TaskOutput.offset).desc())
    .limit(1)
)


def fence(tx: Session, task_id: str, attempt: int) -> None:
    """Hold the task's row, and go on only while this attempt is the one at work; Superseded when it is not.

    Every line that a task prints comes through here: its plan, which may be long, is not read for that.
    """
    if tx.connection().execute(_FENCE, {"task_id": task_id}).scalar() != attempt:
        raise Superseded(task_id)


def mine(tx: Session, task_id: str, attempt: int) -> Task:
    """`fence` for those who need the whole task."""
    task = tx.exec(select(Task).where(Task.id == task_id).with_for_update()).one_or_none()
    if task is None or task.attempt != attempt:
        raise Superseded(task_id)
    return task


def end_of(tx: Session, task_id: str, position: int, step: int) -> int:
    """How many bytes of this step's output have been copied."""
    last = tx.execute(_END, {"task_id": task_id, "position": position, "step": step}).first()
    return 0 if last is None else last[0] + last[1]


def size_of(tx: Session, task_id: str) -> int:
    """How many bytes of all steps of a task are kept."""
    return tx.exec(select(func.sum(func.length(TaskOutput.data))).where(TaskOutput.task_id == task_id)).one() or 0


def append(
    tx: Session, task_id: str, attempt: int, position: int, step: int, offset: int, data: bytes, now: datetime
) -> int:
    """Keep `data`, which begins at byte `offset`; answers the new end. What is there already is not written again, and
    a gap is a bug of ours."""
    fence(tx, task_id, attempt)
    end = end_of(tx, task_id, position, step)
    if offset > end:
        raise ValueError(f"a gap in the output of {task_id}: {end} bytes are there, the next begin at {offset}")
    fresh = data[end - offset :]
    if fresh:
        announce(tx, "task_output", task_id, "created", run_id=task_id)
    while fresh:
        piece = fresh[: whole(fresh[:PIECE]) or PIECE] if len(fresh) > PIECE else fresh
        tx.add(TaskOutput(task_id=task_id, position=position, step=step, offset=end, at=now, data=piece))
        end += len(piece)
        fresh = fresh[len(piece) :]
    return end


def whole(data: bytes) -> int:
    """How much of `data` can be shown without cutting its last character in two."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= wanted else len(data) - back
        if byte < 0x80:
            break
    return len(data)


def pieces(tx: Session, task_id: str, after: int, limit: int = 200) -> list[TaskOutput]:
    """Rows behind the row id `after`, in the order in which they were copied."""
    query = (
        select(TaskOutput)
        .where(TaskOutput.task_id == task_id, col(TaskOutput.id) > after)
        .order_by(col(TaskOutput.id))
        .limit(limit)
    )
    return list(tx.exec(query).all())


def as_event(row: TaskOutput, names: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """One piece as readers get it: `seq` is where to go on from, `text` what was printed (invalid bytes replaced)."""
    target = names.get(row.position, {})
    return {
        "event": "output",
        "seq": row.id,
        "at": utc_text(row.at),
        "position": row.position,
        "host": target.get("host"),
        "name": target.get("name"),
        "step": row.step,
        "offset": row.offset,
        "bytes": len(row.data),
        "text": row.data.decode("utf-8", "replace"),
    }
