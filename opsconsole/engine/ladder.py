"""One ladder for every confirmation, decided by policy and never by a screen.

0 nothing · 1 Enter on the plan · 2 type the count · 3 type the name and a reason · 4 a second person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opsconsole.engine.errors import ApprovalRequired, ConfirmationRequired, PlanStale
from opsconsole.engine.plan import Confirmation, Plan


@dataclass(frozen=True, slots=True)
class Policy:
    """`count_above`: more targets than this are over budget and need a second person, per environment level."""

    budget: tuple[tuple[str, int], ...] = (("prod", 200), ("stage", 500), ("dev", 2000))

    def budget_of(self, level: str) -> int:
        return dict(self.budget).get(level, 200)


def confirmation(plan: Plan, policy: Policy, *, second_person: bool = False) -> Confirmation:
    """The rung for this plan and what has to be typed there."""
    count = len(plan.targets)
    rung, why = _rung(plan, policy, second_person=second_person)
    if plan.level == "prod" and rung in {1, 2}:
        rung, why = rung + 1, f"{why}, in production"
    if rung < 3 and any(target.say_name for target in plan.targets):
        rung, why = 3, "this could cut the way we came in"
    expect = {0: None, 1: "yes", 2: str(count), 4: "approval"}.get(rung)
    if rung == 3:
        expect = _name(plan) if count == 1 else f"{count} {_name(plan)}"
    return Confirmation(rung=rung, expect=expect, needs_reason=rung == 3, why=why)


def _rung(plan: Plan, policy: Policy, *, second_person: bool) -> tuple[int, str]:
    count = len(plan.targets)
    if second_person:
        return 4, "this operation always needs a second person"
    if count > policy.budget_of(plan.level):
        return 4, f"{count} targets are over the budget of {policy.budget_of(plan.level)} in {plan.level}"
    if plan.danger == "high" and not plan.reversible:
        return 3, "it cannot be undone"
    if count > 1 and plan.danger != "none":
        return 2, f"{count} targets"
    if plan.danger == "high":
        return 1, plan.why or "it interrupts work"
    return 0, "no danger"


def _name(plan: Plan) -> str:
    names = {target.name for target in plan.targets}
    if len(names) == 1:
        return names.pop()
    environments = {target.subject.environment for target in plan.targets if target.subject.environment}
    return environments.pop() if len(environments) == 1 else plan.level


def check(plan: Plan, wanted: Confirmation, given: str | None, reason: str | None) -> None:
    """Accept what was typed, or say what is expected (exit 7). A digest other than the plan's is `plan_stale`.

    Nothing that can be typed stands for a second person: rung 4 is always refused here (`second_person.py`).
    """
    if wanted.rung == 0:
        return
    data: dict[str, Any] = {"rung": wanted.rung, "expect": wanted.expect, "plan_digest": plan.digest}
    if wanted.rung == 4:
        raise ApprovalRequired(why=wanted.why, how="nothing that was given here stands for one", **data)
    if given is not None and _looks_like_digest(given) and wanted.rung in {1, 2}:
        if given != plan.digest:
            raise PlanStale(plan_digest=plan.digest)
        return
    hint = f"--confirm '{wanted.expect}'" + (" --reason '…'" if wanted.needs_reason else "")
    why = f"{plan.summary}: {wanted.why}"
    if given is None or given.strip() != wanted.expect:
        raise ConfirmationRequired(why=why, expect_hint=hint, field="confirm", **data)
    if wanted.needs_reason and not (reason or "").strip():
        raise ConfirmationRequired(why=f"{why}; a reason is missing", expect_hint=hint, field="reason", **data)


def _looks_like_digest(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
