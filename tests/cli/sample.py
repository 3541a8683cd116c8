"""Operations that exist only in tests: one of each kind, over nothing but memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import Field, SecretStr

from opsconsole import index, indexing
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import HostUnreachable
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.registry import REGISTRY, Change, Input, Nothing, change, read, stream

VIEW, MANAGE = "module.service.view_service", "module.service.manage_service"


class Place(Input):
    host: str = "local"
    name: str


class Echo(Input):
    name: str = Field(description="what to say")
    count: int = Field(1, description="how often", ge=1)
    ratio: float = 1.0
    deep: bool = False
    mode: Literal["plain", "loud"] = "plain"
    tags: list[str] = []
    items: list[Place] = []
    ref: int | str | None = None
    meta: dict[str, Any] | None = None
    password: SecretStr | None = None
    reason: str | None = None


@read("sample.echo", summary="Say what was given", permission=VIEW, input=Echo)
async def echo(ctx: Context, given: Echo) -> dict[str, Any]:
    said = given.model_dump(mode="json", exclude_unset=True)
    if given.password is not None:
        said["password"] = len(given.password.get_secret_value())
    return {**said, "caller": ctx.caller.username, "on_behalf": ctx.caller.on_behalf}


@read("sample.hostile", summary="Answer what a terminal must never see raw", permission=VIEW)
async def hostile(_ctx: Context, _given: Nothing) -> dict[str, str]:
    return {"text": "\x1b[2J\x9b31m\u202eabc\x07"}


@read("sample.crash", summary="Run into a bug", permission=VIEW, input=Echo)
async def crash(_ctx: Context, given: Echo) -> None:
    secret = given.password.get_secret_value() if given.password else ""
    raise RuntimeError(f"boom {secret}")


@read("sample.unreachable", summary="Fail to reach a host", permission=VIEW)
async def unreachable(_ctx: Context, _given: Nothing) -> None:
    raise HostUnreachable(host="web1", reason="no route")


@stream("sample.ticks.watch", summary="Count until stopped", permission=VIEW)
async def ticks(_ctx: Context, _given: Nothing) -> AsyncIterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"tick": number}
        number += 1
        await asyncio.sleep(0.01)


class Things(Input):
    name: str | None = Field(None, description="one thing")
    items: list[Place] | None = Field(None, description="several")
    delay: float = 0.0


class _Touch(Change[Things]):
    async def plan(self) -> Plan:
        places = self.input.items or [Place(name=self.input.name or "thing")]
        operation = "sample.things.touch"
        targets = tuple(
            Target("thing", p.name, p.name, f"thing:{p.host}:{p.name}", Subject("thing", p.name)) for p in places
        )
        return Plan(operation, "touch", targets, "nothing", "nothing", True, "low", input=self.input.model_dump())

    async def execute(self, target: Target) -> None:
        await asyncio.sleep(self.input.delay)
        if target.name.startswith("bad"):
            raise HostUnreachable(host=target.name, reason="it is bad")


change("sample.things.touch", summary="Touch things", permission=MANAGE, input=Things, kind="action", bulk=True)(_Touch)


class _Destroy(Change[Things]):
    async def plan(self) -> Plan:
        name = self.input.name or "thing"
        target = Target("thing", name, name, f"thing:{name}", Subject("thing", name))
        return Plan("sample.things.destroy", "destroy", (target,), "gone", None, False, "high")


change(
    "sample.things.destroy",
    summary="Destroy a thing",
    permission=MANAGE,
    input=Things,
    danger="high",
    reversible=False,
)(_Destroy)


class Keep(Input):
    name: str
    password: SecretStr


class _Keep(Change[Keep]):
    async def plan(self) -> Plan:
        target = Target("thing", self.input.name, self.input.name, "thing:keep", Subject("thing", self.input.name))
        return Plan("sample.secrets.keep", "keep", (target,), "kept", None, True, "low")


change("sample.secrets.keep", summary="Keep a secret", permission=MANAGE, input=Keep)(_Keep)


def install() -> None:
    """Put these operations, and only these, into the index of this process."""
    operations = [REGISTRY[name] for name in sorted(REGISTRY) if name.startswith("sample.")]
    made: dict[str, Any] = {}
    exec(compile(indexing.index_text(operations), "index.py", "exec"), made)  # noqa: S102 - our own generated text
    index.OPERATIONS, index.MODULES, index.OPTIONS = made["OPERATIONS"], made["MODULES"], made["OPTIONS"]
