"""One simulated fleet for all tests of a worker, and desks at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from drivers.ssh import SshRunner
from opsconsole.demo.start import Demo
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.identity import who
from opsconsole.engine.perform import Consent
from opsconsole.fleet import endpoint
from opsconsole.hosts.lookup import HostFacts, visible_hosts
from opsconsole.house import House


@dataclass
class Desk:
    """The operator of the demo, with ways to the hosts."""

    house: House
    ctx: Context
    hosts: dict[str, HostFacts]

    async def call(self, operation: str, confirm: str | None = None, reason: str | None = None, **data: Any) -> Any:
        return await dispatch.call(self.ctx, operation, data, Consent(confirm=confirm, reason=reason))

    async def plan(self, operation: str, **data: Any) -> dict[str, Any]:
        return await dispatch.plan(self.ctx, operation, data)

    def stream(self, operation: str, **data: Any) -> AsyncIterator[dict[str, Any]]:
        return dispatch.stream(self.ctx, operation, data)

    def runner(self, name: str) -> SshRunner:
        return self.house.fleet.pool.runner(endpoint(self.hosts[name]))


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    running = Demo()
    try:
        running.prepare()
        yield running
    finally:
        running.close()


@pytest.fixture
async def desk(demo: Demo) -> AsyncIterator[Desk]:
    house = House.open(demo.home)
    house.settings = replace(house.settings, min_uptime=0.3, deadman_seconds=4)
    caller = await house.caller(who(), via="call")
    hosts = await house.database.read(lambda tx: visible_hosts(tx, caller))
    yield Desk(house, Context(house, caller), {host.name: host for host in hosts})
    await house.close()
