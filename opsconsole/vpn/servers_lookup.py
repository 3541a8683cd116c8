"""OpenVPN servers by id or name, as plain facts free of any session, and how they are written on the outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, Field, StrictInt, StrictStr
from sqlmodel import Session, col, or_, select

from data.models import CertificateAuthority, Environment, Host, VpnCrl, VpnServer, VpnServerSight
from drivers.dialling import Address
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.plan import Target
from opsconsole.engine.registry import Input, Json
from opsconsole.hosts.lookup import LEVELS, HostFacts, facts_of

VIEW = "module.vpn.view_vpn_client"
MANAGE = "module.vpn.manage_vpn_server"
ServerRef = StrictInt | Annotated[StrictStr, Field(min_length=1, max_length=64)]
_TCP = re.compile(r"tcp:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


class OneServer(Input):
    """A server by id or name."""

    id: Annotated[ServerRef, Field(validation_alias=AliasChoices("id", "server"))]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server's record as plans and drivers need it. `environment` is its own, else that of its host; `level` the
    higher one of both."""

    id: int
    name: str
    host: HostFacts
    ca_id: int
    ca_name: str
    ca_cert: str
    environment: str | None
    environment_read_only: bool
    level: str
    unit: str | None
    config_path: str
    crl_path: str | None
    management: str | None
    description: str
    version: int

    @property
    def resource(self) -> str:
        return f"vpn_server:{self.id}"

    @property
    def management_address(self) -> Address | None:
        """The one of the record; None when the configuration says it."""
        return address_of(self.management) if self.management else None

    def subject(self) -> Subject:
        subject = self.host.subject("vpn_server", self.name)
        read_only = self.environment_read_only or self.host.environment_read_only
        return replace(subject, environment=self.environment, environment_read_only=read_only)

    def target(self, before: Json | None = None, after: Json | None = None, **more: Any) -> Target:
        """This server as the target of a change."""
        return Target(
            kind="vpn_server",
            id=str(self.id),
            name=self.name,
            resource=self.resource,
            subject=self.subject(),
            host=self.host.name,
            before=before or {},
            after=after or {},
            **more,
        )


def address_of(text: str) -> Address:
    """`unix:/path` or `tcp:host:port`; ValueError for anything else."""
    if text.startswith("unix:/"):
        return Address(path=text[5:])
    found = _TCP.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError("unix:/path/of/the.sock or tcp:127.0.0.1:7505")
    return Address(host=found[1].strip("[]"), port=int(found[2]))


def find_server(tx: Session, ref: int | str) -> VpnServer:
    """By name, else by id; ObjectNotFound names those there are."""
    number = ref if isinstance(ref, int) else int(ref) if ref.isascii() and ref.isdigit() and len(ref) < 10 else 0
    number = number if 0 < number < 2**31 else 0
    wanted = or_(col(VpnServer.name) == str(ref), col(VpnServer.id) == number)
    rows = tx.exec(select(VpnServer).where(wanted)).all()
    for row in sorted(rows, key=lambda one: one.name != str(ref)):
        return row
    names = tx.exec(select(VpnServer.name).order_by(col(VpnServer.name)).limit(5)).all()
    hint = f"; there are: {', '.join(names)}" if names else "; make one with vpn.servers.create"
    raise ObjectNotFound(entity="VPN server", id=ref, hint=hint, field="id")


def server_facts(tx: Session, rows: Sequence[VpnServer]) -> list[ServerFacts]:
    """Facts of loaded rows, with few statements however many they are."""
    hosts: dict[int, HostFacts] = {}
    ids = list({row.host_id for row in rows})
    for start in range(0, len(ids), 500):
        found = tx.exec(select(Host).where(col(Host.id).in_(ids[start : start + 500]))).all()
        hosts |= {host.id: host for host in facts_of(tx, found)}
    rings = {row.id: row for row in tx.exec(select(Environment)).all()}
    authorities = {row.id: row for row in tx.exec(select(CertificateAuthority)).all()}
    return [_facts(row, hosts[row.host_id], rings.get(row.environment_id or 0), authorities[row.ca_id]) for row in rows]


def _facts(row: VpnServer, host: HostFacts, ring: Environment | None, ca: CertificateAuthority) -> ServerFacts:
    return ServerFacts(
        id=row.id,
        name=row.name,
        host=host,
        ca_id=row.ca_id,
        ca_name=ca.name,
        ca_cert=ca.cert,
        environment=ring.name if ring else host.environment,
        environment_read_only=ring.read_only if ring else host.environment_read_only,
        level=max(ring.level if ring else host.level, host.level, key=LEVELS.__getitem__),
        unit=row.unit,
        config_path=row.config_path,
        crl_path=row.crl_path,
        management=row.management,
        description=row.description,
        version=row.version,
    )


def servers_of(tx: Session, *, refs: Sequence[int | str] | None = None, ca_id: int | None = None) -> list[ServerFacts]:
    """Those meant, in that order and each once; None = all of the authority, or all, by name."""
    if refs is not None:
        found = [find_server(tx, ref) for ref in refs]
        return server_facts(tx, list({row.id: row for row in found}.values()))
    query = select(VpnServer).order_by(col(VpnServer.name))
    if ca_id is not None:
        query = query.where(VpnServer.ca_id == ca_id)
    return server_facts(tx, tx.exec(query).all())


def newest_list(tx: Session, ca_id: int) -> VpnCrl | None:
    """The newest list of an authority, with its bytes."""
    return tx.exec(select(VpnCrl).where(VpnCrl.ca_id == ca_id).order_by(col(VpnCrl.number).desc()).limit(1)).first()


def server_json(server: ServerFacts, row: VpnServer, sight: VpnServerSight | None, alarms: list[Json]) -> Json:
    """The server object of every answer; `sight` is the last look, with its age in the hands of the reader."""
    return {
        "id": server.id,
        "name": server.name,
        "host": server.host.name,
        "host_id": server.host.id,
        "ca_id": server.ca_id,
        "ca": server.ca_name,
        "environment": server.environment,
        "level": server.level,
        "unit": server.unit,
        "config_path": server.config_path,
        "crl_path": server.crl_path,
        "management": server.management,
        "description": server.description,
        "created_at": utc_text(row.created_at),
        "updated_at": utc_text(row.updated_at),
        "version": row.version,
        "sight": sight_json(sight),
        "alarms": alarms,
    }


def sight_json(sight: VpnServerSight | None) -> Json | None:
    if sight is None:
        return None
    return {
        "state": sight.state,
        "error": sight.error,
        "observed_at": utc_text(sight.observed_at),
        "seen_at": moment_text(sight.seen_at),
        "facts": sight.facts,
    }


def moment_text(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)
