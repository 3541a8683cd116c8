"""vpn.cas.export_easyrsa: certificates and revocations as an easy-rsa directory, made or brought up to date.

The authority's own key is never written: in a directory there is it lies there already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field
from sqlmodel import Session, col, select

from data.models import VpnCertificate, VpnClient
from data.secrets import open_sealed
from drivers import easyrsa, easyrsa_write
from drivers.easyrsa_write import Steps, Written
from drivers.pki_crl import crl_pem
from drivers.pki_types import PkiError
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.vpn import files, keys
from opsconsole.vpn.cas import ca_target
from opsconsole.vpn.easyrsa_rows import newest
from opsconsole.vpn.fields import Id
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, newest_crl, said


class ExportEasyRsa(Input):
    id: Id
    path: Annotated[str, Field(max_length=4096, description="the pki directory: one of this authority, or a new one")]
    with_keys: Annotated[bool, Field(description="write the private keys of clients that are not there yet")] = True


@dataclass(slots=True)
class Contents:
    """What is to be written, out of our records."""

    ca: CaFacts
    crl: str
    certificates: list[VpnCertificate]
    clients: dict[int, VpnClient]


def contents_of(tx: Session, ca_id: int) -> Contents:
    ca = ca_facts(tx, find_ca(tx, ca_id, "id"))
    crl = newest_crl(tx, ca.id)
    signed = select(VpnCertificate).where(VpnCertificate.ca_id == ca.id, VpnCertificate.state != "reserved")
    clients = {row.id: row for row in tx.exec(select(VpnClient).where(VpnClient.ca_id == ca.id))}
    rows = list(tx.exec(signed.order_by(col(VpnCertificate.id))).all())
    return Contents(ca, crl_pem(crl.der) if crl is not None and crl.der else "", rows, clients)


@change(
    "vpn.cas.export_easyrsa",
    summary="Write an authority's clients, certificates and revocations as a directory easy-rsa goes on using",
    permission="module.vpn.manage_vpn_ca",
    target_permission="module.vpn.export_vpn_key",
    input=ExportEasyRsa,
    kind="action",
    objects=("certificate_authority",),
)
class ExportDirectory(Change[ExportEasyRsa]):
    _contents: Contents
    _place: Path

    async def plan(self) -> Plan:
        given = self.input
        self._place = files.own_path(self.ctx.house, given.path, "writing a directory")
        self._contents = contents = await self.ctx.database.read(lambda tx: contents_of(tx, given.id))
        steps, directory = await asyncio.to_thread(self._steps, None)
        ca = contents.ca
        after: Json = {
            "written": len(steps.write),
            "moved": len(steps.move),
            "certificates": len(contents.certificates),
        }
        warnings = [] if directory is not None else [_NO_KEY]
        if not contents.crl:
            warnings.append("there is no list to write")
        where = f"the easy-rsa directory {self._place}"
        doing = f"bring {where} up to date" if directory is not None else f"write {where} anew"
        return record_plan(
            "vpn.cas.export_easyrsa",
            f"{doing} from {ca.name}",
            [ca_target(ca, {}, {"directory": str(self._place), **after})],
            given,
            undo=None,
            level=ca.level,
            warnings=warnings,
        )

    def _steps(self, key: bytes | None) -> tuple[Steps, easyrsa.Directory | None]:
        """What is to be done; without the data key for looking only."""
        with said():
            directory = self._there()
            there = {one.serial: one.where for one in directory.entries} if directory is not None else {}
            lines = (
                {one.serial: one.line.text for one in directory.entries if one.line} if directory is not None else {}
            )
            wanted = wanted_of(self._contents, lines, self._open(key) if self.input.with_keys else None, self.ctx.now())
            self._wanted = wanted
            return easyrsa_write.plan_steps(wanted, there, self._place), directory

    def _there(self) -> easyrsa.Directory | None:
        """The directory as it is, or None. Refuses one of another authority, and one that knows more than we do."""
        place = self._place
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            if not place.parent.is_dir():
                raise PkiError("path", f"there is no directory {place.parent}")
            return None
        directory = easyrsa.read_directory(place, now=self.ctx.now())
        ca = self._contents.ca
        if directory.ca.fingerprint != ca.fingerprint:
            raise PkiError("path", f"{place} belongs to {directory.ca.subject_text}, not to {ca.name}")
        known = {row.serial: row.state for row in self._contents.certificates}
        unknown = [one.serial for one in directory.entries if one.serial not in known]
        revoked = [one.serial for one in directory.entries if one.revoked_at and known.get(one.serial) == "issued"]
        if unknown or revoked:
            raise StateConflict(
                f"{place} knows {len(unknown)} certificates and {len(revoked)} revocations that are not here; "
                "take them over first: vpn.cas.import_easyrsa",
                field="path",
            )
        return directory

    def _open(self, key: bytes | None) -> Callable[[VpnCertificate], tuple[bytes, str]]:
        """Opens the key of a certificate, and the password it leaves under, at the moment it is written."""
        clients, ca_id = self._contents.clients, self._contents.ca.id

        def opened(row: VpnCertificate) -> tuple[bytes, str]:
            if key is None or row.sealed_key is None:
                raise PkiError("key", "it is not here")
            private = open_sealed(key, row.sealed_key, context=keys.key_context(ca_id, row.serial))
            client = clients.get(row.client_id or 0)
            if client is None or client.sealed_password is None:
                return private, ""
            return private, open_sealed(
                key, client.sealed_password, context=keys.password_context(client.name)
            ).decode()

        return opened

    async def execute(self, target: Target) -> Json:
        key = await keys.data_key(self.ctx.house)

        def work() -> Json:
            steps, _ = self._steps(key)
            with said():
                index = easyrsa_write.index_text(self._wanted, self.ctx.now())
                ca = self._contents.ca.cert
                easyrsa_write.apply_steps(self._place, steps, index=index, crl=self._contents.crl, ca=ca)
            return {"written": len(steps.write), "moved": len(steps.move)}

        return await asyncio.to_thread(work)

    async def verify(self, target: Target, effect: Json | None) -> Json:
        """Read the directory again: every serial is there, and nothing revoked is valid."""

        def look() -> int:
            with said():
                directory = easyrsa.read_directory(self._place, now=self.ctx.now())
            states = {one.serial: one.line.state if one.line else "?" for one in directory.entries}
            for row in self._contents.certificates:
                found = states.get(row.serial)
                if found is None or (row.state == "revoked") != (found == "revoked"):
                    raise StateConflict(f"{self._place} says {found} of {row.serial}, our records say {row.state}")
            return len(directory.odd)

        odd = await asyncio.to_thread(look)
        return {**target.after, **(effect or {}), "odd": odd}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return {"path": str(self._place), "ca_id": self._contents.ca.id, **(outcomes[0].after or {})}


_NO_KEY = "private/ca.key is not written; easy-rsa signs nothing there until the authority's key lies in its place"


def wanted_of(
    contents: Contents,
    lines: dict[str, str],
    opened: Callable[[VpnCertificate], tuple[bytes, str]] | None,
    now: datetime,
) -> list[Written]:
    """Every certificate as the directory shall know it, in the order they were signed."""
    current = {row.id for row in _current(contents.certificates, now)}
    found = []
    for row in contents.certificates:
        with_key = opened is not None and row.sealed_key is not None

        def key(row: VpnCertificate = row) -> tuple[bytes, str]:
            if opened is None:
                raise PkiError("key", "it is not wanted")
            return opened(row)

        found.append(
            Written(
                row.serial,
                row.common_name,
                row.not_after or contents.ca.not_after,
                revoked_at=row.revoked_at if row.state == "revoked" else None,
                reason=row.revoke_reason or "unspecified",
                cert=row.cert,
                current=row.id in current,
                line=lines.get(row.serial, ""),
                key=key if with_key else None,
            )
        )
    return found


def _current(rows: Sequence[VpnCertificate], now: datetime) -> list[VpnCertificate]:
    """Of each name the certificate it stands for, when it is not revoked."""
    by_name: dict[str, list[VpnCertificate]] = {}
    for row in rows:
        if row.cert is not None:
            by_name.setdefault(row.common_name, []).append(row)
    best = [newest(group, now) for group in by_name.values()]
    return [row for row in best if row.state == "issued"]
