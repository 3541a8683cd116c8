"""Actions on services: from the key to the result of each target. Screens decide nothing; the plan says what to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import Console
from screens.render.plan import Answer, ladder
from screens.render.result import Outcome, outcomes, tally, worst
from screens.text import Safe, join
from screens.widgets.menu import Entry

Target = tuple[str, str]
"""Host and service name."""

_PLAN_CHANGED: Final = Safe("The plan changed since it was shown; this is the new one.")


@dataclass(frozen=True, slots=True)
class Action:
    """An action key: capital letters act."""

    key: str
    name: str
    title: str
    doing: str

    @property
    def operation(self) -> str:
        return f"services.{self.name}"


ACTIONS: Final = (
    Action("S", "start", "start", "starting"),
    Action("T", "stop", "stop", "stopping"),
    Action("R", "restart", "restart", "restarting"),
    Action("E", "enable", "enable at boot", "enabling"),
    Action("D", "disable", "do not start at boot", "disabling"),
    Action("F", "reset_failed", "forget the failure", "resetting"),
)


def action(name: str) -> Action:
    return next(candidate for candidate in ACTIONS if candidate.name == name)


def input_of(targets: Sequence[Target]) -> Json:
    """The operation's input: one service, or items."""
    if len(targets) == 1:
        return {"host": targets[0][0], "name": targets[0][1]}
    return {"items": [{"host": host, "name": name} for host, name in targets]}


def entries(available: Mapping[str, Any] | None, read_only: Safe) -> list[Entry]:
    """The action menu. `available` is `available_actions` of `services.get`, None for several marked services."""
    found = []
    for candidate in ACTIONS:
        allowed, because = True, Safe("")
        if read_only:
            allowed, because = False, join([Safe("read-only:"), read_only], " ")
        elif available is not None:
            verdict = available.get(candidate.name)
            verdict = verdict if isinstance(verdict, Mapping) else {"because": "not offered for this service"}
            allowed, because = bool(verdict.get("allowed")), Safe(verdict.get("because"))
        found.append(
            Entry(candidate.name, candidate.key, Safe(candidate.title), allowed, Safe("" if allowed else because))
        )
    return found


class ActionRun:
    """One action from plan to result, in a worker of the app. `retry()` gives the targets to try again, if asked to."""

    def __init__(self, console: Console, client: Client, chosen: Action, targets: Sequence[Target]) -> None:
        self.console = console
        self.client = client
        self.chosen = chosen
        self.targets = list(targets)

    @property
    def label(self) -> Safe:
        """What this is about: one service by name, several by number."""
        if len(self.targets) == 1:
            host, name = self.targets[0]
            return join([Safe(self.chosen.doing), Safe(f"{host}/{name}")], " ")
        return Safe(f"{self.chosen.doing} {len(self.targets)} services")

    async def run(self) -> None:
        """Plan, ask, call, report; again for the failed ones as long as the operator wants that."""
        targets = self.targets
        while targets:
            self.targets = targets
            found = await self._once()
            targets = await self._report(found) if found else []

    async def _once(self) -> dict[str, Outcome]:
        """The outcomes by `host/name`; empty when it was left or refused as a whole."""
        notice: Safe | None = None
        while True:
            data = input_of(self.targets)
            try:
                answer = await self._confirmed(data, notice)
                if answer is None:
                    return {}
                self.console.say(f"{self.label} …", "busy")
                result = await self.client.call(
                    self.chosen.operation,
                    data,
                    confirm=answer.confirm,
                    reason=answer.reason,
                    plan_digest=answer.digest,
                )
            except OperationFailed as error:
                if error.exit_status == 7 or error.code == "plan_stale":
                    notice = _PLAN_CHANGED
                    continue
                return self._failed(error)
            return self._outcomes(result)

    async def _confirmed(self, data: Json, notice: Safe | None) -> Answer | None:
        plan = await self.client.plan(self.chosen.operation, data)
        if ladder(plan).rung == 0 and notice is None:
            return Answer(None)
        from screens.widgets.plan import PlanPane

        return await self.console.push_screen_wait(PlanPane(plan, notice))

    def _outcomes(self, result: Any) -> dict[str, Outcome]:
        results = result.get("results") if isinstance(result, Mapping) else None
        if isinstance(results, list):
            return outcomes(results)
        return outcomes({"host": host, "name": name, "state": "done"} for host, name in self.targets)

    def _failed(self, error: OperationFailed) -> dict[str, Outcome]:
        if error.exit_status == 8 and error.targets:
            return outcomes(error.targets)
        if error.exit_status == 6 and len(self.targets) == 1:
            host, name = self.targets[0]
            state = "unknown" if error.code == "outcome_unknown" else "failed"
            return outcomes([{"host": host, "name": name, "state": state, "error": {"message": error.message}}])
        self.console.say_failure(self.label, error)
        return {}

    async def _report(self, found: dict[str, Outcome]) -> list[Target]:
        """Flash the outcome, show a list where there is more to say, and return what to try again."""
        summary = join([self.label, tally(found.values())], ": ")
        role = worst(found.values())
        self.console.say(summary, role)
        if role == "ok":
            return []
        from screens.widgets.plan import ResultPane

        again = await self.console.push_screen_wait(ResultPane(summary, found))
        return [target for target in self.targets if f"{Safe(target[0])}/{Safe(target[1])}" in (again or [])]
