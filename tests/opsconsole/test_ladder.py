"""The confirmation ladder, cell by cell."""

from __future__ import annotations

import itertools

import pytest

from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ApprovalRequired, ConfirmationRequired, PlanStale
from opsconsole.engine.ladder import Policy, check, confirmation
from opsconsole.engine.plan import Plan, Target

POLICY = Policy((("prod", 5), ("stage", 7), ("dev", 9)))


def make(danger: str, reversible: bool, count: int, level: str, *, say_name: bool = False, names: str = "same") -> Plan:
    targets = tuple(
        Target(
            "unit",
            str(n),
            "nginx" if names == "same" else f"u{n}",
            f"r{n}",
            Subject("unit", "x", environment="ring"),
            say_name=say_name,
        )
        for n in range(count)
    )
    return Plan("x.y", "do it", targets, "looked at", "undo it", reversible, danger, level)


# danger, reversible, targets -> rung in dev; production adds one to 1 and 2.
CELLS = {
    ("none", True, 1): 0, ("none", True, 3): 0, ("none", False, 1): 0, ("none", False, 3): 0,
    ("low", True, 1): 0, ("low", True, 3): 2, ("low", False, 1): 0, ("low", False, 3): 2,
    ("high", True, 1): 1, ("high", True, 3): 2, ("high", False, 1): 3, ("high", False, 3): 3,
}  # fmt: skip


@pytest.mark.parametrize(("cell", "level"), list(itertools.product(CELLS, ("dev", "stage", "prod"))))
def test_every_cell(cell: tuple[str, bool, int], level: str) -> None:
    rung = CELLS[cell]
    if level == "prod" and rung in {1, 2}:
        rung += 1
    asked = confirmation(make(*cell, level), POLICY)
    assert asked.rung == rung
    count = cell[2]
    named = "nginx" if count == 1 else f"{count} nginx"
    assert asked.expect == {0: None, 1: "yes", 2: str(count), 3: named}[rung]
    assert asked.needs_reason is (rung == 3)
    assert asked.why


@pytest.mark.parametrize(("level", "most"), [("prod", 5), ("stage", 7), ("dev", 9)])
def test_over_budget_needs_a_second_person(level: str, most: int) -> None:
    assert confirmation(make("low", True, most, level), POLICY).rung < 4
    over = make("low", True, most + 1, level)
    assert confirmation(over, POLICY).rung == 4
    with pytest.raises(ApprovalRequired) as refused:
        check(over, confirmation(over, POLICY), "10", "because")
    assert refused.value.exit_status == 7
    assert refused.value.data["plan_digest"] == over.digest


def test_second_person_and_self_cut() -> None:
    assert confirmation(make("low", True, 1, "dev"), POLICY, second_person=True).rung == 4
    cut = confirmation(make("low", True, 1, "dev", say_name=True), POLICY)
    assert (cut.rung, cut.expect, cut.needs_reason) == (3, "nginx", True)
    mixed = confirmation(make("high", False, 3, "dev", names="different"), POLICY)
    assert mixed.expect == "3 ring"


@pytest.mark.parametrize(
    ("cell", "given", "reason", "accepted"),
    [
        (("low", True, 1), None, None, True),
        (("high", True, 1), None, None, False),
        (("high", True, 1), "y", None, False),
        (("high", True, 1), " yes ", None, True),
        (("high", True, 3), "yes", None, False),
        (("high", True, 3), "3", None, True),
        (("high", True, 3), "2", None, False),
        (("high", False, 1), "yes", "r", False),
        (("high", False, 1), "nginx", None, False),
        (("high", False, 1), "nginx", "  ", False),
        (("high", False, 1), "nginx", "r", True),
        (("high", False, 3), "nginx", "r", False),
        (("high", False, 3), "3 nginx", "r", True),
    ],
)
def test_what_is_accepted(cell: tuple[str, bool, int], given: str | None, reason: str | None, accepted: bool) -> None:
    plan = make(*cell, "dev")
    asked = confirmation(plan, POLICY)
    if accepted:
        check(plan, asked, given, reason)
        return
    with pytest.raises(ConfirmationRequired) as refused:
        check(plan, asked, given, reason)
    assert refused.value.data == {
        "expect_hint": refused.value.data["expect_hint"],
        "why": refused.value.data["why"],
    } | {
        "rung": asked.rung,
        "expect": asked.expect,
        "plan_digest": plan.digest,
    }


def test_the_digest_of_the_shown_plan_stands_for_yes_and_count_but_not_for_the_name() -> None:
    for cell in (("high", True, 1), ("high", True, 3)):
        plan = make(*cell, "dev")
        check(plan, confirmation(plan, POLICY), plan.digest, None)
        with pytest.raises(PlanStale):
            check(plan, confirmation(plan, POLICY), "0" * 64, None)
    deletion = make("high", False, 1, "dev")
    with pytest.raises(ConfirmationRequired):
        check(deletion, confirmation(deletion, POLICY), deletion.digest, "r")
