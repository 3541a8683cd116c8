"""vpn.cas.import: an authority brought along, with its key, or without it as an offline one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, select

from data.models import CertificateAuthority
from drivers import pki, pki_files
from drivers.pki_crl import USUAL_DAYS as CRL_DAYS
from drivers.pki_read import (
    check_can_sign,
    check_fits,
    check_issued_by,
    common_name,
    facts_of,
    key_der,
    read_certificates,
    read_crl,
    read_private_key,
)
from drivers.pki_types import CertificateFacts, Crl, Revoked
from opsconsole.engine.context import Context
from opsconsole.engine.errors import InvalidParameter, NameNotUnique
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.fields import Text
from opsconsole.vpn import keys
from opsconsole.vpn.cas import new_ca_target, write_ca
from opsconsole.vpn.crls import take_list
from opsconsole.vpn.fields import CaName, CertText, CrlDays, KeyText, Passphrase, Password, plain
from opsconsole.vpn.lookup import ca_facts, said, whole_ca_json
from opsconsole.vpn.signing import sign_list


class ImportCa(Input):
    """`cert` may hold the authorities above it as well; without `key` the authority is offline."""

    cert: CertText
    name: Annotated[CaName | None, Field(description="empty: the name in the certificate")] = None
    key: KeyText | None = None
    password: Annotated[Password | None, Field(description="opens the key, when it is encrypted")] = None
    passphrase: Annotated[Passphrase | None, Field(description="of its own from now on, asked for at each signing")] = (
        None
    )
    crl: Annotated[CertText | None, Field(max_length=50_000_000, description="the newest list, PEM")] = None
    crl_days: CrlDays = CRL_DAYS
    environment: Text | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """An authority as it was handed in and found to be in order."""

    facts: CertificateFacts
    cert: str
    chain: str
    private: bytes | None = field(repr=False)
    crl: Crl | None
    lines: list[Revoked]
    name: str


def read_ca(cert: str, key: str, password: str, crl: str, name: str | None) -> Brought:
    """Check that the parts belong together. Raises PkiError."""
    first, *above = read_certificates(cert.encode())
    check_can_sign(first)
    below = first
    for one in above:
        check_can_sign(one)
        check_issued_by(below, one)
        below = one
    private = None
    if key:
        opened = read_private_key(key.encode(), password or None)
        check_fits(opened, first)
        private = key_der(opened)
    found, lines = read_crl(crl.encode(), first) if crl else (None, [])
    facts = facts_of(first)
    chain = "".join(pki_files.cert_pem(facts_of(one).cert) for one in above)
    return Brought(facts, pki_files.cert_pem(facts.cert), chain, private, found, lines, name or common_name(first)[:64])


def refuse_known(tx: Session, brought: Brought) -> None:
    query = select(CertificateAuthority.name).where(CertificateAuthority.fingerprint == brought.facts.fingerprint)
    known = tx.exec(query).first()
    if known is not None:
        reason = f"this certificate is here already, as {known}"
        raise NameNotUnique(reason, field="cert", entity="certificate authority", name=known)


@change(
    "vpn.cas.import",
    summary="Take over an existing certificate authority: certificate, newest list, and key unless it stays offline",
    permission="module.vpn.manage_vpn_ca",
    input=ImportCa,
    objects=("certificate_authority",),
)
class Import(Change[ImportCa]):
    _brought: Brought
    _row: CertificateAuthority
    _authority: pki.Authority | None

    async def plan(self) -> Plan:
        given = self.input
        if plain(given.passphrase) and not plain(given.key):
            raise InvalidParameter(field="passphrase", reason="it protects the key here, and no key is given")

        def reading() -> Brought:
            with said():
                return read_ca(given.cert, plain(given.key), plain(given.password), given.crl or "", given.name)

        self._brought = brought = await asyncio.to_thread(reading)

        def work(tx: Session) -> tuple[Target, str]:
            refuse_known(tx, brought)
            after: Json = {
                "fingerprint": brought.facts.fingerprint,
                "key_state": self._state(),
                "crl": len(brought.lines),
            }
            return new_ca_target(tx, brought.name, given.environment, after)

        target, level = await self.ctx.database.read(work)
        summary = f"take over the certificate authority {brought.name}" + ("" if brought.private else ", offline")
        return record_plan(
            "vpn.cas.import", summary, [target], given, undo=None, level=level, warnings=self._warnings()
        )

    def _state(self) -> str:
        if self._brought.private is None:
            return "offline"
        return "passphrase" if plain(self.input.passphrase) else "sealed"

    def _warnings(self) -> list[str]:
        brought = self._brought
        found: list[str] = []
        if brought.facts.not_after <= self.ctx.now():
            found.append(f"it ended at {brought.facts.not_after:%Y-%m-%d}: no new certificate can be issued")
        if brought.facts.key_type.startswith("rsa") and brought.facts.key_bits < 3072:
            found.append(f"its RSA key has {brought.facts.key_bits} bits; 3072 are what new ones get")
        if brought.crl is None:
            found.append("no list is given: what was revoked before is not known here and would connect again")
        return found

    async def execute(self, target: Target) -> None:
        brought, given = self._brought, self.input
        key = await keys.data_key(self.ctx.house, create=True)

        def work() -> tuple[CertificateAuthority, pki.Authority | None]:
            facts, private = brought.facts, brought.private
            sealed = None
            if private is not None:
                sealed = keys.seal_ca_key(key, private, facts.fingerprint, plain(given.passphrase))
            row = CertificateAuthority(
                name=brought.name,
                subject=facts.subject_text,
                cert=brought.cert,
                chain=brought.chain,
                fingerprint=facts.fingerprint,
                key_type=facts.key_type,
                key_state=self._state(),
                sealed_key=sealed,
                not_before=facts.not_before,
                not_after=facts.not_after,
                crl_days=given.crl_days,
            )
            with said():
                return row, pki.Authority.of(brought.cert, private) if private is not None else None

        self._row, self._authority = await asyncio.to_thread(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        """What its list names is revoked here too, before a list of our own is signed over it."""
        refuse_known(tx, self._brought)
        write_ca(tx, self.ctx, outcomes, self._row, None, self.input.environment)
        return take_over(tx, self.ctx, int(outcomes[0].target.id), self._brought, self._authority)


def take_over(tx: Session, ctx: Context, ca_id: int, brought: Brought, authority: pki.Authority | None) -> Json:
    """The list an authority came with, and the next one where its key is here."""
    row = tx.get_one(CertificateAuthority, ca_id)
    if brought.crl is not None:
        take_list(tx, ca_id, brought.crl, brought.lines, brought.crl.number or 1, ctx, "came with its authority")
    if authority is not None:
        sign_list(tx, ca_facts(tx, row), authority, now=ctx.now(), why="the first list signed here")
    tx.flush()
    return whole_ca_json(tx, row, ctx.now())
