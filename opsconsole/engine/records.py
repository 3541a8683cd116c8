"""What changes of our own records have in common: their plan, and noticing that somebody else was faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import REGISTRY, Input

SUCCESS: Mapping[str, str] = {"message": "success"}


def success() -> dict[str, str]:
    """The answer the documents call `message`."""
    return dict(SUCCESS)


def record_plan(
    operation: str,
    summary: str,
    targets: Iterable[Target],
    given: Input,
    *,
    undo: str | None,
    level: str = "dev",
    dependents: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Plan:
    """The plan of a change that touches only our own records; danger and reversibility are those declared."""
    declared = REGISTRY[operation]
    return Plan(
        operation=operation,
        summary=summary,
        targets=tuple(targets),
        verification="written in one transaction with its journal row",
        undo=undo,
        reversible=declared.reversible,
        danger=declared.danger,
        level=level,
        dependents=tuple(dependents),
        warnings=tuple(warnings),
        input=given.shown(),
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Only the fields that differ, before and after."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def refuse_if_changed(what: str, planned: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """StateConflict naming every field that is no longer what the plan showed."""
    moved = [
        f"{name} is {now.get(name)!r} now, it was {was!r}" for name, was in planned.items() if now.get(name) != was
    ]
    if moved:
        raise StateConflict(
            f"{what} was changed by somebody else in the meantime: {'; '.join(moved)}; look at it again"
        )
