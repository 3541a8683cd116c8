"""What the certificate drivers take and give: plain values, and one error that names the part that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

KeyType = Literal["ec-p256", "ec-p384", "rsa-3072", "rsa-4096", "ed25519"]
Usage = Literal["client", "server"]

REASONS: tuple[str, ...] = (
    "unspecified",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "certificate_hold",
    "privilege_withdrawn",
)
"""Why a certificate was revoked, in the words of this program; the numbers are those of RFC 5280."""


class PkiError(Exception):
    """What was handed in cannot be used. `part` is cert, key, password, ca, crl, subject or path; `remedy` an
    instruction. Never holds any of the secret it is about."""

    def __init__(self, part: str, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{part}: {message}")
        self.part = part
        self.message = message
        self.remedy = remedy


class Mismatch(PkiError):
    """Two things that are right by themselves and do not belong together."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is about. Empty means: not named."""

    common_name: str
    country: str = ""
    province: str = ""
    city: str = ""
    organization: str = ""
    sector: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was made, with its key (PKCS#8 in DER, never encrypted: seal it at once)."""

    cert: bytes
    key: bytes
    serial: int
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says. `usage` is client, server, both, ca or any (no extended key usage at all)."""

    cert: bytes
    subject: Subject
    subject_text: str
    issuer_text: str
    serial: int
    not_before: datetime
    not_after: datetime
    fingerprint: str
    key_type: str
    key_bits: int
    usage: str
    is_ca: bool


@dataclass(frozen=True, slots=True)
class Revoked:
    """One line of a CRL; `reason` is one of REASONS."""

    serial: int
    at: datetime
    reason: str = "unspecified"


@dataclass(frozen=True, slots=True)
class Crl:
    """A signed list in DER, and what it says of itself."""

    der: bytes
    number: int | None
    this_update: datetime
    next_update: datetime
    entries: int


def serial_text(serial: int) -> str:
    """A serial as files and `index.txt` have it: upper-case hex with an even number of digits."""
    digits = f"{serial:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
