"""vpn.servers.list | get | create | update | delete | inspect: the daemons that let clients in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from sqlalchemy import delete
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import CertificateAuthority, Host, RevocationStep, VpnServer, VpnServerSight, utc_now
from drivers.errors import DriverError
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.changes import find_environment
from opsconsole.hosts.fields import LongText, Name, Ref, Text
from opsconsole.hosts.lookup import LEVELS, facts_of, find_host
from opsconsole.vpn.servers_alarms import alarms_of
from opsconsole.vpn.servers_look import Sight, keep, look_at, newest_number
from opsconsole.vpn.servers_lookup import (
    MANAGE,
    VIEW,
    OneServer,
    ServerFacts,
    address_of,
    find_server,
    server_facts,
    server_json,
    servers_of,
)

_FIELDS = ("unit", "config_path", "crl_path", "management", "description")
_AT_ONCE = 50
LOGIN = "host.login_host"


def _path(value: str) -> str:
    if not value.startswith("/") or any(ord(sign) < 32 or ord(sign) == 127 for sign in value) or value.endswith("/"):
        raise ValueError("the whole path of a file, from / on")
    return value


def _path_or_none(value: str) -> str:
    return value if value == "" else _path(value)


def _address(value: str) -> str:
    if value:
        address_of(value)
    return value


Path_ = Annotated[str, Field(max_length=1000), AfterValidator(_path)]
OptionalPath = Annotated[
    str,
    Field(max_length=1000, description="where its CRL lies; empty: where its configuration says"),
    AfterValidator(_path_or_none),
]
Management = Annotated[
    str,
    Field(max_length=300, description="unix:/path or tcp:host:port; empty: what its configuration says"),
    AfterValidator(_address),
]
Unit = Annotated[str, Field(max_length=256, pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9:._\\@-]*$")]


class ListServers(Input):
    """`ca_id` keeps those of one authority. Unless `fresh`, nothing is asked on any host: the last look is shown."""

    ca_id: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    fresh: Annotated[bool, Field(description="look at every one now")] = False


class CreateServer(Input):
    name: Name
    host: Ref
    ca_id: Annotated[int, Field(ge=1, lt=2**31)]
    config_path: Annotated[Path_, Field(description="its configuration on the host")]
    unit: Annotated[Unit, Field(description="its systemd unit, for example openvpn-server@site")] = ""
    crl_path: OptionalPath = ""
    management: Management = ""
    environment: Annotated[Text | None, Field(description="without one that of its host")] = None
    description: LongText = ""


class UpdateServer(OneServer):
    name: Name | None = None
    config_path: Path_ | None = None
    unit: Unit | None = None
    crl_path: OptionalPath | None = None
    management: Management | None = None
    environment: Text | None = None
    description: LongText | None = None
    version: int | None = None


def shown(tx: Session, ctx: Context, facts: Sequence[ServerFacts]) -> list[Json]:
    """The objects of several servers with their last look and what is wrong by now."""
    newest = {ca_id: newest_number(tx, ca_id) for ca_id in {one.ca_id for one in facts}}
    answers = []
    for one in facts:
        row, sight = tx.get_one(VpnServer, one.id), tx.get(VpnServerSight, one.id)
        alarms = [] if sight is None else alarms_of(sight.facts, sight.error, ctx.now(), newest[one.ca_id])
        answers.append(server_json(one, row, sight, alarms))
    return answers


@read(
    "vpn.servers.list",
    summary="List the OpenVPN servers with their last look and their alarms",
    permission=VIEW,
    input=ListServers,
    objects=("vpn_server",),
)
async def list_servers(ctx: Context, query: ListServers) -> Json:
    if query.fresh:
        await look_at_all(ctx, await ctx.database.read(lambda tx: servers_of(tx, ca_id=query.ca_id)))

    def work(tx: Session) -> list[Json]:
        return shown(tx, ctx, servers_of(tx, ca_id=query.ca_id))

    return {"servers": await ctx.database.read(work)}


@read("vpn.servers.get", summary="Show one OpenVPN server", permission=VIEW, input=OneServer, objects=("vpn_server",))
async def get_server(ctx: Context, query: OneServer) -> Json:
    return (await ctx.database.read(lambda tx: shown(tx, ctx, servers_of(tx, refs=[query.id]))))[0]


@read(
    "vpn.servers.inspect",
    summary="Look at an OpenVPN server now: its configuration, daemon and CRL, and what differs from its record",
    permission=VIEW,
    input=OneServer,
    objects=("vpn_server",),
    key="i",
)
async def inspect(ctx: Context, query: OneServer) -> Json:
    """The server with a fresh look. A host that cannot be reached raises; everything less is an alarm."""
    server = (await ctx.database.read(lambda tx: servers_of(tx, refs=[query.id])))[0]
    sight = (await look_at_all(ctx, [server]))[0]
    if sight.problem is not None:
        raise translate(sight.problem)
    return (await ctx.database.read(lambda tx: shown(tx, ctx, servers_of(tx, refs=[server.id]))))[0]


async def look_at_all(ctx: Context, servers: Sequence[ServerFacts]) -> list[Sight]:
    """Every server at once, each with its own error; all sights are kept."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(server: ServerFacts) -> Sight:
        async with gate:
            try:
                return await look_at(ctx, server)
            except DriverError as error:
                return Sight(server, error=translate(error).as_json(), problem=error)

    sights = list(await asyncio.gather(*(one(server) for server in servers)))
    await keep(ctx, sights)
    return sights


def _columns(given: CreateServer | UpdateServer) -> Json:
    """The given columns, emptied ones as None."""
    values = {name: getattr(given, name) for name in _FIELDS if name in given.model_fields_set}
    return {name: None if value == "" and name != "description" else value for name, value in values.items()}


def _refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(VpnServer.id).where(VpnServer.name == name)).first() is not None:
        raise NameNotUnique(entity="VPN server", name=name, field="name")


def _authority(tx: Session, ca_id: int) -> CertificateAuthority:
    row = tx.get(CertificateAuthority, ca_id)
    if row is None:
        raise ObjectNotFound(entity="certificate authority", id=ca_id, hint="; see: vpn cas list", field="ca_id")
    return row


@change(
    "vpn.servers.create",
    summary="Make an OpenVPN server known",
    permission=MANAGE,
    target_permission=LOGIN,
    input=CreateServer,
    objects=("vpn_server",),
)
class Create(Change[CreateServer]):
    """Asks for the right to log in to the host too: the console will write files there as root."""

    audit_kind = "vpn_server"
    op_type = "add"

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        _refuse_taken(tx, given.name)
        host = facts_of(tx, [find_host(tx, self.ctx.caller, given.host, permission=LOGIN)])[0]
        authority = _authority(tx, given.ca_id)
        level, environment = host.level, host.environment
        if given.environment:
            ring = find_environment(tx, given.environment)
            level, environment = max(level, ring.level, key=LEVELS.__getitem__), ring.name
        after = {"name": given.name, "host": host.name, "ca": authority.name, "environment": environment}
        target = Target(
            kind="vpn_server",
            id="",
            name=given.name,
            resource=f"vpn_server-name:{given.name}",
            subject=replace(host.subject("vpn_server", given.name), environment=environment),
            host=host.name,
            after=after | _columns(given),
            work={"host_id": host.id},
        )
        summary = f"make the OpenVPN server {given.name} on {host.name} known"
        return record_plan("vpn.servers.create", summary, [target], given, undo="vpn.servers.delete", level=level)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        given = self.input
        _refuse_taken(tx, given.name)
        _authority(tx, given.ca_id)
        ring = find_environment(tx, given.environment).id if given.environment else None
        host_id = outcomes[0].target.work["host_id"]
        if tx.get(Host, host_id) is None:
            raise ObjectNotFound(entity="host", id=given.host, hint="; it was deleted in the meantime", field="host")
        row = VpnServer(name=given.name, host_id=host_id, ca_id=given.ca_id, environment_id=ring, **_columns(given))
        tx.add(row)
        tx.flush()
        announce(tx, "vpn_server", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        return shown(tx, self.ctx, server_facts(tx, [row]))[0]


def _snapshot(facts: ServerFacts) -> Json:
    return {name: getattr(facts, name) for name in (*_FIELDS, "name", "environment")}


@change(
    "vpn.servers.update",
    summary="Change the record of an OpenVPN server",
    permission=MANAGE,
    target_permission=LOGIN,
    input=UpdateServer,
    objects=("vpn_server",),
    key="e",
)
class Update(Change[UpdateServer]):
    audit_kind = "vpn_server"
    op_type = "update"

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        facts = servers_of(tx, refs=[given.id])[0]
        if given.version is not None and given.version != facts.version:
            raise StateConflict(
                f"{facts.name} was changed since you looked: it has version {facts.version}, you saw {given.version}"
            )
        wanted = _columns(given)
        for name in ("name", "config_path"):
            if name in given.model_fields_set and getattr(given, name) is None:
                raise InvalidParameter(field=name, reason="a server must have one")
        if given.name is not None and given.name != facts.name:
            _refuse_taken(tx, given.name)
            wanted["name"] = given.name
        level = facts.level
        if given.environment:
            ring = find_environment(tx, given.environment)
            wanted["environment"], level = ring.name, max(level, ring.level, key=LEVELS.__getitem__)
        before, after = difference(_snapshot(facts), wanted)
        return record_plan(
            "vpn.servers.update",
            f"change the OpenVPN server {facts.name}: {', '.join(after) or 'nothing differs'}",
            [facts.target(before, after)],
            given,
            undo="vpn.servers.update with the values before",
            level=level,
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        row = find_server(tx, int(target.id))
        refuse_if_changed(f"the server {row.name}", target.before, _snapshot(server_facts(tx, [row])[0]))
        for name, value in target.after.items():
            if name == "environment":
                row.environment_id = find_environment(tx, value).id
            else:
                setattr(row, name, value if value is not None or name != "description" else "")
        if target.after:
            row.updated_at = utc_now()
            tx.add(row)
            tx.flush()
            announce(tx, "vpn_server", row.id, "updated")
        return shown(tx, self.ctx, server_facts(tx, [row]))[0]


@change(
    "vpn.servers.delete",
    summary="Forget an OpenVPN server; the daemon itself is not touched",
    permission=MANAGE,
    input=OneServer,
    danger="high",
    reversible=False,
    objects=("vpn_server",),
    key="D",
)
class Delete(Change[OneServer]):
    audit_kind = "vpn_server"
    op_type = "delete"

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            facts = servers_of(tx, refs=[self.input.id])[0]
            warning = "revocations of its authority are proven on one server less; it goes on letting clients in"
            target = facts.target(_snapshot(facts), {"deleted": True}, warnings=(warning,))
            summary = f"forget the OpenVPN server {facts.name} on {facts.host.name}"
            return record_plan("vpn.servers.delete", summary, [target], self.input, undo=None, level=facts.level)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        row = find_server(tx, int(outcomes[0].target.id))
        for table in (RevocationStep, VpnServerSight):
            tx.execute(delete(table).where(col(table.server_id) == row.id))
        tx.delete(row)
        tx.flush()
        announce(tx, "vpn_server", outcomes[0].target.id, "deleted")
        return success()
