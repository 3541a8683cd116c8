"""What waits for the operator of the demo: a night shift that broke the glass, a colleague who asks, a task whose end
nobody knows.

Made by the operations themselves where they are; as if every revocation in production needed a second person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, select

from data.models import ModuleGrant, Role, Run, RunTarget, Task, User, UserRole
from opsconsole.demo.vpn import Then
from opsconsole.engine import dispatch
from opsconsole.engine.caller import Caller
from opsconsole.engine.ids import uuid7
from opsconsole.engine.perform import Consent
from opsconsole.engine.users import load_caller
from opsconsole.house import House

NIGHT: Final = "kim"
COLLEAGUE: Final = "lee"
_FLAGS: Final = ("enable_vpn_mgmt", "view_vpn_client", "revoke_vpn_client")
_UPGRADED: Final = (("stage-app-1", "done"), ("stage-app-2", "unknown"), ("stage-web-1", "skipped"))


async def fill(house: House, operator: Caller, clients: Mapping[str, int]) -> None:
    """`clients` are the VPN clients' ids by city."""
    them = await people(house)
    why = "the router in Malmo was stolen tonight, and nobody answered the phone"
    await broke_glass(house, them[NIGHT], timedelta(hours=9), clients["malmo"], why)
    await asks(
        house,
        them[COLLEAGUE],
        timedelta(hours=2),
        [clients["bergen"], clients["aarhus"]],
        "the offices close on Friday",
    )
    await unknown_task(house, operator)


async def people(house: House) -> dict[str, Caller]:
    """Two colleagues: an administrator on the night shift, and somebody who may revoke."""

    def work(tx: Session) -> dict[str, Caller]:
        kim, lee = User(username=NIGHT, full_name="Kim, night shift"), User(username=COLLEAGUE, full_name="Lee")
        tx.add_all([kim, lee])
        tx.flush()
        admin = tx.exec(select(Role).where(Role.name == "@admin")).one()
        tx.add(UserRole(user_id=kim.id, role_id=admin.id))
        for flag in _FLAGS:
            tx.add(ModuleGrant(subject_type="user", subject_id=lee.id, module_name="vpn", flag=flag, granted_by=NIGHT))
        tx.flush()
        found = {name: load_caller(tx, name, via="screen") for name in (NIGHT, COLLEAGUE)}
        return {name: caller for name, caller in found.items() if caller is not None}

    return await house.database.write(work)


@contextmanager
def strict(house: House, budget: int) -> Iterator[None]:
    """Meanwhile more targets than this in production need a second person."""
    usual = house.settings
    house.settings = replace(usual, budget_prod=budget)
    try:
        yield
    finally:
        house.settings = usual


async def broke_glass(house: House, caller: Caller, ago: timedelta, client_id: int, why: str) -> None:
    """A revocation at night, when nobody else was there."""
    with strict(house, 0):
        consent = Consent(reason=why, break_glass=True)
        await dispatch.call(Then(house, caller, ago=ago), "vpn.clients.revoke", {"id": client_id}, consent)


async def asks(house: House, caller: Caller, ago: timedelta, clients: list[int], why: str) -> None:
    """One that is asked for and waits."""
    with strict(house, 1):
        given = {"operation": "vpn.clients.revoke_many", "input": {"items": clients}, "reason": why}
        await dispatch.call(Then(house, caller, ago=ago), "approvals.request", given, Consent())


async def unknown_task(house: House, caller: Caller) -> None:
    """Its worker died in the middle of the second host."""
    began = datetime.now(UTC) - timedelta(hours=5)
    ended = began + timedelta(minutes=4)
    summary, steps = "run apt-get -y upgrade on 3 hosts", ["apt-get -y upgrade"]
    key = uuid7()

    def work(tx: Session) -> None:
        about: dict[str, Any] = {
            "operation": "hosts.execute",
            "actor": caller.username,
            "actor_id": caller.user_id,
            "state": "unknown",
            "reason": "monthly",
            "started_at": began,
            "finished_at": ended,
        }
        about["input"] = {"hosts": [name for name, _ in _UPGRADED], "steps": steps}
        tx.add(Task(id=key, summary=summary, total=len(_UPGRADED), created_at=began, attempt=1, leg=1, **about))
        tx.add(Run(id=key, task=True, heartbeat_at=ended, **about))
        tx.flush()
        for position, (name, state) in enumerate(_UPGRADED):
            one = RunTarget(run_id=key, position=position, kind="host", name=name, host=name, state=state)
            one.wave, one.started_at, one.finished_at = position, began, ended
            tx.add(one)

    await house.database.write(work)
