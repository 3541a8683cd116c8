"""What an easy-rsa directory holds, as rows: clients with all their certificates, and certificates without a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, select

from data.feed import announce_all
from data.models import CertificateAuthority, VpnCertificate, VpnClient
from drivers.easyrsa import Directory, Entry, Odd
from drivers.pki import Authority
from drivers.pki_crl import USUAL_DAYS as CRL_DAYS
from opsconsole.engine.registry import Json
from opsconsole.vpn import keys
from opsconsole.vpn.ca_import import Brought
from opsconsole.vpn.client_import import add_client, fill_certificate
from opsconsole.vpn.fields import check_name
from opsconsole.vpn.signing import mark_revoked

Seal = Callable[[int, str, bytes], bytes]
SealPassword = Callable[[str], bytes | None]


@dataclass(slots=True)
class Taken:
    """What was written: counts by word, the clients that are new, and what was odd about it."""

    counts: Counter[str] = field(default_factory=Counter)
    clients: list[tuple[int, str]] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)


def ca_row(brought: Brought, key: bytes, passphrase: str, state: str) -> tuple[CertificateAuthority, Authority | None]:
    """The authority's row to be, and the authority itself when its key came along."""
    facts, private = brought.facts, brought.private
    sealed = keys.seal_ca_key(key, private, facts.fingerprint, passphrase) if private is not None else None
    row = CertificateAuthority(
        name=brought.name,
        subject=facts.subject_text,
        cert=brought.cert,
        chain=brought.chain,
        fingerprint=facts.fingerprint,
        key_type=facts.key_type,
        key_state=state,
        sealed_key=sealed,
        not_before=facts.not_before,
        not_after=facts.not_after,
        crl_days=CRL_DAYS,
    )
    return row, Authority.of(brought.cert, private) if private is not None else None


def counted(tx: Session, directory: Directory, ca_id: int | None) -> Json:
    """How much of it there is, and how much is new here."""
    known = states(tx, ca_id) if ca_id is not None else {}
    new = [one for one in directory.entries if one.serial not in known]
    revoked = [one for one in directory.entries if one.revoked_at and known.get(one.serial) != "revoked"]
    return {"certificates": len(directory.entries), "new": len(new), "newly_revoked": len(revoked)}


def states(tx: Session, ca_id: int) -> dict[str, str]:
    """The state of every serial an authority gave."""
    query = select(VpnCertificate.serial, VpnCertificate.state).where(VpnCertificate.ca_id == ca_id)
    return dict(tx.exec(query).all())


class Taker:
    """Writes the entries of a directory inside one transaction."""

    def __init__(self, tx: Session, ca_id: int, now: datetime, by: str, email: str) -> None:
        self.tx, self.ca_id, self.now, self.by, self.email = tx, ca_id, now, by, email
        self.taken = Taken()
        self.clients = {row.name: row for row in tx.exec(select(VpnClient))}

    def take(self, directory: Directory, seal: Seal, password: SealPassword) -> Taken:
        rows = {
            row.serial: row for row in self.tx.exec(select(VpnCertificate).where(VpnCertificate.ca_id == self.ca_id))
        }
        touched: set[str] = set()
        for one in directory.entries:
            row = rows.get(one.serial)
            if row is None or (row.cert is None and one.facts is not None):
                row = self._add(row, one, seal, password, touched)
                self.taken.counts["certificates"] += 1
            self._revoke(row, one, touched)
        self.tx.flush()
        for name in sorted(touched):
            self._settle(self.clients[name])
        announce_all(self.tx, "vpn_client", [self.clients[name].id for name in sorted(touched)], "updated")
        return self.taken

    def _add(
        self, row: VpnCertificate | None, one: Entry, seal: Seal, password: SealPassword, touched: set[str]
    ) -> VpnCertificate:
        made = row or VpnCertificate(ca_id=self.ca_id, serial=one.serial, common_name="", created_at=self.now)
        facts = one.facts
        if facts is None:
            made.subject = one.line.subject if one.line else ""
            made.common_name = made.subject.rpartition("/CN=")[2].partition("/")[0]
            made.state, made.usage = ("issued" if row is None else row.state), "any"
            made.not_after = one.line.expires if one.line else None
        else:
            client = self._client(one, password) if facts.usage != "server" else None
            sealed = seal(self.ca_id, one.serial, one.key) if one.key is not None else None
            fill_certificate(made, facts, client.id if client else None, sealed)
            if facts.usage == "server":
                self.taken.counts["servers"] += 1
            if client is not None:
                touched.add(client.name)
        self.tx.add(made)
        self.tx.flush()
        return made

    def _client(self, one: Entry, password: SealPassword) -> VpnClient | None:
        """The client this certificate belongs to, made when there is none; None when its name cannot be one's."""
        facts = one.facts
        if facts is None:
            return None
        name = facts.subject.common_name
        try:
            check_name(name)
        except ValueError as error:
            what = f"{name!r} cannot be the name of a client ({error}); it is kept as a certificate without a client"
            self.taken.odd.append(Odd(one.where[0], what))
            return None
        known = self.clients.get(name)
        if known is not None and known.ca_id != self.ca_id:
            what = f"{name} is a client of another authority; it is kept as a certificate without a client"
            self.taken.odd.append(Odd(one.where[0], what))
            return None
        if known is None:
            email = facts.subject.email if "@" in facts.subject.email else self.email
            secret = password(name) if one.key_encrypted else None
            known = add_client(self.tx, self.ca_id, facts, email, "", secret)
            self.clients[name] = known
            self.taken.clients.append((known.id, name))
            self.taken.counts["clients"] += 1
        return known

    def _revoke(self, row: VpnCertificate, one: Entry, touched: set[str]) -> None:
        at = one.revoked_at
        if at is None or row.state == "revoked" or one.line is None:
            return
        mark_revoked(self.tx, [row], at=at, by="easy-rsa", reason=one.line.reason)
        self.taken.counts["revoked"] += 1
        client = self.tx.get(VpnClient, row.client_id) if row.client_id is not None else None
        if client is not None:
            touched.add(client.name)

    def _settle(self, client: VpnClient) -> None:
        """The newest certificate that is good is the client's; without any the newest, and what became of that."""
        rows = self.tx.exec(select(VpnCertificate).where(VpnCertificate.client_id == client.id)).all()
        current = newest(rows, self.now)
        client.certificate_id, client.serial = current.id, current.serial
        client.expiry_date = current.not_after or self.now
        client.revoked = current.state == "revoked"
        client.revoked_date = current.revoked_at if client.revoked else None
        self.tx.add(client)


def newest(rows: Iterable[VpnCertificate], now: datetime) -> VpnCertificate:
    """The certificate a name stands for."""
    return max(
        rows,
        key=lambda row: (
            row.state == "issued" and row.not_after is not None and row.not_after > now,
            row.not_before.timestamp() if row.not_before else 0.0,
            row.id,
        ),
    )
