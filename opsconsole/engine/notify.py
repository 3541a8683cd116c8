"""Who is told outside the console: a webhook and mail, as the settings name them. When and how often is the outbox's.

Telling is a courtesy and fails nothing: the inbox, the journal and the home screen are the truth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsconsole.engine.registry import Json

if TYPE_CHECKING:
    from opsconsole.house import House

_TOLD = (
    "id", "operation", "summary", "why", "state", "level", "requester", "reason", "requested_at", "expires_at",
    "decided_by", "decision_reason", "who", "opened_at", "run_id", "task_id",
)  # fmt: skip

Send = Callable[["House", str, Json, Sequence[str]], Awaitable[tuple[list[str], str]]]
"""Sends one message under its lasting id to these addresses (a webhook knows its own). Answers the addresses that are
still to be told, and why; raises DriverError or ConsoleError when nobody was."""


@dataclass(frozen=True, slots=True)
class Channel:
    """`to` says whom the settings of this house name, None when it tells nobody this way."""

    to: Callable[[House], list[str] | None]
    send: Send


def message(event: str, about: Any) -> Json:
    """What goes out of an answer: no input, no plan, no secret."""
    return {"event": event} | {name: about[name] for name in _TOLD if about.get(name) is not None}


async def _webhook(house: House, key: str, body: Json, to: Sequence[str]) -> tuple[list[str], str]:
    from drivers import webhook

    await webhook.post(house.settings.webhook, body, ca_file=house.settings.webhook_ca or None, key=key)
    return [], ""


async def _mail(house: House, key: str, body: Json, to: Sequence[str]) -> tuple[list[str], str]:
    from opsconsole import notify

    subject = f"{str(body['event']).replace('_', ' ')}: {body.get('summary', '')}"[:200]
    lines = [f"{name}: {value}" for name, value in body.items()]
    sent = await notify.deliver(house, subject.replace("\n", " "), "\n".join(lines), to, key=key)
    return [address for address, _ in sent.refused], "; ".join(f"{address}: {said}" for address, said in sent.refused)


def _mail_to(house: House) -> list[str] | None:
    from opsconsole import notify

    return list(house.settings.notify_to) or None if notify.is_set(house) else None


CHANNELS: dict[str, Channel] = {
    "webhook": Channel(lambda house: [] if house.settings.webhook else None, _webhook),
    "mail": Channel(_mail_to, _mail),
}
