"""vpn.clients.renew: a new certificate under the same name; those before stay what they are until revoked or over."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlmodel import Session

from data.feed import announce
from data.models import VpnCertificate, VpnClient
from drivers.pki import Authority
from drivers.pki_types import KeyType
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.vpn import keys
from opsconsole.vpn.clients import client_target, plan_of_new, whom
from opsconsole.vpn.fields import USUAL_DAYS, Days, Id, Passphrase, client_json, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, find_client
from opsconsole.vpn.revoking import standing_certificates
from opsconsole.vpn.signing import Made, Wanted, issue_all, mark_revoked, settle_certificate, sign_list


class RenewClient(Input):
    id: Id
    expiration: Days = USUAL_DAYS
    key_type: Annotated[KeyType, Field(description="of the new key")] = "ec-p256"
    revoke_old: Annotated[bool, Field(description="revoke the certificates before at once, as superseded")] = False
    after_revocation: Annotated[bool, Field(description="let a revoked client in again, with a new certificate")] = (
        False
    )
    ca_passphrase: Passphrase | None = None


@change(
    "vpn.clients.renew",
    summary="Give a VPN client a new key and certificate under its name",
    permission="module.vpn.create_vpn_client",
    input=RenewClient,
    objects=("vpn_client",),
)
class Renew(Change[RenewClient]):
    _ca: CaFacts
    _wanted: Wanted
    _made: Made
    _authority: Authority | None = None

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given, row = self.input, find_client(tx, self.input.id)
        self._ca = ca = ca_facts(tx, find_ca(tx, row.ca_id))
        keys.check_at_hand(ca, plain(given.ca_passphrase))
        if row.revoked and not given.after_revocation:
            raise StateConflict(
                f"{row.name} is revoked; to let it in again with a new certificate say after_revocation", field="id"
            )
        after, warnings = plan_of_new(ca, row.name, row.email, row, given.expiration, self.ctx.now())
        old = [one.serial for one in standing_certificates(tx, [row.id])]
        if row.revoked:
            warnings.append(f"{row.name} was revoked and may connect again; its old certificates stay revoked")
        elif old and not given.revoke_old:
            warnings.append("the certificate before stays good until it expires or is revoked")
        self._wanted = Wanted(whom(row.name, row.email, row), given.expiration, given.key_type)
        before: Json = {"serial": row.serial, "expiry_date": utc_text(row.expiry_date), "revoked": row.revoked}
        after |= {"revoked": False, "revoke": old if given.revoke_old else []}
        return record_plan(
            "vpn.clients.renew",
            f"give {row.name} a new certificate of {ca.name}",
            [client_target(ca, row, before, after)],
            given,
            undo="vpn.certificates.revoke",
            level=ca.level,
            warnings=warnings,
        )

    async def execute(self, target: object) -> None:
        passphrase = plain(self.input.ca_passphrase)
        self._made = (await issue_all(self.ctx, self._ca, passphrase, [self._wanted]))[0]
        if self.input.revoke_old:
            self._authority = await keys.open_authority(self.ctx.house, self._ca, passphrase)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now, row = self.ctx.now(), find_client(tx, self.input.id)
        if row.revoked and not self.input.after_revocation:
            raise StateConflict(f"{row.name} was revoked in the meantime")
        old = standing_certificates(tx, [row.id])
        made = settle_certificate(tx, self._made, self._wanted, row.id)
        self._take(row, made)
        tx.add(row)
        tx.flush()
        if self._authority is not None and old:
            mark_revoked(tx, old, at=now, by=self.ctx.caller.username, reason="superseded")
            sign_list(tx, self._ca, self._authority, now=now, why=f"renewed {row.name}")
        announce(tx, "vpn_client", row.id, "updated")
        outcomes[0].after = {**outcomes[0].target.after, "serial": row.serial, "expiry_date": utc_text(row.expiry_date)}
        return client_json(row, now)

    def _take(self, row: VpnClient, made: VpnCertificate) -> None:
        row.certificate_id, row.serial, row.expiry_date = made.id, made.serial, self._made.issued.not_after
        row.revoked, row.revoked_date, row.updated_at = False, None, self.ctx.now()
