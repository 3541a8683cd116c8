"""vpn.clients.export: the key leaves the house, under the client's password, into a private file or the answer.

Every export is in the journal. What is answered is not kept with the run: keys are blanked out there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr
from sqlmodel import Session, col, select

from data.models import VpnCertificate, VpnClient
from data.secrets import open_sealed
from drivers import pki_files
from opsconsole.engine.errors import EmptyList, InvalidParameter, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.lookup import LEVELS
from opsconsole.vpn import files, keys
from opsconsole.vpn.clients import client_target
from opsconsole.vpn.fields import Id, Password, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, find_client, said

Format = Literal["pem", "ovpn", "pkcs12"]
_SUFFIX = {"pem": ".pem", "ovpn": ".ovpn", "pkcs12": ".p12"}
_STATIC: Any = {"secret": True}


class _Export(Input):
    """`remote` is HOST [PORT [PROTOCOL]], for ovpn; `static_key` the text of the tls-crypt or tls-auth key file."""

    format: Annotated[Format, Field(description="pem: key, certificate, chain; ovpn: one file; pkcs12: one file")] = (
        "pem"
    )
    remote: Annotated[list[str], Field(max_length=64, description="HOST [PORT [PROTOCOL]], tried in turn (ovpn)")] = []
    static_key: Annotated[
        SecretStr | None,
        Field(max_length=20_000, description="text of the tls-crypt or tls-auth key (ovpn)", json_schema_extra=_STATIC),
    ] = None
    static_key_use: Literal["tls-crypt", "tls-auth", "tls-crypt-v2"] = "tls-crypt"
    server_name: Annotated[str, Field(max_length=64, description="insist on this name of the server (ovpn)")] = ""
    password: Annotated[Password | None, Field(description="for this export; empty: that of the client")] = None


class ExportClient(_Export):
    id: Id
    path: Annotated[str | None, Field(max_length=4096, description="a new file, readable by you alone")] = None
    replace: Annotated[bool, Field(description="write over a file that is there")] = False


class ExportMany(_Export):
    items: Annotated[list[Id], Field(min_length=1, max_length=100_000, description="ids of clients")]
    directory: Annotated[str, Field(max_length=4096, description="one file NAME.SUFFIX each, readable by you alone")]
    replace: Annotated[bool, Field(description="write over files that are there")] = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one export is made of, still sealed."""

    client_id: int
    name: str
    serial: str
    ca: CaFacts
    cert: bytes
    sealed_key: bytes = field(repr=False)
    sealed_password: bytes | None = field(repr=False)


def bundle_of(tx: Session, row: VpnClient, certificate: VpnCertificate | None, ca: CaFacts) -> Bundle:
    """Refuses what could not connect anyway, and what has no key here."""
    if row.revoked:
        raise StateConflict(f"{row.name} is revoked; nobody can connect with it", field="id")
    if certificate is None or certificate.cert is None or certificate.sealed_key is None:
        raise StateConflict(f"the private key of {row.name} is not here; vpn.clients.renew makes a new one", field="id")
    return Bundle(row.id, row.name, row.serial, ca, certificate.cert, certificate.sealed_key, row.sealed_password)


def profile_of(given: _Export) -> pki_files.Profile:
    """What the file says beside key and certificate; only an ovpn says anything. Raises for what cannot stand there."""
    asked = {
        "remote": bool(given.remote),
        "static_key": bool(plain(given.static_key)),
        "server_name": bool(given.server_name),
    }
    if given.format != "ovpn":
        for name, there in asked.items():
            if there:
                raise InvalidParameter(field=name, reason="only with the format ovpn")
        return pki_files.Profile(())
    with said():
        if not given.remote:
            raise EmptyList(
                "remote: an .ovpn file needs a server to connect to; name one: HOST [PORT [PROTOCOL]]", field="remote"
            )
        static = pki_files.static_key(plain(given.static_key)) if asked["static_key"] else ""
        remotes = tuple(pki_files.remote_of(one) for one in given.remote)
        return pki_files.Profile(
            remotes, static_key=static, static_key_use=given.static_key_use, server_name=given.server_name
        )


def build(one: Bundle, given: _Export, profile: pki_files.Profile, key: bytes) -> tuple[Json, bytes]:
    """The parts as they are answered, and the bytes of the one file they make."""
    private = open_sealed(key, one.sealed_key, context=keys.key_context(one.ca.id, one.serial))
    password = plain(given.password)
    if not password and one.sealed_password is not None:
        password = open_sealed(key, one.sealed_password, context=keys.password_context(one.name)).decode()
    chain = one.ca.whole_chain
    with said():
        if given.format == "pkcs12":
            packed = pki_files.pkcs12_bundle(one.name, one.cert, private, chain, password)
            return {"pkcs12": base64.b64encode(packed).decode()}, packed
        if given.format == "ovpn":
            text = pki_files.ovpn(profile, one.cert, private, chain, password or None)
            return {"ovpn": text}, text.encode()
        parts = {"cert": pki_files.cert_pem(one.cert), "key": pki_files.key_pem(private, password or None)}
        return {**parts, "ca_chain": chain}, (parts["key"] + parts["cert"] + chain).encode()


def _target(one: Bundle, row: VpnClient, where: str, format_: str, now: datetime) -> Target:
    after: Json = {"exported": one.serial, "format": format_, "to": where}
    over = ("it has expired; nobody can connect with it",) if row.expiry_date <= now else ()
    return client_target(one.ca, row, {}, after, over)


@change(
    "vpn.clients.export",
    summary="Export certificate, key and CA chain of a client (optional)",
    permission="module.vpn.view_vpn_client",
    target_permission="module.vpn.export_vpn_key",
    input=ExportClient,
    kind="action",
    objects=("vpn_client",),
)
class Export(Change[ExportClient]):
    _bundle: Bundle
    _profile: pki_files.Profile
    _answer: Json

    async def plan(self) -> Plan:
        given = self.input
        self._profile = profile_of(given)
        place = files.own_path(self.ctx.house, given.path, "writing a file") if given.path is not None else None
        if place is not None:
            await asyncio.to_thread(files.check_writable, place, replace=given.replace)
        where = str(place) if place else "the answer"

        def work(tx: Session) -> Plan:
            row = find_client(tx, given.id)
            ca = ca_facts(tx, find_ca(tx, row.ca_id))
            self._bundle = one = bundle_of(tx, row, tx.get(VpnCertificate, row.certificate_id), ca)
            self._check_password(row)
            target = _target(one, row, where, given.format, self.ctx.now())
            summary = f"export the private key of {row.name} as {given.format} to {where}"
            return record_plan("vpn.clients.export", summary, [target], given, undo=None, level=ca.level)

        return await self.ctx.database.read(work)

    def _check_password(self, row: VpnClient) -> None:
        if self.input.format == "pkcs12" and row.sealed_password is None and not plain(self.input.password):
            reason = f"a PKCS#12 file needs one, and {row.name} has none; give one for this export"
            raise InvalidParameter(field="password", reason=reason)

    async def execute(self, target: Target) -> Json:
        given, one = self.input, self._bundle
        key = await keys.data_key(self.ctx.house)

        def work() -> Json:
            parts, data = build(one, given, self._profile, key)
            facts: Json = {"id": one.client_id, "name": one.name, "format": given.format, "serial": one.serial}
            if given.path is None:
                self._answer = facts | parts
                return {"exported": one.serial}
            place = files.own_path(self.ctx.house, given.path, "writing a file")
            files.write_private(place, data, replace=given.replace)
            digest = hashlib.sha256(data).hexdigest()
            self._answer = facts | {"path": str(place), "size": len(data), "sha256": digest}
            return {"exported": one.serial, "path": str(place), "sha256": digest}

        return await asyncio.to_thread(work)

    async def verify(self, target: Target, effect: Json | None) -> Json:
        """What lies on the disk is what was written."""
        effect = effect or {}
        if "path" in effect:
            await asyncio.to_thread(_check_file, Path(effect["path"]), str(effect["sha256"]))
        return {**target.after, **effect}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return self._answer


def _check_file(place: Path, digest: str) -> None:
    if hashlib.sha256(place.read_bytes()).hexdigest() != digest or place.stat().st_mode & 0o077:
        raise StateConflict(f"{place} is not what was written, or others may read it; delete it and look why")


@change(
    "vpn.clients.export_many",
    summary="Export the keys of several VPN clients, one private file each",
    permission="module.vpn.view_vpn_client",
    target_permission="module.vpn.export_vpn_key",
    input=ExportMany,
    kind="action",
    bulk=True,
    objects=("vpn_client",),
)
class ExportSeveral(Change[ExportMany]):
    concurrency = 200
    _bundles: dict[str, Bundle]
    _profile: pki_files.Profile
    _place: Path
    _key: bytes | None = None

    async def plan(self) -> Plan:
        given = self.input
        self._profile = profile_of(given)
        self._place = files.own_path(self.ctx.house, given.directory, "writing files")
        if not await asyncio.to_thread(self._place.is_dir):
            raise InvalidParameter(field="directory", reason=f"there is no directory {self._place}")
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        rows = _clients(tx, given.items)
        certificates = _certificates(tx, [row.certificate_id or 0 for row in rows])
        cas = {ca_id: ca_facts(tx, find_ca(tx, ca_id)) for ca_id in sorted({row.ca_id for row in rows})}
        self._bundles = {}
        targets: list[Target] = []
        for row in rows:
            one = bundle_of(tx, row, certificates.get(row.certificate_id or 0), cas[row.ca_id])
            if given.format == "pkcs12" and row.sealed_password is None and not plain(given.password):
                raise InvalidParameter(field="password", reason=f"a PKCS#12 file needs one, and {row.name} has none")
            place = self._path(row.name)
            files.check_writable(place, replace=given.replace)
            self._bundles[str(row.id)] = one
            targets.append(_target(one, row, str(place), given.format, self.ctx.now()))
        level = max((ca.level for ca in cas.values()), key=LEVELS.__getitem__)
        summary = f"export {len(targets)} private keys as {given.format} into {self._place}"
        return record_plan("vpn.clients.export_many", summary, targets, given, undo=None, level=level)

    def _path(self, name: str) -> Path:
        return self._place / f"{name}{_SUFFIX[self.input.format]}"

    async def execute(self, target: Target) -> Json:
        if self._key is None:
            self._key = await keys.data_key(self.ctx.house)
        return await asyncio.to_thread(self._write, self._bundles[target.id], self._key)

    def _write(self, one: Bundle, key: bytes) -> Json:
        _, data = build(one, self.input, self._profile, key)
        place = self._path(one.name)
        files.write_private(place, data, replace=self.input.replace)
        digest = hashlib.sha256(data).hexdigest()
        _check_file(place, digest)
        return {"path": str(place), "sha256": digest}

    async def verify(self, target: Target, effect: Json | None) -> Json:
        return {**target.after, **(effect or {})}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return {}


def _clients(tx: Session, ids: list[int]) -> list[VpnClient]:
    wanted = list(dict.fromkeys(ids))
    found: dict[int, VpnClient] = {}
    for start in range(0, len(wanted), 500):
        rows = tx.exec(select(VpnClient).where(col(VpnClient.id).in_(wanted[start : start + 500])))
        found.update({row.id: row for row in rows})
    return [found.get(number) or find_client(tx, number, "items") for number in wanted]


def _certificates(tx: Session, ids: list[int]) -> dict[int, VpnCertificate]:
    found: dict[int, VpnCertificate] = {}
    for start in range(0, len(ids), 500):
        rows = tx.exec(select(VpnCertificate).where(col(VpnCertificate.id).in_(ids[start : start + 500])))
        found.update({row.id: row for row in rows})
    return found
