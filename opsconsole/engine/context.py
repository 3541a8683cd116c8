"""What an operation gets beside its input: who asks, and the house to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from opsconsole.engine.caller import Caller

if TYPE_CHECKING:
    from data.database import Database
    from drivers.detached import JobSpec
    from drivers.runner import Runner
    from opsconsole.engine.plan import Target
    from opsconsole.house import House

Progress = Callable[[dict[str, Any]], None]


def _silent(_: dict[str, Any]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Finished:
    """How a step on a host ended. `exit_status` is None when a signal ended it."""

    exit_status: int | None
    signal: int | None = None
    timed_out: bool = False


class TaskWork(Protocol):
    """What a change that runs as a task may use beside its context; every method may be repeated after a takeover."""

    task_id: str

    async def detached(self, target: Target, runner: Runner, step: int, spec: JobSpec) -> Finished:
        """Run a step on the host, or attach to it where it was begun already, and keep what it prints.

        The name in `spec` is replaced by one that belongs to task, target and step. Raises OutcomeUnknown when the host
        cannot say what became of it, Cancelled when somebody asked for that and the step is proven to be gone.
        """
        ...

    async def say(self, target: Target, step: int, text: str) -> None:
        """A line of our own in the task's output; said once, however often it is asked for."""
        ...

    async def progress(self, target: Target, step: int, of: int, said: str) -> None:
        """How far it is with a target, as everybody sees it."""
        ...

    def check(self) -> None:
        """Raise Cancelled when somebody asked for that. Not before `detached`, which asks by itself once it knows that
        the step does not run yet: one that runs has to be stopped first."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """One request. `progress` is told about each target as it ends; `task` is set where a worker performs it. `trial`:
    planned in the name of somebody who is not asking himself, so that a refusal is no attempt of his and not recorded.
    """

    house: House
    caller: Caller
    progress: Progress = field(default=_silent)
    task: TaskWork | None = None
    trial: bool = False

    @property
    def database(self) -> Database:
        return self.house.database

    def now(self) -> datetime:
        return datetime.now(UTC)
