"""An action on marked services as a task: in waves, so many at once, until too many have failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.performing import Performing
from screens.render.form import Field
from screens.render.waves import WAVES, options
from screens.services_actions import ACTIONS, Target, action, order
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.menu import Entry

IN_WAVES: Final = "in_waves"


def entry(read_only: Safe) -> Entry:
    """The way to it in the menu of several services."""
    why = Safe(f"read-only: {read_only}") if read_only else Safe("")
    return Entry(IN_WAVES, "W", Safe("one of these in waves, as a task …"), not why, why)


def form(console: Console, client: Client, targets: Sequence[Target], available: Json) -> Form:
    """Which action, and how. What some of the services do not take is not offered."""
    names = [one.name for one in ACTIONS if (available.get(one.name) or {}).get("allowed", True)]
    performing = Performing(console, client)
    chosen = Field("action", "choice", required=True, choices=tuple(names), help=_help(available))

    async def submit(data: Json) -> Any:
        task, rest = options(data)
        wanted = order(action(str(rest["action"])), targets, task)
        done = await performing.run(wanted)
        if done is not None:
            await performing.report(wanted, done)
        return done

    return Form(f"{len(targets)} services in waves", [chosen, *WAVES], submit)


def _help(available: Json) -> str:
    """What the field is for, and which actions are missing from it, each reason once."""
    missing: dict[str, list[str]] = {}
    for one in ACTIONS:
        verdict = available.get(one.name) or {}
        if not verdict.get("allowed", True):
            missing.setdefault(str(verdict.get("because")), []).append(one.name)
    said = [f"{', '.join(names)}: {because}" for because, names in missing.items()]
    return " · ".join(["done to each of the marked services; left and right choose", *said])
