"""An operation made for tests: any number of targets, each doing what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from sqlmodel import Session

from drivers.errors import AuthRefused, TimedOut
from opsconsole.engine.audit import Entry
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import HostUnreachable, NameNotUnique, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import REGISTRY, Change, Input, Json, Operation, Outcome

NAME = "probe.act"


class ProbeInput(Input):
    """`does` maps a position to ok (the default), fail, auth, timeout, bug or hang; `record` may fail as well."""

    count: int = 1
    does: dict[int, str] = {}
    only: list[int] = []
    record: str = "ok"
    resource: str = "probe"
    host: str | None = None
    password: str | None = None
    danger: str = "none"


class Probe(Change[ProbeInput]):
    concurrency = 4
    executed: ClassVar[list[int]] = []
    hanging: ClassVar[asyncio.Event | None] = None
    on_hang: ClassVar[Callable[[int], None]] = staticmethod(lambda position: None)

    async def plan(self) -> Plan:
        positions = self.input.only or range(self.input.count)
        targets = tuple(
            Target(
                "thing",
                str(n),
                f"thing-{n}",
                f"{self.input.resource}:{n}",
                Subject("thing", f"thing-{n}"),
                before={"on": False, "password": "old"},
                after={"on": True},
                host=self.input.host,
            )
            for n in positions
        )
        return Plan(NAME, "poke things", targets, "looked at", None, True, self.input.danger)

    async def execute(self, target: Target) -> Json | None:
        n = int(target.id)
        type(self).executed.append(n)
        what = self.input.does.get(n, "ok")
        if what == "fail":
            raise HostUnreachable(host=target.name, reason="no route")
        if what == "auth":
            raise AuthRefused(target.name, "log in", "no key fits")
        if what == "timeout":
            raise TimedOut(target.name, "poke it", "no answer in 1 s")
        if what == "bug":
            raise ZeroDivisionError("a mistake")
        if what == "hang":
            type(self).on_hang(n)
            await asyncio.Event().wait()
        return {"password": "new"}

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        return {"on": True, **(effect or {})}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        if self.input.record == "conflict":
            raise StateConflict("it moved")
        if self.input.record == "taken":
            raise NameNotUnique(entity="thing", name="x")
        return {"ok": True, "password": "answer"} if len(outcomes) == 1 else {}

    def audit_entries(self, outcomes: list[Outcome]) -> list[Entry]:
        if self.input.record != "extra":
            return []
        return [Entry(operation=NAME, actor=self.ctx.caller.username, result="done", kind="module_grant")]

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return given | {"only": [int(target["id"]) for target in targets], "does": {}}


def declaration() -> Operation:
    return Operation(
        NAME, "Poke things", "module.service.manage_service", "action", "none", ProbeInput, __name__, change=Probe
    )


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Probe]]:
    """Declared for one test only."""
    monkeypatch.setitem(REGISTRY, NAME, declaration())
    Probe.executed = []
    yield Probe
    Probe.on_hang = staticmethod(lambda position: None)
