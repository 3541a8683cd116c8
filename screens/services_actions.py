"""Actions on services: keys, words, inputs, and why one is not offered now. The plan says what to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opsconsole.client import Client, Json, OperationFailed
from screens.text import Safe, join

if TYPE_CHECKING:
    from screens.performing import Order
    from screens.widgets.menu import Entry

ASKED: Final = 4
"""How many of the services in the way are asked for their reason."""

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


async def possible(client: Client, targets: Sequence[Target]) -> Json:
    """Per action `{allowed, because}`: of one service asked now, of several as last seen."""
    if len(targets) == 1:
        return await _verdicts(client, targets[0])
    hosts = list(dict.fromkeys(host for host, _ in targets))
    answer = await client.call("services.list", {"hosts": hosts, "cached": True})
    refused = not_taken(answer.get("services") or [], targets)
    first = list(dict.fromkeys(found[0] for found in refused.values()))[:ASKED]
    said = dict(zip(first, await asyncio.gather(*(_why(client, target) for target in first)), strict=True))
    return {
        one.name: {"allowed": one.name not in refused, "because": _because(one, refused.get(one.name, []), said)}
        for one in ACTIONS
    }


async def _verdicts(client: Client, target: Target) -> Json:
    answer = await client.call("services.get", {"host": target[0], "name": target[1]})
    return dict(answer.get("available_actions") or {})


async def _why(client: Client, target: Target) -> Json:
    """The same as far as the host can say it; one that does not answer leaves the others their reasons."""
    try:
        return await _verdicts(client, target)
    except OperationFailed as error:
        return {one.name: {"because": error.message} for one in ACTIONS}


def not_taken(services: Iterable[Mapping[str, Any]], targets: Sequence[Target]) -> dict[str, list[Target]]:
    """Per action the services that do not take it, from rows of `services.list`; actions that all take are left out."""
    offered = {
        (str(row.get("host")), str(row.get(name))): row.get("available_actions") or {}
        for row in services
        for name in ("name", "unit")
    }
    known = [target for target in targets if target in offered]
    found = {one.name: [target for target in known if not offered[target].get(one.name)] for one in ACTIONS}
    return {name: refusing for name, refusing in found.items() if refusing}


def _because(chosen: Action, refusing: Sequence[Target], said: Mapping[Target, Json]) -> str:
    """Which services are in the way, and why the first of them is."""
    if not refusing:
        return ""
    names = ", ".join("/".join(target) for target in refusing[:3])
    more = f" and {len(refusing) - 3} more" if len(refusing) > 3 else ""
    verdict = said.get(refusing[0], {}).get(chosen.name)
    why = str(verdict.get("because") or "") if isinstance(verdict, Mapping) else ""
    return f"not possible on {names}{more}" + (f": {why}" if why else "")


def order(chosen: Action, targets: Sequence[Target], task: Json | None = None) -> Order:
    """The action on these services, as something to perform; with `task` by a worker."""
    from screens.performing import Order

    what = Safe("/".join(targets[0])) if len(targets) == 1 else Safe(f"{len(targets)} services")

    def narrowed(keys: Collection[str]) -> Order:
        return order(chosen, [target for target in targets if f"{Safe(target[0])}/{Safe(target[1])}" in keys], task)

    return Order(chosen.operation, input_of(targets), join([Safe(chosen.doing), what], " "), narrowed, task=task)
