"""The forms in which a certificate and its key leave the house: PEM, PKCS#12, one inline .ovpn file, plain text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from drivers.pki_read import facts_of, key_of_der, read_certificates
from drivers.pki_types import PkiError, serial_text

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252}")
_PROTOCOLS = ("udp", "udp4", "udp6", "tcp-client", "tcp4-client", "tcp6-client")
_STATIC_KEY = re.compile(
    r"-----BEGIN (OpenVPN Static key V1|OpenVPN tls-crypt-v2 client key)-----\s[A-Za-z0-9+/=\s]+"
    r"-----END \1-----\s*"
)


@dataclass(frozen=True, slots=True)
class Remote:
    """One server a client tries: host or address, port, protocol."""

    host: str
    port: int = 1194
    protocol: str = "udp"


@dataclass(frozen=True, slots=True)
class Profile:
    """What an .ovpn says beside certificate and key. `static_key` is the text of a tls-crypt or tls-auth key file;
    `server_name` makes the client insist on the CN of the server's certificate."""

    remotes: tuple[Remote, ...]
    device: str = "tun"
    static_key: str = ""
    static_key_use: str = "tls-crypt"
    server_name: str = ""
    data_ciphers: str = ""


def cert_pem(der: bytes) -> str:
    """A certificate in PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


def key_pem(der: bytes, password: str | None = None) -> str:
    """A private key in PKCS#8 PEM, encrypted when there is a password."""
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        how = serialization.BestAvailableEncryption(password.encode())
    return key_of_der(der).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()


def pem_bundle(cert: bytes, key: bytes, chain: str, password: str | None = None) -> str:
    """Key, certificate and the chain of its authority in one text."""
    return key_pem(key, password) + cert_pem(cert) + chain


def pkcs12_bundle(name: str, cert: bytes, key: bytes, chain: str, password: str) -> bytes:
    """Key, certificate and chain in one PKCS#12 file; a password is needed, for many programs refuse files without."""
    if not password:
        raise PkiError(
            "password", "a PKCS#12 file needs one", remedy="give the client a password, or one with the export"
        )
    return pkcs12.serialize_key_and_certificates(
        name.encode(),
        key_of_der(key),
        x509.load_der_x509_certificate(cert),
        read_certificates(chain.encode(), "ca"),
        serialization.BestAvailableEncryption(password.encode()),
    )


def remote_of(text: str) -> Remote:
    """`vpn.example.org`, `vpn.example.org 443 tcp-client` or `vpn.example.org:1194`. Raises PkiError.

    Everything is looked at closely: a line break in here would be a directive of its own in the client's file.
    """
    words = text.split()
    if len(words) == 1 and words[0].count(":") == 1:
        words = words[0].split(":")
    if not 1 <= len(words) <= 3 or not _WORD.fullmatch(words[0]):
        raise PkiError("remote", f"{text!r} is not HOST [PORT [PROTOCOL]]")
    if ":" in words[0]:
        try:
            ipaddress.IPv6Address(words[0])
        except ValueError:
            raise PkiError("remote", f"{words[0]!r} is neither a name nor an address") from None
    port = words[1] if len(words) > 1 else "1194"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise PkiError("remote", f"{port!r} is no port from 1 to 65535")
    protocol = words[2] if len(words) > 2 else "udp"
    protocol = f"{protocol}-client" if protocol in {"tcp", "tcp4", "tcp6"} else protocol
    if protocol not in _PROTOCOLS:
        raise PkiError("remote", f"{protocol!r} is none of {', '.join(_PROTOCOLS)}")
    return Remote(words[0], int(port), protocol)


def static_key(text: str) -> str:
    """A tls-crypt or tls-auth key as it stands in its file, without the comments. Raises PkiError."""
    found = _STATIC_KEY.search(text)
    if found is None:
        raise PkiError("static_key", "not an OpenVPN static key", remedy="give the file openvpn --genkey made")
    return found.group().strip() + "\n"


def ovpn(profile: Profile, cert: bytes, key: bytes, chain: str, password: str | None = None) -> str:
    """One file a client needs and no other. Raises PkiError."""
    if not profile.remotes:
        raise PkiError(
            "remote", "an .ovpn file needs a server to connect to", remedy="name one: HOST [PORT [PROTOCOL]]"
        )
    lines = ["client", f"dev {profile.device}"]
    lines += [f"remote {one.host} {one.port} {one.protocol}" for one in profile.remotes]
    lines += ["resolv-retry infinite", "nobind", "persist-key", "persist-tun", "remote-cert-tls server"]
    for directive, value in (("verify-x509-name", profile.server_name), ("data-ciphers", profile.data_ciphers)):
        if value:
            if not _WORD.fullmatch(value):
                raise PkiError(directive, f"{value!r} cannot stand in a configuration file")
            lines.append(f"{directive} {value}" + (" name" if directive == "verify-x509-name" else ""))
    lines.append("verb 3")
    if profile.static_key and profile.static_key_use == "tls-auth":
        lines.append("key-direction 1")
    inline = [("ca", chain), ("cert", cert_pem(cert)), ("key", key_pem(key, password))]
    if profile.static_key:
        inline.append((profile.static_key_use, static_key(profile.static_key)))
    blocks = [f"<{name}>\n{text.strip()}\n</{name}>" for name, text in inline]
    return "\n".join([*lines, *blocks]) + "\n"


def describe(der: bytes) -> list[tuple[str, str]]:
    """A certificate in words: label and value, in the order people read them."""
    cert = x509.load_der_x509_certificate(der)
    facts = facts_of(cert)
    found = [
        ("Subject", facts.subject_text),
        ("Issuer", facts.issuer_text),
        ("Serial", f"{serial_text(facts.serial)} ({facts.serial})"),
        ("Not before", f"{facts.not_before:%Y-%m-%d %H:%M:%S} UTC"),
        ("Not after", f"{facts.not_after:%Y-%m-%d %H:%M:%S} UTC"),
        ("Key", facts.key_type),
        ("Signed with", cert.signature_hash_algorithm.name if cert.signature_hash_algorithm else "ed25519"),
        ("For", facts.usage),
    ]
    found += [(label, value) for label, value in _extensions(cert) if value]
    found.append(("SHA-256", ":".join(facts.fingerprint[n : n + 2] for n in range(0, 64, 2)).upper()))
    found.append(("SHA-1", cert.fingerprint(hashes.SHA1()).hex(":").upper()))  # noqa: S303 - what older tools show
    return found


def _extensions(cert: x509.Certificate) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for extension in cert.extensions:
        value = extension.value
        critical = " (critical)" if extension.critical else ""
        if isinstance(value, x509.SubjectAlternativeName):
            found.append(("Also named", ", ".join(f"{_kind(name)}:{name.value}" for name in value) + critical))
        elif isinstance(value, x509.BasicConstraints):
            found.append(("Constraints", f"CA:{'TRUE' if value.ca else 'FALSE'}{critical}"))
        elif isinstance(value, x509.KeyUsage):
            found.append(("Key usage", ", ".join(_usages(value)) + critical))
        elif isinstance(value, x509.SubjectKeyIdentifier):
            found.append(("Key id", value.digest.hex(":").upper()))
        elif isinstance(value, x509.AuthorityKeyIdentifier) and value.key_identifier:
            found.append(("Authority id", value.key_identifier.hex(":").upper()))
    return found


def _kind(name: x509.GeneralName) -> str:
    return {"DNSName": "DNS", "RFC822Name": "email", "IPAddress": "IP"}.get(type(name).__name__, type(name).__name__)


def _usages(usage: x509.KeyUsage) -> list[str]:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign",
    )  # fmt: skip
    return [name.replace("_", " ") for name in names if getattr(usage, name)]
