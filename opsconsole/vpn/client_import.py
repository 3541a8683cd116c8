"""vpn.clients.import: a key and certificate made elsewhere, checked against each other and their authority."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated

from pydantic import AliasChoices, Field
from sqlmodel import Session, select

from data.feed import announce
from data.models import VpnCertificate, VpnClient
from data.secrets import seal
from drivers.pki_read import check_fits, check_issued_by, facts_of, key_der, read_certificates, read_private_key
from drivers.pki_types import CertificateFacts, PkiError, serial_text
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, RequiredFieldMissing
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.vpn import keys
from opsconsole.vpn.clients import new_target, refuse_taken, seal_password
from opsconsole.vpn.fields import (
    SUBJECT_FIELDS,
    CertText,
    Email,
    Id,
    KeyText,
    Long,
    Passphrase,
    Password,
    check_name,
    client_json,
    plain,
    utc,
)
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, said
from opsconsole.vpn.revoking import Revocation, Signing, authorities, sign_lists, who_signs
from opsconsole.vpn.signing import mark_revoked


class ImportClient(Input):
    ca_id: Annotated[Id, Field(validation_alias=AliasChoices("ca_id", "caId"))]
    email: Email
    key: KeyText
    cert: CertText
    description: Long = ""
    password: Annotated[
        Password | None, Field(description="opens the key when it is encrypted, and protects it later")
    ] = None
    revoked: bool = False
    revoked_date: Annotated[
        datetime | None, Field(validation_alias=AliasChoices("revoked_date", "revokedDate"), description="with revoked")
    ] = None
    ca_passphrase: Passphrase | None = None
    sign_later: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, found to be in order."""

    facts: CertificateFacts
    key: bytes = field(repr=False)

    @property
    def serial(self) -> str:
        return serial_text(self.facts.serial)


def read_pair(cert: str, key: str, password: str, ca_cert: str) -> Pair:
    """Certificate and key of one client of this authority. Raises PkiError and Mismatch naming the part."""
    first = read_certificates(cert.encode())[0]
    ca = read_certificates(ca_cert.encode(), "ca")[0]
    facts = facts_of(first)
    if facts.is_ca:
        raise PkiError("cert", "it is the certificate of an authority", remedy="give that of the client")
    check_issued_by(first, ca)
    if facts.usage not in {"client", "both", "any"}:
        raise PkiError("cert", f"it is for {facts.usage} use and no client can connect with it")
    opened = read_private_key(key.encode(), password or None)
    check_fits(opened, first)
    return Pair(facts, key_der(opened))


def check_certificate_name(facts: CertificateFacts) -> None:
    """The name is read from the certificate and must be one a client can have."""
    try:
        check_name(facts.subject.common_name)
    except ValueError as error:
        reason = f"the name in the certificate, {facts.subject.common_name!r}, cannot be a client's: {error}"
        raise InvalidParameter(field="cert", reason=reason) from error


def check_dates(given: ImportClient, facts: CertificateFacts, now: datetime) -> datetime | None:
    """When it was revoked; None when it was not."""
    if not given.revoked:
        if given.revoked_date is not None:
            raise InvalidParameter(field="revoked_date", reason="only with revoked = true")
        return None
    if given.revoked_date is None:
        raise RequiredFieldMissing(
            "revoked_date is required with revoked: the list says since when", field="revoked_date"
        )
    at = utc(given.revoked_date)
    if at > now:
        raise InvalidParameter(field="revoked_date", reason=f"{utc_text(at)} is in the future")
    if at < facts.not_before:
        raise InvalidParameter(
            field="revoked_date", reason=f"the certificate began only at {utc_text(facts.not_before)}"
        )
    return at


def refuse_known_serial(tx: Session, ca_id: int, serial: str) -> VpnCertificate | None:
    """The row of this serial when it is only known from a list; NameNotUnique when the certificate itself is here."""
    query = select(VpnCertificate).where(VpnCertificate.ca_id == ca_id, VpnCertificate.serial == serial)
    row = tx.exec(query).first()
    if row is None or (row.cert is None and row.state == "revoked" and row.client_id is None):
        return row
    raise NameNotUnique(
        f"the certificate {serial} is here already ({row.common_name})", field="cert", entity="certificate", name=serial
    )


@change(
    "vpn.clients.import",
    summary="Import an existing key and certificate as a VPN client, optionally already revoked",
    permission="module.vpn.create_vpn_client",
    input=ImportClient,
    objects=("vpn_client",),
)
class Import(Change[ImportClient]):
    _ca: CaFacts
    _pair: Pair
    _revoked_at: datetime | None
    _signing: Signing
    _sealed: tuple[bytes, bytes | None]

    async def plan(self) -> Plan:
        given = self.input
        self._ca = ca = await self.ctx.database.read(lambda tx: ca_facts(tx, find_ca(tx, given.ca_id)))

        def reading() -> Pair:
            with said():
                return read_pair(given.cert, plain(given.key), plain(given.password), ca.cert)

        self._pair = await asyncio.to_thread(reading)
        check_certificate_name(self._pair.facts)
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given, ca, facts = self.input, self._ca, self._pair.facts
        name = facts.subject.common_name
        refuse_taken(tx, name)
        on_a_list = refuse_known_serial(tx, ca.id, self._pair.serial)
        self._revoked_at = check_dates(given, facts, self.ctx.now())
        if on_a_list is not None and self._revoked_at is None:
            when = utc_text(on_a_list.revoked_at) if on_a_list.revoked_at else "?"
            reason = f"a list of {ca.name} says it was revoked at {when}; import it with revoked and that date"
            raise InvalidParameter(field="revoked", reason=reason)
        revoking = Revocation(ca_passphrase=given.ca_passphrase, sign_later=given.sign_later)
        self._signing = who_signs({ca.id: ca} if self._revoked_at else {}, revoking)
        after: Json = {"name": name, "ca": ca.name, "email": given.email, "serial": self._pair.serial}
        after |= {"expiry_date": utc_text(facts.not_after), "revoked": given.revoked}
        if self._revoked_at is not None:
            after["revoked_date"] = utc_text(self._revoked_at)
        state = "already revoked " if given.revoked else ""
        return record_plan(
            "vpn.clients.import",
            f"import the {state}VPN client {name} of {ca.name}",
            [new_target(ca, name, after)],
            given,
            undo=None if given.revoked else "vpn.clients.revoke",
            level=ca.level,
            warnings=[*self._warnings(), *self._signing.warnings()],
        )

    def _warnings(self) -> list[str]:
        facts = self._pair.facts
        found: list[str] = []
        if facts.not_after <= self.ctx.now():
            found.append(f"it expired at {utc_text(facts.not_after)}")
        if facts.key_type.startswith("rsa") and facts.key_bits < 3072:
            found.append(f"its RSA key has {facts.key_bits} bits; 3072 are what new ones get")
        if facts.usage == "any":
            found.append("it names no extended key usage: it could pass as a server as well")
        return found

    async def execute(self, target: Target) -> None:
        given = self.input
        key = await keys.data_key(self.ctx.house, create=True)
        context = keys.key_context(self._ca.id, self._pair.serial)
        password = await seal_password(self.ctx, target.name, plain(given.password))
        self._sealed = (seal(key, self._pair.key, context=context), password)
        revoking = Revocation(ca_passphrase=given.ca_passphrase)
        self._opened = await authorities(self.ctx, self._signing, revoking)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        given, facts, now = self.input, self._pair.facts, self.ctx.now()
        refuse_taken(tx, facts.subject.common_name)
        row = refuse_known_serial(tx, self._ca.id, self._pair.serial)
        client = add_client(tx, self._ca.id, facts, given.email, given.description, self._sealed[1])
        row = row or VpnCertificate(ca_id=self._ca.id, serial=self._pair.serial, common_name="", created_at=now)
        fill_certificate(row, facts, client.id, self._sealed[0])
        tx.add(row)
        tx.flush()
        client.certificate_id = row.id
        if self._revoked_at is not None:
            client.revoked, client.revoked_date = True, self._revoked_at
            by = self.ctx.caller.username
            mark_revoked(tx, [row], at=self._revoked_at, by=by, reason="unspecified")
            sign_lists(tx, self._signing, self._opened, now, f"imported {client.name}, revoked before")
        tx.add(client)
        tx.flush()
        announce(tx, "vpn_client", client.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(client.id))
        return client_json(client, now)


def add_client(
    tx: Session, ca_id: int, facts: CertificateFacts, email: str, description: str, password: bytes | None
) -> VpnClient:
    """A client as its certificate names it; its certificate's row comes after it."""
    named = facts.subject
    client = VpnClient(
        ca_id=ca_id,
        name=named.common_name,
        email=email,
        description=description,
        serial=serial_text(facts.serial),
        expiry_date=facts.not_after,
        sealed_password=password,
        **{name: getattr(named, name) for name in SUBJECT_FIELDS},
    )
    tx.add(client)
    tx.flush()
    return client


def fill_certificate(row: VpnCertificate, facts: CertificateFacts, client_id: int | None, sealed: bytes | None) -> None:
    """A certificate that was made elsewhere, into its row."""
    row.client_id, row.cert, row.sealed_key = client_id, facts.cert, sealed
    row.common_name, row.subject, row.key_type = facts.subject.common_name, facts.subject_text, facts.key_type
    row.usage = "server" if facts.usage == "server" else "client"
    row.not_before, row.not_after = facts.not_before, facts.not_after
    if row.state == "reserved":
        row.state = "issued"
