"""From a line of the home screen to the thing itself: over it where there is a screen of one, else in its mode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

from opsconsole.client import Client
from screens.frame import ConsoleScreen
from screens.render.home import HomeRow
from screens.text import Safe, join

if TYPE_CHECKING:
    from textual.app import App

WAIT: Final = 5.0
"""Seconds a list is given to have the row."""
LOOK_EVERY: Final = 0.05

Go = Callable[[ConsoleScreen, Client, HomeRow], Awaitable[None]]


async def go_to_thing(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    """Raises OperationFailed when the house cannot show it."""
    go = _WAYS.get(row.kind)
    if go is None:
        screen.console.say(join([Safe("there is no screen for a"), Safe(row.kind)], " "), "warn")
    else:
        await go(screen, client, row)


async def _approval(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    from screens.approvals import ApprovalScreen
    from screens.render.approval import parse_approval

    asked = parse_approval(await client.call("approvals.get", {"id": row.id}))
    await screen.app.push_screen(ApprovalScreen(client, asked))


async def _review(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    """What is known here is enough to begin with; the screen reads the rest."""
    from screens.approvals import ApprovalScreen
    from screens.render.approval import parse_review

    known: dict[str, Any] = {"id": row.id, "summary": row.record.get("what"), "level": row.level}
    known |= {"who": row.record.get("who"), "reason": row.record.get("why"), "opened_at": row.record.get("since")}
    known["may_close"] = "reviews.close" in row.operations
    await screen.app.push_screen(ApprovalScreen(client, parse_review(known)))


async def _task(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    from screens.render.task import parse_task
    from screens.tasks import TaskScreen

    found = await client.call("tasks.get", {"id": row.id})
    await screen.app.push_screen(TaskScreen(client, parse_task(found)))


def _answer(operation: str, given: Callable[[HomeRow], dict[str, Any]]) -> Go:
    """The answer of a read, for what has no screen of its own."""

    async def go(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
        from screens.shell.answer import AnswerScreen

        found = await client.call(operation, given(row))
        await screen.app.push_screen(AnswerScreen(operation, found))

    return go


async def _host(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    """All hosts of the environment, or the one there is in this state."""
    there = await _mode(screen, "hosts")
    names = row.record.get("on")
    only = str(names[0]) if isinstance(names, list) and len(names) == 1 else ""
    where = row.record.get("environment")
    there.narrow(" ".join([*([f"@{where}"] if where else []), *([only] if only else [])]))


async def _service(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    host_id, _, unit = row.id.partition("/")
    await _row(screen, "services", f"{host_id}:{row.record.get('host')}/{unit}")


async def _vpn_client(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    await _row(screen, "vpn", row.id)


async def _authority(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    there = await _mode(screen, "vpn")
    await there.run_action("authorities")


async def _person(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    await _row(screen, "people", row.id)


async def _journal(screen: ConsoleScreen, client: Client, row: HomeRow) -> None:
    await _mode(screen, "journal")


async def _mode(screen: ConsoleScreen, name: str) -> ConsoleScreen:
    """The root of a mode, on top."""
    app = cast("App[int]", screen.app)
    await app.switch_mode(name)
    while len(app.screen_stack) > 1:
        await app.pop_screen()
    return cast(ConsoleScreen, app.screen)


async def _row(screen: ConsoleScreen, mode: str, key: str) -> None:
    """Its row under the cursor, as soon as the list has it; a list that has not is left as it is."""
    there, until = await _mode(screen, mode), time.monotonic() + WAIT
    while not there.has_row(key) and time.monotonic() < until and there.is_current:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_EVERY)
    if there.has_row(key):
        there.go_to(key)
    elif there.is_current:
        there.console.say("it is not in this list", "warn")


_WAYS: Final[dict[str, Go]] = {
    "review": _review,
    "approval": _approval,
    "task": _task,
    "run": _answer("runs.get", lambda row: {"id": row.id}),
    "job": _answer("jobs.list", lambda row: {}),
    "host": _host,
    "service": _service,
    "vpn_client": _vpn_client,
    "certificate_authority": _authority,
    "vpn_crl": _authority,
    "vpn_server": _answer("vpn.servers.get", lambda row: {"id": int(row.id)}),
    "notice": _answer("notices.list", lambda row: {}),
    "lease": _answer("leases.list", lambda row: {"resource": row.name}),
    "token": _person,
    "user": _person,
    "journal": _journal,
}
