"""approvals.request | approve | reject | withdraw | perform."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field
from sqlmodel import Session

from data.models import Approval
from opsconsole.approvals.lookup import Replanned, approval_json, find_approval, given_again, objection, replan
from opsconsole.approvals.reads import OneApproval
from opsconsole.engine import approvals as engine
from opsconsole.engine import authorise, dispatch, outbox
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import (
    ConsoleError,
    InvalidParameter,
    ObjectNotFound,
    PermissionDenied,
    PlanStale,
    StateConflict,
)
from opsconsole.engine.given import bound, split
from opsconsole.engine.ids import uuid7
from opsconsole.engine.perform import plan_change
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, stand_in
from opsconsole.engine.second_person import RUNG
from opsconsole.engine.users import load_caller, who_could_all
from opsconsole.hosts.fields import LongText
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.submit import Draft, draft, is_task, write

Reason = Annotated[LongText, Field(min_length=1, pattern=r"\S")]


class Request(Input):
    """The operation and its input, as they will be performed once somebody else has agreed.

    What a worker performs becomes a task that waits for the decision, and is begun by it.
    """

    operation: Annotated[str, Field(min_length=1, max_length=200, description="the id of the operation")]
    input: Annotated[Json, Field(description="its input, a JSON object")] = {}
    reason: Annotated[Reason, Field(description="why, for whoever decides")]
    task: Annotated[Json | None, Field(description="waves, limit and stop_after of a task")] = None

    def shown(self) -> Json:
        """Without the secrets of the operation asked for: only its own model knows which they are."""
        try:
            inner = split(dispatch.validate(find(self.operation), self.input)).shown
        except ConsoleError:
            inner = {"not kept": "it is no valid input"}
        return {"operation": self.operation, "input": inner, "reason": self.reason}


class Decision(OneApproval):
    reason: Annotated[LongText | None, Field(description="kept with the decision")] = None


class Rejection(OneApproval):
    reason: Annotated[Reason, Field(description="why not, for whoever asked")]


def _subject(caller: Caller, name: str) -> Subject:
    """What is decided belongs to whoever decides it: the rights on the real targets are looked at apart."""
    return Subject("approval", name, owner_id=caller.user_id)


@change(
    "approvals.request",
    summary="Ask for a second person to agree to an operation; answers the request with its id",
    permission="self",
    input=Request,
    kind="action",
    objects=("approval",),
)
class AskForApproval(Change[Request]):
    def __init__(self, ctx: Context, given: Request) -> None:
        super().__init__(ctx, given)
        self._id = uuid7()
        self._sealed: bytes | None = None
        self._options: TaskOptions | None = None
        self._draft: Draft | None = None
        self._wanted: Replanned | None = None

    async def plan(self) -> Plan:
        operation, given = await dispatch.resolve(self.ctx, self.input.operation, self.input.input)
        if operation.change is None:
            raise InvalidParameter(field="operation", reason=f"{operation.id} only reads; nobody has to approve it")
        change, plan, confirmation = await plan_change(self.ctx, operation, given)
        options = None if self.input.task is None else TaskOptions.of(self.input.task)
        if is_task(operation, change, plan, options, self.ctx.house.settings.task_above):
            self._options = options or TaskOptions()
        if confirmation.rung != RUNG:
            how = f"confirm it with {confirmation.expect!r}" if confirmation.expect else "just call it"
            raise InvalidParameter(field="operation", reason=f"{operation.id} needs no second person here; {how}")
        self._wanted = Replanned(operation, given, plan, confirmation)
        caller = self.ctx.caller
        names = await self.ctx.database.read(lambda tx: engine.refuse_impossible(tx, operation, plan, caller))
        target = Target(
            kind="approval",
            id="",
            name=plan.summary,
            resource=f"approval-of:{caller.user_id}:{plan.digest}",
            subject=_subject(caller, plan.summary),
            after={"state": "pending", "operation": operation.id, "plan_digest": plan.digest, "could_approve": names},
        )
        return record_plan(
            "approvals.request",
            f"ask for a second person: {plan.summary}",
            [target],
            self.input,
            undo="approvals.withdraw",
            level=plan.level,
            dependents=plan.dependents,
            warnings=plan.warnings,
        )

    async def execute(self, target: Target) -> None:
        parts = split(self._asked.given)
        if parts.secrets:
            self._sealed = await self.ctx.house.seal(parts.packed(), context=engine.sealed_for(self._id))
        if self._options is not None:
            self._draft = await draft(self.ctx, self._asked.given, self._options)

    @property
    def _asked(self) -> Replanned:
        if self._wanted is None:
            raise TypeError("a request is planned before anything else")
        return self._wanted

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        house, now, asked = self.ctx.house, self.ctx.now(), self._asked
        wish = engine.Wish(
            id=self._id,
            operation=asked.operation,
            plan=asked.plan,
            confirmation=asked.confirmation,
            given=split(asked.given),
            bound_to=bound(house.audit_key, asked.operation.id, asked.given),
            sealed=self._sealed,
            reason=self.input.reason,
            valid=timedelta(hours=house.settings.approval_hours),
        )
        drafted = self._draft
        row = engine.ask(tx, wish, self.ctx.caller, now, task_id=drafted.id if drafted else None)
        if drafted is not None:
            task = drafted.row(self.ctx.caller, asked.operation, asked.plan, asked.confirmation, reason=wish.reason)
            task.state, task.waiting_for, task.approval_id = "waiting", "approval", row.id
            write(tx, task)
        outcomes[0].target = replace(outcomes[0].target, id=row.id)
        answer = approval_json(row, self.ctx.caller, now)
        outbox.put(tx, house, "approval_requested", answer, actor_id=self.ctx.caller.user_id)
        return answer | {"approval_id": row.id, "eligible": list(outcomes[0].target.after["could_approve"])}

    async def told(self, answer: Any) -> None:
        answer["not_told"] = await outbox.send(self.ctx.house, answer["id"], "approval_requested")


class _Decide(Change[Any]):
    """A decision by somebody else than the requester, who holds the operation's own permission on every target."""

    operation: ClassVar[str] = ""
    verb: ClassVar[str] = ""
    state: ClassVar[str] = ""
    undo: ClassVar[str] = "approvals.request: ask again"
    why: ClassVar[str] = ""
    possible_in: ClassVar[tuple[str, ...]] = ("pending",)

    async def plan(self) -> Plan:
        now = self.ctx.now()
        row = await self.ctx.database.read(lambda tx: _known(tx, self.input.id))
        await self._authorise(row)
        refuse_state(row, self.possible_in, self.verb, now)
        inner = await self._inner(row)
        target = Target(
            kind="approval",
            id=row.id,
            name=row.summary,
            resource=f"approval:{row.id}",
            subject=_subject(self.ctx.caller, row.summary),
            before={"state": row.state, "requester": row.requester},
            after={"state": self.state, "operation": row.operation, "plan_digest": row.plan_digest},
        )
        plan = record_plan(
            self.operation,
            f"{self.verb}: {row.summary}, asked for by {row.requester} ({row.reason})",
            [target],
            self.input,
            undo=self.undo,
            dependents=inner.dependents if inner else (),
            warnings=inner.warnings if inner else (),
        )
        return replace(plan, why=self.why)

    async def _authorise(self, row: Approval) -> None:
        because = objection(self.ctx.caller, row)
        if because is None:
            return
        operation = find(row.operation)

        def who(tx: Session) -> list[str]:
            return who_could_all(tx, operation.needs, engine.subjects_of(row.subjects), without=row.requester_persons)

        names = ", ".join(await self.ctx.database.read(who)) or "nobody"
        user = self.ctx.caller.username
        error = PermissionDenied(
            f"{user} may not {self.verb} {row.id}: {because}; who could: {names}",
            user=user,
            operation=self.operation,
            because=because,
            missing=row.permission,
            who_could=names,
        )
        await authorise.record_refusal(self.ctx, find(self.operation), error)
        raise error

    async def _inner(self, row: Approval) -> Plan | None:
        """What the request would do now, where that matters for the decision."""
        return None

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        """Looked at again under the lock: the state, and the rights of whoever decides."""
        ctx, now = self.ctx, self.ctx.now()
        row = engine.locked(tx, self.input.id)
        refuse_state(row, self.possible_in, self.verb, now)
        again = load_caller(tx, ctx.caller.username, on_behalf=ctx.caller.on_behalf, login=ctx.caller.login)
        because = objection(again, row) if again is not None else "no user any more"
        if again is None or because is not None:
            raise StateConflict(f"{ctx.caller.username} may not {self.verb} it any more: {because}")
        return self._decided(tx, row, again)

    def _decided(self, tx: Session, row: Approval, by: Caller) -> Json:
        now = self.ctx.now()
        engine.settle(tx, row, self.state, by, self.input.reason, now)
        answer = approval_json(row, self.ctx.caller, now)
        outbox.put(tx, self.ctx.house, f"approval_{self.state}", answer, actor_id=by.user_id)
        return answer

    async def told(self, answer: Any) -> None:
        if answer["task_id"] is not None and self.state == "approved":
            await self.ctx.house.begin_task(answer["task_id"])
        answer["not_told"] = await outbox.send(self.ctx.house, answer["id"], f"approval_{self.state}")


def _known(tx: Session, approval_id: str) -> Approval:
    row = tx.get(Approval, approval_id)
    if row is None:
        raise ObjectNotFound(entity="approval", id=approval_id, hint="; see: approvals list", field="id")
    return row


def refuse_state(row: Approval, possible: tuple[str, ...], verb: str, now: Any) -> None:
    """StateConflict when the request is not in a state for this."""
    state = engine.state_of(row, now)
    if state not in possible:
        by = f" by {row.decided_by}" if row.decided_by and state != "expired" else ""
        raise StateConflict(
            f"the request {row.id} is {state}{by}; it can be {_done(verb)} only while it is {' or '.join(possible)}",
            approval_id=row.id,
            state=state,
        )


def _done(verb: str) -> str:
    return {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn", "perform": "performed"}[verb]


@change(
    "approvals.approve",
    summary="Agree to what somebody asked for; it is planned again first and must still be the same",
    permission="self",
    input=Decision,
    kind="action",
    danger="high",
    objects=("approval",),
)
class Approve(_Decide):
    operation, verb, state = "approvals.approve", "approve", "approved"
    undo = "approvals.reject, as long as it is not used"
    why = "what was asked for can be done then"

    async def _inner(self, row: Approval) -> Plan:
        now = await replan(self.ctx, row)
        if now.plan.digest != row.plan_digest:
            raise PlanStale(
                f"what {row.requester} asked for is no longer what would happen; he must ask again",
                plan_digest=now.plan.digest,
                asked_digest=row.plan_digest,
            )
        return now.plan


@change(
    "approvals.reject",
    summary="Refuse what somebody asked for, or take one's agreement back before it is used",
    permission="self",
    input=Rejection,
    kind="action",
    objects=("approval",),
)
class Reject(_Decide):
    operation, verb, state = "approvals.reject", "reject", "rejected"
    possible_in = engine.OPEN


@change(
    "approvals.withdraw",
    summary="Take back what one asked for",
    permission="self",
    input=Decision,
    kind="action",
    objects=("approval",),
)
class Withdraw(_Decide):
    operation, verb, state = "approvals.withdraw", "withdraw", "withdrawn"
    possible_in = engine.OPEN

    async def _authorise(self, row: Approval) -> None:
        caller = self.ctx.caller
        if row.requester_id != caller.user_id:
            error = PermissionDenied(
                f"only {row.requester} can withdraw {row.id}; whoever may decide it can reject it",
                user=caller.username,
                operation=self.operation,
                who_could=row.requester,
            )
            await authorise.record_refusal(self.ctx, find(self.operation), error)
            raise error

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now = self.ctx.now()
        row = engine.locked(tx, self.input.id)
        refuse_state(row, self.possible_in, self.verb, now)
        return self._decided(tx, row, self.ctx.caller)


@stand_in(
    "approvals.perform",
    summary="Do what was asked for and approved, with the input it was asked for with; confirmed by its own id",
    permission="self",
    input=OneApproval,
    objects=("approval",),
)
async def perform_approved(ctx: Context, given: OneApproval) -> tuple[str, Json]:
    """Only for the one who asked. Plan, rights and confirmation are those of the operation."""
    row = await ctx.database.read(lambda tx: find_approval(tx, ctx, given.id))
    if row.requester_id != ctx.caller.user_id:
        raise PermissionDenied(
            f"only {row.requester} can perform what {row.id} was given for",
            user=ctx.caller.username,
            operation="approvals.perform",
            who_could=row.requester,
        )
    refuse_state(row, engine.OPEN, "perform", ctx.now())
    if row.task_id is not None:
        raise StateConflict(f"the task {row.task_id} waits for {row.id} and begins by itself")
    operation, data = await given_again(ctx, row)
    return operation.id, data
