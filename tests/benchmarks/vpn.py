"""Certificates beside easy-rsa and openssl: client bundles, revocation lists, and the list of many clients."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session

from data.models import VpnCertificate, VpnClient
from drivers.pki import new_serial
from drivers.pki_crl import crl_entry
from drivers.pki_types import serial_text
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from opsconsole.house import House
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, compare, stopwatch
from tests.lab.packages import ensure

PROGRAM = "/usr/share/easy-rsa/easyrsa"
_BUNDLES, _THEIRS = 200, 5
_REVOKED = 100_000
_CLIENTS = 100_000
_CHUNK = 5000


class _Ours:
    """A house with an authority, worked on in this process."""

    def __init__(self, home: Path, runner: asyncio.Runner) -> None:
        self.runner, self.house = runner, places.console(home)
        self.ctx: Context = runner.run(places.context(self.house))
        self.ca = self.call("vpn.cas.create", {"name": "Bench"})["id"]

    def call(self, operation: str, data: dict[str, Any], confirm: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.runner.run(
            dispatch.call(self.ctx, operation, data, Consent(confirm, "benchmark"))
        )
        return answer

    def close(self) -> None:
        self.runner.run(self.house.close())


def _easyrsa(pki: Path, *words: str) -> None:
    environment = os.environ | {
        "EASYRSA_BATCH": "1", "EASYRSA_PKI": str(pki), "EASYRSA_ALGO": "ec", "EASYRSA_CURVE": "prime256v1",
    }  # fmt: skip
    subprocess.run([PROGRAM, *words], env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def bundles(home: Path, rounds: int) -> Table:
    """Key, certificate, row, journal line and a synced private file for each of many clients."""
    ensure(("easy-rsa", "openssl"))
    pki = home / "pki"
    _easyrsa(pki, "init-pki")
    _easyrsa(pki, "build-ca", "nopass")
    out = home / "out"
    out.mkdir()
    numbers = count()
    with asyncio.Runner() as runner:
        ours = _Ours(home, runner)
        try:
            sides: dict[str, Work] = {
                "opsconsole": lambda: _our_bundles(ours, out, next(numbers)),
                "easy-rsa build-client-full": lambda: _their_bundles(pki, next(numbers)),
            }
            pairs = [Pair("opsconsole", "easy-rsa build-client-full", goal=0.05)]
            note = (
                f"Time of one bundle, EC P-256. Ours: {_BUNDLES} at a time in a running program, each with its row,\n"
                "two journal lines (made, exported) and an fsynced 0600 .ovpn file. easy-rsa: one process each."
            )
            return compare("vpn bundles", note, sides, pairs, rounds=rounds)
        finally:
            ours.close()


def _our_bundles(ours: _Ours, out: Path, number: int) -> Sample:
    lines = "name,email\n" + "".join(f"r{number}-{n},a@b.example\n" for n in range(_BUNDLES))
    taken: list[Sample] = []
    with stopwatch(taken):
        made = ours.call("vpn.clients.create_many", {"ca_id": ours.ca, "content": lines}, str(_BUNDLES))
        ids = [one["id"] for one in made["clients"]]
        given = {"items": ids, "directory": str(out), "format": "ovpn", "remote": ["vpn.example"]}
        ours.call("vpn.clients.export_many", given, str(_BUNDLES))
    if len(list(out.glob(f"r{number}-*.ovpn"))) != _BUNDLES:
        raise RuntimeError("a bundle is missing")
    return Sample(taken[0].wall / _BUNDLES, (taken[0].cpu or 0.0) / _BUNDLES)


def _their_bundles(pki: Path, number: int) -> Sample:
    taken: list[Sample] = []
    with stopwatch(taken):
        for n in range(_THEIRS):
            _easyrsa(pki, "build-client-full", f"t{number}-{n}", "nopass")
    return Sample(taken[0].wall / _THEIRS, None)


def crl(home: Path, rounds: int) -> Table:
    """A new list with very many entries."""
    ensure(("easy-rsa", "openssl"))
    pki = home / "pki"
    _easyrsa(pki, "init-pki")
    _easyrsa(pki, "build-ca", "nopass")
    at = datetime.now(UTC) - timedelta(days=1)
    serials = [new_serial() for _ in range(_REVOKED)]
    lines = [f"R\t360101000000Z\t{at:%y%m%d%H%M%S}Z\t{serial_text(n)}\tunknown\t/CN=x\n" for n in serials]
    (pki / "index.txt").write_text("".join(lines))
    with asyncio.Runner() as runner:
        ours = _Ours(home, runner)
        try:
            runner.run(_revoked(ours.house, int(ours.ca), serials, at))
            sides: dict[str, Work] = {
                "opsconsole": lambda: _our_list(ours, home / "crl.pem"),
                "openssl ca -gencrl": lambda: _their_list(pki),
            }
            pairs = [Pair("opsconsole", "openssl ca -gencrl", goal=0.9)]
            note = (
                f"{_REVOKED} entries. Ours in a running program: vpn.crls.sign with its run, row and journal line,\n"
                "then the list as a PEM file. openssl: one process over easy-rsa's index."
            )
            return compare("vpn crl", note, sides, pairs, rounds=rounds)
        finally:
            ours.close()


async def _revoked(house: House, ca_id: int, serials: list[int], at: datetime) -> None:
    """Rows of certificates that were revoked, as `mark_revoked` leaves them."""
    for start in range(0, len(serials), _CHUNK):
        rows = [
            {
                "ca_id": ca_id, "serial": serial_text(n), "state": "revoked", "usage": "client", "common_name": "x",
                "subject": "CN=x", "key_type": "", "revoked_at": at, "revoked_by": "x", "revoke_reason": "unspecified",
                "crl_entry": crl_entry(n, at), "crl_number": 1, "created_at": at,
            }
            for n in serials[start : start + _CHUNK]
        ]  # fmt: skip
        await house.database.write(lambda tx, rows=rows: tx.connection().execute(insert(VpnCertificate), rows))  # type: ignore[misc]


def _our_list(ours: _Ours, path: Path) -> Sample:
    taken: list[Sample] = []
    with stopwatch(taken):
        made = ours.call("vpn.crls.sign", {"ca_id": ours.ca})
        path.write_text(str(ours.call("vpn.crls.get", {"ca_id": ours.ca})["crl"]))
    if made["entries"] != _REVOKED:
        raise RuntimeError(f"not the list that was to come: {made['entries']} entries")
    return taken[0]


def _their_list(pki: Path) -> Sample:
    config = pki / "openssl-easyrsa.cnf"
    environment = os.environ | {"EASYRSA_PKI": str(pki), "EASYRSA_CRL_DAYS": "30", "EASYRSA_DIGEST": "sha256"}
    for name in ("REQ_COUNTRY", "REQ_PROVINCE", "REQ_CITY", "REQ_ORG", "REQ_OU", "REQ_EMAIL", "REQ_SERIAL", "REQ_CN"):
        environment[f"EASYRSA_{name}"] = "x"
    environment |= {"EASYRSA_CERT_EXPIRE": "825", "EASYRSA_KEY_SIZE": "2048", "EASYRSA_DN": "cn_only"}
    taken: list[Sample] = []
    with stopwatch(taken):
        argv = ["openssl", "ca", "-config", str(config), "-gencrl", "-out", str(pki / "crl.pem")]
        subprocess.run(argv, env=environment, check=True, capture_output=True)
    if (pki / "crl.pem").stat().st_size < 40 * _REVOKED:
        raise RuntimeError("not the list that was to come")
    return Sample(taken[0].wall, None)


def clients(home: Path, rounds: int) -> Table:
    """What the screen asks for over very many clients: its first rows, and all of them."""
    with asyncio.Runner() as runner:
        ours = _Ours(home, runner)
        runner.run(_many_clients(ours.house, int(ours.ca)))
        raw = sqlite3.connect(f"file:{home / 'console' / 'opsconsole.db'}?mode=ro", uri=True)
        try:
            sides: dict[str, Work] = {
                "sqlite3, 200 rows": lambda: _raw(raw, 200),
                "first 200 rows": lambda: _pages(ours, 200, 200),
                "sqlite3, all rows": lambda: _raw(raw, _CLIENTS),
                "all rows, 2000 at a time": lambda: _pages(ours, 2000, _CLIENTS),
            }
            pairs = [Pair("first 200 rows", "sqlite3, 200 rows"), Pair("all rows, 2000 at a time", "sqlite3, all rows")]
            note = f"vpn.clients.list in a running program, {_CLIENTS} clients, as the VPN screen reads them."
            return compare("vpn clients", note, sides, pairs, rounds=rounds)
        finally:
            raw.close()
            ours.close()


async def _many_clients(house: House, ca_id: int) -> None:
    now = datetime.now(UTC)

    def work(tx: Session, start: int) -> None:
        rows = [
            {
                "ca_id": ca_id, "name": f"branch-{n:06}", "email": f"ops{n}@example.org", "description": "",
                "country": "BR", "province": "", "city": "Rio", "organization": f"Empresa {n % 97}", "sector": "",
                "serial": f"{n:032X}", "expiry_date": now + timedelta(days=n % 4000), "revoked": n % 50 == 0,
                "created_at": now, "updated_at": now,
            }
            for n in range(start, start + _CHUNK)
        ]  # fmt: skip
        tx.connection().execute(insert(VpnClient), rows)

    for start in range(0, _CLIENTS, _CHUNK):
        await house.database.write(lambda tx, start=start: work(tx, start))  # type: ignore[misc]


def _raw(raw: sqlite3.Connection, rows: int) -> Sample:
    taken: list[Sample] = []
    with stopwatch(taken):
        found = raw.execute("select * from vpn_client order by id limit ?", (rows,)).fetchall()
    if len(found) != rows:
        raise RuntimeError("rows are missing")
    return taken[0]


def _pages(ours: _Ours, size: int, rows: int) -> Sample:
    taken: list[Sample] = []
    found, cursor = 0, 0
    with stopwatch(taken):
        while found < rows:
            page = ours.call("vpn.clients.list", {"cursor": cursor, "size": size})
            found += len(page["clients"])
            cursor = page["cursor"]["next"] or 0
    return taken[0]
