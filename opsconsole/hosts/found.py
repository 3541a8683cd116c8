"""What a file says about hosts, before it is compared with the records."""

from __future__ import annotations

from dataclasses import dataclass, field

from opsconsole.engine.errors import InvalidParameter


@dataclass(slots=True)
class FoundHost:
    """One host as a file describes it; None where the file is silent. `line` is where it was named first."""

    name: str
    line: int
    address: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    become: bool | None = None
    location: str | None = None
    os_type: str | None = None
    description: str | None = None
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: lines count from 1."""

    line: int
    message: str


@dataclass(slots=True)
class Found:
    """All hosts of a file in order, what is wrong with it, and what was left out on purpose."""

    hosts: dict[str, FoundHost] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(line, message))

    def host(self, name: str, line: int) -> FoundHost:
        return self.hosts.setdefault(name, FoundHost(name, line))


def refuse_problems(found: Found, where: str) -> None:
    """InvalidParameter with every wrong line (the first ten in the sentence); a half-wrong file changes nothing."""
    if not found.problems:
        return
    ordered = sorted(found.problems, key=lambda problem: problem.line)
    listed = "; ".join(f"line {problem.line}: {problem.message}" for problem in ordered[:10])
    more = f"; and {len(ordered) - 10} more" if len(ordered) > 10 else ""
    raise InvalidParameter(
        field="path",
        reason=f"{where}: {listed}{more}; nothing was changed",
        lines=[{"line": problem.line, "message": problem.message} for problem in ordered],
    )
