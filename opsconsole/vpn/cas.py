"""vpn.cas.*: certificate authorities, made here or brought along."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from data.feed import announce
from data.models import CertificateAuthority, VpnCertificate, VpnClient, utc_now
from drivers import pki, pki_files
from drivers.pki_crl import USUAL_DAYS as CRL_DAYS
from drivers.pki_crl import crl_pem
from drivers.pki_read import facts_of
from drivers.pki_types import KeyType
from drivers.pki_types import Subject as Whom
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, RequiredFieldMissing
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan
from opsconsole.engine.registry import Change, Input, Json, Nothing, Outcome, change, read
from opsconsole.hosts.changes import find_environment
from opsconsole.hosts.fields import Text
from opsconsole.vpn import keys
from opsconsole.vpn.fields import (
    MOST_DAYS,
    USUAL_DAYS,
    CaName,
    Country,
    CrlDays,
    Id,
    Passphrase,
    Place,
    Short,
    plain,
)
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, newest_crl, said, whole_ca_json
from opsconsole.vpn.signing import sign_list

_VIEW, _MANAGE = "module.vpn.view_vpn_client", "module.vpn.manage_vpn_ca"


class GetCa(Input):
    id: Id
    with_crl: Annotated[bool, Field(description="with the whole newest list in PEM")] = True


class CreateCa(Input):
    name: CaName
    key_type: Annotated[KeyType, Field(description="ec-p256 unless somebody needs another")] = "ec-p256"
    expiration: Annotated[int, Field(ge=1, le=MOST_DAYS, strict=True, description="days")] = USUAL_DAYS
    crl_days: CrlDays = CRL_DAYS
    environment: Text | None = None
    passphrase: Annotated[
        Passphrase | None,
        Field(description="of its own, asked for at each signing; without one lists are renewed by themselves"),
    ] = None
    country: Country = ""
    province: Place = ""
    city: Place = ""
    organization: Short = ""
    sector: Short = ""


class UpdateCa(Input):
    id: Id
    crl_days: CrlDays | None = None
    environment: Text | None = None


class SetPassphrase(Input):
    id: Id
    ca_passphrase: Passphrase | None = None
    new_passphrase: Annotated[
        Passphrase,
        Field(description="empty: none from now on", validation_alias=AliasChoices("new_passphrase", "passphrase")),
    ]


@read(
    "vpn.cas.list",
    summary="List the certificate authorities that ca_id can name",
    permission=_VIEW,
    objects=("certificate_authority",),
)
async def list_cas(ctx: Context, query: Nothing) -> list[Json]:
    def work(tx: Session) -> list[Json]:
        rows = tx.exec(select(CertificateAuthority).order_by(col(CertificateAuthority.id))).all()
        return [whole_ca_json(tx, row, ctx.now()) for row in rows]

    return await ctx.database.read(work)


@read(
    "vpn.cas.get",
    summary="Show one certificate authority",
    permission=_VIEW,
    input=GetCa,
    objects=("certificate_authority",),
)
async def get_ca(ctx: Context, query: GetCa) -> Json:
    """Its record, the newest list, what waits for a list, and when its clients end."""

    def work(tx: Session) -> Json:
        row = find_ca(tx, query.id, "id")
        answer = whole_ca_json(tx, row, ctx.now()) | {"horizon": _horizon(tx, row.id, ctx)}
        waiting = (
            VpnCertificate.ca_id == row.id,
            VpnCertificate.state == "revoked",
            col(VpnCertificate.crl_number).is_(None),
        )
        answer["unsigned_revocations"] = tx.exec(select(func.count()).select_from(VpnCertificate).where(*waiting)).one()
        if query.with_crl:
            crl = newest_crl(tx, row.id)
            answer["crl"] = crl_pem(crl.der) if crl and crl.der else None
        return answer

    return await ctx.database.read(work)


def _horizon(tx: Session, ca_id: int, ctx: Context) -> Json:
    """How many clients are valid, expired and revoked, and in which months the valid ones end."""
    now = ctx.now()
    of_ca = VpnClient.ca_id == ca_id
    count = select(func.count()).select_from(VpnClient).where(of_ca)
    revoked = tx.exec(count.where(col(VpnClient.revoked).is_(True))).one()
    standing = (of_ca, col(VpnClient.revoked).is_(False))
    expired = tx.exec(count.where(standing[1], col(VpnClient.expiry_date) <= now)).one()
    month = _month(tx)
    query = select(month, func.count()).where(*standing, col(VpnClient.expiry_date) > now)
    months = [{"month": name, "clients": number} for name, number in tx.exec(query.group_by(month).order_by(month))]
    return {
        "valid": sum(int(one["clients"]) for one in months),
        "expired": expired,
        "revoked": revoked,
        "months": months,
    }


def _month(tx: Session) -> ColumnElement[Any]:
    moment = col(VpnClient.expiry_date)
    if tx.get_bind().dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", moment), "YYYY-MM")
    return func.strftime("%Y-%m", moment)


def refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(CertificateAuthority.id).where(CertificateAuthority.name == name)).first() is not None:
        raise NameNotUnique(entity="certificate authority", name=name, field="name")


def new_ca_target(tx: Session, name: str, environment: str | None, after: Json) -> tuple[Target, str]:
    """The target of an authority to come, and its environment's level."""
    refuse_taken(tx, name)
    ring = find_environment(tx, environment or "default")
    subject = Subject("certificate_authority", name, environment=ring.name, environment_read_only=ring.read_only)
    after = {"name": name, "environment": ring.name, **after}
    return Target("certificate_authority", "", name, f"vpn-ca-name:{name}", subject, after=after), ring.level


@change(
    "vpn.cas.create",
    summary="Create a certificate authority",
    permission=_MANAGE,
    input=CreateCa,
    objects=("certificate_authority",),
)
class Create(Change[CreateCa]):
    _row: CertificateAuthority
    _authority: pki.Authority

    async def plan(self) -> Plan:
        given = self.input

        def work(tx: Session) -> tuple[Target, str]:
            after: Json = {"key_type": given.key_type, "expiration": given.expiration, "crl_days": given.crl_days}
            after["key_state"] = "passphrase" if plain(given.passphrase) else "sealed"
            return new_ca_target(tx, given.name, given.environment, after)

        target, level = await self.ctx.database.read(work)
        with said():
            pki.subject_name(self._whom())
        summary = f"create the certificate authority {given.name} ({given.key_type}, {given.expiration} days)"
        return record_plan("vpn.cas.create", summary, [target], given, undo=None, level=level)

    def _whom(self) -> Whom:
        given = self.input
        return Whom(given.name, given.country, given.province, given.city, given.organization, given.sector)

    async def execute(self, target: Target) -> None:
        given, now = self.input, self.ctx.now()
        key = await keys.data_key(self.ctx.house, create=True)

        def work() -> tuple[CertificateAuthority, pki.Authority]:
            with said():
                made = pki.make_ca(self._whom(), key_type=given.key_type, days=given.expiration, now=now)
                authority = pki.Authority.of(pki_files.cert_pem(made.cert), made.key)
            facts = facts_of(authority.cert)
            passphrase = plain(given.passphrase)
            row = CertificateAuthority(
                name=given.name,
                subject=facts.subject_text,
                cert=pki_files.cert_pem(made.cert),
                fingerprint=facts.fingerprint,
                key_type=facts.key_type,
                key_state="passphrase" if passphrase else "sealed",
                sealed_key=keys.seal_ca_key(key, made.key, facts.fingerprint, passphrase),
                not_before=facts.not_before,
                not_after=facts.not_after,
                crl_days=given.crl_days,
            )
            return row, authority

        self._row, self._authority = await asyncio.to_thread(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return write_ca(tx, self.ctx, outcomes, self._row, self._authority, self.input.environment)


def write_ca(
    tx: Session,
    ctx: Context,
    outcomes: list[Outcome],
    row: CertificateAuthority,
    authority: pki.Authority | None,
    environment: str | None,
) -> Json:
    """The new authority, and at once its first list: a server without any lets everybody in."""
    refuse_taken(tx, row.name)
    made = CertificateAuthority(**{name: getattr(row, name) for name in _COPIED})
    made.environment_id = find_environment(tx, environment).id if environment else None
    tx.add(made)
    tx.flush()
    if authority is not None:
        sign_list(tx, ca_facts(tx, made), authority, now=ctx.now(), why="the first list")
    announce(tx, "certificate_authority", made.id, "created")
    outcomes[0].target = replace(outcomes[0].target, id=str(made.id))
    tx.flush()
    return whole_ca_json(tx, made, ctx.now())


_COPIED = (
    "name", "subject", "cert", "chain", "fingerprint", "key_type", "key_state", "sealed_key", "not_before", "not_after",
    "crl_days", "crl_number",
)  # fmt: skip


def ca_target(ca: CaFacts, before: Json, after: Json) -> Target:
    """An authority there is, as a target."""
    return Target(
        "certificate_authority", str(ca.id), ca.name, f"vpn-ca:{ca.id}", ca.subject(), before=before, after=after
    )


@change(
    "vpn.cas.update",
    summary="Change how long the lists of a certificate authority are valid, or its environment",
    permission=_MANAGE,
    input=UpdateCa,
    objects=("certificate_authority",),
)
class Update(Change[UpdateCa]):
    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        ca = ca_facts(tx, find_ca(tx, given.id, "id"))
        wanted: Json = {}
        if given.crl_days is not None:
            wanted["crl_days"] = given.crl_days
        if "environment" in given.model_fields_set:
            wanted["environment"] = find_environment(tx, given.environment or "default").name
        before, after = difference({"crl_days": ca.crl_days, "environment": ca.environment}, wanted)
        summary = f"change the certificate authority {ca.name}: {', '.join(after) or 'nothing differs'}"
        undo = "vpn.cas.update with the values before"
        return record_plan("vpn.cas.update", summary, [ca_target(ca, before, after)], given, undo=undo, level=ca.level)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row, after = find_ca(tx, self.input.id, "id"), outcomes[0].target.after
        row.crl_days = after.get("crl_days", row.crl_days)
        if "environment" in after:
            row.environment_id = find_environment(tx, after["environment"]).id
        row.updated_at = utc_now()
        tx.add(row)
        tx.flush()
        announce(tx, "certificate_authority", row.id, "updated")
        return whole_ca_json(tx, row, self.ctx.now())


@change(
    "vpn.cas.set_passphrase",
    summary="Put the key of a certificate authority under a passphrase of its own, change it, or take it off",
    permission=_MANAGE,
    input=SetPassphrase,
    danger="high",
    objects=("certificate_authority",),
)
class ChangePassphrase(Change[SetPassphrase]):
    """The passphrase is never stored; who loses it can sign no certificate and no list any more."""

    _ca: CaFacts
    _sealed: bytes

    async def plan(self) -> Plan:
        ca = await self.ctx.database.read(lambda tx: ca_facts(tx, find_ca(tx, self.input.id, "id")))
        self._ca = ca
        keys.check_at_hand(ca, plain(self.input.ca_passphrase))
        wanted = "passphrase" if plain(self.input.new_passphrase) else "sealed"
        if wanted == ca.key_state == "sealed":
            raise RequiredFieldMissing(f"new_passphrase is required: {ca.name} has none", field="new_passphrase")
        doing = {"sealed": "take the passphrase off", "passphrase": "set the passphrase of"}[wanted]
        warning = "its lists are then signed only by hand; without the passphrase nothing can be signed any more"
        return record_plan(
            "vpn.cas.set_passphrase",
            f"{doing} the certificate authority {ca.name}",
            [ca_target(ca, {"key_state": ca.key_state}, {"key_state": wanted})],
            self.input,
            undo="vpn.cas.set_passphrase with the passphrase before",
            level=ca.level,
            warnings=[warning] if wanted == "passphrase" else [],
        )

    async def execute(self, target: Target) -> None:
        key = await keys.data_key(self.ctx.house)
        given = self.input

        def work() -> bytes:
            private = keys.open_ca_key(key, self._ca, plain(given.ca_passphrase))
            sealed = keys.seal_ca_key(key, private, self._ca.fingerprint, plain(given.new_passphrase))
            state = str(target.after["key_state"])
            again = keys.open_ca_key(
                key, replace(self._ca, sealed_key=sealed, key_state=state), plain(given.new_passphrase)
            )
            if again != private:
                raise InvalidParameter(
                    field="new_passphrase", reason="the key did not open again; it is kept as it was"
                )
            return sealed

        self._sealed = await asyncio.to_thread(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row = find_ca(tx, self.input.id, "id")
        row.sealed_key, row.key_state = self._sealed, str(outcomes[0].target.after["key_state"])
        row.updated_at = utc_now()
        tx.add(row)
        tx.flush()
        announce(tx, "certificate_authority", row.id, "updated")
        return whole_ca_json(tx, row, self.ctx.now())
