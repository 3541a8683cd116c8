"""vpn.sessions.list and vpn.sessions.kill: who is connected now, and ending exactly one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlmodel import Session as Transaction
from sqlmodel import col, select

from data.models import VpnClient
from drivers.errors import DriverError
from drivers.openvpn_management import kill
from drivers.openvpn_management import status as ask_status
from drivers.openvpn_status import Session
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, ObjectNotFound, OutcomeUnknown, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.vpn.seen import Connected, keep_seen
from opsconsole.vpn.servers_look import Reach, reach
from opsconsole.vpn.servers_lookup import MANAGE, VIEW, ServerFacts, ServerRef, moment_text, servers_of

_AT_ONCE = 50
GONE_SECONDS = 15.0
"""A killed client is told first, and stays in the status for five seconds."""


class ListSessions(Input):
    """Of one server, of those of one authority, or of all; `name` keeps one client's."""

    server: ServerRef | None = None
    ca_id: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    name: Annotated[str | None, Field(max_length=64, description="the client's whole name")] = None


class OneSession(Input):
    server: ServerRef
    client_id: Annotated[
        int,
        Field(
            ge=0,
            lt=2**32,
            description="as vpn.sessions.list shows it; a daemon never gives one twice while it runs",
            validation_alias=AliasChoices("client_id", "cid"),
        ),
    ]


class KillSessions(Input):
    """One session, or several as `items`."""

    server: ServerRef | None = None
    client_id: Annotated[int | None, Field(ge=0, lt=2**32, validation_alias=AliasChoices("client_id", "cid"))] = None
    items: Annotated[list[OneSession] | None, Field(min_length=1, max_length=1000)] = None


@dataclass(slots=True)
class Crowd:
    """The sessions of one server at one moment, or why they are not known."""

    server: ServerFacts
    sessions: list[Session] = field(default_factory=list)
    error: ConsoleError | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    by_user: bool = False


async def crowd_of(ctx: Context, server: ServerFacts, *, afresh: bool = False) -> Crowd:
    """The sessions of one server now; its error becomes part of the answer."""
    crowd = Crowd(server)
    try:
        way = await reach(ctx, server, afresh=afresh)
        status = await ask_status(way.runner, way.interface(), timeout=way.timeout, password=way.password)
    except DriverError as error:
        crowd.error = translate(error)
    except ConsoleError as error:
        crowd.error = error
    else:
        crowd.sessions = status.sessions
        crowd.by_user = bool(way.config and way.config.username_as_common_name)
    crowd.at = datetime.now(UTC)
    return crowd


async def crowds_of(ctx: Context, servers: Sequence[ServerFacts], *, afresh: bool = False) -> list[Crowd]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(server: ServerFacts) -> Crowd:
        async with gate:
            return await crowd_of(ctx, server, afresh=afresh)

    return list(await asyncio.gather(*(one(server) for server in servers)))


def session_json(session: Session, server: ServerFacts, clients: dict[str, tuple[int, bool]]) -> Json:
    """One session. `client` is our record of that name, `revoked` what it says: such a session must not be."""
    known = clients.get(session.common_name or "")
    return {
        "server": server.name,
        "server_id": server.id,
        "host": server.host.name,
        "environment": server.environment,
        "level": server.level,
        "client_id": session.client_id,
        "name": session.common_name,
        "vpn_client_id": known[0] if known else None,
        "revoked": known[1] if known else None,
        "username": session.username,
        "real_address": session.real_address,
        "virtual_address": session.virtual_address,
        "virtual_ipv6": session.virtual_ipv6,
        "bytes_received": session.bytes_received,
        "bytes_sent": session.bytes_sent,
        "connected_since": moment_text(session.since),
        "cipher": session.cipher,
    }


@read(
    "vpn.sessions.list",
    summary="List who is connected now, over all OpenVPN servers, with traffic",
    permission=VIEW,
    input=ListSessions,
    objects=("vpn_session",),
)
async def list_sessions(ctx: Context, query: ListSessions) -> Json:
    """`sessions` of all servers; `servers`: state, age and error of each. One server asked for raises its error."""
    refs = None if query.server is None else [query.server]
    servers = await ctx.database.read(lambda tx: servers_of(tx, refs=refs, ca_id=query.ca_id))
    crowds = await crowds_of(ctx, servers)
    await keep_seen(ctx, [Connected(one.server, one.sessions, one.at) for one in crowds if not one.by_user])
    if query.server is not None and crowds and crowds[0].error is not None:
        raise crowds[0].error
    names = {one.common_name for crowd in crowds for one in crowd.sessions if one.common_name}
    known = await ctx.database.read(lambda tx: clients_named(tx, names))
    sessions = [
        session_json(one, crowd.server, known.get(crowd.server.ca_id, {}))
        for crowd in crowds
        for one in crowd.sessions
        if query.name is None or one.common_name == query.name
    ]
    return {"sessions": sessions, "servers": [_server(crowd) for crowd in crowds]}


def _server(crowd: Crowd) -> Json:
    error = crowd.error.as_json() if crowd.error is not None else None
    return {
        "server": crowd.server.name,
        "server_id": crowd.server.id,
        "host": crowd.server.host.name,
        "environment": crowd.server.environment,
        "level": crowd.server.level,
        "state": "ok" if error is None else str(error["data"].get("kind", error["code"])),
        "error": error,
        "sessions": len(crowd.sessions) if error is None else None,
        "observed_at": utc_text(crowd.at),
        "age": round((datetime.now(UTC) - crowd.at).total_seconds(), 1),
        "names_are_users": crowd.by_user,
    }


def clients_named(tx: Transaction, names: Iterable[str]) -> dict[int, dict[str, tuple[int, bool]]]:
    """By authority and name: the client's id, and whether it is revoked."""
    found: dict[int, dict[str, tuple[int, bool]]] = {}
    wanted = sorted(names)
    for start in range(0, len(wanted), 500):
        query = select(VpnClient.ca_id, VpnClient.name, VpnClient.id, VpnClient.revoked)
        for ca_id, name, client, revoked in tx.exec(query.where(col(VpnClient.name).in_(wanted[start : start + 500]))):
            found.setdefault(ca_id, {})[name] = (client, revoked)
    return found


async def end_sessions(way: Reach, client_ids: Sequence[int]) -> list[Session]:
    """Kill by client id and wait until none of them is in the status; the sessions there then.

    Raises StateConflict for one the daemon does not know and OutcomeUnknown when one stays.
    """
    address = way.interface()
    for number, refusal in (
        await kill(way.runner, address, client_ids, timeout=way.timeout, password=way.password)
    ).items():
        if refusal is not None:
            there = await ask_status(way.runner, address, timeout=way.timeout, password=way.password)
            if number in {one.client_id for one in there.sessions}:
                raise StateConflict(f"{way.server.name}: the daemon does not end session {number}: {refusal}")
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while True:
        there = await ask_status(way.runner, address, timeout=way.timeout, password=way.password)
        left = {one.client_id for one in there.sessions} & set(client_ids)
        if not left:
            return there.sessions
        if asyncio.get_running_loop().time() > deadline:
            raise OutcomeUnknown(
                reason=f"{way.server.name} still shows session {min(map(int, filter(None, left)), default=0)}",
                check=f"vpn sessions list --server {way.server.name}",
            )
        await asyncio.sleep(0.5)


@change(
    "vpn.sessions.kill",
    summary="End VPN sessions by client id; the client may connect again unless it is revoked",
    permission=MANAGE,
    input=KillSessions,
    kind="action",
    danger="high",
    objects=("vpn_session",),
    bulk=True,
    key="K",
)
class Kill(Change[KillSessions]):
    audit_kind = "vpn_session"
    op_type = "kill"

    async def plan(self) -> Plan:
        given = self.input
        items = given.items
        if items is None:
            if given.server is None or given.client_id is None:
                raise ObjectNotFound(entity="session", id="", hint="; give server and client_id", field="server")
            items = [OneSession(server=given.server, client_id=given.client_id)]
        refs = list(dict.fromkeys(item.server for item in items))
        by_ref = await self.ctx.database.read(lambda tx: {ref: servers_of(tx, refs=[ref])[0] for ref in refs})
        crowds = {c.server.id: c for c in await crowds_of(self.ctx, list({s.id: s for s in by_ref.values()}.values()))}
        for crowd in crowds.values():
            if crowd.error is not None:
                raise crowd.error
        targets = [self._target(crowds[by_ref[item.server].id], item.client_id) for item in items]
        plan = record_plan(
            "vpn.sessions.kill",
            f"end the session of {', '.join(target.name for target in targets[:5])}"
            + (f" and {len(targets) - 5} more" if len(targets) > 5 else ""),
            targets,
            given,
            undo="nothing to undo: the client connects again by itself",
            level=max((one.level for one in by_ref.values()), key=["dev", "stage", "prod"].index),
        )
        return replace(plan, verification="the server's status no longer shows the client id")

    def _target(self, crowd: Crowd, client_id: int) -> Target:
        found = next((one for one in crowd.sessions if one.client_id == client_id), None)
        server = crowd.server
        if found is None:
            raise ObjectNotFound(
                entity="session", id=client_id, hint=f" on {server.name}; it may have ended: see vpn sessions list"
            )
        who = found.common_name or found.real_address
        before = {"name": found.common_name, "since": moment_text(found.since), "address": found.virtual_address}
        return Target(
            kind="vpn_session",
            id=f"{server.id}/{client_id}",
            name=who,
            resource=f"{server.resource}/session:{client_id}",
            subject=replace(server.subject(), kind="vpn_session", name=f"{server.name}/{who}"),
            host=server.host.name,
            before=before,
            after={"connected": False},
            evidence_age=(datetime.now(UTC) - crowd.at).total_seconds(),
            work={"server": server, "client_id": client_id},
        )

    async def execute(self, target: Target) -> Json | None:
        """Looked up again just before: after a restart of the daemon the number is another client's."""
        way = await reach(self.ctx, target.work["server"], afresh=False)
        there = await ask_status(way.runner, way.interface(), timeout=way.timeout, password=way.password)
        number = target.work["client_id"]
        now = next((one for one in there.sessions if one.client_id == number), None)
        if now is None:
            return {"already": True}
        if (now.common_name, moment_text(now.since)) != (target.before["name"], target.before["since"]):
            raise StateConflict(f"session {number} is another client's by now; look again")
        left = await end_sessions(way, [number])
        again = [one.client_id for one in left if one.common_name is not None and one.common_name == now.common_name]
        return {"connected_again_as": again}

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        return {"connected": False, **(effect or {})}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        pairs = [target["id"].split("/") for target in targets]
        return {"items": [{"server": int(server), "client_id": int(number)} for server, number in pairs]}

    def record(self, tx: Any, outcomes: list[Outcome]) -> Json:
        return {"message": "success"} if len(outcomes) == 1 else {}
