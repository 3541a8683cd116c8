"""The action menu of services, for every screen that shows one: the table, and the journal of what failed."""

from __future__ import annotations

from collections.abc import Sequence

from opsconsole.client import Client, OperationFailed
from screens import services_waves
from screens.frame import Console, reported
from screens.performing import Performing
from screens.services_actions import Target, action, entries, order, possible
from screens.text import Safe
from screens.widgets.menu import Menu


async def choose(console: Console, client: Client, targets: Sequence[Target]) -> str | None:
    """Offer what the hosts say is possible now. Answers the action to be performed, by a worker of its own: keys typed
    meanwhile are meant for its plan."""
    title = Safe("/".join(targets[0])) if len(targets) == 1 else Safe(f"{len(targets)} marked services")
    try:
        available = await possible(client, targets)
    except OperationFailed as error:
        console.say_failure(f"asking about {title}", error)
        return None
    shown = entries(available, console.read_only)
    if len(targets) > 1:
        shown.append(services_waves.entry(console.read_only))
    chosen = await console.push_screen_wait(Menu(title, shown))
    if chosen == services_waves.IN_WAVES:
        await console.push_screen_wait(services_waves.form(console, client, targets, available))
        return None
    return chosen


async def perform(console: Console, client: Client, name: str, targets: Sequence[Target]) -> None:
    """One action; the screen stays live meanwhile."""
    wanted = order(action(name), targets)
    with reported(console, wanted.label):
        await Performing(console, client).finish(wanted)
