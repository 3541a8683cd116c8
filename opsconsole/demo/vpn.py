"""The demo's certificate authority: two years of branch offices, some about to end, some over, some locked out.

Made by the operations themselves, at the time it is said to have happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from data.models import VpnClientSight
from opsconsole.engine import dispatch
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from opsconsole.house import House

NAME: Final = "Branch offices"
_DAY: Final = timedelta(days=1)
_BATCHES: Final = (
    (700, 1095, ("berlin", "hamburg", "munich", "leipzig", "vienna", "graz")),
    (420, 395, ("basel", "geneva", "lyon")),
    (353, 365, ("paris", "lille", "nantes")),
    (200, 730, ("madrid", "porto", "lisbon", "rome", "milan", "turin")),
    (40, 825, ("oslo", "bergen", "malmo", "aarhus")),
)
"""Days ago, days of validity, cities."""
_SEEN: Final = {
    **dict.fromkeys(("berlin", "hamburg", "munich", "leipzig", "vienna", "graz", "madrid", "lisbon", "rome"), 0.03),
    "milan": 0.2,
    "turin": 0.4,
    "oslo": 0.03,
    "bergen": 1.6,
    "malmo": 5.0,
    "paris": 0.05,
    "lille": 0.1,
    "nantes": 19.0,
    "basel": 25.2,
    "geneva": 25.6,
    "lyon": 31.5,
    "porto": 6.1,
}
"""Days ago each was last connected; a branch that is not here was never there."""
_GATEWAY: Final = "vpn-1"
_REVOKED: Final = (("lyon", 30, "the office was closed"), ("porto", 6, "the router was stolen"))


@dataclass(frozen=True, slots=True)
class Then(Context):
    """A request of some time ago."""

    ago: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) - self.ago


async def fill(house: House, caller: Caller) -> dict[str, int]:
    """The authority, its clients and their certificates, and a list of today; answers the clients' ids by city."""

    async def call(days: int, operation: str, data: dict[str, Any], confirm: str | None = None, why: str = "") -> Any:
        ctx = Then(house, caller, ago=days * _DAY)
        return await dispatch.call(ctx, operation, data, Consent(confirm, why or None))

    ca = await call(730, "vpn.cas.create", {"name": NAME, "organization": "Example Ltd", "environment": "prod"})
    ids: dict[str, int] = {}
    for days, validity, cities in _BATCHES:
        lines = ["name,email,city,organization"]
        lines += [f"branch-{city},network@{city}.example.com,{city.title()},Example Ltd" for city in cities]
        given = {"ca_id": ca["id"], "content": "\n".join(lines), "expiration": validity}
        # In production several at once want their name typed: there it is the environment's.
        plan = await dispatch.plan(Then(house, caller, ago=days * _DAY), "vpn.clients.create_many", given)
        made = await call(days, "vpn.clients.create_many", given, plan["expect"], "new branch offices")
        ids |= {one["name"].removeprefix("branch-"): int(one["id"]) for one in made["clients"]}
    for city, days, why in _REVOKED:
        await call(days, "vpn.clients.revoke", {"id": ids[city]}, f"branch-{city}", why)
    await call(1, "vpn.clients.renew", {"id": ids["berlin"], "expiration": 825})
    await call(0, "vpn.crls.sign", {"ca_id": ca["id"]})
    await _sights(house, ids)
    return ids


async def _sights(house: House, ids: dict[str, int]) -> None:
    """When each branch was last connected to the gateway."""
    now = datetime.now(UTC)
    rows = [
        VpnClientSight(client_id=ids[city], server=_GATEWAY, seen_at=now - days * _DAY - timedelta(minutes=number))
        for number, (city, days) in enumerate(_SEEN.items())
    ]
    await house.database.write(lambda tx: tx.add_all(rows))
