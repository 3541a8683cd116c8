"""The run row: committed before the first effect, so that a crash leaves `unknown` and never a silent half."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select, update

from data.feed import announce
from data.models import Run, RunTarget
from opsconsole.engine import audit, clock, holder, leases
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import OutcomeUnknown
from opsconsole.engine.plan import Plan
from opsconsole.engine.registry import Outcome

DEAD_AFTER = timedelta(seconds=30)


def begin(
    tx: Session,
    run_id: str,
    plan: Plan,
    caller: Caller,
    *,
    given: Any,
    reason: str | None,
    now: datetime,
    waves: Sequence[int] | None = None,
) -> int:
    """Take the leases and write the run with one waiting row per target; answers the fence. `waves` numbers the wave of
    each target of a task."""
    resources = [target.resource for target in plan.targets]
    fence = leases.acquire(tx, resources, holder=run_id, actor=caller.username, purpose=plan.summary, now=now)
    tx.add(
        Run(
            id=run_id,
            operation=plan.operation,
            actor=caller.username,
            actor_id=caller.user_id,
            source=caller.source,
            input=audit.redact(given),
            plan_digest=plan.digest,
            plan={"summary": plan.summary, "level": plan.level, "reversible": plan.reversible},
            lease_token=fence,
            holder=holder.here(),
            started_at=now,
            heartbeat_at=clock.shared(tx, now),
            reason=reason,
            incident_id=caller.incident_id,
            task=waves is not None,
        )
    )
    tx.flush()
    for position, target in enumerate(plan.targets):
        tx.add(
            RunTarget(
                run_id=run_id,
                position=position,
                kind=target.kind,
                object_id=target.id,
                name=target.name,
                host=target.host,
                before=audit.redact(dict(target.before)),
                wave=waves[position] if waves is not None else 0,
            )
        )
    announce(tx, "run", run_id, "created", run_id=run_id)
    return fence


def resume(tx: Session, run_id: str, resources: list[str], caller: Caller, purpose: str, now: datetime) -> int:
    """Take up the run of a task again, in another process or after a pause; answers the new fence."""
    fence = leases.acquire(tx, resources, holder=run_id, actor=caller.username, purpose=purpose, now=now)
    run = tx.exec(select(Run).where(Run.id == run_id).with_for_update()).one()
    run.lease_token = max(fence, (run.lease_token or 0) + 1)
    run.holder, run.heartbeat_at = holder.here(), clock.shared(tx, now)
    tx.add(run)
    return run.lease_token


def mark(tx: Session, run_id: str, position: int, state: str, now: datetime, outcome: Outcome | None = None) -> None:
    """Move one target on: in_flight before its effect, its outcome after."""
    values: dict[str, Any] = {"state": state}
    values["started_at" if state == "in_flight" else "finished_at"] = now
    if outcome is not None:
        values |= {"after": audit.redact(outcome.after), "error": outcome.error}
    tx.execute(
        update(RunTarget).where(col(RunTarget.run_id) == run_id, col(RunTarget.position) == position).values(**values)
    )


def beat(tx: Session, run_id: str, now: datetime) -> None:
    tx.execute(update(Run).where(col(Run.id) == run_id).values(heartbeat_at=clock.shared(tx, now)))
    leases.beat(tx, run_id, now)


def finish(tx: Session, run_id: str, state: str, now: datetime, *, answer: Any = None, error: Any = None) -> None:
    tx.execute(
        update(Run)
        .where(col(Run.id) == run_id)
        .values(state=state, finished_at=now, heartbeat_at=now, answer=audit.redact(answer), error=error)
    )
    leases.release(tx, run_id)
    announce(tx, "run", run_id, "updated", run_id=run_id)


def what_to_check(target: RunTarget) -> str:
    """What to look at, and how far it is known to have come."""
    where = f" on {target.host}" if target.host and target.host != target.name else ""
    far = target.progress or {}
    step = f", where step {far['step']} of {far['of']} was under way," if "step" in far else ""
    return f"look at {target.kind} {target.name}{where}{step} and compare it with what was wanted"


def sweep(tx: Session, audit_key: bytes, now: datetime) -> list[str]:
    """Close runs whose holder is dead: done stays done, what was in flight is unknown, what never began is skipped.

    Those of tasks are left alone: the next worker takes them up.

    Leases are left to expire by themselves: what was in flight may still be working on the other end.
    """
    swept: list[str] = []
    beats = clock.shared(tx, now)
    running = select(Run).where(Run.state == "running", col(Run.task).is_(False))
    open_runs = tx.exec(running.with_for_update(skip_locked=True)).all()
    for run in open_runs:
        dead = holder.is_dead(run.holder)
        if dead is False or (dead is None and abs(beats - run.heartbeat_at) < DEAD_AFTER):
            continue
        targets = tx.exec(select(RunTarget).where(RunTarget.run_id == run.id).order_by(col(RunTarget.position))).all()
        for target in targets:
            _close_target(target, now)
            tx.add(target)
        unknown = [t for t in targets if t.state == "unknown"]
        run.state = "unknown" if unknown or not targets else _state_of([t.state for t in targets])
        run.finished_at = now
        reason = f"the process {run.holder.get('pid')} on {run.holder.get('host')} died in the middle"
        run.error = OutcomeUnknown(
            reason=reason, check="; ".join(what_to_check(t) for t in unknown[:5]) or "nothing"
        ).as_json()
        tx.add(run)
        audit.append(
            tx,
            audit_key,
            [swept_entry(run, target, "closed after the death of its process") for target in targets],
            at=now,
        )
        announce(tx, "run", run.id, "updated", run_id=run.id)
        swept.append(run.id)
    return swept


def _close_target(target: RunTarget, now: datetime) -> None:
    if target.state == "in_flight":
        target.state = "unknown"
        target.error = OutcomeUnknown(reason="its console died", check=what_to_check(target)).as_json()
        target.finished_at = now
    elif target.state == "waiting":
        target.state = "skipped"
        target.finished_at = now


def _state_of(states: list[str]) -> str:
    if all(state == "done" for state in states):
        return "finished"
    return "partial" if "done" in states else "failed"


def swept_entry(run: Run, target: RunTarget, note: str) -> audit.Entry:
    """The journal row of a target that was closed without its worker."""
    return audit.Entry(
        operation=run.operation,
        actor=run.actor,
        actor_id=run.actor_id,
        source=run.source,
        result=target.state,
        target_kind=target.kind,
        target_id=target.object_id,
        target_name=target.name,
        reason=run.reason,
        before=target.before,
        after=target.after,
        detail={"host": target.host, "note": note},
        error_code=(target.error or {}).get("code"),
        run_id=run.id,
        plan_digest=run.plan_digest,
        incident_id=run.incident_id,
    )
