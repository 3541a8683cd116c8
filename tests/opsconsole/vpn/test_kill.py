"""Killed with -9 at any moment: no serial twice, no certificate without its row, no list number twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from data.models import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from drivers.pki_crl import crl_lists
from drivers.pki_read import read_certificates
from drivers.pki_types import serial_text
from opsconsole.house import House
from tests.lab.postgres import MakeUrl
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn import support

ROOT = Path(__file__).parents[3]
MOMENTS = (3, 7, 12, 16, 21, 27, 34, 41, 47, 53)


def run_child(home: Path, url: str | None, number: int, moment: int, *, after: float | None = None) -> list[str]:
    """What the child let out before it was killed (by itself, or by us after some time)."""
    words = [str(home), str(number), str(moment), *([url] if url else [])]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.opsconsole.vpn.killed", *words],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        text=True,
    )
    try:
        if after is not None:
            time.sleep(after)
            child.kill()
        out, _ = child.communicate(timeout=100)
    finally:
        child.kill()
        child.wait(30)
    lines = out.splitlines()
    assert child.returncode == -signal.SIGKILL or any(line.startswith("survived") for line in lines), child.returncode
    return lines


class Seen:
    """What has left the children so far."""

    def __init__(self) -> None:
        self.serials: list[str] = []
        self.number = 1
        self.total = 0

    def take(self, lines: Sequence[str]) -> None:
        for kind, value in (line.split() for line in lines):
            if kind == "cert":
                self.serials.append(value)
            elif kind == "survived":
                self.total = int(value)
            else:
                assert int(value) > self.number, "a list number was given twice"
                self.number = int(value)


async def whole(home: Path, url: str | None, seen: Seen) -> None:
    """Everything there is hangs together."""
    bench = Bench(House.open(home, url))
    try:
        await bench.house.sweep(force=True)
        root = await bench.caller("root")
        assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"
        assert (await bench.call(root, "runs.list", {"state": "running"}))["count"] == 0

        def look(tx: Session) -> None:
            rows = {row.serial: row for row in tx.exec(select(VpnCertificate))}
            assert len(seen.serials) == len(set(seen.serials))
            for serial in seen.serials:
                assert rows[serial].state != "reserved"
            for path in (home / "out").glob("*.pem"):
                cert = read_certificates(path.read_bytes())[0]
                assert rows[serial_text(cert.serial_number)].cert is not None
            for row in rows.values():
                assert (row.cert is None) == (row.state == "reserved") == (row.client_id is None)
            for client in tx.exec(select(VpnClient)):
                assert rows[client.serial].client_id == client.id
                assert not client.revoked or rows[client.serial].state == "revoked"
            _lists(tx, rows, seen)

        await bench.database.read(look)
    finally:
        bench.database.close()


def _lists(tx: Session, rows: dict[str, VpnCertificate], seen: Seen) -> None:
    """Numbers only grow, and the newest list names exactly what is revoked."""
    lists = tx.exec(select(VpnCrl).order_by(col(VpnCrl.id))).all()
    numbers = [one.number for one in lists]
    assert numbers == list(range(1, len(numbers) + 1))
    assert tx.exec(select(CertificateAuthority)).one().crl_number == numbers[-1] >= seen.number
    seen.number = numbers[-1]
    newest, revoked = lists[-1], [row for row in rows.values() if row.state == "revoked"]
    assert newest.der is not None
    assert newest.entries == len(revoked)
    for row in revoked:
        assert crl_lists(newest.der, int(row.serial, 16))
        assert row.crl_number is not None


async def prepared(home: Path, url: str | None) -> Seen:
    bench = Bench(House.open(home, url))
    root = await bench.user("root", admin=True)
    await support.ca(bench, root)
    bench.database.close()
    return Seen()


@pytest.mark.timeout(400)
async def test_killed_at_ten_moments(make_url: MakeUrl, tmp_path: Path) -> None:
    url = make_url()
    seen = await prepared(tmp_path, url)
    for number, moment in enumerate(MOMENTS):
        seen.take(run_child(tmp_path, url, number, moment))
        await whole(tmp_path, url, seen)
    # One that is left in peace gets to its end on what all of them left behind.
    seen.take(run_child(tmp_path, url, len(MOMENTS), 0))
    assert seen.total > MOMENTS[-1]
    await whole(tmp_path, url, seen)


@pytest.mark.soak
async def test_killed_a_hundred_times(make_url: MakeUrl, tmp_path: Path) -> None:
    url = make_url()
    seen = await prepared(tmp_path, url)
    seen.take(run_child(tmp_path, url, 0, 0))
    started = time.monotonic()
    seen.take(run_child(tmp_path, url, 1, 0))
    usual = time.monotonic() - started
    for number, moment in enumerate(range(1, seen.total + 1), start=2):
        seen.take(run_child(tmp_path, url, number, moment))
        await whole(tmp_path, url, seen)
    for number in range(1000, 1100):
        seen.take(run_child(tmp_path, url, number, 0, after=random.uniform(usual * 0.3, usual * 1.1)))
        await whole(tmp_path, url, seen)
