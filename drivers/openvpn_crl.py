"""A published CRL file: it may hold the lists of several authorities, and ours replaces only our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)
_MOST = 64


class NoCrl(ValueError):
    """The text is no file of revocation lists; it says what is wrong."""


@dataclass(frozen=True, slots=True)
class FiledCrl:
    """One list in a file. `issuer` is the encoded name, `der` the list itself; `number` None where it has none."""

    issuer: bytes
    issuer_text: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    entries: int
    der: bytes


def read_lists(data: bytes) -> list[FiledCrl]:
    """All lists of a file, in order; an empty file has none. Raises `NoCrl` for anything else."""
    if not data.strip():
        return []
    blocks = _BLOCK.findall(data)
    if not blocks:
        raise NoCrl("it holds no revocation list")
    if len(blocks) > _MOST:
        raise NoCrl(f"it holds more than {_MOST} lists")
    try:
        return [_filed(x509.load_pem_x509_crl(block)) for block in blocks]
    except ValueError:
        raise NoCrl("a revocation list in it is damaged") from None


def _filed(found: x509.CertificateRevocationList) -> FiledCrl:
    try:
        number: int | None = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = None
    return FiledCrl(
        issuer=found.issuer.public_bytes(),
        issuer_text=found.issuer.rfc4514_string()[:200],
        number=number,
        this_update=found.last_update_utc,
        next_update=found.next_update_utc,
        entries=len(found),
        der=found.public_bytes(Encoding.DER),
    )


def issuer_of(ca_pem: str) -> bytes:
    """The name under which an authority signs its lists."""
    return x509.load_pem_x509_certificate(ca_pem.encode()).subject.public_bytes()


def joined(current: bytes, ours: bytes, issuer: bytes) -> bytes:
    """The file with `ours` (PEM) in the place of this issuer's list; other authorities' lists stay as they are.

    Raises `NoCrl` when `current` is something else than lists: it is not ours to overwrite.
    """
    others = b""
    if current.strip():
        read_lists(current)
        for block in _BLOCK.findall(current):
            if x509.load_pem_x509_crl(block).issuer.public_bytes() != issuer:
                others += block if block.endswith(b"\n") else block + b"\n"
    return ours + others


def ours_in(data: bytes, issuer: bytes) -> FiledCrl | None:
    """This issuer's list in a file; the newest one if there are several."""
    mine = [one for one in read_lists(data) if one.issuer == issuer]
    return max(mine, key=lambda one: (one.number or 0, one.this_update), default=None)


def names_serial(der: bytes, serial: int) -> bool:
    """Whether a list names this serial."""
    return x509.load_der_x509_crl(der).get_revoked_certificate_by_serial_number(serial) is not None
