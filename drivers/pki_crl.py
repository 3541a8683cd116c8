"""Certificate revocation lists, put together from entries that were encoded when they were revoked.

A list is always complete. With many entries nearly all of its cost is encoding them, which is why each is encoded once
and kept; making a list is then joining bytes and signing them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from drivers.pki import BACKDATED, Authority, authority_key_identifier, hash_for
from drivers.pki_read import PublicKey, crl_facts
from drivers.pki_types import Crl, PkiError

LEAST_DAYS, USUAL_DAYS, UNATTENDED_DAYS = 1, 30, 3650
_REASONS = {
    "key_compromise": 1,
    "ca_compromise": 2,
    "affiliation_changed": 3,
    "superseded": 4,
    "cessation_of_operation": 5,
    "certificate_hold": 6,
    "privilege_withdrawn": 9,
}
_SEQUENCE, _UTC_TIME, _GENERALIZED = 0x30, 0x17, 0x18
_EXTENSIONS = 0xA0


def crl_entry(serial: int, at: datetime, reason: str = "unspecified") -> bytes:
    """One line of a CRL in DER. Raises ValueError for a serial that is not positive."""
    if serial <= 0:
        raise ValueError("a serial is a positive number")
    body = _tlv(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big")) + _time(at)
    number = _REASONS.get(reason)
    if number is not None:
        # reasonCode (2.5.29.21), an ENUMERATED inside an OCTET STRING
        body += bytes((0x30, 0x0C, 0x30, 0x0A, 0x06, 0x03, 0x55, 0x1D, 0x15, 0x04, 0x03, 0x0A, 0x01, number))
    return _tlv(_SEQUENCE, body)


def sign_crl(
    ca: Authority,
    entries: Iterable[bytes],
    *,
    number: int,
    now: datetime,
    days: int = USUAL_DAYS,
    not_before: datetime | None = None,
) -> Crl:
    """A complete list of `entries` (made by `crl_entry`) under `number`, valid until `days` from now.

    It begins an hour ago, but never before `not_before`, the beginning of the list before it. Read back and verified
    before it is answered.
    """
    whole = now.replace(microsecond=0)
    begin = max(whole - BACKDATED, not_before or whole - BACKDATED)
    lines = list(entries)
    empty = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.cert.subject)
        .last_update(begin)
        .next_update(whole + timedelta(days=max(days, LEAST_DAYS)))
        .add_extension(authority_key_identifier(ca.cert), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
        .sign(ca.key, hash_for(ca.key))
    )
    der = _filled(empty, lines, ca) if lines else empty.public_bytes(serialization.Encoding.DER)
    return _checked(der, ca, len(lines))


def _filled(empty: x509.CertificateRevocationList, lines: list[bytes], ca: Authority) -> bytes:
    """The list without entries is the pattern: the entries go before its extensions, and it is signed again."""
    outer = empty.public_bytes(serialization.Encoding.DER)
    tbs = empty.tbs_certlist_bytes
    parts = _parts(tbs)
    if parts[-1][0] != _EXTENSIONS:
        raise PkiError("crl", "the library made a list of another form")
    before = b"".join(part for _, part in parts[:-1])
    filled = _tlv(_SEQUENCE, b"".join((before, _tlv(_SEQUENCE, b"".join(lines)), parts[-1][1])))
    algorithm = _parts(outer)[1][1]
    return _tlv(_SEQUENCE, filled + algorithm + _tlv(0x03, b"\0" + _signature(ca, filled)))


def _signature(ca: Authority, data: bytes) -> bytes:
    key, algorithm = ca.key, hash_for(ca.key)
    if isinstance(key, ed25519.Ed25519PrivateKey) or algorithm is None:
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise PkiError("ca", "its key signs in an unknown way")
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    return key.sign(data, padding.PKCS1v15(), algorithm)


def _checked(der: bytes, ca: Authority, count: int) -> Crl:
    """Read back what was made: the library's own reading of it, and its signature over the bytes as they are."""
    found = x509.load_der_x509_crl(der)
    if not _verifies(ca.key.public_key(), hash_for(ca.key), found.signature, _parts(der)[0][1]) or len(found) != count:
        raise PkiError("crl", "the list that was made does not verify; nothing of it is used")
    return crl_facts(found, der)


def _verifies(key: PublicKey, algorithm: hashes.SHA256 | hashes.SHA384 | None, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def crl_pem(der: bytes) -> str:
    """A list as the file a server reads."""
    import base64

    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN X509 CRL-----\n{lines}\n-----END X509 CRL-----\n"


def crl_lists(der: bytes, serial: int) -> bool:
    """Whether a list names this serial, by the library's own reading."""
    return x509.load_der_x509_crl(der).get_revoked_certificate_by_serial_number(serial) is not None


def half_life(this_update: datetime, next_update: datetime) -> datetime:
    """When a list should be signed anew: half of its life is over."""
    return this_update + (next_update - this_update) / 2


def alarm(this_update: datetime | None, next_update: datetime | None, now: datetime) -> str:
    """What a list needs: missing, expired (every client is refused), soon (a quarter of its life is left), due, ok."""
    if this_update is None or next_update is None:
        return "missing"
    if now >= next_update:
        return "expired"
    if now >= next_update - (next_update - this_update) / 4:
        return "soon"
    return "due" if now >= half_life(this_update, next_update) else "ok"


def _time(at: datetime) -> bytes:
    at = at.astimezone(UTC)
    if at.year < 2050:
        return _tlv(_UTC_TIME, f"{at:%y%m%d%H%M%S}Z".encode())
    return _tlv(_GENERALIZED, f"{at:%Y%m%d%H%M%S}Z".encode())


def _tlv(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Tag and whole encoding of each member of a SEQUENCE."""
    found: list[tuple[int, bytes]] = []
    at, end = _body(der, 0)
    while at < end:
        _, stop = _body(der, at)
        found.append((der[at], der[at:stop]))
        at = stop
    return found


def _body(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the value at `at` begins and ends."""
    size = der[at + 1]
    begin = at + 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(der[begin : begin + count], "big")
        begin += count
    return begin, begin + size
