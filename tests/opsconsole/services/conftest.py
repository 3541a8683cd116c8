"""A house of the test's own whose fleet is the lab: real systemd, real sshd, real files under a fresh HOME."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.identity import who
from opsconsole.engine.perform import Consent
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from tests.lab.guests import Guest

Host = dict[str, Any]


@dataclass
class Desk:
    """An operator at his console. `call` runs an operation as him, `add` makes a host known."""

    house: House
    ctx: Context

    async def call(self, operation: str, confirm: str | None = None, reason: str | None = None, **data: Any) -> Any:
        return await dispatch.call(self.ctx, operation, data, Consent(confirm=confirm, reason=reason))

    async def plan(self, operation: str, **data: Any) -> dict[str, Any]:
        return await dispatch.plan(self.ctx, operation, data)

    def stream(self, operation: str, **data: Any) -> AsyncIterator[dict[str, Any]]:
        return dispatch.stream(self.ctx, operation, data)

    async def add(self, name: str, address: str, port: int = 22, user: str = "root", **more: Any) -> None:
        def work(tx: Any) -> None:
            from sqlmodel import select

            from data.feed import announce
            from data.models import Environment, Host

            environment = more.pop("environment", None)
            if environment is not None:
                row = tx.exec(select(Environment).where(Environment.name == environment)).one_or_none()
                if row is None:
                    row = Environment(name=environment, level=environment)
                    tx.add(row)
                    tx.flush()
                more["environment_id"] = row.id
            host = Host(name=name, host_type="PHY_HOST", address=address, ssh_port=port, ssh_user=user, **more)
            tx.add(host)
            tx.flush()
            announce(tx, "host", host.id, "created")

        await self.house.database.write(work)

    async def become(self, username: str) -> Desk:
        """The same desk as another user of the database."""
        caller = await self.house.database.read(lambda tx: load_caller(tx, username, via="call"))
        assert caller is not None
        return Desk(self.house, Context(self.house, caller))


MakeDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def desks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeDesk]:
    """Makes desks; all of one test share HOME and the console's home, each has a process's worth of its own."""
    made: list[Desk] = []
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("OPSCONSOLE_HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("OPSCONSOLE_DATABASE_URL", raising=False)

    async def make(*guests: Guest, settings: str = "min_uptime = 1.0\n") -> Desk:
        ssh = tmp_path / "user" / ".ssh"
        ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
        if guests:
            (ssh / "config").write_text(f"Host *\n  IdentityFile {guests[0].key}\n  IdentitiesOnly yes\n")
            (ssh / "known_hosts").write_text("".join(f"{guest.known_hosts}\n" for guest in guests))
        home.mkdir(exist_ok=True, mode=0o700)
        (home / "settings.toml").write_text(settings)
        house = House.open(home)
        desk = Desk(house, Context(house, await house.caller(who(), via="call")))
        if not made:
            for guest in guests:
                await desk.add(guest.name, guest.address)
        made.append(desk)
        return desk

    yield make
    for desk in made:
        await desk.house.close()
