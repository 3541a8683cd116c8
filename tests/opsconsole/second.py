"""Two people and something that needs both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, select

from data.models import Approval, Host, HostGrant, User
from opsconsole.engine import dispatch
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from tests.opsconsole.houses import Bench
from tests.opsconsole.wiping import NAME


@dataclass
class Pair:
    """ann asks, bob decides; both may erase the two hosts. `given` is what is asked for."""

    bench: Bench
    ann: Caller
    bob: Caller
    hosts: list[int]

    @property
    def given(self) -> dict[str, Any]:
        return {"hosts": self.hosts}

    async def ask(self, **more: Any) -> str:
        wanted = {"operation": NAME, "input": self.given | more, "reason": "it is scrap"}
        answer = await self.bench.call(self.ann, "approvals.request", wanted)
        return str(answer["id"])

    async def approve(self, approval_id: str, by: Caller | None = None) -> Any:
        return await self.bench.call(by or self.bob, "approvals.approve", {"id": approval_id}, confirm="yes")

    async def approved(self, **more: Any) -> str:
        approval_id = await self.ask(**more)
        await self.approve(approval_id)
        return approval_id

    async def perform(self, confirm: str | None = None, *, by: Caller | None = None, **more: Any) -> Any:
        return await self.bench.call(by or self.ann, NAME, self.given | more, confirm=confirm, reason="scrap")

    async def as_somebody(self, caller: Caller, operation: str, data: Any, consent: Consent) -> Any:
        """With a caller taken as he is: on behalf of somebody, or with a token."""
        return await dispatch.call(Context(self.bench.house, caller), operation, data, consent)

    async def row(self, approval_id: str) -> Approval:
        found = await self.bench.database.read(lambda tx: tx.get(Approval, approval_id))
        assert found is not None
        return found

    async def edit(self, work: Callable[[Session], None]) -> None:
        await self.bench.database.write(work)

    async def move_host(self) -> None:
        """Change the evidence of the plan."""

        def work(tx: Session) -> None:
            host = tx.get(Host, self.hosts[0])
            assert host is not None
            host.location = "another room"
            tx.add(host)

        await self.edit(work)

    async def take_rights(self, name: str, host: int | None = None) -> None:
        def work(tx: Session) -> None:
            user = tx.exec(select(User).where(User.username == name)).one()
            for grant in tx.exec(select(HostGrant).where(HostGrant.subject_id == user.id)):
                if host is None or grant.host_id == host:
                    tx.delete(grant)

        await self.edit(work)

    async def disable(self, name: str) -> None:
        def work(tx: Session) -> None:
            user = tx.exec(select(User).where(User.username == name)).one()
            user.status = "disabled"
            tx.add(user)

        await self.edit(work)


async def pair(bench: Bench) -> Pair:
    hosts = [await bench.host("old-1"), await bench.host("old-2")]
    grants = dict.fromkeys(hosts, "view_host delete_host")
    ann = await bench.user("ann", hosts=grants)
    bob = await bench.user("bob", hosts=grants)
    return Pair(bench, ann, bob, hosts)
