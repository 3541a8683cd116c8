"""What the tests of the VPN area share: people, authorities, and the openssl command as a witness."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

import opsconsole.journal.audit
import opsconsole.journal.runs
import opsconsole.vpn.bulk
import opsconsole.vpn.ca_import
import opsconsole.vpn.cas
import opsconsole.vpn.certificates
import opsconsole.vpn.client_import
import opsconsole.vpn.clients
import opsconsole.vpn.crls
import opsconsole.vpn.export
import opsconsole.vpn.renewing
import opsconsole.vpn.revoking  # noqa: F401
from data.models import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from drivers import pki, pki_files
from drivers.pki_types import Issued, KeyType, Subject, Usage
from opsconsole.engine.caller import Caller
from tests.opsconsole.houses import Bench

EMAIL = "ops@branch.example"


async def ca(bench: Bench, root: Caller, name: str = "Branches", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await bench.call(root, "vpn.cas.create", {"name": name, **more})
    return made


async def client(bench: Bench, root: Caller, ca_id: int, name: str, **more: Any) -> dict[str, Any]:
    given = {"ca_id": ca_id, "name": name, "email": EMAIL, **more}
    made: dict[str, Any] = await bench.call(root, "vpn.clients.create", given)
    return made


async def revoke(bench: Bench, root: Caller, one: dict[str, Any], **more: Any) -> Any:
    given = {"id": one["id"], **more}
    return await bench.call(root, "vpn.clients.revoke", given, confirm=one["name"], reason="laptop stolen")


async def newest_crl(bench: Bench, root: Caller, ca_id: int) -> dict[str, Any]:
    found: dict[str, Any] = await bench.call(root, "vpn.crls.get", {"ca_id": ca_id})
    return found


async def counts(bench: Bench) -> tuple[int, ...]:
    """Rows of each table, reserved serials left out: what must be the same after a refusal."""

    def work(tx: Session) -> tuple[int, ...]:
        issued = select(VpnCertificate.id).where(VpnCertificate.state != "reserved")
        others = [tx.exec(select(table.id)).all() for table in (CertificateAuthority, VpnClient, VpnCrl)]
        return (*(len(rows) for rows in others), len(tx.exec(issued).all()))

    return await bench.database.read(work)


class Outside:
    """An authority that this program never saw, with what it issues."""

    def __init__(
        self, name: str = "Elsewhere", *, kind: KeyType = "ec-p256", days: int = 3650, now: datetime | None = None
    ) -> None:
        self.now = now or datetime.now(UTC) - timedelta(days=30)
        self.made = pki.make_ca(Subject(name), key_type=kind, days=days, now=self.now)
        self.cert = pki_files.cert_pem(self.made.cert)
        self.key = pki_files.key_pem(self.made.key)
        self.authority = pki.Authority.of(self.cert, self.made.key)

    def issue(self, name: str, *, days: int = 365, usage: Usage = "client", **subject: str) -> Issued:
        whom = Subject(name, **subject)
        serial = pki.new_serial()
        return pki.issue(self.authority, whom, serial=serial, key_type="ec-p256", days=days, now=self.now, usage=usage)

    def pair(self, name: str, *, password: str | None = None, **more: Any) -> dict[str, str]:
        made = self.issue(name, **more)
        return {"cert": pki_files.cert_pem(made.cert), "key": pki_files.key_pem(made.key, password)}


def openssl(*argv: str) -> str:
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


def verified(place: Path, ca_pem: str, crl: str, cert: str) -> str:
    """What openssl says of a certificate against a list: `OK`, or why not."""
    for name, text in {"ca.pem": ca_pem, "crl.pem": crl, "cert.pem": cert}.items():
        (place / name).write_text(text)
    files = ["-CAfile", str(place / "ca.pem"), "-CRLfile", str(place / "crl.pem")]
    said = openssl("verify", "-crl_check", *files, "-purpose", "sslclient", str(place / "cert.pem"))
    return "OK" if said.strip().endswith(": OK") else said


def modes(place: Path, pattern: str) -> dict[str, int]:
    """Names and modes of the files that match."""
    return {path.name: path.stat().st_mode & 0o777 for path in place.glob(pattern)}


def contents(place: Path, pattern: str) -> bytes:
    """The bytes of all files that match."""
    return b"".join(path.read_bytes() for path in sorted(place.glob(pattern)))
