"""When a client was last seen, and where: kept by every look at sessions, one row a client."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from data.models import Change, VpnClient, VpnClientSight
from drivers.openvpn_status import Session
from opsconsole.engine.context import Context
from opsconsole.vpn.seen import Connected, keep_seen
from opsconsole.vpn.servers_due import keep_current
from opsconsole.vpn.servers_lookup import ServerFacts, servers_of
from tests.opsconsole.vpn_servers.test_servers import Place, both, place

__all__ = ["both", "place"]

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


async def facts(place: Place) -> ServerFacts:
    return (await place.bench.database.read(servers_of))[0]


async def stored(place: Place) -> list[tuple[int, str, datetime]]:
    def work(tx: Any) -> list[tuple[int, str, datetime]]:
        return [(row.client_id, row.server, row.seen_at) for row in tx.exec(select(VpnClientSight))]

    return await place.bench.database.read(work)


def session(name: str | None, since: datetime | None = None) -> Session:
    return Session(name, "192.0.2.7:1194", "10.98.0.2", since=since, client_id=1)


async def test_a_look_at_sessions_is_remembered(both: Place) -> None:
    await both.authority.certificate("site-a")
    await both.authority.certificate("site-b")
    await both.make()
    async with both.running() as daemon:
        daemon.connect(3, "site-a")
        daemon.connect(4, "stranger")
        before = datetime.now(UTC)
        await both.call("vpn.sessions.list")
        after = datetime.now(UTC)
    [(client, server, at)] = await stored(both)
    assert (client, server) == (1, "site") and before <= at <= after
    [one, other] = (await both.call("vpn.clients.list"))["clients"]
    assert one["last_seen"] == {"at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "server": "site"}
    assert other["last_seen"] is None
    assert (await both.call("vpn.clients.get", id=1))["last_seen"] == one["last_seen"]
    assert (await both.call("vpn.clients.get", id=2))["last_seen"] is None
    assert [row["name"] for row in (await both.call("vpn.clients.list", cursor=1))["clients"]] == ["site-b"]


@pytest.mark.parametrize("look", ["timer", "inspect"])
async def test_the_timer_and_an_inspection_remember_too(place: Place, look: str) -> None:
    await place.authority.certificate("site-a")
    await place.make()
    await place.authority.sign()
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        if look == "timer":
            await keep_current(place.bench.house)
        else:
            await place.call("vpn.servers.inspect", id="site")
    assert [(client, server) for client, server, _ in await stored(place)] == [(1, "site")]


async def test_names_of_users_prove_no_client(place: Place) -> None:
    await place.authority.certificate("site-a")
    place.config("username-as-common-name")
    await place.make()
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        assert (await place.call("vpn.sessions.list"))["servers"][0]["names_are_users"]
        await place.call("vpn.servers.inspect", id="site")
    assert await stored(place) == []


async def test_only_news_are_written_and_time_never_goes_back(both: Place) -> None:
    await both.authority.certificate("site-a")
    await both.make()
    ctx, server = Context(both.bench.house, both.admin), await facts(both)
    other = replace(server, id=99, name="other")

    async def look(seconds: float, where: ServerFacts = server) -> int:
        seen = Connected(
            where, [session("site-a"), session(None), session("nobody")], NOON + timedelta(seconds=seconds)
        )
        return await keep_seen(ctx, [seen])

    assert [await look(0), await look(0), await look(59)] == [1, 0, 0]
    assert await stored(both) == [(1, "site", NOON)]
    assert [await look(60), await look(70, other), await look(65), await look(-600)] == [1, 1, 0, 0]
    assert await stored(both) == [(1, "other", NOON + timedelta(seconds=70))]
    changes = await both.bench.database.read(lambda tx: [c.entity for c in tx.exec(select(Change))])
    assert "vpn_client_sight" not in changes, "nobody is woken up for it"


async def test_of_two_sessions_the_one_that_began_last_is_named(place: Place) -> None:
    await place.authority.certificate("site-a")
    await place.make()
    ctx, server = Context(place.bench.house, place.admin), await facts(place)
    older = Connected(server, [session("site-a", NOON - timedelta(hours=2))], NOON + timedelta(seconds=1))
    newer = Connected(replace(server, name="other"), [session("site-a", NOON - timedelta(hours=1))], NOON)
    stranger = Connected(replace(server, ca_id=server.ca_id + 1, name="foreign"), [session("site-a", NOON)], NOON)
    assert await keep_seen(ctx, [stranger]) == 0, "another authority's client of the same name"
    assert await keep_seen(ctx, [older, newer, stranger]) == 1
    assert await stored(place) == [(1, "other", NOON)]


async def test_very_many_are_written_in_batches(both: Place) -> None:
    names = [f"c{number}" for number in range(1200)]
    more: Any = {"ca_id": both.authority.id, "email": "x@example.org", "expiry_date": NOON}
    await both.make()
    ctx, server = Context(both.bench.house, both.admin), await facts(both)
    await both.bench.database.write(lambda tx: tx.add_all(VpnClient(name=name, **more) for name in names))
    assert await keep_seen(ctx, [Connected(server, [session(name) for name in names], NOON)]) == 1200
    assert len({client for client, _, _ in await stored(both)}) == 1200
