"""The demo's applications: as many as promised, sound, and their logs can be read."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, func, select

from data.models import AppInstance, Application, Production
from tests.demo.conftest import Desk


async def test_a_believable_landscape(desk: Desk) -> None:
    def work(tx: Session) -> tuple[int, ...]:
        return tuple(
            tx.exec(select(func.count()).select_from(table)).one() for table in (Production, Application, AppInstance)
        )

    assert await desk.house.database.read(work) == (5, 200, 400)
    rows = await desk.house.database.read(lambda tx: tx.exec(select(Application)).all())
    by_id = {row.id: row for row in rows}
    assert max(row.full_name.count(".") for row in rows) == 2
    for row in rows:
        parent = by_id.get(row.parent_id or 0)
        assert row.full_name == (f"{parent.full_name}.{row.name}" if parent else row.name)
    impact = await desk.call("cmdb.applications.impact", id="pay.db.primary")
    assert impact["lines"]
    plan = await desk.plan("services.restart", host="db-2", name="pgbouncer")
    assert any(line.startswith("product line") for line in plan["dependents"])
    assert any(line.startswith("responsible: ") for line in plan["dependents"])


async def test_what_is_seen_of_their_processes(desk: Desk) -> None:
    answer = await desk.call("cmdb.applications.monitor", id="shop.api")
    states = {one["hostname"]: one["state"] for one in answer["series"]}
    assert len(states) >= 2
    assert "running" in states.values()
    one = next(one for one in answer["series"] if one["state"] == "running")
    assert (len(one["processes"]), len(one["ports"])) == (2, 1)


async def test_logs_of_simulated_instances(desk: Desk) -> None:
    def work(tx: Session) -> Any:
        from data.models import Host

        return tx.exec(
            select(AppInstance.id, Application.full_name)
            .join(Application)
            .join(Host)
            .where(Host.name == "dev-app-1")
            .limit(1)
        ).one()

    instance, name = await desk.house.database.read(work)
    one = {"id": name, "instance_id": instance}
    tail = await desk.call("cmdb.instances.read_log", mode="lines", latest_lines=5, **one)
    assert tail["content"].count("\n") == 5
    whole = await desk.call("cmdb.instances.read_log", mode="lines", lines=10000, **one)
    assert tail["lines"] >= 5
    assert whole["content"].startswith("20")
    skipped = await desk.call("cmdb.instances.read_log", mode="lines", from_lines=2, lines=1, **one)
    assert skipped["content"] == whole["content"].splitlines(keepends=True)[2]
    end = await desk.call("cmdb.instances.read_log", from_last_position=0, **one)
    assert end["content"] == ""
