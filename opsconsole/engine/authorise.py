"""`decide()` applied: raises the error that says what is missing and who could, and records the refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from data.models import User
from opsconsole.engine import audit, tokens
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Decision, Subject, decide
from opsconsole.engine.errors import ConsoleError, ModuleDisabled, NotSignedIn, PermissionDenied, ReadOnly, UserDisabled
from opsconsole.engine.plan import Plan
from opsconsole.engine.registry import Operation
from opsconsole.engine.users import administrators, load_caller, who_could


async def coarse(ctx: Context, operation: Operation) -> None:
    """May he do this at all, on anything? Asked before a plan is made, so that a plan tells a stranger nothing."""
    decision = decide(ctx.caller, operation.needs, None, now=ctx.now())
    if not decision.allowed:
        await refuse(ctx, operation, [(None, decision)])


async def targets(ctx: Context, operation: Operation, plan: Plan) -> None:
    """May he do it to each of these? One refusal refuses the whole list."""
    await subjects(ctx, operation, [target.subject for target in plan.targets])


async def subjects(ctx: Context, operation: Operation, wanted: list[Subject]) -> None:
    decisions = [(subject, decide(ctx.caller, operation.needs, subject, now=ctx.now())) for subject in wanted]
    refused = [(subject, decision) for subject, decision in decisions if not decision.allowed]
    if refused:
        await refuse(ctx, operation, refused)


async def lost(ctx: Context, operation: Operation) -> ConsoleError | None:
    """What has become of the right to an operation that goes on and on: disabled, withdrawn, expired; None: nothing."""
    caller, now = ctx.caller, ctx.now()
    if caller.until is not None and caller.until <= now:
        return NotSignedIn(reason="the token has expired")

    def work(tx: Session) -> Caller | None:
        if caller.token is not None and not tokens.good(tx, caller.token, now):
            return None
        return load_caller(tx, caller.username)

    fresh = await ctx.database.read(work)
    if fresh is None:
        return NotSignedIn(reason="the token was withdrawn")
    decision = decide(fresh, operation.needs, None, now=now)
    if decision.allowed:
        try:
            await ctx.database.read(lambda tx: refuse_gone(tx, ctx))
        except ConsoleError as error:
            return error
        return None
    return await ctx.database.read(lambda tx: _error(tx, ctx, operation, [(None, decision)]))


def refuse_gone(tx: Session, ctx: Context) -> None:
    """UserDisabled or NotSignedIn when the caller was disabled, or his token withdrawn, since his request began."""
    caller = ctx.caller
    names = [caller.username, caller.on_behalf] if caller.on_behalf else [caller.username]
    disabled = tx.exec(select(User.username).where(col(User.username).in_(names), User.status == "disabled")).first()
    if disabled is not None:
        raise UserDisabled(user=disabled, administrators=", ".join(administrators(tx)) or "nobody")
    if caller.token is not None and not tokens.good(tx, caller.token, ctx.now()):
        raise NotSignedIn(reason="the token was withdrawn or has expired; nothing was done to this target")


async def refuse(ctx: Context, operation: Operation, refused: Sequence[tuple[Subject | None, Decision]]) -> None:
    """Record the refusal and raise it."""

    error = await ctx.database.read(lambda tx: _error(tx, ctx, operation, refused))
    await _append(ctx, [_entry(ctx, operation, subject, error) for subject, _ in refused[:50]])
    raise error


async def record_refusal(ctx: Context, operation: Operation, error: ConsoleError) -> None:
    """Record a refusal that the plan itself found (a right he may not give away)."""
    await _append(ctx, [_entry(ctx, operation, None, error)])


async def _append(ctx: Context, entries: list[audit.Entry]) -> None:
    if ctx.trial:
        return

    def work(tx: Session) -> dict[str, Any] | None:
        head = audit.append(tx, ctx.house.audit_key, entries, at=ctx.now())
        return {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None

    head = await ctx.database.write(work)
    if head is not None:
        note_at_home(ctx.house.home, **head)


def _error(
    tx: Session, ctx: Context, operation: Operation, refused: Sequence[tuple[Subject | None, Decision]]
) -> ConsoleError:
    subject, decision = refused[0]
    caller = ctx.caller
    found = [{"kind": s.kind, "name": s.name, "because": d.because} for s, d in refused if s is not None]
    if decision.code == "read_only":
        return ReadOnly(reason=decision.because, targets=found)
    who = ", ".join(who_could(tx, operation.needs, subject)) or "nobody"
    if decision.code == "not_signed_in":
        return NotSignedIn(reason=f"{decision.because}; ask: {who}")
    if decision.code == "user_disabled":
        return UserDisabled(user=caller.username, administrators=who)
    missing = " or ".join(decision.missing)
    if decision.code == "module_disabled":
        return ModuleDisabled(module=operation.needs.module, user=caller.username, missing=missing, who_could=who)
    return PermissionDenied(
        user=caller.username,
        operation=operation.id,
        on=f" on {subject.name}" if subject else "",
        missing=missing,
        who_could=who,
        targets=found,
    )


def _entry(ctx: Context, operation: Operation, subject: Subject | None, error: ConsoleError) -> audit.Entry:
    caller = ctx.caller
    return audit.Entry(
        operation=operation.id,
        actor=caller.username,
        actor_id=caller.user_id,
        source=caller.source,
        result="refused",
        target_kind=subject.kind if subject else None,
        target_name=subject.name if subject else None,
        environment=subject.environment if subject else None,
        error_code=error.code,
        detail={"message": error.message, "via": caller.via, "on_behalf": caller.on_behalf},
        incident_id=caller.incident_id,
    )
