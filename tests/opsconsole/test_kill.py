"""A console killed in the middle of twenty targets leaves no silent half."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

import opsconsole.journal.audit
import opsconsole.journal.leases
import opsconsole.journal.runs  # noqa: F401
from data.models import Lease
from opsconsole.engine.context import Context
from opsconsole.engine.errors import LeaseHeld
from opsconsole.house import House
from tests.lab.postgres import MakeUrl
from tests.opsconsole.houses import Bench
from tests.opsconsole.killed import COUNT, DONE
from tests.opsconsole.probes import NAME, Probe

ROOT = Path(__file__).parents[2]


def start_and_kill(home: Path, url: str | None) -> None:
    """Kill -9 when four targets are in flight, the most there may be."""
    command = [sys.executable, "-P", "-m", "tests.opsconsole.killed", str(home), *([url] if url else [])]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout is not None
    try:
        lines = [child.stdout.readline().strip() for _ in range(Probe.concurrency)]
    finally:
        child.kill()
        child.wait(30)
        child.stdout.close()
    assert sorted(lines) == [f"hanging {n}" for n in range(DONE, DONE + Probe.concurrency)]


async def test_killed_in_the_middle(
    make_url: MakeUrl, tmp_path: Path, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url()
    first = House.open(tmp_path, url)
    bench = Bench(first)
    root = await bench.user("root", admin=True)
    first.database.close()

    start_and_kill(tmp_path, url)

    bench = Bench(House.open(tmp_path, url))
    try:
        assert len(await bench.house.sweep(force=True)) == 1
        assert await bench.house.sweep(force=True) == []
        run = (await bench.call(root, "runs.list"))["results"][0]
        assert (run["state"], run["operator"]) == ("unknown", "root")
        waiting = COUNT - DONE - Probe.concurrency
        assert run["targets"] == {"done": DONE, "unknown": Probe.concurrency, "skipped": waiting}
        shown = await bench.call(root, "runs.get", {"id": run["id"]})
        states = [target["state"] for target in shown["results"]]
        assert states == ["done"] * DONE + ["unknown"] * Probe.concurrency + ["skipped"] * waiting
        assert all("look at thing" in line for line in shown["check"])
        assert len(shown["check"]) == Probe.concurrency
        assert shown["error"]["code"] == "outcome_unknown"

        verdict = await bench.call(root, "audit.verify")
        assert (verdict["verdict"], verdict["rows"]) == ("intact", COUNT)
        assert [row.result for row in await bench.journal()] == states

        with pytest.raises(LeaseHeld) as held:
            await bench.call(root, NAME, {"count": 1})
        assert held.value.data["actor"] == "root"

        def expiries(tx: Session) -> list[datetime]:
            return list(tx.exec(select(Lease.expires_at)).all())

        over = max(await bench.database.read(expiries)) + timedelta(seconds=1)
        monkeypatch.setattr(Context, "now", lambda self: over)
        answer = await bench.call(root, "runs.retry", {"id": run["id"]})
        assert len(answer["results"]) == COUNT - DONE
        assert sorted(probe.executed) == list(range(DONE, COUNT))
    finally:
        bench.database.close()
