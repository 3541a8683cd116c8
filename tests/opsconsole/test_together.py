"""Writes that share a transaction: fewer commits, and each caller still gets his own answer or error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import Setting
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.together import Together
from tests.opsconsole.houses import Bench


def keep(number: int) -> Any:
    def work(tx: Session) -> int:
        if number == 7:
            raise StateConflict("seven is not wanted")
        tx.add(Setting(key=f"n{number}", value=number, updated_by="test"))
        return number * 2

    return work


async def kept(bench: Bench) -> set[str]:
    def work(tx: Session) -> set[str]:
        return {key for key in tx.exec(select(Setting.key)) if key.startswith("n") and key[1:].isdigit()}

    return await bench.database.read(work)


async def test_many_share_a_commit_and_one_that_fails_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    real = bench.database.write

    async def counted(work: Any) -> Any:
        commits.append(1)
        return await real(work)

    monkeypatch.setattr(bench.database, "write", counted)
    together = Together(bench.database)
    found = await asyncio.gather(*(together.write(keep(n)) for n in range(50) if n != 7))
    assert found == [n * 2 for n in range(50) if n != 7]
    assert len(commits) == 1
    assert len(await kept(bench)) == 49
    mixed = await asyncio.gather(*(together.write(keep(n)) for n in (50, 7, 51)), return_exceptions=True)
    assert (mixed[0], mixed[2]) == (100, 102)
    assert isinstance(mixed[1], StateConflict)
    assert {"n50", "n51"} <= await kept(bench)


async def test_who_gives_up_hears_so_only_after_the_commit(bench: Bench) -> None:
    together = Together(bench.database)
    tasks = [asyncio.create_task(together.write(keep(n))) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    assert "n3" in await kept(bench)
    assert await together.write(keep(20)) == 40
