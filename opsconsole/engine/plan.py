"""What would happen, before anything happens: a pure read, shown to people and bound by its digest.

A plan may not write anything, not even a lock. Its digest covers operation, input, targets and what is to become of
them, not the age of the evidence: the same situation planned twice has the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsconsole.engine.canonical import digest
from opsconsole.engine.decide import Subject

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One object the change acts on.

    `resource` is what the lease is taken on; `before` and `after` are the fields that will differ (or the state now and
    the state wanted); `evidence_age` seconds since `before` was observed, None when it is a record of ours.
    `say_name` asks for the name on confirmation whatever the danger (the self-cut guard). `journal` is the kind, id and
    name under which the journal keeps it, where that is another object than the one acted on (an instance is part of
    the history of its application).
    """

    kind: str
    id: str
    name: str
    resource: str
    subject: Subject
    host: str | None = None
    before: Facts = field(default_factory=dict)
    after: Facts = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    evidence_age: float | None = None
    say_name: bool = False
    work: Facts = field(default_factory=dict)
    journal: tuple[str, str, str] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.id)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "name": self.name,
            "host": self.host,
            "environment": self.subject.environment,
            "before": dict(self.before),
            "after": dict(self.after),
            "warnings": list(self.warnings),
            "evidence_age": None if self.evidence_age is None else round(self.evidence_age, 1),
        }


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the ladder asks for. `expect` is the text to type (None: nothing to type at this rung)."""

    rung: int
    expect: str | None
    needs_reason: bool
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of a change. `level` is the highest environment level among the targets (prod > stage > dev); `why`
    what makes it dangerous, where it interrupts no work."""

    operation: str
    summary: str
    targets: tuple[Target, ...]
    verification: str
    undo: str | None
    reversible: bool
    danger: str
    level: str = "dev"
    dependents: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    input: Facts = field(default_factory=dict)
    material: Facts = field(default_factory=dict)
    why: str = ""

    @property
    def digest(self) -> str:
        return digest(
            {
                "operation": self.operation,
                "input": dict(self.input),
                "targets": [[t.kind, t.id, t.name, dict(t.before), dict(t.after), t.say_name] for t in self.targets],
                "reversible": self.reversible,
                "level": self.level,
                "material": dict(self.material),
            }
        )

    def as_json(self, confirmation: Confirmation) -> dict[str, Any]:
        environments = sorted({t.subject.environment for t in self.targets if t.subject.environment})
        return {
            "operation": self.operation,
            "summary": self.summary,
            "targets": [target.as_json() for target in self.targets],
            "dependents": list(self.dependents),
            "warnings": list(self.warnings),
            "verification": self.verification,
            "undo": self.undo,
            "reversible": self.reversible,
            "environment": ", ".join(environments) or None,
            "level": self.level,
            "danger": self.danger,
            "rung": confirmation.rung,
            "expect": confirmation.expect,
            "needs_reason": confirmation.needs_reason,
            "why": confirmation.why,
            "digest": self.digest,
        }


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
