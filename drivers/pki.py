"""Making certificates: authorities, and leaves that never outlive them. Pure: bytes in, bytes out, no file."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.pki_read import (
    PrivateKey,
    PublicKey,
    check_can_sign,
    check_fits,
    key_der,
    key_of_der,
    read_certificates,
    spki,
)
from drivers.pki_types import Issued, KeyType, PkiError, Subject, Usage

BACKDATED = timedelta(hours=1)
"""Clocks of peers are wrong; what begins now must be valid there already."""
_SERIAL_BYTES = 16
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_LIMITS = {"common_name": 64, "province": 128, "city": 128, "organization": 64, "sector": 64, "email": 254}


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its key at hand. Keep it no longer than one change."""

    cert: x509.Certificate
    key: PrivateKey

    @classmethod
    def of(cls, cert_pem: str, key: bytes) -> Authority:
        """From our own keeping: the certificate in PEM, the key in DER. Raises PkiError."""
        cert = read_certificates(cert_pem.encode(), "ca")[0]
        check_can_sign(cert, "ca")
        loaded = key_of_der(key)
        check_fits(loaded, cert, "ca")
        return cls(cert, loaded)


def new_serial() -> int:
    """128 bits of the system's random source, never beginning with a zero byte, as easy-rsa has it."""
    while True:
        raw = secrets.token_bytes(_SERIAL_BYTES)
        if raw[0]:
            return int.from_bytes(raw, "big")


def make_key(kind: KeyType) -> PrivateKey:
    """A new private key. RSA takes up to a second: call it in a thread."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in {"rsa-3072", "rsa-4096"}:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa-")))
    return ec.generate_private_key(ec.SECP384R1() if kind == "ec-p384" else ec.SECP256R1())


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash a key signs with; Ed25519 has its own."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def subject_name(subject: Subject) -> x509.Name:
    """The distinguished name, in the order easy-rsa writes it. A country that is no two-letter code is left out.

    Raises PkiError for what is too long for a certificate.
    """
    for field, limit in _LIMITS.items():
        if len(getattr(subject, field)) > limit:
            raise PkiError("subject", f"{field} is longer than the {limit} characters a certificate can hold")
    parts = [
        (NameOID.COUNTRY_NAME, subject.country.upper() if _COUNTRY.fullmatch(subject.country) else ""),
        (NameOID.STATE_OR_PROVINCE_NAME, subject.province),
        (NameOID.LOCALITY_NAME, subject.city),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.sector),
        (NameOID.COMMON_NAME, subject.common_name),
    ]
    named = [x509.NameAttribute(oid, value) for oid, value in parts if value]
    if subject.email and subject.email.isascii():
        named.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, subject.email))
    return x509.Name(named)


def make_ca(subject: Subject, *, key_type: KeyType, days: int, now: datetime) -> Issued:
    """A self-signed authority valid for `days`."""
    key = make_key(key_type)
    name, serial = subject_name(subject), new_serial()
    begin, end = _span(now, days)
    public = key.public_key()
    builder = (
        x509.CertificateBuilder(name, name, public, serial, begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    cert = builder.sign(key, hash_for(key))
    return Issued(cert.public_bytes(serialization.Encoding.DER), key_der(key), serial, begin, end)


def issue(
    ca: Authority,
    subject: Subject,
    *,
    serial: int,
    key_type: KeyType,
    days: int,
    now: datetime,
    usage: Usage = "client",
    key: PrivateKey | None = None,
) -> Issued:
    """A leaf signed by `ca` under a serial that was reserved before, with a new key unless one is given.

    It ends with its CA at the latest. Raises PkiError when the CA is over.
    """
    begin, end = _span(now, days)
    begin, end = max(begin, ca.cert.not_valid_before_utc), min(end, ca.cert.not_valid_after_utc)
    if end <= now:
        raise PkiError("ca", f"it ended at {ca.cert.not_valid_after_utc:%Y-%m-%d %H:%M} UTC and can issue nothing")
    key = key or make_key(key_type)
    auth = ExtendedKeyUsageOID.CLIENT_AUTH if usage == "client" else ExtendedKeyUsageOID.SERVER_AUTH
    public = key.public_key()
    builder = (
        x509.CertificateBuilder(ca.cert.subject, subject_name(subject), public, serial, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False, rsa_key=isinstance(key, rsa.RSAPrivateKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([auth]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject.common_name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority_key_identifier(ca.cert), critical=False)
    )
    cert = builder.sign(ca.key, hash_for(ca.key))
    return Issued(cert.public_bytes(serialization.Encoding.DER), key_der(key), serial, begin, end)


def check_issued(issued: Issued, ca: x509.Certificate) -> None:
    """Read back what was made: signed by this CA, inside its time, and of this key. Raises PkiError, ValueError."""
    cert = x509.load_der_x509_certificate(issued.cert)
    cert.verify_directly_issued_by(ca)
    check_fits(key_of_der(issued.key), cert)
    if cert.serial_number != issued.serial or cert.not_valid_after_utc > ca.not_valid_after_utc:
        raise PkiError("cert", "what was made is not what was wanted")


def authority_key_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """From the CA's own identifier where it has one, as verifiers compare the two byte by byte."""
    try:
        ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_known(ca))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether two certificates are of one key (a CA that was renewed)."""
    return spki(_known(one)) == spki(_known(other))


def _known(cert: x509.Certificate) -> PublicKey:
    key = cert.public_key()
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise PkiError("ca", "its key is neither EC, RSA nor Ed25519")
    return key


def _span(now: datetime, days: int) -> tuple[datetime, datetime]:
    """Certificates know no parts of a second."""
    whole = now.replace(microsecond=0)
    return whole - BACKDATED, whole + timedelta(days=days)


def _key_usage(*, signs: bool, rsa_key: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=rsa_key,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
