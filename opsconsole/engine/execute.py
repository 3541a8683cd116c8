"""Execute, verify, record: the second half of a change, the same for a caller who waits and for a task in a worker.

The run row has been committed before. What is in flight when everything stops is in the rows, and who comes next knows
it to be unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from data.errors import DataError
from data.models import Run
from drivers.errors import DriverError, TimedOut
from opsconsole.engine import audit, clock, leases, runs
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.bugs import note
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import (
    ConsoleError,
    HostUnreachable,
    OutcomeUnknown,
    PartlyFailed,
    SecretsLocked,
    StateConflict,
    UnexpectedError,
)
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import Change, Operation, Outcome
from opsconsole.house import translate as translate_data

_FRESH, _TRIES = 5.0, 3
"""Seconds after which what was looked at before an effect is looked at again, and how often."""


@dataclass(slots=True)
class Work:
    """One change under way. `fence` is the lease token it began with: a higher one in the run row means that somebody
    else goes on with it. `agreed` says who or what stood for the second person; every journal row repeats it."""

    ctx: Context
    operation: Operation
    change: Change[Any]
    plan: Plan
    reason: str | None
    run_id: str
    fence: int = 0
    agreed: dict[str, Any] = field(default_factory=dict)


async def one_target(work: Work, outcome: Outcome) -> None:
    """Execute and verify one target; what it raises becomes the target's error, and never an exception of ours."""
    target = outcome.target
    outcome.state, outcome.error = "unknown", interrupted(target).as_json()
    executed = False
    try:
        effect = await work.change.execute(target)
        executed = True
        outcome.after = await work.change.verify(target, effect)
        outcome.state, outcome.error = "done", None
    except ConsoleError as error:
        # Executed, and then not let in to look at it: that is no failure, and no reason to do it again.
        blind = executed and isinstance(error, (HostUnreachable, SecretsLocked))
        outcome.state = "unknown" if blind else error.target_state
        outcome.error = error.as_json()
    except DriverError as error:
        outcome.state = "unknown" if executed or error.begun or isinstance(error, TimedOut) else "failed"
        outcome.error = translate(error).as_json()
    except DataError as error:
        outcome.state, outcome.error = "unknown" if executed else "failed", translate_data(error).as_json()
    except Exception as error:
        # Its text may hold what was given; the log of errors has it, without values.
        await asyncio.to_thread(note, error)
        outcome.error = bug(type(error).__name__, f"; what happened to {target.name} is not known").as_json()


async def settle(change: Change[Any], outcomes: list[Outcome]) -> None:
    """Whatever a change does after its effects (showing consoles what is now): its failure is no failure of theirs."""
    try:
        await change.settle(outcomes)
    except (ConsoleError, DriverError, DataError):
        return
    except Exception as error:
        await asyncio.to_thread(note, error)


def bug(kind: str, more: str = "") -> UnexpectedError:
    return UnexpectedError(f"a bug of ours ({kind}), written down in log/errors.log{more}")


async def fresh(start: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """`start` right before an effect. When it took long (a slow database, a machine that slept in the middle) somebody
    else may have come since it was committed, so it is asked again."""
    lost: list[str] = []
    for _ in range(_TRIES):
        begun = clock.awake()
        lost = await start()
        if lost or clock.awake() - begun < _FRESH:
            break
    return lost


def interrupted(target: Target) -> OutcomeUnknown:
    return OutcomeUnknown(reason="it was interrupted", check=f"{target.kind} {target.name}")


def start_target(tx: Session, work: Work, position: int, target: Target) -> list[str]:
    """Mark a target as in flight unless its lease, or the whole run, has been taken over; answers what was lost."""
    run = tx.get(Run, work.run_id)
    if run is None or run.lease_token != work.fence:
        return [f"run {work.run_id}"]
    lost = leases.keep(tx, work.run_id, [target.resource], work.ctx.now())
    if not lost:
        runs.mark(tx, work.run_id, position, "in_flight", work.ctx.now())
    return lost


def taken_over(lost: list[str]) -> dict[str, Any]:
    return UnexpectedError(f"the lease on {lost[0]} was taken over; nothing was done").as_json()


async def record(work: Work, outcomes: list[Outcome]) -> Any:
    """One transaction: the change itself, its result, its audit rows, the end of the run, the leases back. When the
    change cannot be written, what was done is recorded as failed and the error raised."""
    ctx = work.ctx
    try:
        answer, head = await ctx.database.write(lambda tx: _record_tx(tx, work, outcomes))
    except (ConsoleError, DataError, IntegrityError) as error:
        failure = as_console_error(error)
        for outcome in outcomes:
            if outcome.state == "done":
                outcome.state, outcome.error = "failed", failure.as_json()
        _, head = await ctx.database.write(lambda tx: _record_tx(tx, work, outcomes, failure))
        anchor(ctx, head)
        raise failure from error
    anchor(ctx, head)
    return _answer(work, outcomes, answer)


def as_console_error(error: ConsoleError | DataError | IntegrityError) -> ConsoleError:
    if isinstance(error, ConsoleError):
        return error
    if isinstance(error, DataError):
        return translate_data(error)
    return StateConflict("somebody else wrote the same thing in the meantime; look at it again and repeat")


def anchor(ctx: Context, head: dict[str, Any] | None) -> None:
    if head is not None:
        note_at_home(ctx.house.home, **head)


def _record_tx(
    tx: Session, work: Work, outcomes: list[Outcome], failure: ConsoleError | None = None
) -> tuple[Any, dict[str, Any] | None]:
    now = work.ctx.now()
    answer, head = write_outcomes(tx, work, outcomes, failure)
    for position, outcome in enumerate(outcomes):
        if failure is not None or outcome.state in {"skipped", "unknown"}:
            runs.mark(tx, work.run_id, position, outcome.state, now, outcome)
    state = state_of(outcome.state for outcome in outcomes)
    runs.finish(tx, work.run_id, state, now, answer=answer, error=failure.as_json() if failure else None)
    return answer, head


def write_outcomes(
    tx: Session, work: Work, outcomes: list[Outcome], failure: ConsoleError | None = None
) -> tuple[Any, dict[str, Any] | None]:
    """The change and its audit rows, one step of the chain; answers the change's answer and the new head."""
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    answer = work.change.record(tx, outcomes) if done and failure is None else None
    entries = [_entry(work, outcome) for outcome in outcomes]
    if done and failure is None:
        entries += [_completed(work, entry) for entry in work.change.audit_entries(outcomes)]
    head = audit.append(tx, work.ctx.house.audit_key, entries, at=work.ctx.now())
    return answer, {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None


def state_of(found: Iterable[str]) -> str:
    """The run's state from its targets': unknown wins over everything, for it is what a person must look at."""
    states = set(found)
    if "unknown" in states:
        return "unknown"
    if states == {"done"}:
        return "finished"
    return "partial" if "done" in states else "failed"


def _entry(work: Work, outcome: Outcome) -> audit.Entry:
    caller, target = work.ctx.caller, outcome.target
    detail: dict[str, Any] = {"host": target.host, "via": caller.via, **work.agreed}
    if caller.on_behalf:
        detail["on_behalf"] = caller.on_behalf
    kind, key, name = target.journal or (target.kind, target.id, target.name)
    if work.change.op_type:
        detail["op_type"] = work.change.op_type
    if outcome.error:
        detail["error"] = outcome.error["message"]
    return audit.Entry(
        kind=work.change.audit_kind if outcome.state == "done" else "operation",
        operation=work.operation.id,
        actor=caller.username,
        actor_id=caller.user_id,
        source=caller.source,
        result=outcome.state,
        target_kind=kind,
        target_id=key,
        target_name=name,
        environment=target.subject.environment,
        error_code=outcome.error["code"] if outcome.error else None,
        reason=work.reason,
        detail=detail,
        before=outcome.before if outcome.before is not None else dict(target.before),
        after=outcome.after,
        run_id=work.run_id,
        plan_digest=work.plan.digest,
        incident_id=caller.incident_id,
    )


def _completed(work: Work, entry: audit.Entry) -> audit.Entry:
    caller = work.ctx.caller
    return replace(
        entry,
        actor_id=caller.user_id,
        source=caller.source,
        reason=work.reason,
        run_id=work.run_id,
        plan_digest=work.plan.digest,
        incident_id=caller.incident_id,
    )


def _answer(work: Work, outcomes: list[Outcome], answer: Any) -> Any:
    """One target: the operation's own answer or the target's error. Several: results per target, or PartlyFailed."""
    bad = [outcome for outcome in outcomes if outcome.state != "done"]
    if len(outcomes) == 1:
        if bad:
            raise TargetFailed(outcomes[0], work.run_id)
        return answer
    results = [outcome.as_json() for outcome in outcomes]
    if bad:
        names = ", ".join(f"{o.target.host or ''}{'/' if o.target.host else ''}{o.target.name}" for o in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise PartlyFailed(
            done=len(outcomes) - len(bad), total=len(outcomes), failed=names + more, targets=results, run_id=work.run_id
        )
    if isinstance(answer, dict) and not answer:
        return {"results": results, "run_id": work.run_id}
    return answer


class TargetFailed(ConsoleError):
    """The error of a single target, with the code and exit status it had there."""

    def __init__(self, outcome: Outcome, run_id: str) -> None:
        error = outcome.error or OutcomeUnknown(reason="it was interrupted", check=outcome.target.name).as_json()
        super().__init__(error["message"], field=error.get("field"), targets=[outcome.as_json()])
        self.data = {**(error.get("data") or {}), "run_id": run_id}
        self._error = error

    @property
    def exit_status(self) -> int:  # type: ignore[override]
        known = {cls.code: cls.exit_status for cls in _all(ConsoleError) if cls is not TargetFailed}
        return known.get(self._error["code"], 6)

    def as_json(self, language: str = "en") -> dict[str, Any]:
        return super().as_json(language) | {
            "code": self._error["code"],
            "source_codes": self._error.get("source_codes", []),
        }


def _all(cls: type[ConsoleError]) -> list[type[ConsoleError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _all(sub))]
