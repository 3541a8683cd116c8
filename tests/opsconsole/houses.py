"""A house for a test: own home, own database, callers with exactly the rights given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from data.database import Database
from data.models import (
    Audit,
    Environment,
    Host,
    HostGrant,
    HostTag,
    ModuleGrant,
    Role,
    User,
    UserRole,
)
from opsconsole.engine import dispatch
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from opsconsole.engine.permissions import OBJECT_KINDS
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from opsconsole.tasks.options import TaskOptions
from tests.lab.postgres import MakeUrl


@dataclass
class Bench:
    """One house and short ways to use it."""

    house: House

    @property
    def database(self) -> Database:
        return self.house.database

    async def user(
        self, name: str, *modules: str, admin: bool = False, hosts: dict[int, str] | None = None, enabled: bool = True
    ) -> Caller:
        """Make a user. `modules` are `module.flag` words, the switch of each module comes by itself; `hosts` maps host
        ids to flags separated by blanks."""

        def work(tx: Session) -> None:
            user = User(username=name, status="enabled" if enabled else "disabled")
            tx.add(user)
            tx.flush()
            if admin:
                role = tx.exec(select(Role).where(Role.name == "@admin")).one()
                tx.add(UserRole(user_id=user.id, role_id=role.id))
            wanted = {tuple(word.split(".")) for word in modules}
            wanted |= {(module, _switch(module)) for module, _ in wanted}
            if hosts:
                wanted.add(("host", "enable_host_mgmt"))
            for module, flag in sorted(wanted):
                tx.add(_grant(ModuleGrant, user.id, module_name=module, flag=flag))
            for host_id, flags in (hosts or {}).items():
                tx.add_all([_grant(HostGrant, user.id, host_id=host_id, flag=flag) for flag in flags.split()])

        await self.database.write(work)
        return await self.caller(name)

    async def caller(self, name: str) -> Caller:
        found = await self.database.read(lambda tx: load_caller(tx, name))
        assert found is not None
        return found

    async def call(
        self,
        caller: Caller,
        operation: str,
        data: Any = None,
        *,
        confirm: str | None = None,
        reason: str | None = None,
        task: TaskOptions | None = None,
    ) -> Any:
        fresh = await self.caller(caller.username)
        current = replace(fresh, read_only=caller.read_only, via=caller.via)
        consent = Consent(confirm, reason, task=task)
        return await dispatch.call(Context(self.house, current), operation, data, consent)

    async def plan(self, caller: Caller, operation: str, data: Any = None) -> dict[str, Any]:
        return await dispatch.plan(Context(self.house, await self.caller(caller.username)), operation, data)

    async def host(self, name: str, *, environment: str = "default", tags: tuple[str, ...] = (), **columns: Any) -> int:
        def work(tx: Session) -> int:
            ring = tx.exec(select(Environment).where(Environment.name == environment)).one()
            host = Host(name=name, host_type=columns.pop("host_type", "PHY_HOST"), environment_id=ring.id, **columns)
            tx.add(host)
            tx.flush()
            tx.add_all([HostTag(host_id=host.id, tag=tag) for tag in tags])
            return host.id

        return await self.database.write(work)

    async def environment(self, name: str, level: str, *, read_only: bool = False) -> None:
        await self.database.write(lambda tx: tx.add(Environment(name=name, level=level, read_only=read_only)))

    async def journal(self) -> list[Audit]:
        return await self.database.read(lambda tx: list(tx.exec(select(Audit).order_by(col(Audit.seq))).all()))


def _switch(module: str) -> str:
    from opsconsole.engine.permissions import ENABLE_FLAG

    return ENABLE_FLAG[module]


def _grant(table: Any, user_id: int, **columns: Any) -> Any:
    return table(subject_type="user", subject_id=user_id, granted_by="test", **columns)


def object_flags() -> list[tuple[str, str]]:
    return [(kind, flag) for kind, (_, flags, _for_all) in OBJECT_KINDS.items() for flag in flags]


MakeBench = Callable[[], Bench]


@pytest.fixture
def bench(make_url: MakeUrl, tmp_path: Path) -> Iterator[Bench]:
    """A house on each of the two databases."""
    yield from _bench(make_url(), tmp_path)


@pytest.fixture
def small_bench(_sqlite_template: Path, tmp_path: Path) -> Iterator[Bench]:
    """A house on SQLite alone, where the database makes no difference."""
    tmp_path.chmod(0o700)
    (tmp_path / "opsconsole.db").write_bytes(_sqlite_template.read_bytes())
    yield from _bench(None, tmp_path)


def _bench(url: str | None, home: Path) -> Iterator[Bench]:
    house = House.open(home, url)
    house.wake_worker = lambda house: None
    try:
        yield Bench(house)
    finally:
        house.database.close()
