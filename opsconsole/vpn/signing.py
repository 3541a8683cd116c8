"""Serials that are given once, and lists whose number only grows: the two things a crash must not undo.

A serial is reserved in a committed transaction before anything is signed under it. A list is signed inside the very
transaction that revokes, so that no moment exists at which a revoked certificate is missing from the newest list.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Update
from sqlmodel import Session, col, select, update

from data.feed import announce, announce_all
from data.models import CertificateAuthority, VpnCertificate, VpnCrl
from data.secrets import seal
from drivers.pki import Authority, check_issued, issue, new_serial, subject_name
from drivers.pki_crl import crl_entry, crl_lists, sign_crl
from drivers.pki_types import Issued, KeyType, PkiError, Subject, Usage, serial_text
from opsconsole.engine.context import Context
from opsconsole.vpn import keys
from opsconsole.vpn.lookup import CaFacts, newest_crl, said

KEPT_LISTS = 3
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """One certificate to be made."""

    subject: Subject
    days: int
    key_type: KeyType = "ec-p256"
    usage: Usage = "client"


@dataclass(frozen=True, slots=True)
class Made:
    """One certificate that was made under its reserved row, with its key sealed."""

    row_id: int
    serial: str
    issued: Issued = field(repr=False)
    sealed_key: bytes = field(repr=False)


def reserve(tx: Session, ca_id: int, wanted: Sequence[Wanted], now: datetime) -> list[tuple[int, int]]:
    """Rows with serials nobody had before, as `(row id, serial)`; commit them before signing."""
    rows: list[tuple[VpnCertificate, int]] = []
    for one in wanted:
        serial = new_serial()
        row = VpnCertificate(
            ca_id=ca_id,
            serial=serial_text(serial),
            common_name=one.subject.common_name,
            usage=one.usage,
            created_at=now,
        )
        rows.append((row, serial))
    tx.add_all([row for row, _ in rows])
    tx.flush()
    return [(row.id, serial) for row, serial in rows]


async def issue_all(ctx: Context, ca: CaFacts, passphrase: str, wanted: Sequence[Wanted]) -> list[Made]:
    """Reserve, commit, sign, read back, seal. Nothing of it leaves this process before its rows say so."""
    key = await keys.data_key(ctx.house, create=True)
    authority = await keys.open_authority(ctx.house, ca, passphrase, key)
    now = ctx.now()
    reserved = await ctx.database.write(lambda tx: reserve(tx, ca.id, wanted, now))

    def work(start: int) -> list[Made]:
        with said():
            pairs = zip(wanted[start : start + _CHUNK], reserved[start : start + _CHUNK], strict=True)
            return [_make(authority, ca.id, key, one, row_id, serial, now) for one, (row_id, serial) in pairs]

    made: list[Made] = []
    for start in range(0, len(wanted), _CHUNK):
        made += await asyncio.to_thread(work, start)
    return made


def _make(ca: Authority, ca_id: int, key: bytes, one: Wanted, row_id: int, serial: int, now: datetime) -> Made:
    issued = issue(ca, one.subject, serial=serial, key_type=one.key_type, days=one.days, now=now, usage=one.usage)
    check_issued(issued, ca.cert)
    text = serial_text(serial)
    return Made(row_id, text, issued, seal(key, issued.key, context=keys.key_context(ca_id, text)))


def settle_certificate(tx: Session, made: Made, one: Wanted, client_id: int | None) -> VpnCertificate:
    """Turn a reserved row into an issued certificate."""
    settle_certificates(tx, [(made, one, client_id)])
    return tx.get_one(VpnCertificate, made.row_id, populate_existing=True)


def settle_certificates(tx: Session, many: Sequence[tuple[Made, Wanted, int | None]]) -> None:
    """The same for many, in one statement."""
    rows = [
        {
            "id": made.row_id,
            "state": "issued",
            "client_id": client_id,
            "cert": made.issued.cert,
            "sealed_key": made.sealed_key,
            "key_type": one.key_type,
            "subject": subject_name(one.subject).rfc4514_string(),
            "not_before": made.issued.not_before,
            "not_after": made.issued.not_after,
        }
        for made, one, client_id in many
    ]
    tx.execute(update(VpnCertificate), rows)


def mark_revoked(tx: Session, rows: Sequence[VpnCertificate], *, at: datetime, by: str, reason: str) -> None:
    """Revoked from now on; in force when a list that names them is signed and the servers have it."""
    for row in rows:
        row.state, row.revoked_at, row.revoked_by, row.revoke_reason = "revoked", at, by, reason
        row.crl_entry, row.crl_number = crl_entry(int(row.serial, 16), at, reason), None
        tx.add(row)
    tx.flush()
    announce_all(tx, "vpn_certificate", [row.id for row in rows], "updated")


def sign_list(tx: Session, ca: CaFacts, authority: Authority, *, now: datetime, why: str) -> VpnCrl:
    """The next list of an authority: complete, with a number never given before, written in this transaction."""
    row = tx.exec(select(CertificateAuthority).where(CertificateAuthority.id == ca.id).with_for_update()).one()
    before = newest_crl(tx, ca.id)
    number = max(row.crl_number, before.number if before else 0) + 1
    query = select(VpnCertificate.crl_entry).where(VpnCertificate.ca_id == ca.id, VpnCertificate.state == "revoked")
    entries = [entry for entry in tx.exec(query.order_by(col(VpnCertificate.id))) if entry is not None]
    with said():
        made = sign_crl(
            authority,
            entries,
            number=number,
            now=now,
            days=row.crl_days,
            not_before=before.this_update if before else None,
        )
        _check_new_lines(tx, ca.id, made.der)
    row.crl_number = number
    tx.add(row)
    tx.execute(_unsigned(ca.id).values(crl_number=number))
    found = keep_list(tx, ca.id, number, made.der, made.this_update, made.next_update, made.entries, why, now)
    announce(tx, "vpn_crl", ca.id, "created")
    return found


def _unsigned(ca_id: int) -> Update:
    return update(VpnCertificate).where(
        col(VpnCertificate.ca_id) == ca_id,
        col(VpnCertificate.state) == "revoked",
        col(VpnCertificate.crl_number).is_(None),
    )


def _check_new_lines(tx: Session, ca_id: int, der: bytes) -> None:
    """The new list names what it was made for, by the library's own reading."""
    query = select(VpnCertificate.serial).where(
        VpnCertificate.ca_id == ca_id,
        VpnCertificate.state == "revoked",
        col(VpnCertificate.crl_number).is_(None),
    )
    for serial in tx.exec(query.limit(100)):
        if not crl_lists(der, int(serial, 16)):
            raise PkiError("crl", f"the list that was made does not name {serial}; nothing of it is used")


def keep_list(
    tx: Session,
    ca_id: int,
    number: int,
    der: bytes,
    this_update: datetime,
    next_update: datetime,
    entries: int,
    why: str,
    now: datetime,
) -> VpnCrl:
    """Write a list; only the newest keep their bytes."""
    row = VpnCrl(
        ca_id=ca_id,
        number=number,
        this_update=this_update,
        next_update=next_update,
        entries=entries,
        sha256=hashlib.sha256(der).hexdigest(),
        why=why,
        der=der,
        created_at=now,
    )
    tx.add(row)
    tx.flush()
    kept = select(VpnCrl.number).where(VpnCrl.ca_id == ca_id).order_by(col(VpnCrl.number).desc()).limit(KEPT_LISTS)
    oldest = min(tx.exec(kept).all())
    old = update(VpnCrl).where(col(VpnCrl.ca_id) == ca_id, col(VpnCrl.number) < oldest, col(VpnCrl.der).is_not(None))
    tx.execute(old.values(der=None))
    return row
