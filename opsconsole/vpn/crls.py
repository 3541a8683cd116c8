"""vpn.crls.*: lists as they are, signed anew before they end, and handed in from where an offline key signed them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, col, func, select

from data.feed import announce
from data.models import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from drivers.pki import Authority
from drivers.pki_crl import crl_entry, crl_pem
from drivers.pki_read import read_certificates, read_crl
from drivers.pki_types import Crl, Revoked, serial_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import InvalidParameter, ObjectNotFound
from opsconsole.engine.pages import Paged, envelope
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.vpn import keys
from opsconsole.vpn.cas import ca_target
from opsconsole.vpn.fields import CertText, CrlDays, Id, Passphrase, crl_json, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, newest_crl, said
from opsconsole.vpn.signing import keep_list, sign_list

_VIEW, _MANAGE = "module.vpn.view_vpn_client", "module.vpn.manage_vpn_ca"
_ROWS = 500


class ListCrls(Paged):
    ca_id: Id | None = None


class GetCrl(Input):
    ca_id: Id
    number: Annotated[int | None, Field(ge=1, description="empty: the newest")] = None


class SignCrl(Input):
    ca_id: Id
    crl_days: Annotated[CrlDays | None, Field(description="for this and later lists; empty: as before")] = None
    ca_passphrase: Passphrase | None = None


class ImportCrl(Input):
    ca_id: Id
    crl: Annotated[CertText, Field(max_length=50_000_000, description="PEM")]


@read(
    "vpn.crls.list",
    summary="List revocation lists, newest first",
    permission=_VIEW,
    input=ListCrls,
    objects=("vpn_crl",),
)
async def list_crls(ctx: Context, query: ListCrls) -> Json:
    def work(tx: Session) -> Json:
        where = [] if query.ca_id is None else [VpnCrl.ca_id == find_ca(tx, query.ca_id).id]
        count = tx.exec(select(func.count()).select_from(VpnCrl).where(*where)).one()
        skipped = (query.page - 1) * query.page_size
        rows = select(VpnCrl).where(*where).order_by(col(VpnCrl.id).desc()).offset(skipped).limit(query.page_size)
        return envelope([crl_json(row, ctx.now()) for row in tx.exec(rows)], count, query)

    return await ctx.database.read(work)


@read("vpn.crls.get", summary="Show a revocation list, in PEM", permission=_VIEW, input=GetCrl, objects=("vpn_crl",))
async def get_crl(ctx: Context, query: GetCrl) -> Json:
    """`crl` is null for a list so old that only its facts are kept."""

    def work(tx: Session) -> Json:
        ca = find_ca(tx, query.ca_id)
        row = newest_crl(tx, ca.id)
        if query.number is not None:
            wanted = select(VpnCrl).where(VpnCrl.ca_id == ca.id, VpnCrl.number == query.number)
            row = tx.exec(wanted).first()
        if row is None:
            newest = newest_crl(tx, ca.id)
            hint = f"; the newest is {newest.number}" if newest else "; make one with vpn.crls.sign"
            raise ObjectNotFound(
                entity="revocation list", id=query.number or f"of {ca.name}", hint=hint, field="number"
            )
        return crl_json(row, ctx.now()) | {"crl": crl_pem(row.der) if row.der else None}

    return await ctx.database.read(work)


@change(
    "vpn.crls.sign",
    summary="Sign a new revocation list of a certificate authority, complete and with the next number",
    permission=_MANAGE,
    input=SignCrl,
    kind="action",
    objects=("certificate_authority",),
)
class Sign(Change[SignCrl]):
    _ca: CaFacts
    _authority: Authority

    async def plan(self) -> Plan:
        def work(tx: Session) -> tuple[CaFacts, Json]:
            ca = ca_facts(tx, find_ca(tx, self.input.ca_id))
            crl = newest_crl(tx, ca.id)
            return ca, {"crl_number": crl.number if crl else None, "crl_days": ca.crl_days}

        self._ca, before = await self.ctx.database.read(work)
        keys.check_at_hand(self._ca, plain(self.input.ca_passphrase))
        after = {"crl_number": (before["crl_number"] or 0) + 1, "crl_days": self.input.crl_days or before["crl_days"]}
        summary = f"sign list {after['crl_number']} of {self._ca.name}, valid for {after['crl_days']} days"
        target = ca_target(self._ca, before, after)
        return record_plan("vpn.crls.sign", summary, [target], self.input, undo=None, level=self._ca.level)

    async def execute(self, target: Target) -> None:
        self._authority = await keys.open_authority(self.ctx.house, self._ca, plain(self.input.ca_passphrase))

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        if self.input.crl_days is not None:
            row = find_ca(tx, self._ca.id)
            row.crl_days = self.input.crl_days
            tx.add(row)
            tx.flush()
        made = sign_list(tx, self._ca, self._authority, now=self.ctx.now(), why="signed anew")
        outcomes[0].after = {**outcomes[0].target.after, "crl_number": made.number}
        return crl_json(made, self.ctx.now())


@change(
    "vpn.crls.import",
    summary="Take over a revocation list that was signed where the key of the certificate authority is",
    permission=_MANAGE,
    input=ImportCrl,
    objects=("certificate_authority",),
)
class Import(Change[ImportCrl]):
    """The list must be newer than the newest, and must not bring back to life what one before it named."""

    _ca: CaFacts
    _crl: Crl
    _lines: list[Revoked]

    async def plan(self) -> Plan:
        ca = await self.ctx.database.read(lambda tx: ca_facts(tx, find_ca(tx, self.input.ca_id)))
        self._ca = ca

        def reading() -> tuple[Crl, list[Revoked]]:
            with said():
                return read_crl(self.input.crl.encode(), read_certificates(ca.cert.encode(), "ca")[0])

        self._crl, self._lines = await asyncio.to_thread(reading)
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        ca, crl = self._ca, self._crl
        number = check_newer(tx, ca, crl)
        names = {serial_text(line.serial) for line in self._lines}
        missing, unsigned = not_named(tx, ca.id, names)
        if missing:
            shown = ", ".join(missing[:5])
            raise InvalidParameter(
                field="crl",
                reason=f"it lacks {len(missing)} that an earlier list names, and would revive them: {shown}",
            )
        warnings = [f"{len(unsigned)} requested revocations are not in it yet"] if unsigned else []
        before = {"crl_number": find_ca(tx, ca.id).crl_number}
        target = ca_target(ca, before, {"crl_number": number, "entries": crl.entries})
        summary = f"take over list {number} of {ca.name} with {crl.entries} entries"
        return record_plan(
            "vpn.crls.import", summary, [target], self.input, undo=None, level=ca.level, warnings=warnings
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        number = check_newer(tx, self._ca, self._crl)
        take_list(tx, self._ca.id, self._crl, self._lines, number, self.ctx, "handed in")
        row = newest_crl(tx, self._ca.id)
        announce(tx, "vpn_crl", self._ca.id, "created")
        return crl_json(row, self.ctx.now())


def check_newer(tx: Session, ca: CaFacts, crl: Crl) -> int:
    """The number of a list handed in, when it may follow the newest."""
    newest = tx.get_one(CertificateAuthority, ca.id).crl_number
    number = crl.number if crl.number is not None else newest + 1
    if number <= newest:
        raise InvalidParameter(
            field="crl", reason=f"its number {number} is not above {newest}, that of the newest list"
        )
    return number


def not_named(tx: Session, ca_id: int, names: set[str]) -> tuple[list[str], list[str]]:
    """Serials revoked here that a list lacks: those an earlier list names, and those no list named yet."""
    query = select(VpnCertificate.serial, VpnCertificate.crl_number).where(
        VpnCertificate.ca_id == ca_id, VpnCertificate.state == "revoked"
    )
    missing: list[str] = []
    unsigned: list[str] = []
    for serial, number in tx.exec(query):
        if serial not in names:
            (unsigned if number is None else missing).append(serial)
    return missing, unsigned


def take_list(tx: Session, ca_id: int, crl: Crl, lines: list[Revoked], number: int, ctx: Context, why: str) -> None:
    """Write a list that was signed elsewhere, and as revoked what it names, known here before or not."""
    now = ctx.now()
    ca = tx.exec(select(CertificateAuthority).where(CertificateAuthority.id == ca_id).with_for_update()).one()
    for start in range(0, len(lines), _ROWS):
        _take_lines(tx, ca, lines[start : start + _ROWS], number, ctx)
    ca.crl_number = number
    tx.add(ca)
    keep_list(tx, ca_id, number, crl.der, crl.this_update, crl.next_update, crl.entries, why, now)


def _take_lines(tx: Session, ca: CertificateAuthority, lines: list[Revoked], number: int, ctx: Context) -> None:
    by_serial = {serial_text(line.serial): line for line in lines}
    query = select(VpnCertificate).where(VpnCertificate.ca_id == ca.id, col(VpnCertificate.serial).in_(list(by_serial)))
    known = {row.serial: row for row in tx.exec(query)}
    for serial, line in by_serial.items():
        row = known.get(serial) or VpnCertificate(
            ca_id=ca.id, serial=serial, common_name="", usage="any", created_at=ctx.now()
        )
        if row.state != "revoked":
            row.state, row.revoked_at, row.revoke_reason = "revoked", line.at, line.reason
            row.revoked_by = "the list handed in"
            row.crl_entry = crl_entry(line.serial, line.at, line.reason)
            _close_client(tx, row, ctx)
        row.crl_number = row.crl_number or number
        tx.add(row)
    tx.flush()


def _close_client(tx: Session, row: VpnCertificate, ctx: Context) -> None:
    """A client whose newest certificate a list names is revoked."""
    client = tx.get(VpnClient, row.client_id) if row.client_id is not None else None
    if client is not None and client.certificate_id == row.id and not client.revoked:
        client.revoked, client.revoked_date, client.updated_at = True, row.revoked_at, ctx.now()
        tx.add(client)
        announce(tx, "vpn_client", client.id, "updated")
