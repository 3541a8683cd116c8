"""Actions on services: keys, words, inputs, and why one is not offered now. The plan says what to ask."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opsconsole.client import Json
from screens.text import Safe, join

if TYPE_CHECKING:
    from screens.performing import Order
    from screens.widgets.menu import Entry

Target = tuple[str, str]
"""Host and service name."""


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
    Action("L", "reload", "reload its configuration", "reloading"),
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
    """The action menu. `available` is per action `{allowed, because}`; None when nothing is known about them."""
    from screens.widgets.menu import Entry

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


def together(services: Iterable[Mapping[str, Any]], targets: Sequence[Target]) -> Json:
    """Per action whether all of several services take it, and which do not, from rows of `services.list`."""
    offered = {
        (str(row.get("host")), str(row.get(name))): row.get("available_actions") or {}
        for row in services
        for name in ("name", "unit")
    }
    verdicts: Json = {}
    for candidate in ACTIONS:
        not_on = [
            "/".join(target) for target in targets if target in offered and not offered[target].get(candidate.name)
        ]
        more = f" and {len(not_on) - 3} more" if len(not_on) > 3 else ""
        because = f"not possible on {', '.join(not_on[:3])}{more}" if not_on else ""
        verdicts[candidate.name] = {"allowed": not not_on, "because": because}
    return verdicts


def order(chosen: Action, targets: Sequence[Target], task: Json | None = None) -> Order:
    """The action on these services, as something to perform; with `task` by a worker."""
    from screens.performing import Order

    what = Safe("/".join(targets[0])) if len(targets) == 1 else Safe(f"{len(targets)} services")

    def narrowed(keys: Collection[str]) -> Order:
        return order(chosen, [target for target in targets if f"{Safe(target[0])}/{Safe(target[1])}" in keys], task)

    return Order(chosen.operation, input_of(targets), join([Safe(chosen.doing), what], " "), narrowed, task=task)
