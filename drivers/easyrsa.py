"""Reading an easy-rsa `pki/` directory, of any 3.x, with everything in it that is odd. Nothing is changed.

The index decides what is revoked; the files say what was signed; where the two disagree, that is reported and the
stricter of the two holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from drivers.pki_read import facts_of, is_ca, key_der, read_certificates, read_private_key, spki
from drivers.pki_types import CertificateFacts, PkiError, serial_text

LARGEST_FILE = 50_000_000
MOST_FILES = 500_000
_CERTIFICATES = (
    "issued", "certs_by_serial", "revoked/certs_by_serial", "renewed/issued", "renewed/certs_by_serial", "expired",
)  # fmt: skip
_KEYS = ("private", "revoked/private_by_serial", "renewed/private", "renewed/private_by_serial")
_STATES = {"V": "valid", "R": "revoked", "E": "expired"}
REASONS = {
    "unspecified": "unspecified",
    "keycompromise": "key_compromise",
    "cacompromise": "ca_compromise",
    "affiliationchanged": "affiliation_changed",
    "superseded": "superseded",
    "cessationofoperation": "cessation_of_operation",
    "certificatehold": "certificate_hold",
    "privilegewithdrawn": "privilege_withdrawn",
}
_MOMENT = re.compile(r"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,42}")


@dataclass(frozen=True, slots=True)
class Odd:
    """Something a person should know about: where it is, and what is odd about it."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One line of `index.txt`; `text` is the line itself."""

    number: int
    state: str
    expires: datetime | None
    revoked_at: datetime | None
    reason: str
    serial: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate that was signed. `where` are the files that hold it; `key` is its private key (DER) when it was
    found and could be opened."""

    serial: str
    facts: CertificateFacts | None
    line: IndexLine | None
    where: tuple[str, ...]
    key: bytes | None = field(default=None, repr=False)
    key_encrypted: bool = False

    @property
    def revoked_at(self) -> datetime | None:
        return self.line.revoked_at if self.line is not None and self.line.state == "revoked" else None


@dataclass(frozen=True, slots=True)
class Directory:
    """All of it. `ca_key` and `crl` are PEM as they lie there."""

    place: Path
    ca: CertificateFacts
    ca_pem: str
    entries: tuple[Entry, ...]
    odd: tuple[Odd, ...]
    crl: str = ""
    ca_key: str = field(default="", repr=False)


def read_moment(text: str) -> datetime | None:
    """`YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; two digits below 50 are of this century. None for anything else."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    if len(match.group(1)) == 2:
        year += 2000 if year < 50 else 1900
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def read_index(text: str) -> tuple[list[IndexLine], list[Odd]]:
    """The lines of `index.txt` that can be read, and what is odd about the others."""
    lines: list[IndexLine] = []
    odd: list[Odd] = []
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip():
            continue
        line = _index_line(number, raw)
        if isinstance(line, str):
            odd.append(Odd(f"index.txt line {number}", line))
        else:
            lines.append(line)
    seen: dict[str, int] = {}
    for line in lines:
        before = seen.setdefault(line.serial, line.number)
        if before != line.number:
            odd.append(
                Odd(f"index.txt line {line.number}", f"the serial {line.serial} stands on line {before} already")
            )
    return lines, odd


def _index_line(number: int, raw: str) -> IndexLine | str:
    parts = raw.split("\t")
    if len(parts) != 6 or parts[0] not in _STATES:
        return "not a line of an index: state, expiry, revocation, serial, file and subject, with tabs between"
    if not _SERIAL.fullmatch(parts[3]) or int(parts[3], 16) == 0:
        return f"{parts[3]!r} is no serial"
    state = _STATES[parts[0]]
    when, _, reason = parts[2].partition(",")
    revoked_at = read_moment(when) if state == "revoked" else None
    if state == "revoked" and revoked_at is None:
        return f"revoked without a date that can be read ({parts[2]!r}); nothing of this line is known"
    word = REASONS.get(reason.partition(",")[0].lower(), "unspecified")
    return IndexLine(
        number, state, read_moment(parts[1]), revoked_at, word, serial_text(int(parts[3], 16)), parts[5], raw
    )


def read_directory(place: Path, *, password: str | None = None, now: datetime) -> Directory:
    """Everything in it. `password` opens encrypted keys of clients. Raises PkiError when it is none."""
    if not place.is_dir():
        raise PkiError("path", f"there is no directory {place}", remedy="name the pki directory of easy-rsa")
    for name in ("ca.crt", "index.txt"):
        if not (place / name).is_file():
            raise PkiError("path", f"{place} is no pki directory of easy-rsa: it has no {name}")
    ca_cert = read_certificates(_bytes(place / "ca.crt"), "ca")[0]
    ca = facts_of(ca_cert)
    lines, odd = read_index(_bytes(place / "index.txt").decode("utf-8", "replace"))
    files = _Files(place, ca_cert, odd, password)
    files.read()
    by_serial = {line.serial: line for line in lines}
    entries = [files.entry(serial, by_serial.get(serial)) for serial in {**by_serial, **dict.fromkeys(files.certs)}]
    odd += _compare(entries, now)
    odd += _names(entries)
    crl = place / "crl.pem"
    if not crl.is_file():
        odd.append(Odd("crl.pem", "there is none: servers that use this directory check nothing"))
    key = place / "private" / "ca.key"
    return Directory(
        place,
        ca,
        x509_pem(ca_cert),
        tuple(entries),
        tuple(odd),
        crl=_bytes(crl).decode("ascii", "replace") if crl.is_file() else "",
        ca_key=_bytes(key).decode("ascii", "replace") if key.is_file() else "",
    )


def x509_pem(cert: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return cert.public_bytes(Encoding.PEM).decode()


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PkiError("path", f"{path} is bigger than {LARGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise PkiError("path", f"{path} cannot be read: {error.strerror}") from error


class _Files:
    """The certificates and keys that lie in the directory."""

    def __init__(self, place: Path, ca: x509.Certificate, odd: list[Odd], password: str | None) -> None:
        self.place, self.ca, self.odd, self.password = place, ca, odd, password
        self.certs: dict[str, tuple[x509.Certificate, list[str]]] = {}
        self.keys: dict[bytes, tuple[bytes, bool]] = {}
        self.closed: dict[str, str] = {}

    def read(self) -> None:
        for name, path in self._listed(_CERTIFICATES, (".crt", ".pem")):
            self._certificate(name, path)
        for name, path in self._listed(_KEYS, (".key",)):
            if name != "private/ca.key":
                self._key(name, path)

    def _listed(self, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        count = 0
        for folder in folders:
            there = self.place / folder
            for path in sorted(there.iterdir()) if there.is_dir() else ():
                if path.suffix not in suffixes or not path.is_file():
                    continue
                count += 1
                if count > MOST_FILES:
                    raise PkiError("path", f"{there} holds more than {MOST_FILES} files")
                yield f"{folder}/{path.name}", path

    def _certificate(self, name: str, path: Path) -> None:
        try:
            cert = read_certificates(_bytes(path))[0]
            facts_of(cert)
        except PkiError as error:
            self.odd.append(Odd(name, error.message))
            return
        if is_ca(cert):
            self.odd.append(Odd(name, "it is the certificate of an authority, and is left alone"))
        elif not _signed_by(cert, self.ca):
            self.odd.append(
                Odd(name, f"another authority signed it ({cert.issuer.rfc4514_string()}); it is left alone")
            )
        else:
            self.certs.setdefault(serial_text(cert.serial_number), (cert, []))[1].append(name)

    def _key(self, name: str, path: Path) -> None:
        data = _bytes(path)
        encrypted = b"ENCRYPTED" in data
        try:
            key = read_private_key(data, self.password)
        except PkiError as error:
            self.closed[path.stem] = name
            self.odd.append(Odd(name, f"the key stays here: {error.message}"))
            return
        self.keys[spki(key.public_key())] = (key_der(key), encrypted)

    def entry(self, serial: str, line: IndexLine | None) -> Entry:
        found = self.certs.get(serial)
        if found is None:
            return Entry(serial, None, line, ())
        cert, where = found
        key, encrypted = self.keys.get(spki(cert.public_key()), (None, False))  # type: ignore[arg-type]
        return Entry(serial, facts_of(cert), line, tuple(where), key, encrypted)


def _signed_by(cert: x509.Certificate, ca: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        cert.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _compare(entries: list[Entry], now: datetime) -> list[Odd]:
    """Where index and files disagree."""
    odd: list[Odd] = []
    for one in entries:
        line, facts = one.line, one.facts
        name = facts.subject.common_name if facts else line.subject if line else one.serial
        if line is None:
            odd.append(Odd(one.where[0], f"the index does not know {name} ({one.serial}); it counts as issued"))
            continue
        where = f"index.txt line {line.number}"
        if facts is None:
            odd.append(Odd(where, f"there is no certificate of {name} ({one.serial}); only its serial is known"))
        elif line.state == "valid" and facts.not_after <= now:
            odd.append(Odd(where, f"{name} expired at {facts.not_after:%Y-%m-%d} and is still listed as valid"))
        if line.state == "revoked" and any(path.startswith("issued/") for path in one.where):
            odd.append(Odd(one.where[0], f"{name} is revoked and still lies in issued; it counts as revoked"))
        if line.state != "revoked" and any(path.startswith("revoked/") for path in one.where):
            odd.append(Odd(one.where[0], f"{name} lies in revoked and the index says {line.state}; look into it"))
    return odd


def _names(entries: list[Entry]) -> list[Odd]:
    """Several certificates of one name that are all good."""
    good: dict[str, list[str]] = {}
    for one in entries:
        if one.facts is not None and one.revoked_at is None:
            good.setdefault(one.facts.subject.common_name, []).append(one.serial)
    return [
        Odd(name or "a certificate without a name", f"{len(serials)} certificates of this name are not revoked")
        for name, serials in sorted(good.items())
        if len(serials) > 1
    ]
