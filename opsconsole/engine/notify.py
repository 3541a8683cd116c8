"""Who is told outside the console, once something is committed: whatever the settings name.

Telling is a courtesy. The inbox is the truth, so what cannot be told is said in the answer and fails nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from drivers.errors import DriverError
from opsconsole.engine.bugs import note
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.registry import Json

if TYPE_CHECKING:
    from opsconsole.house import House

Notifier = Callable[["House", Json], Awaitable[None]]
"""Sends one message (`event`, and what is in it); raises DriverError or ConsoleError."""

_TOLD = (
    "id", "operation", "summary", "why", "state", "level", "requester", "reason", "requested_at", "expires_at",
    "decided_by", "decision_reason", "who", "opened_at", "run_id", "task_id",
)  # fmt: skip


async def _webhook(house: House, message: Json) -> None:
    from drivers import webhook

    if house.settings.webhook:
        await webhook.post(house.settings.webhook, message, ca_file=house.settings.webhook_ca or None)


async def _mail(house: House, message: Json) -> None:
    from opsconsole import notify

    if house.settings.notify_to and notify.is_set(house):
        subject = f"{str(message['event']).replace('_', ' ')}: {message.get('summary', '')}"[:200]
        lines = [f"{name}: {value}" for name, value in message.items()]
        await notify.deliver(house, subject.replace("\n", " "), "\n".join(lines), house.settings.notify_to)


NOTIFIERS: list[Notifier] = [_webhook, _mail]


async def tell(house: House, event: str, about: Any) -> str | None:
    """Tell everybody configured; answers what went wrong, for the operator. No input and no plan goes out."""
    message = {"event": event} | {name: about[name] for name in _TOLD if about.get(name) is not None}
    wrong = []
    for notifier in NOTIFIERS:
        try:
            await notifier(house, message)
        except DriverError as error:
            wrong.append(translate(error).message)
        except ConsoleError as error:
            wrong.append(error.message)
        except Exception as error:
            note(error)
            wrong.append(f"a bug of ours ({type(error).__name__})")
    return "; ".join(wrong) or None
