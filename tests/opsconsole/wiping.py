"""An operation made for tests that always needs a second person: it erases hosts, whose location is its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from pydantic import Field, SecretStr
from sqlmodel import Session, col, select

from data.models import Environment, Host
from opsconsole.engine.decide import Subject
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import REGISTRY, Change, Input, Operation

NAME = "probe.wipe"


class Disk(Input):
    name: str
    pin: SecretStr | None = None


class WipeInput(Input):
    """`password` and the `pin` of a disk are secrets, one by name and one by type only."""

    hosts: list[int] = Field(min_length=1)
    level: str = "full"
    password: SecretStr | None = None
    disks: list[Disk] = []


class Wipe(Change[WipeInput]):
    wiped: ClassVar[list[tuple[str, Any]]] = []

    async def plan(self) -> Plan:
        def work(tx: Session) -> list[tuple[Host, str]]:
            query = select(Host, Environment.level).join(Environment, col(Environment.id) == col(Host.environment_id))
            return list(tx.exec(query.where(col(Host.id).in_(self.input.hosts)).order_by(col(Host.id))))

        found = await self.ctx.database.read(work)
        targets = tuple(
            Target(
                "host",
                str(host.id),
                host.name,
                f"host:{host.id}",
                Subject("host", host.name, ids=(("host", host.id),)),
                before={"location": host.location},
                after={"erased": True},
            )
            for host, _ in found
        )
        level = "prod" if any(level == "prod" for _, level in found) else "dev"
        given = self.input.shown()
        return Plan(NAME, "erase hosts", targets, "read back", None, False, "high", level, input=given)

    async def execute(self, target: Target) -> None:
        password = self.input.password
        type(self).wiped.append((target.name, password.get_secret_value() if password else None))


def declaration() -> Operation:
    return Operation(
        NAME, "Erase hosts", "host.delete_host", "action", "high", WipeInput, __name__, change=Wipe, reversible=False,
        second_person=True,
    )  # fmt: skip


@pytest.fixture
def wipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Wipe]]:
    """Declared for one test only."""
    monkeypatch.setitem(REGISTRY, NAME, declaration())
    Wipe.wiped = []
    yield Wipe
    Wipe.wiped = []
