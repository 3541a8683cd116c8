"""An authority in the records whose key the test holds: certificates, revocations and lists, without the console."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from sqlmodel import select

from data.database import Database
from data.models import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from drivers.pki import Authority, issue, make_ca, new_serial
from drivers.pki_crl import crl_entry, sign_crl
from drivers.pki_files import Profile, Remote, cert_pem, key_pem, ovpn
from drivers.pki_read import key_of_der
from drivers.pki_types import Issued, Subject, Usage, serial_text


@dataclass
class TestAuthority:
    """`number` of its newest list; `issued` by common name."""

    __test__ = False

    database: Database
    authority: Authority
    id: int
    pem: str
    number: int = 0
    issued: dict[str, list[Issued]] = field(default_factory=dict)
    entries: list[bytes] = field(default_factory=list)

    @classmethod
    async def make(cls, database: Database, name: str = "Lab CA") -> TestAuthority:
        now = datetime.now(UTC)
        made = make_ca(Subject(name), key_type="ec-p256", days=3650, now=now)
        cert = x509.load_der_x509_certificate(made.cert)
        pem = cert_pem(made.cert)
        row = CertificateAuthority(
            name=name,
            subject=cert.subject.rfc4514_string(),
            cert=pem,
            fingerprint=hashlib.sha256(made.cert).hexdigest(),
            key_type="ec-p256",
            key_state="offline",
            not_before=made.not_before,
            not_after=made.not_after,
        )

        def work(tx: Any) -> int:
            tx.add(row)
            tx.flush()
            return row.id

        number = await database.write(work)
        return cls(database, Authority(cert, key_of_der(made.key)), number, pem)

    async def certificate(self, name: str, usage: Usage = "client") -> int:
        """One more certificate of this name; its row's id. A client's record is made with the first."""
        made = issue(
            self.authority,
            Subject(name),
            serial=new_serial(),
            key_type="ec-p256",
            days=365,
            now=datetime.now(UTC),
            usage=usage,
        )
        self.issued.setdefault(name, []).append(made)

        def work(tx: Any) -> int:
            client = tx.exec(select(VpnClient).where(VpnClient.name == name)).first()
            if client is None and usage == "client":
                client = VpnClient(ca_id=self.id, name=name, email="a@example.org", expiry_date=made.not_after)
                tx.add(client)
                tx.flush()
            row = VpnCertificate(
                ca_id=self.id,
                client_id=client.id if client is not None else None,
                serial=serial_text(made.serial),
                state="issued",
                usage=usage,
                common_name=name,
                cert=made.cert,
                key_type="ec-p256",
                not_before=made.not_before,
                not_after=made.not_after,
            )
            tx.add(row)
            tx.flush()
            return int(row.id)

        return await self.database.write(work)

    async def sign(self, *, lasts: timedelta | None = None) -> VpnCrl:
        """The next list. `lasts`: it ends so long from now (in the past: it is over already)."""
        self.number += 1
        now = datetime.now(UTC)
        made = sign_crl(self.authority, self.entries, number=self.number, now=now, days=30)
        if lasts is not None:
            made = sign_crl(
                self.authority, self.entries, number=self.number, now=now + lasts - timedelta(days=1), days=1
            )
        row = VpnCrl(
            ca_id=self.id,
            number=self.number,
            this_update=made.this_update,
            next_update=made.next_update,
            entries=made.entries,
            sha256=hashlib.sha256(made.der).hexdigest(),
            der=made.der,
        )

        def work(tx: Any) -> None:
            tx.add(row)
            for one in tx.exec(select(VpnCertificate).where(VpnCertificate.state == "revoked")):
                if one.crl_number is None:
                    one.crl_number = self.number
                    tx.add(one)

        await self.database.write(work)
        return row

    async def revoke(self, certificate_id: int, *, sign: bool = True) -> None:
        now = datetime.now(UTC)

        def work(tx: Any) -> int:
            row = tx.get_one(VpnCertificate, certificate_id)
            row.state, row.revoked_at, row.revoked_by = "revoked", now, "test"
            tx.add(row)
            if row.client_id is not None:
                client = tx.get_one(VpnClient, row.client_id)
                client.revoked, client.revoked_date = True, now
                tx.add(client)
            return int(row.serial, 16)

        serial = await self.database.write(work)
        self.entries.append(crl_entry(serial, now))
        if sign:
            await self.sign()

    def server_files(self, name: str = "server") -> dict[str, str]:
        made = self.issued[name][-1]
        return {"ca.crt": self.pem, "server.crt": cert_pem(made.cert), "server.key": key_pem(made.key)}

    def ovpn(self, name: str, address: str, static_key: str, which: int = -1) -> str:
        made = self.issued[name][which]
        profile = Profile((Remote(address),), static_key=static_key)
        return ovpn(profile, made.cert, made.key, self.pem)
