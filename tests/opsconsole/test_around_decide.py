"""No operation can be reached around `decide()`: a stranger and a fresh user are refused before anything of it runs."""

from __future__ import annotations

import ast
import importlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opsconsole.areas import AREAS
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ModuleDisabled, NotSignedIn, PermissionDenied
from opsconsole.engine.identity import Identity
from opsconsole.engine.permissions import alternatives
from opsconsole.engine.registry import REGISTRY, Operation
from tests.opsconsole.houses import Bench

for _module in AREAS:
    importlib.import_module(_module)

GUARDED = sorted(name for name, one in REGISTRY.items() if not {"public", "self"} & set(alternatives(one.permission)))
WHO = Identity("someone", "someone", through_sudo=False)
WORKERS = {"opsconsole/tasks/prepare.py"}
"""A worker goes on with what was authorised when it was submitted, and asks again before each leg."""
ENTRIES = {"read", "stream", "change", "becomes"}
"""The parts of a declaration that do something; only the engine may call them."""


class Reached(AssertionError):
    pass


def tripwired(operation: Operation) -> Operation:
    """The same declaration, whose every part says that it was reached."""

    async def reached(*_: Any) -> Any:
        raise Reached(operation.id)

    async def flowing(*_: Any) -> AsyncIterator[Any]:
        yield await reached()

    class Trap:
        def __init__(self, *_: Any) -> None:
            raise Reached(operation.id)

    parts: dict[str, Any] = {"read": reached, "stream": flowing, "change": Trap, "becomes": reached}
    return replace(operation, **{name: part for name, part in parts.items() if getattr(operation, name) is not None})


async def use(ctx: Context, operation: Operation) -> None:
    if operation.stream is not None:
        async for _ in dispatch.stream(ctx, operation.id):
            pass
    else:
        await dispatch.call(ctx, operation.id)


async def test_nothing_of_an_operation_runs_for_who_may_not(
    small_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small_bench.user("root", admin=True)
    fresh = Context(small_bench.house, await small_bench.user("fresh"))
    stranger = Context(small_bench.house, small_bench.house.stranger(WHO, via="call"))
    monkeypatch.setattr(dispatch, "validate", lambda operation, data: operation.input.model_construct())
    assert len(GUARDED) > 60
    for name in GUARDED:
        trapped = tripwired(REGISTRY[name])
        monkeypatch.setitem(REGISTRY, name, trapped)
        with pytest.raises((PermissionDenied, ModuleDisabled)):
            await use(fresh, trapped)
        with pytest.raises(NotSignedIn):
            await use(stranger, trapped)
        if trapped.change is not None:
            with pytest.raises((PermissionDenied, ModuleDisabled)):
                await dispatch.plan(fresh, name)
    refused = [row for row in await small_bench.journal() if row.result == "refused"]
    assert {row.operation for row in refused} == set(GUARDED)


async def test_the_traps_would_be_seen(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Context(small_bench.house, await small_bench.user("root", admin=True))
    monkeypatch.setattr(dispatch, "validate", lambda operation, data: operation.input.model_construct())
    for name in ("hosts.list", "hosts.create", "audit.export"):
        trapped = tripwired(REGISTRY[name])
        monkeypatch.setitem(REGISTRY, name, trapped)
        with pytest.raises(Reached):
            await use(root, trapped)


def test_only_the_engine_calls_what_a_declaration_holds(root: Path) -> None:
    """Outside of the engine nobody takes the code out of a declaration to run it himself."""
    assert all("authorise." in (root / worker).read_text("utf-8") for worker in WORKERS)
    wrong: list[str] = []
    for room in ("opsconsole", "screens"):
        for path in (root / room).rglob("*.py"):
            if (root / "opsconsole/engine") in path.parents or str(path.relative_to(root)) in WORKERS:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                owner = node.func.value
                named = isinstance(owner, ast.Name) and owner.id in {"operation", "declared", "other"}
                found = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "find"
                if node.func.attr in ENTRIES and (named or found):
                    wrong.append(f"{path.relative_to(root)}:{node.lineno}")
    assert wrong == []
