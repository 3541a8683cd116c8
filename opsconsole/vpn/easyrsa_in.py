"""vpn.cas.import_easyrsa: an authority with all it ever signed, out of an easy-rsa directory.

Read again later, it takes only what is new: certificates issued and revocations made with easy-rsa in between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import CertificateAuthority
from data.secrets import seal
from drivers import easyrsa
from drivers.pki import Authority
from drivers.pki_read import read_certificates, read_crl
from drivers.pki_types import Crl, PkiError, Revoked, serial_text
from opsconsole.engine.audit import Entry as JournalEntry
from opsconsole.engine.errors import RequiredFieldMissing
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.fields import Text
from opsconsole.vpn import easyrsa_rows, files, keys
from opsconsole.vpn.ca_import import Brought, read_ca
from opsconsole.vpn.cas import ca_target, new_ca_target, write_ca
from opsconsole.vpn.crls import not_named, take_list
from opsconsole.vpn.fields import CaName, Email, Passphrase, Password, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, said, whole_ca_json
from opsconsole.vpn.signing import sign_list

_SHOWN = 100


class ImportEasyRsa(Input):
    path: Annotated[str, Field(max_length=4096, description="the pki directory, on the machine the console runs on")]
    email: Annotated[Email, Field(description="for clients whose certificate names none")]
    name: Annotated[CaName | None, Field(description="of the authority; empty: the name in its certificate")] = None
    environment: Text | None = None
    password: Annotated[Password | None, Field(description="opens the encrypted keys of clients, and stays theirs")] = (
        None
    )
    ca_passphrase: Annotated[
        Passphrase | None, Field(description="opens private/ca.key when it is encrypted, and stays its passphrase")
    ] = None
    without_ca_key: Annotated[bool, Field(description="leave private/ca.key where it is: an offline authority")] = False


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the directory, and what of it is new here."""

    directory: easyrsa.Directory
    brought: Brought
    crl: Crl | None
    lines: list[Revoked]
    odd: list[easyrsa.Odd]


def read(given: ImportEasyRsa, place: Path, now: datetime) -> Found:
    """Read and check all of it. Raises PkiError."""
    directory = easyrsa.read_directory(place, password=plain(given.password) or None, now=now)
    ca_key = "" if given.without_ca_key else directory.ca_key
    passphrase = plain(given.ca_passphrase)
    if "ENCRYPTED" in ca_key and not passphrase:
        raise PkiError(
            "ca_passphrase", "private/ca.key is encrypted", remedy="give its passphrase, or say without_ca_key"
        )
    brought = read_ca(directory.ca_pem, ca_key, passphrase, "", given.name)
    odd = list(directory.odd)
    if not directory.ca_key:
        odd.append(easyrsa.Odd("private/ca.key", "there is none; the authority is offline here"))
    crl, lines = _list_of(directory, odd, now)
    return Found(directory, brought, crl, lines, odd)


def _list_of(directory: easyrsa.Directory, odd: list[easyrsa.Odd], now: datetime) -> tuple[Crl | None, list[Revoked]]:
    """The list in the directory, compared with the index; a list of somebody else's is left alone."""
    if not directory.crl:
        return None, []
    try:
        crl, lines = read_crl(directory.crl.encode(), read_certificates(directory.ca_pem.encode(), "ca")[0])
    except PkiError as error:
        odd.append(easyrsa.Odd("crl.pem", error.message))
        return None, []
    if crl.next_update <= now:
        odd.append(easyrsa.Odd("crl.pem", f"it ended at {crl.next_update:%Y-%m-%d %H:%M}: every client is refused"))
    named = {serial_text(line.serial) for line in lines}
    revoked = {one.serial for one in directory.entries if one.revoked_at is not None}
    for serial in sorted(revoked - named):
        odd.append(easyrsa.Odd("crl.pem", f"it does not name {serial}, which the index says is revoked"))
    for serial in sorted(named - revoked):
        odd.append(
            easyrsa.Odd("crl.pem", f"it names {serial}, which the index does not say is revoked; it counts as so")
        )
    return crl, lines


@change(
    "vpn.cas.import_easyrsa",
    summary="Take over an easy-rsa directory: authority, clients, revocations; the plan reports what is odd",
    permission="module.vpn.manage_vpn_ca",
    input=ImportEasyRsa,
    objects=("certificate_authority",),
)
class ImportDirectory(Change[ImportEasyRsa]):
    _found: Found
    _known: CaFacts | None
    _key: bytes
    _row: CertificateAuthority | None = None
    _authority: Authority | None = None
    _taken: easyrsa_rows.Taken

    async def plan(self) -> Plan:
        given = self.input
        place = files.own_path(self.ctx.house, given.path, "reading a directory")

        def reading() -> Found:
            with said():
                return read(given, place, self.ctx.now())

        self._found = await asyncio.to_thread(reading)
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        found, given = self._found, self.input
        self._known = known = _known_ca(tx, found)
        counts = easyrsa_rows.counted(tx, found.directory, known.id if known else None)
        after: Json = {**counts, "odd": len(found.odd)}
        if known is None:
            after["key_state"] = self._state()
            target, level = new_ca_target(tx, found.brought.name, given.environment, after)
        else:
            self._check_passphrase(known)
            target, level = ca_target(known, {}, after), known.level
        shown = [f"{one.where}: {one.what}" for one in found.odd[:_SHOWN]]
        more = [f"and {len(found.odd) - _SHOWN} more that is odd"] if len(found.odd) > _SHOWN else []
        again = "again, what is new in it" if known else f"as the authority {found.brought.name}"
        return record_plan(
            "vpn.cas.import_easyrsa",
            f"take over the easy-rsa directory {found.directory.place} {again}",
            [target],
            given,
            undo=None,
            level=level,
            warnings=[*shown, *more],
        )

    def _state(self) -> str:
        if self._found.brought.private is None:
            return "offline"
        return "passphrase" if "ENCRYPTED" in self._found.directory.ca_key else "sealed"

    def _check_passphrase(self, known: CaFacts) -> None:
        if known.key_state == "passphrase" and not plain(self.input.ca_passphrase):
            reason = f"ca_passphrase is required: the key of {known.name} has a passphrase of its own"
            raise RequiredFieldMissing(reason, field="ca_passphrase")

    async def execute(self, target: Target) -> None:
        given, found, known = self.input, self._found, self._known
        self._key = await keys.data_key(self.ctx.house, create=True)
        passphrase = plain(given.ca_passphrase)
        if known is not None:
            if known.key_state != "offline":
                self._authority = await keys.open_authority(self.ctx.house, known, passphrase, self._key)
            return
        kept = passphrase if self._state() == "passphrase" else ""

        def work() -> tuple[CertificateAuthority, Authority | None]:
            return easyrsa_rows.ca_row(found.brought, self._key, kept, self._state())

        with said():
            self._row, self._authority = await asyncio.to_thread(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        found, ctx, now = self._found, self.ctx, self.ctx.now()
        known = _known_ca(tx, found)
        if known is None and self._row is not None:
            write_ca(tx, ctx, outcomes, self._row, None, self.input.environment)
            known = ca_facts(tx, tx.get_one(CertificateAuthority, int(outcomes[0].target.id)))
        if known is None:
            raise RequiredFieldMissing("the authority was removed in the meantime", field="path")
        password = plain(self.input.password)
        taker = easyrsa_rows.Taker(tx, known.id, now, ctx.caller.username, self.input.email)
        self._taken = taken = taker.take(found.directory, self._seal, self._seal_password(password))
        self._take_list(tx, known.id)
        if self._authority is not None:
            sign_list(tx, known, self._authority, now=now, why="took over an easy-rsa directory")
        announce(tx, "certificate_authority", known.id, "updated")
        outcomes[0].target = replace(outcomes[0].target, id=str(known.id))
        tx.flush()
        odd = [{"where": one.where, "what": one.what} for one in [*found.odd, *taken.odd]]
        shown = whole_ca_json(tx, tx.get_one(CertificateAuthority, known.id), now)
        return {"ca": shown, **Counter(taken.counts), "odd": odd}

    def _take_list(self, tx: Session, ca_id: int) -> None:
        """The directory's list, unless one here is newer or would be undone by it."""
        crl, lines = self._found.crl, self._found.lines
        newest = tx.get_one(CertificateAuthority, ca_id).crl_number
        number = (crl.number or newest + 1) if crl is not None else 0
        if crl is None or number <= newest:
            return
        missing, _ = not_named(tx, ca_id, {serial_text(line.serial) for line in lines})
        if missing:
            what = f"it lacks {len(missing)} revocations that an earlier list names, and is not taken"
            self._taken.odd.append(easyrsa.Odd("crl.pem", what))
            return
        take_list(tx, ca_id, crl, lines, number, self.ctx, "lay in the directory")

    def _seal(self, ca_id: int, serial: str, private: bytes) -> bytes:
        return seal(self._key, private, context=keys.key_context(ca_id, serial))

    def _seal_password(self, password: str) -> easyrsa_rows.SealPassword:
        return lambda name: (
            seal(self._key, password.encode(), context=keys.password_context(name)) if password else None
        )

    def audit_entries(self, outcomes: list[Outcome]) -> list[JournalEntry]:
        """One line per client, beside the one of the authority."""
        return [
            JournalEntry(
                operation="vpn.cas.import_easyrsa",
                actor=self.ctx.caller.username,
                result="done",
                target_kind="vpn_client",
                target_id=str(number),
                target_name=name,
                detail={"from": str(self._found.directory.place)},
            )
            for number, name in self._taken.clients
        ]


def _known_ca(tx: Session, found: Found) -> CaFacts | None:
    query = select(CertificateAuthority).where(col(CertificateAuthority.fingerprint) == found.directory.ca.fingerprint)
    row = tx.exec(query).first()
    return ca_facts(tx, row) if row is not None else None
