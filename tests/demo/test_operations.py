"""The real operations over the simulated fleet: done means seen done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from opsconsole.engine.errors import ConsoleError, StateConflict
from opsconsole.engine.execute import TargetFailed
from tests.demo.conftest import Desk


async def shown(desk: Desk, host: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await desk.call("services.get", host=host, name=name)
    return found


async def test_every_verb_is_done_and_verified(desk: Desk) -> None:
    where = {"host": "dev-app-1", "name": "nginx"}
    before = await shown(desk, **where)
    await desk.call("services.restart", confirm="yes", **where)
    restarted = await shown(desk, **where)
    assert restarted["invocation_id"] != before["invocation_id"]
    await desk.call("services.reload", **where)
    assert (await shown(desk, **where))["invocation_id"] == restarted["invocation_id"]
    await desk.call("services.stop", confirm="yes", **where)
    assert (await shown(desk, **where))["status"] == "stopped"
    await desk.call("services.start", **where)
    assert (await shown(desk, **where))["status"] == "started"
    await desk.call("services.disable", confirm="yes", **where)
    assert (await shown(desk, **where))["enabled"] == "disabled"
    await desk.call("services.enable", **where)
    assert (await shown(desk, **where))["enabled"] == "enabled"


async def test_what_hangs_on_a_service_stops_and_comes_back_with_it(desk: Desk) -> None:
    host = "stage-app-1"
    hits = (await desk.call("services.dependencies", host=host, name="redis-server"))["hits"]
    assert {"shop-api.service", "shop-scheduler.service", "shop-worker@mail.service"} <= set(hits)
    await desk.call("services.stop", confirm="yes", host=host, name="redis-server")
    assert (await shown(desk, host, "shop-api"))["status"] == "stopped"
    await desk.call("services.start", host=host, name="shop-api")
    assert (await shown(desk, host, "redis-server"))["status"] == "started"


async def test_what_cannot_be_done_says_why(desk: Desk) -> None:
    with pytest.raises(StateConflict, match="masked"):
        await desk.call("services.start", host="dev-app-1", name="ModemManager")
    with pytest.raises(StateConflict, match="Install"):
        await desk.call("services.enable", host="dev-app-1", name="rescue")
    with pytest.raises(TargetFailed, match="failed"):
        await desk.call("services.restart", confirm="1", host="web-3", name="php8.2-fpm")
    with pytest.raises(TargetFailed, match=r"did not stay up|auto-restart"):
        house = desk.house
        house.settings = replace(house.settings, min_uptime=3.0)
        await desk.call("services.restart", confirm="yes", host="dev-sandbox-1", name="report-generator")
    with pytest.raises(ConsoleError) as refused:
        await desk.call("services.restart", confirm="yes", host="dev-lab-1", name="named")
    assert refused.value.exit_status == 6


async def test_a_failed_service_can_be_mended(desk: Desk) -> None:
    where = {"host": "dev-sandbox-1", "name": "billing-worker"}
    assert (await shown(desk, **where))["status"] == "error"
    await desk.call("services.reset_failed", **where)
    assert (await shown(desk, **where))["status"] == "stopped"
    await desk.call("services.start", **where)
    assert (await shown(desk, **where))["status"] == "started"


async def test_a_protected_host_is_left_alone(desk: Desk) -> None:
    with pytest.raises(ConsoleError, match="protected"):
        await desk.call("services.restart", confirm="yes", host="db-1", name="cron")


async def test_cutting_our_own_way_is_mended_by_the_host(desk: Desk) -> None:
    where = {"host": "stage-mq-1", "name": "ssh"}
    with pytest.raises(TargetFailed, match="started it again by itself"):
        await desk.call("services.stop", confirm="ssh", reason="trying it", **where)
    assert (await shown(desk, **where))["status"] == "started"


async def test_dead_and_slow_hosts_beside_live_ones(desk: Desk) -> None:
    house = desk.house
    house.settings = replace(house.settings, snapshot_timeout=30.0)
    names = ["web-1", "web-4", "backup-1"]
    answer = await desk.call("services.list", hosts=names)
    states = {host["host"]: host["state"] for host in answer["hosts"]}
    assert states == {"web-1": "ok", "web-4": "unreachable", "backup-1": "ok"}
    house.settings = replace(house.settings, snapshot_timeout=2.0)
    swallowed = await desk.call("services.list", hosts=["stage-ci-1"])
    assert swallowed["hosts"][0]["state"] == "timeout"
    # The dead are still shown as they were last seen, hours ago.
    assert swallowed["hosts"][0]["age"] > 3600
    assert any(row["name"] == "jenkins" for row in swallowed["services"])


async def test_a_live_host_is_shown_while_others_are_waited_for(desk: Desk) -> None:
    live: set[str] = set()
    async with asyncio.timeout(60):
        async for event in desk.stream("services.watch", interval=60):
            if event["host"]["state"] == "ok" and not event["host"]["cached"]:
                live.add(event["host"]["name"])
            if len(live) == 5:
                break
    assert not live & {"web-4", "stage-ci-1"}


async def test_the_fleet_has_rings_tags_and_no_machine_of_the_users(desk: Desk) -> None:
    assert len(desk.hosts) == 30
    assert not any(host.local for host in desk.hosts.values())
    assert {host.level for host in desk.hosts.values()} == {"prod", "stage", "dev"}
    assert desk.hosts["web-1"].tags == ("frontend", "web")
    assert desk.ctx.caller.administrator
