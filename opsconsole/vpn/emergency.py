"""vpn.clients.emergency_block: locking a client out where the authority's key is not at hand.

A server that verifies by directory (`crl-verify … dir`) refuses a serial at once when a file of that name lies there.
Any other one with client-config-dir refuses a name whose file there says `disable`. Neither replaces a revocation:
a new server, or one that is set up again, knows nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, select

from data.feed import announce
from data.models import RevocationStep, VpnCertificate, VpnClient
from drivers.openvpn_ccd import client_file
from drivers.openvpn_files import block_serials, blocked_serials, client_path, read_file, replace_file
from drivers.openvpn_management import status as ask_status
from opsconsole.engine.errors import NotSupported, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.vpn.publishing import highest
from opsconsole.vpn.servers_look import Reach, mind_cwd, reach
from opsconsole.vpn.servers_lookup import ServerFacts, ServerRef, servers_of
from opsconsole.vpn.sessions import end_sessions

REVOKE = "module.vpn.revoke_vpn_client"
DISABLE = "disable\n"


class Block(Input):
    id: Annotated[int, Field(ge=1, lt=2**31, description="of the client")]
    servers: Annotated[list[ServerRef] | None, Field(max_length=1000, description="only these servers")] = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The client to lock out: `certificates` by id with their serials."""

    id: int
    name: str
    certificates: tuple[tuple[int, int], ...]


async def block_on(way: Reach, client: Blocked) -> Json:
    """Lock out on one server, end its sessions, and see that they are gone; the answer is the evidence."""
    await mind_cwd(way)
    config = way.config
    if config is None:
        raise StateConflict(f"{way.server.name}: there is no {way.server.config_path}")
    if way.by_directory and way.crl_path is not None:
        serials = [serial for _, serial in client.certificates]
        await block_serials(way.runner, way.crl_path, serials, timeout=way.timeout)
        evidence: Json = {"how": "serial files", "path": way.crl_path, "serials": [str(serial) for serial in serials]}
    elif config.client_config_dir is not None:
        evidence = await _disable(way, config.client_config_dir, client.name)
    else:
        raise NotSupported(
            what="an emergency block",
            reason=f"{way.server.name} has neither crl-verify … dir nor client-config-dir; revoke with the key",
        )
    if config.username_as_common_name:
        raise StateConflict(
            f"{way.server.name}: blocked, but user names hide whose sessions are there; end them yourself"
        )
    status = await ask_status(way.runner, way.interface(), timeout=way.timeout, password=way.password)
    numbers = [one.client_id for one in status.sessions if one.common_name == client.name and one.client_id is not None]
    left = await end_sessions(way, numbers) if numbers else status.sessions
    if any(one.common_name == client.name for one in left):
        raise StateConflict(f"{way.server.name}: {client.name} is connected again although it is blocked")
    return evidence | {"ended": numbers}


async def _disable(way: Reach, directory: str, name: str) -> Json:
    path = client_path(directory, name)
    seen = await read_file(way.runner, path, timeout=way.timeout)
    text = seen.data.decode("utf-8", "replace") if seen is not None else ""
    if not client_file(name, text).disabled:
        data = DISABLE.encode() + (seen.data if seen is not None else b"")
        expect = seen.sha256 if seen is not None else None
        done = await replace_file(way.runner, path, data, expect=expect, timeout=way.timeout)
        return {"how": "disable in its file", "path": done.path, "sha256": done.sha256}
    return {"how": "disable in its file", "path": path, "already": True}


async def still_blocked(way: Reach, client: Blocked) -> None:
    """Read back what `block_on` wrote; StateConflict when it is not there."""
    await mind_cwd(way)
    config = way.config
    if way.by_directory and way.crl_path is not None:
        there = await blocked_serials(way.runner, way.crl_path, timeout=way.timeout)
        if not {serial for _, serial in client.certificates} <= there:
            raise StateConflict(f"{way.server.name}: its serials are not in {way.crl_path}")
    elif config is not None and config.client_config_dir is not None:
        seen = await read_file(way.runner, client_path(config.client_config_dir, client.name), timeout=way.timeout)
        if seen is None or not client_file(client.name, seen.data.decode("utf-8", "replace")).disabled:
            raise StateConflict(f"{way.server.name}: the file of {client.name} does not disable it")


@change(
    "vpn.clients.emergency_block",
    summary="Lock a VPN client out at once, without the authority's key; revoke it properly afterwards",
    permission=REVOKE,
    input=Block,
    kind="action",
    danger="high",
    objects=("vpn_client",),
    key="B",
)
class EmergencyBlock(Change[Block]):
    """One target per server of the client's authority."""

    audit_kind = "vpn_client"
    op_type = "emergency_block"

    async def plan(self) -> Plan:
        self._client, servers = await self.ctx.database.read(self._meant)
        targets = [one.target(after={"blocked": self._client.name}, work={"server": one}) for one in servers]
        plan = record_plan(
            "vpn.clients.emergency_block",
            f"lock {self._client.name} out of {len(servers)} servers without revoking it",
            targets,
            self.input,
            undo="take its serial files, or the line disable in its file, away again",
            level=highest(servers),
            warnings=(
                "this is no revocation: servers set up later let it in; revoke it as soon as the key is at hand",
            ),
        )
        return replace(plan, verification="what blocks it is read back, and its sessions are gone from the status")

    def _meant(self, tx: Session) -> tuple[Blocked, list[ServerFacts]]:
        row = tx.get(VpnClient, self.input.id)
        if row is None:
            raise ObjectNotFound(entity="VPN client", id=self.input.id, hint="; see: vpn clients list", field="id")
        query = select(VpnCertificate).where(VpnCertificate.client_id == row.id, VpnCertificate.state != "reserved")
        certificates = tuple((one.id, int(one.serial, 16)) for one in tx.exec(query))
        if not certificates:
            raise StateConflict(f"{row.name} has no certificate")
        servers = [one for one in servers_of(tx, refs=self.input.servers) if one.ca_id == row.ca_id]
        if not servers:
            raise StateConflict(f"no OpenVPN server of the authority of {row.name} is known: vpn.servers.create")
        return Blocked(row.id, row.name, certificates), servers

    async def execute(self, target: Target) -> Json | None:
        return await block_on(await reach(self.ctx, target.work["server"]), self._client)

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        await still_blocked(await reach(self.ctx, target.work["server"]), self._client)
        return {"blocked": self._client.name, **(effect or {})}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now = datetime.now(UTC)
        for outcome in outcomes:
            for certificate_id, _ in self._client.certificates:
                key = (certificate_id, int(outcome.target.id), "blocked")
                row = tx.get(RevocationStep, key) or RevocationStep(
                    certificate_id=certificate_id, server_id=key[1], step="blocked", state="failed", at=now
                )
                row.state, row.at = ("ok" if outcome.state == "done" else "failed"), now
                row.evidence, row.error = outcome.after, outcome.error
                tx.add(row)
        announce(tx, "vpn_client", self._client.id, "updated")
        return {"servers": [{"name": one.target.name, **(one.after or {})} for one in outcomes]}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return given | {"servers": [int(target["id"]) for target in targets]}
