"""Certificate authorities, the clients they vouch for, every certificate ever signed, and every revocation list."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from data.models.columns import BIG_ID, Record, UtcDateTime, utc_now


class CertificateAuthority(Record, table=True):
    """An authority. `key_state` is sealed (under the data key), passphrase (under one of its own as well, asked for
    each time) or offline (the key is elsewhere; lists signed there are handed in).

    `cert` is PEM, `chain` the authorities above it in PEM. `crl_number` is that of the newest list and only grows.
    """

    __tablename__ = "certificate_authority"
    __table_args__ = (CheckConstraint("key_state IN ('sealed', 'passphrase', 'offline')", name="key_state"),)

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    subject: str
    cert: str
    chain: str = ""
    fingerprint: str = Field(unique=True)
    key_type: str
    key_state: str = "sealed"
    sealed_key: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    not_before: datetime = Field(sa_type=UtcDateTime)
    not_after: datetime = Field(sa_type=UtcDateTime)
    crl_days: int = 30
    crl_number: int = Field(default=0, sa_type=BIG_ID)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class VpnClient(Record, table=True):
    """A site that may connect. `serial`, `expiry_date` and `certificate_id` are those of its newest certificate, kept
    here for lists; `revoked` says that every certificate it had when it was revoked is."""

    __tablename__ = "vpn_client"
    __table_args__ = (
        Index("ix_vpn_client_ca_id", "ca_id", "id"),
        Index("ix_vpn_client_revoked", "revoked", "id"),
        Index("ix_vpn_client_expiry_date", "expiry_date", "id"),
    )

    id: int = Field(default=None, primary_key=True)
    ca_id: int = Field(foreign_key="certificate_authority.id")
    name: str = Field(unique=True)
    email: str
    description: str = ""
    country: str = ""
    province: str = ""
    city: str = ""
    organization: str = ""
    sector: str = ""
    sealed_password: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    certificate_id: int | None = None
    serial: str = ""
    expiry_date: datetime = Field(sa_type=UtcDateTime)
    revoked: bool = False
    revoked_date: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class VpnCertificate(Record, table=True):
    """A serial and what became of it: `state` is reserved (committed before anything is signed under it), issued or
    revoked. A row is never deleted, or a revoked certificate would come back to life with the next list.

    `serial` is upper-case hex with an even number of digits. `cert` is DER, missing for what is only known from a list;
    `sealed_key` is PKCS#8 under the data key. `crl_entry` is its encoded line for lists, there from the moment it is
    revoked; `crl_number` the first list that names it, null as long as none was signed.
    """

    __tablename__ = "vpn_certificate"
    __table_args__ = (
        UniqueConstraint("ca_id", "serial"),
        Index("ix_vpn_certificate_client_id", "client_id", "id"),
        Index("ix_vpn_certificate_state", "ca_id", "state", "id"),
        Index("ix_vpn_certificate_not_after", "ca_id", "not_after"),
        CheckConstraint("state IN ('reserved', 'issued', 'revoked')", name="state"),
    )

    id: int = Field(default=None, primary_key=True)
    ca_id: int = Field(foreign_key="certificate_authority.id")
    client_id: int | None = Field(default=None, foreign_key="vpn_client.id")
    serial: str
    state: str = "reserved"
    usage: str = "client"
    common_name: str
    subject: str = ""
    cert: bytes | None = Field(default=None, sa_type=LargeBinary)
    sealed_key: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    key_type: str = ""
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    not_after: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_by: str | None = None
    revoke_reason: str | None = None
    crl_entry: bytes | None = Field(default=None, sa_type=LargeBinary)
    crl_number: int | None = Field(default=None, sa_type=BIG_ID)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class VpnCrl(Record, table=True):
    """A signed list. Its number was never given before; only the newest keep their bytes (`der`)."""

    __tablename__ = "vpn_crl"
    __table_args__ = (UniqueConstraint("ca_id", "number"),)

    id: int = Field(default=None, primary_key=True)
    ca_id: int = Field(foreign_key="certificate_authority.id")
    number: int = Field(sa_type=BIG_ID)
    this_update: datetime = Field(sa_type=UtcDateTime)
    next_update: datetime = Field(sa_type=UtcDateTime)
    entries: int
    sha256: str
    why: str = ""
    der: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
