"""vpn.certificates.list and get: every certificate an authority ever signed, with or without a client."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from data.models import VpnCertificate
from drivers.pki_files import cert_pem, describe
from opsconsole.engine.context import Context
from opsconsole.engine.pages import Paged, envelope
from opsconsole.engine.registry import Input, Json, read
from opsconsole.vpn.fields import Id, certificate_json
from opsconsole.vpn.lookup import find_ca, find_client
from opsconsole.vpn.revoking import find_certificate

_VIEW = "module.vpn.view_vpn_client"


class ListCertificates(Paged):
    """`revocation` requested finds what was revoked and is on no list yet; serials reserved for nothing are left out
    unless asked for."""

    ca_id: Id | None = None
    client_id: Id | None = None
    status: Literal["", "valid", "expired", "revoked", "reserved"] = ""
    revocation: Literal["", "requested", "signed"] = ""
    serial: Annotated[str | None, Field(max_length=64, description="hex")] = None
    orphan: Annotated[bool, Field(description="only those without a client record")] = False


class GetCertificate(Input):
    id: Id


@read(
    "vpn.certificates.list",
    summary="List certificates of VPN clients and servers, newest first",
    permission=_VIEW,
    input=ListCertificates,
    objects=("vpn_certificate",),
)
async def list_certificates(ctx: Context, query: ListCertificates) -> Json:
    def work(tx: Session) -> Json:
        where = _filters(tx, ctx, query)
        count = tx.exec(select(func.count()).select_from(VpnCertificate).where(*where)).one()
        skipped = (query.page - 1) * query.page_size
        newest = select(VpnCertificate.id).where(*where).order_by(col(VpnCertificate.id).desc())
        ids = tx.exec(newest.offset(skipped).limit(query.page_size)).all() if skipped < count else []
        rows = {row.id: row for row in tx.exec(select(VpnCertificate).where(col(VpnCertificate.id).in_(ids)))}
        return envelope([certificate_json(rows[number], ctx.now()) for number in ids], count, query)

    return await ctx.database.read(work)


def _filters(tx: Session, ctx: Context, query: ListCertificates) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    state, end = col(VpnCertificate.state), col(VpnCertificate.not_after)
    if query.ca_id is not None:
        found.append(col(VpnCertificate.ca_id) == find_ca(tx, query.ca_id).id)
    if query.client_id is not None:
        found.append(col(VpnCertificate.client_id) == find_client(tx, query.client_id, "client_id").id)
    if query.orphan:
        found.append(col(VpnCertificate.client_id).is_(None))
    if query.serial:
        digits = query.serial.replace(":", "").upper()
        found.append(col(VpnCertificate.serial) == (digits if len(digits) % 2 == 0 else f"0{digits}"))
    found += {
        "": [state != "reserved"],
        "reserved": [state == "reserved"],
        "revoked": [state == "revoked"],
        "expired": [state == "issued", end <= ctx.now()],
        "valid": [state == "issued", end > ctx.now()],
    }[query.status]
    if query.revocation:
        named = col(VpnCertificate.crl_number)
        found += [state == "revoked", named.is_(None) if query.revocation == "requested" else named.is_not(None)]
    return found


@read(
    "vpn.certificates.get",
    summary="Show one certificate, in words and in PEM",
    permission=_VIEW,
    input=GetCertificate,
    objects=("vpn_certificate",),
)
async def get_certificate(ctx: Context, query: GetCertificate) -> Json:
    """`cert` is null for a certificate that is only known from a list."""

    def work(tx: Session) -> Json:
        row = find_certificate(tx, query.id)
        text = describe(row.cert) if row.cert else []
        return certificate_json(row, ctx.now()) | {
            "cert": cert_pem(row.cert) if row.cert else None,
            "certificate_text": [{"label": label, "value": value} for label, value in text],
        }

    return await ctx.database.read(work)
