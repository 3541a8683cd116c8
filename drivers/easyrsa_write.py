"""Writing an easy-rsa 3.1 `pki/` directory that easy-rsa goes on using.

Files move first to where easy-rsa would have moved them, then what is new is written, then the index and the list are
replaced: an interruption at any moment leaves a directory in which nothing that was revoked is valid again, and doing
it once more brings it to its end.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from drivers.pki import hash_for, new_serial
from drivers.pki_files import cert_pem, key_pem
from drivers.pki_read import key_of_der
from drivers.pki_types import PkiError, serial_text

_SAFE = re.compile(r"[A-Za-z0-9_@.-]{1,200}")
_WORDS = {
    "key_compromise": "keyCompromise",
    "ca_compromise": "CACompromise",
    "affiliation_changed": "affiliationChanged",
    "superseded": "superseded",
    "cessation_of_operation": "cessationOfOperation",
    "certificate_hold": "certificateHold",
    "privilege_withdrawn": "privilegeWithdrawn",
}
FOLDERS = (
    "issued", "private", "reqs", "certs_by_serial", "inline", "renewed/issued", "renewed/private", "renewed/reqs",
    "revoked/certs_by_serial", "revoked/private_by_serial", "revoked/reqs_by_serial",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """One certificate as it shall stand there. `current`: the one its name stands for; `key` opens the key when it is
    to be written as well."""

    serial: str
    name: str
    not_after: datetime
    revoked_at: datetime | None = None
    reason: str = "unspecified"
    cert: bytes | None = None
    current: bool = False
    line: str = ""
    key: Callable[[], tuple[bytes, str]] | None = field(default=None, repr=False)


@dataclass(slots=True)
class Steps:
    """What is done to the directory, in this order: move, write, index, remove. Paths are relative."""

    write: list[tuple[str, Callable[[], bytes], int]] = field(default_factory=list)
    move: list[tuple[str, str]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.write) + len(self.move) + len(self.remove)


def moment_text(at: datetime) -> str:
    """As openssl writes times into its index."""
    at = at.astimezone(UTC)
    return f"{at:%y%m%d%H%M%S}Z" if at.year < 2050 else f"{at:%Y%m%d%H%M%S}Z"


def slash_name(name: x509.Name) -> str:
    """`/C=BR/CN=branch-7`, as openssl writes subjects into its index: anything beyond ASCII as \\xHH."""
    words = {"C": "C", "ST": "ST", "L": "L", "O": "O", "OU": "OU", "CN": "CN", "1.2.840.113549.1.9.1": "emailAddress"}
    parts = []
    for attribute in name:
        value = attribute.value.encode() if isinstance(attribute.value, str) else attribute.value
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02X}" for byte in value)
        parts.append(f"/{words.get(attribute.rfc4514_attribute_name, attribute.rfc4514_attribute_name)}={text}")
    return "".join(parts)


def index_text(wanted: Iterable[Written], now: datetime) -> str:
    """`index.txt` with every certificate; a subject that stood there already is kept as it was."""
    lines = []
    for one in wanted:
        old = one.line.split("\t") if one.line else []
        subject = old[5] if len(old) == 6 else _subject(one)
        state = "R" if one.revoked_at is not None else "E" if one.not_after <= now and old[:1] == ["E"] else "V"
        revoked = ""
        if one.revoked_at is not None:
            word = _WORDS.get(one.reason)
            revoked = moment_text(one.revoked_at) + (f",{word}" if word else "")
        lines.append("\t".join((state, moment_text(one.not_after), revoked, one.serial, "unknown", subject)))
    return "".join(f"{line}\n" for line in lines)


def _subject(one: Written) -> str:
    if one.cert is not None:
        return slash_name(x509.load_der_x509_certificate(one.cert).subject)
    return f"/CN={''.join(c if 0x20 <= ord(c) < 0x7F else '?' for c in one.name) or 'unknown'}"


def request_pem(key: bytes, cert: bytes) -> bytes:
    """The request easy-rsa keeps beside a certificate, made from its key."""
    loaded = key_of_der(key)
    subject = x509.load_der_x509_certificate(cert).subject
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(loaded, hash_for(loaded))
    return made.public_bytes(serialization.Encoding.PEM)


def plan_steps(wanted: Sequence[Written], there: dict[str, tuple[str, ...]], place: Path) -> Steps:
    """What has to be done so that the directory says what is `wanted`; `there` are the files of each serial now."""
    steps = Steps()
    leaving = {
        path for one in wanted if one.revoked_at is not None or not one.current for path in there.get(one.serial, ())
    }
    for one in wanted:
        paths = there.get(one.serial, ())
        if one.revoked_at is not None:
            _revoked(steps, one, paths, place)
        elif one.current:
            _current(steps, one, paths, leaving, place)
        else:
            _older(steps, one, paths, wanted, place)
    return steps


def _revoked(steps: Steps, one: Written, paths: tuple[str, ...], place: Path) -> None:
    for path in paths:
        folder, _, file = path.rpartition("/")
        stem = file.rpartition(".")[0]
        if folder in {"issued", "renewed/issued"}:
            side = folder.removesuffix("issued")
            steps.move.append((path, f"revoked/certs_by_serial/{one.serial}.crt"))
            for kind, suffix in (("private", "key"), ("reqs", "req")):
                if (place / f"{side}{kind}/{stem}.{suffix}").is_file():
                    target = f"revoked/{kind}_by_serial/{one.serial}.{suffix}"
                    steps.move.append((f"{side}{kind}/{stem}.{suffix}", target))
        elif folder == "certs_by_serial":
            steps.remove.append(path)
    if not any(path.startswith(("issued/", "renewed/issued/", "revoked/")) for path in paths) and one.cert is not None:
        cert = one.cert
        steps.write.append((f"revoked/certs_by_serial/{one.serial}.crt", lambda: cert_pem(cert).encode(), 0o600))


def _current(steps: Steps, one: Written, paths: tuple[str, ...], leaving: set[str], place: Path) -> None:
    if any(path.startswith("issued/") for path in paths) or one.cert is None or not _SAFE.fullmatch(one.name):
        return
    cert, key = one.cert, one.key
    issued = f"issued/{one.name}.crt"
    if (place / issued).exists() and issued not in leaving:
        raise PkiError("path", f"{place / issued} is another certificate", remedy="import the directory first")
    steps.write.append((issued, lambda: cert_pem(cert).encode(), 0o600))
    steps.write.append((f"certs_by_serial/{one.serial}.pem", lambda: cert_pem(cert).encode(), 0o600))
    if key is not None:
        opened = key
        steps.write.append((f"private/{one.name}.key", lambda: key_pem(*_given(opened)).encode(), 0o600))
        steps.write.append((f"reqs/{one.name}.req", lambda: request_pem(opened()[0], cert), 0o600))


def _given(opened: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str | None]:
    key, password = opened()
    return key, password or None


def _older(steps: Steps, one: Written, paths: tuple[str, ...], wanted: Sequence[Written], place: Path) -> None:
    """A certificate that is good and no longer the one its name stands for goes where easy-rsa renews to."""
    replaced = {other.name for other in wanted if other.current and other.serial != one.serial}
    for path in paths:
        folder, _, file = path.rpartition("/")
        stem = file.rpartition(".")[0]
        if folder == "issued" and one.name in replaced:
            if (place / f"renewed/issued/{file}").exists():
                steps.move.append((path, f"certs_by_serial/{one.serial}.pem"))
                continue
            steps.move.append((path, f"renewed/issued/{file}"))
            for kind, suffix in (("private", "key"), ("reqs", "req")):
                if (place / f"{kind}/{stem}.{suffix}").is_file():
                    steps.move.append((f"{kind}/{stem}.{suffix}", f"renewed/{kind}/{stem}.{suffix}"))
    if not paths and one.cert is not None:
        cert = one.cert
        steps.write.append((f"certs_by_serial/{one.serial}.pem", lambda: cert_pem(cert).encode(), 0o600))


def apply_steps(place: Path, steps: Steps, *, index: str, crl: str, ca: str) -> None:
    """Do it. Raises PkiError; what was done until then is whole."""
    try:
        for folder in FOLDERS:
            (place / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        # Renewed clients: what stands in the way moves out before the new files take the names.
        for source, target in steps.move:
            if (place / source).exists():
                (place / source).replace(place / target)
        for name, make, mode in steps.write:
            write_file(place / name, make(), mode)
        if not (place / "ca.crt").exists():
            write_file(place / "ca.crt", ca.encode(), 0o600)
        old = place / "index.txt"
        if old.exists():
            write_file(place / "index.txt.old", old.read_bytes(), 0o600)
        write_file(old, index.encode(), 0o600)
        if not (place / "index.txt.attr").exists():
            write_file(place / "index.txt.attr", b"unique_subject = no\n", 0o600)
        if not (place / "serial").exists():
            write_file(place / "serial", f"{serial_text(new_serial())}\n".encode(), 0o600)
        if crl:
            write_file(place / "crl.pem", crl.encode(), 0o644)
        for name in steps.remove:
            with contextlib.suppress(FileNotFoundError):
                (place / name).unlink()
        for folder in (".", *FOLDERS):
            _sync(place / folder)
    except OSError as error:
        raise PkiError("path", f"{error.filename or place} cannot be written: {error.strerror}") from error


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, on disk before it has its name; others keep the mode they had."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
