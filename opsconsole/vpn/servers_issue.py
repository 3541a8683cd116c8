"""vpn.servers.issue: a certificate a server shows its clients. The key leaves at once and is not kept here."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from data.feed import announce
from drivers import pki_files
from drivers.pki_types import KeyType, Subject
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Outcome, change
from opsconsole.vpn import files, keys
from opsconsole.vpn.fields import Days, Passphrase, Place, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca
from opsconsole.vpn.servers_lookup import OneServer, servers_of
from opsconsole.vpn.signing import Made, Wanted, issue_all, settle_certificate

USUAL_DAYS = 1825


class IssueServer(OneServer):
    common_name: Annotated[
        Place, Field(max_length=64, description="in the certificate; without it the server's name")
    ] = ""
    expiration: Days = USUAL_DAYS
    key_type: KeyType = "ec-p256"
    path: Annotated[str | None, Field(max_length=4096, description="a new file, readable by you alone")] = None
    ca_passphrase: Passphrase | None = None


@change(
    "vpn.servers.issue",
    summary="Issue a certificate for an OpenVPN server: key, certificate and chain in PEM, handed out once",
    permission="module.vpn.manage_vpn_ca",
    target_permission="module.vpn.export_vpn_key",
    input=IssueServer,
    objects=("vpn_server",),
)
class Issue(Change[IssueServer]):
    audit_kind = "vpn_server"
    op_type = "issue"

    _ca: CaFacts
    _made: Made
    _answer: Json

    async def plan(self) -> Plan:
        given = self.input
        place = files.own_path(self.ctx.house, given.path, "writing a file") if given.path is not None else None
        if place is not None:
            await asyncio.to_thread(files.check_writable, place, replace=False)

        def work(tx: Session) -> Plan:
            server = servers_of(tx, refs=[given.id])[0]
            self._ca = ca_facts(tx, find_ca(tx, server.ca_id))
            keys.check_at_hand(self._ca, plain(given.ca_passphrase))
            name = given.common_name or server.name
            after = {"common_name": name, "days": given.expiration, "to": str(place) if place else "the answer"}
            plan = record_plan(
                "vpn.servers.issue",
                f"issue a certificate of {self._ca.name} for the server {server.name} as {name}",
                [server.target(after=after, work={"name": name})],
                given,
                undo="vpn.certificates.revoke",
                level=server.level,
            )
            return replace(plan, verification="the certificate is read back and checked against its authority")

        return await self.ctx.database.read(work)

    async def execute(self, target: Target) -> Json | None:
        given = self.input
        self._wanted = Wanted(Subject(target.work["name"]), given.expiration, given.key_type, "server")
        (self._made,) = await issue_all(self.ctx, self._ca, plain(given.ca_passphrase), [self._wanted])
        issued, chain = self._made.issued, self._ca.whole_chain
        parts = {"cert": pki_files.cert_pem(issued.cert), "key": pki_files.key_pem(issued.key), "ca_chain": chain}
        self._answer = {"common_name": target.work["name"], "serial": self._made.serial}
        if given.path is None:
            self._answer |= parts
            return {"serial": self._made.serial}
        data = (parts["key"] + parts["cert"] + chain).encode()
        place = files.own_path(self.ctx.house, given.path, "writing a file")
        await asyncio.to_thread(files.write_private, place, data)
        self._answer |= {"path": str(place), "sha256": hashlib.sha256(data).hexdigest()}
        return {"serial": self._made.serial, "path": str(place), "sha256": self._answer["sha256"]}

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        effect = effect or {}
        if "path" in effect:
            data = await asyncio.to_thread(files.own_path(self.ctx.house, effect["path"], "reading a file").read_bytes)
            if hashlib.sha256(data).hexdigest() != effect["sha256"]:
                raise StateConflict(f"{effect['path']} is not what was written; delete it and look why")
        return {**target.after, **effect}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        """The certificate's row; its key is handed out and forgotten."""
        row = settle_certificate(tx, self._made, self._wanted, None)
        row.sealed_key = None
        tx.add(row)
        tx.flush()
        announce(tx, "vpn_certificate", row.id, "created")
        return {"id": row.id, **self._answer}
