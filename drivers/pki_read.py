"""Reading certificates, keys and lists that people hand in, and saying exactly what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.pki_types import CertificateFacts, Crl, Mismatch, PkiError, Revoked, Subject

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

LEAST_RSA, GOOD_RSA = 2048, 3072
_CURVES = {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521"}
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_PARAMETERS = re.compile(rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", re.DOTALL)
_REASON_OF = {
    x509.ReasonFlags.unspecified: "unspecified",
    x509.ReasonFlags.key_compromise: "key_compromise",
    x509.ReasonFlags.ca_compromise: "ca_compromise",
    x509.ReasonFlags.affiliation_changed: "affiliation_changed",
    x509.ReasonFlags.superseded: "superseded",
    x509.ReasonFlags.cessation_of_operation: "cessation_of_operation",
    x509.ReasonFlags.certificate_hold: "certificate_hold",
    x509.ReasonFlags.privilege_withdrawn: "privilege_withdrawn",
    x509.ReasonFlags.aa_compromise: "unspecified",
    x509.ReasonFlags.remove_from_crl: "unspecified",
}


def _whole(text: bytes, label: str, part: str) -> None:
    """Refuse PEM that lacks the block wanted, or its end."""
    kinds = {match.group(1).decode() for match in _BLOCK.finditer(text)}
    if not any(label in kind for kind in kinds):
        what = f"it holds {', '.join(sorted(kinds))}" if kinds else "there is no -----BEGIN line in it"
        raise PkiError(part, f"no {label.lower()} in PEM form: {what}", remedy="give the whole text of the PEM file")
    for kind in kinds:
        begins, ends = text.count(f"-----BEGIN {kind}-----".encode()), text.count(f"-----END {kind}-----".encode())
        if ends < begins:
            raise PkiError(
                part,
                f"truncated: -----BEGIN {kind}----- without its -----END line",
                remedy="copy the file again, to its last line",
            )


def read_certificates(pem: bytes, part: str = "cert") -> list[x509.Certificate]:
    """All certificates of a PEM text, in its order. Raises PkiError naming `part`."""
    _whole(pem, "CERTIFICATE", part)
    try:
        found = x509.load_pem_x509_certificates(pem)
        for one in found:
            _public(one, part)
            _ = one.extensions, one.subject, one.issuer
    except (ValueError, TypeError) as error:
        raise PkiError(
            part, "damaged: it does not decode as a certificate", remedy="copy the file again, unchanged"
        ) from error
    return found


def _public(cert: x509.Certificate, part: str = "cert") -> PublicKey:
    try:
        key = cert.public_key()
    except UnsupportedAlgorithm as error:
        raise PkiError(part, "its key is of a kind this program does not know") from error
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise PkiError(part, "its key is neither EC, RSA nor Ed25519", remedy="issue a new certificate with such a key")
    return key


def read_private_key(pem: bytes, password: str | None = None, part: str = "key") -> PrivateKey:
    """A private key out of PEM; a password given for a key that is not encrypted is not needed and not an error."""
    pem = _PARAMETERS.sub(b"", pem)
    _whole(pem, "PRIVATE KEY", part)
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not password:
        raise PkiError("password", "the private key is encrypted", remedy="give its password as well")
    secret = password.encode() if encrypted and password else None
    try:
        key = serialization.load_pem_private_key(pem, secret)
    except (ValueError, TypeError) as error:
        if encrypted:
            raise PkiError("password", "it does not open the private key", remedy="enter it again") from error
        raise PkiError(part, "damaged: it does not decode as a private key", remedy="copy the file again") from error
    except UnsupportedAlgorithm as error:
        raise PkiError(part, "encrypted or made in a way this program does not know") from error
    return checked_key(key, part)


def checked_key(key: object, part: str = "key") -> PrivateKey:
    """The key when it is of a kind and size that may be used."""
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise PkiError(part, "neither EC, RSA nor Ed25519", remedy="make a new key; EC P-256 is the usual one")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in _CURVES:
        raise PkiError(part, f"the curve {key.curve.name} is not supported", remedy="use P-256 or P-384")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA:
        raise PkiError(part, f"an RSA key of {key.key_size} bits can be broken", remedy="make a new key")
    return key


def key_of_der(der: bytes) -> PrivateKey:
    """A key out of our own keeping (PKCS#8 in DER)."""
    return checked_key(serialization.load_der_private_key(der, None))


def key_der(key: PrivateKey) -> bytes:
    """A key as it goes into our keeping, to be sealed."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def spki(key: PublicKey) -> bytes:
    """A public key in the one form in which equal keys are equal."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def check_fits(key: PrivateKey, cert: x509.Certificate, part: str = "key") -> None:
    """Raises Mismatch when the key is not that of the certificate."""
    if spki(key.public_key()) != spki(_public(cert)):
        raise Mismatch(part, "the private key does not belong to the certificate", remedy="give the pair of one client")


def check_issued_by(cert: x509.Certificate, ca: x509.Certificate, part: str = "cert") -> None:
    """Raises Mismatch when the certificate is not signed by this CA."""
    ca_name = common_name(ca)
    if cert.issuer != ca.subject:
        raise Mismatch(
            part, f"it was issued by {cert.issuer.rfc4514_string()}, not by {ca_name}", remedy="choose the CA it is of"
        )
    try:
        cert.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Mismatch(
            part,
            f"its signature is not that of {ca_name}: another CA of that name",
            remedy="choose the CA it is of",
        ) from error


def common_name(cert: x509.Certificate) -> str:
    """The CN of the subject, or the whole subject when it has none."""
    found = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else cert.subject.rfc4514_string()


def key_facts(key: PublicKey) -> tuple[str, int]:
    """`("ec-p256", 256)`, `("rsa-3072", 3072)`, `("ed25519", 256)`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, f"ec-{key.curve.name}"), key.key_size
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}", key.key_size
    return "ed25519", 256


def facts_of(cert: x509.Certificate) -> CertificateFacts:
    """What the certificate says."""
    kind, bits = key_facts(_public(cert))
    return CertificateFacts(
        cert=cert.public_bytes(serialization.Encoding.DER),
        subject=subject_of(cert),
        subject_text=cert.subject.rfc4514_string(),
        issuer_text=cert.issuer.rfc4514_string(),
        serial=cert.serial_number,
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
        key_type=kind,
        key_bits=bits,
        usage=_usage(cert),
        is_ca=is_ca(cert),
    )


def subject_of(cert: x509.Certificate) -> Subject:
    """The subject by fields; the e-mail address from the subject or the alternative names."""

    def one(oid: x509.ObjectIdentifier) -> str:
        found = cert.subject.get_attributes_for_oid(oid)
        return str(found[-1].value) if found else ""

    email = one(NameOID.EMAIL_ADDRESS)
    if not email:
        names = _alternative_names(cert)
        email = next(iter(names.get_values_for_type(x509.RFC822Name)), "") if names else ""
    return Subject(
        common_name=one(NameOID.COMMON_NAME),
        country=one(NameOID.COUNTRY_NAME),
        province=one(NameOID.STATE_OR_PROVINCE_NAME),
        city=one(NameOID.LOCALITY_NAME),
        organization=one(NameOID.ORGANIZATION_NAME),
        sector=one(NameOID.ORGANIZATIONAL_UNIT_NAME),
        email=email,
    )


def _alternative_names(cert: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _usage(cert: x509.Certificate) -> str:
    if is_ca(cert):
        return "ca"
    try:
        found: Sequence[x509.ObjectIdentifier] = list(
            cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )
    except x509.ExtensionNotFound:
        return "any"
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH in found, ExtendedKeyUsageOID.SERVER_AUTH in found
    return "both" if client and server else "client" if client else "server" if server else "other"


def check_can_sign(cert: x509.Certificate, part: str = "cert") -> None:
    """Raises PkiError when the certificate is none of a certificate authority."""
    if not is_ca(cert):
        raise PkiError(part, "it is not a CA certificate (no CA:TRUE)", remedy="give the certificate of the authority")
    try:
        usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.key_cert_sign and usage.crl_sign):
        raise PkiError(part, "its key usage does not allow signing both certificates and CRLs")


def read_crl(pem: bytes, ca: x509.Certificate) -> tuple[Crl, list[Revoked]]:
    """A CRL of this CA with all its lines. Raises PkiError, Mismatch."""
    _whole(pem, "X509 CRL", "crl")
    try:
        found = x509.load_pem_x509_crl(pem)
        entries = [Revoked(e.serial_number, e.revocation_date_utc, _reason(e)) for e in found]
    except ValueError as error:
        raise PkiError("crl", "damaged: it does not decode as a CRL", remedy="copy the file again") from error
    if found.issuer != ca.subject or not found.is_signature_valid(_public(ca)):
        raise Mismatch("crl", f"it is not signed by {common_name(ca)}", remedy="give the CRL of this CA")
    return crl_facts(found, found.public_bytes(serialization.Encoding.DER)), entries


def crl_facts(found: x509.CertificateRevocationList, der: bytes) -> Crl:
    """What the list says of itself; a list without nextUpdate counts as ending when it began."""
    return Crl(
        der=der,
        number=_number(found),
        this_update=found.last_update_utc,
        next_update=found.next_update_utc or found.last_update_utc,
        entries=len(found),
    )


def _number(found: x509.CertificateRevocationList) -> int | None:
    try:
        return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        return _REASON_OF[entry.extensions.get_extension_for_class(x509.CRLReason).value.reason]
    except x509.ExtensionNotFound:
        return "unspecified"
