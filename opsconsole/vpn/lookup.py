"""Authorities and clients by id, as plain facts free of any session; what the certificate drivers say, translated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import defer
from sqlmodel import Session, col, func, select

from data.models import CertificateAuthority, Environment, VpnCertificate, VpnClient, VpnCrl
from drivers.pki_types import Mismatch, PkiError
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ConsoleError, InvalidParameter, ObjectNotFound, VpnCertificateMismatch
from opsconsole.engine.registry import Json
from opsconsole.vpn.fields import ca_json

_SEEDED = "default"


@dataclass(frozen=True, slots=True)
class CaFacts:
    """An authority's record. `level` is that of its environment; without one it stands in `default`, and counts as
    prod where there is none, since an unknown ring must not soften a confirmation."""

    id: int
    name: str
    cert: str
    chain: str
    fingerprint: str
    key_state: str
    sealed_key: bytes | None
    not_after: datetime
    crl_days: int
    environment: str | None
    environment_read_only: bool
    level: str

    @property
    def whole_chain(self) -> str:
        """Its certificate and those above it, in PEM."""
        return self.cert + self.chain

    def subject(self, kind: str = "certificate_authority", name: str | None = None) -> Subject:
        """This authority, or something of it, as `decide()` asks for it."""
        return Subject(
            kind=kind,
            name=self.name if name is None else name,
            environment=self.environment,
            environment_read_only=self.environment_read_only,
        )


@contextlib.contextmanager
def said() -> Iterator[None]:
    """What a certificate driver raises inside becomes the console's error, naming the input it is about."""
    try:
        yield
    except PkiError as error:
        raise translated(error) from error


def translated(error: PkiError) -> ConsoleError:
    """The console's error for a driver's."""
    reason = f"{error.message}; {error.remedy}" if error.remedy else error.message
    if isinstance(error, Mismatch):
        return VpnCertificateMismatch(field=error.part, reason=reason)
    return InvalidParameter(field=error.part, reason=reason)


def find_ca(tx: Session, ca_id: int, field: str = "ca_id") -> CertificateAuthority:
    """ObjectNotFound names those there are."""
    row = tx.get(CertificateAuthority, ca_id)
    if row is None:
        query = select(CertificateAuthority.id, CertificateAuthority.name).order_by(col(CertificateAuthority.id))
        there = ", ".join(f"{number} ({name})" for number, name in tx.exec(query.limit(5)).all())
        hint = f"; there are: {there}" if there else "; make one with vpn.cas.create"
        raise ObjectNotFound(entity="certificate authority", id=ca_id, hint=hint, field=field)
    return row


def find_client(tx: Session, client_id: int, field: str = "id") -> VpnClient:
    row = tx.get(VpnClient, client_id)
    if row is None:
        raise ObjectNotFound(entity="VPN client", id=client_id, hint="; see: vpn clients list", field=field)
    return row


def environment_of(tx: Session, environment_id: int | None) -> Environment | None:
    """The ring something stands in; without one, `default`."""
    if environment_id is not None:
        return tx.get(Environment, environment_id)
    return tx.exec(select(Environment).where(Environment.name == _SEEDED)).first()


def ca_facts(tx: Session, row: CertificateAuthority) -> CaFacts:
    ring = environment_of(tx, row.environment_id)
    return CaFacts(
        id=row.id,
        name=row.name,
        cert=row.cert,
        chain=row.chain,
        fingerprint=row.fingerprint,
        key_state=row.key_state,
        sealed_key=row.sealed_key,
        not_after=row.not_after,
        crl_days=row.crl_days,
        environment=ring.name if ring else None,
        environment_read_only=bool(ring and ring.read_only),
        level=ring.level if ring else "prod",
    )


def newest_crl(tx: Session, ca_id: int, *, whole: bool = True) -> VpnCrl | None:
    """The newest list of an authority, with its bytes unless they are not asked for."""
    query = select(VpnCrl).where(VpnCrl.ca_id == ca_id).order_by(col(VpnCrl.number).desc()).limit(1)
    return tx.exec(query if whole else query.options(defer(VpnCrl.der))).first()  # type: ignore[arg-type]


def whole_ca_json(tx: Session, row: CertificateAuthority, now: datetime) -> Json:
    """An authority with its newest list and its counts."""
    serials = tx.exec(select(func.count()).select_from(VpnCertificate).where(VpnCertificate.ca_id == row.id)).one()
    ring = environment_of(tx, row.environment_id)
    return ca_json(row, newest_crl(tx, row.id), serials, ring.name if ring else None, now)
