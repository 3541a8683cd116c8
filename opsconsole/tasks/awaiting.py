"""Tasks that wait for a second person: his approval begins them, his refusal ends them, in one transaction with it."""

from __future__ import annotations

from sqlmodel import Session, select

from data.feed import announce
from data.models import Approval, Task
from opsconsole.engine import approvals, audit
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json


def decided(tx: Session, approval: Approval) -> None:
    """Whoever decided it has the journal row; the task only follows."""
    if approval.task_id is None:
        return
    task = tx.exec(select(Task).where(Task.id == approval.task_id).with_for_update()).one_or_none()
    if task is None or task.state != "waiting" or task.waiting_for != "approval":
        return
    task.waiting_for = None
    if approval.state == "approved":
        task.state = "pending"
    else:
        by = f" by {approval.decided_by}" if approval.decided_by else ""
        because = f": {approval.decision_reason}" if approval.decision_reason else ""
        message = f"the approval {approval.id} was {approval.state}{by}{because}"
        task.state, task.finished_at, task.sealed = "cancelled", audit.now(), None
        task.error = {"code": "approval_invalid", "message": message}
    tx.add(task)
    announce(tx, "task", task.id, "updated", run_id=task.id)


def use(tx: Session, ctx: Context, task: Task, plan_digest: str, bound_to: str) -> Json:
    """Use the approval this task waited for, with the transaction that begins its run; raises ApprovalInvalid."""
    already: Json = task.options.get("agreed") or {}
    if task.approval_id is None or already:
        return already
    row = approvals.consume(
        tx,
        task.approval_id,
        plan_digest,
        task.actor_id,
        ctx.now(),
        persons=ctx.caller.persons,
        bound_to=bound_to,
        task_id=task.id,
        run_id=task.id,
    )
    said = {"approval_id": row.id, "approved_by": row.decided_by}
    task.options = task.options | {"agreed": said}
    tx.add(task)
    return said


def withdraw(tx: Session, task: Task, by: Caller) -> None:
    """A task that ends while it waits takes its request with it: nobody decides what will not be done, and its secrets
    are not kept."""
    if task.approval_id is None or task.options.get("agreed"):
        return
    row = approvals.locked(tx, task.approval_id)
    if row.state in approvals.OPEN:
        approvals.settle(tx, row, "withdrawn", by, "its task was cancelled", audit.now())


def listen() -> None:
    """Hear of every decision from now on."""
    if decided not in approvals.on_decided:
        approvals.on_decided.append(decided)
