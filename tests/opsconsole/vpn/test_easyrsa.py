"""A directory made by the real easy-rsa goes in, is worked on, and goes back; easy-rsa and openssl go on with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import opsconsole.vpn.easyrsa_in
import opsconsole.vpn.easyrsa_out  # noqa: F401
from drivers import easyrsa, easyrsa_write
from drivers.pki_files import cert_pem
from drivers.pki_types import PkiError
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    InvalidParameter,
    NotSupported,
    PermissionDenied,
    StateConflict,
    VpnCaKeyMissing,
)
from tests.lab.packages import LabMissing, ensure
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import Outside, ca, client, contents, counts, newest_crl, openssl, revoke

PROGRAM = "/usr/share/easy-rsa/easyrsa"
LATER = timedelta(days=2)
EMAIL = "ops@x.example"


class EasyRsa:
    """The program, over one directory."""

    def __init__(self, pki: Path) -> None:
        self.pki = pki

    def __call__(self, *words: str, **more: str) -> str:
        environment = os.environ | {
            "EASYRSA_BATCH": "1", "EASYRSA_PKI": str(self.pki), "EASYRSA_ALGO": "ec", "EASYRSA_CURVE": "prime256v1",
            "EASYRSA_CERT_RENEW": "9999", **more,
        }  # fmt: skip
        done = subprocess.run(
            [PROGRAM, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-800:]}{done.stderr[-800:]}"
        return done.stdout

    def crl(self) -> str:
        """A list signed by easy-rsa itself, in words."""
        self("gen-crl")
        return openssl("crl", "-in", str(self.pki / "crl.pem"), "-noout", "-text")

    def index(self) -> dict[str, str]:
        """State by serial."""
        lines = (self.pki / "index.txt").read_text().splitlines()
        return {line.split("\t")[3]: line[0] for line in lines}

    def verify(self, cert: str) -> str:
        """openssl's word, two days on, about a certificate and the list that lies there."""
        (self.pki / "looked-at.pem").write_text(cert)
        files = ["-CAfile", str(self.pki / "ca.crt"), "-CRLfile", str(self.pki / "crl.pem")]
        at = str(int((datetime.now(UTC) + LATER).timestamp()) + 60)
        said = openssl("verify", "-attime", at, "-crl_check", *files, str(self.pki / "looked-at.pem"))
        return "OK" if said.strip().endswith(": OK") else said


@pytest.fixture(scope="session")
def made_by_easyrsa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Issued, expired (in two days), revoked and renewed certificates, and a name no client can have."""
    try:
        ensure(("easy-rsa", "openssl"))
    except LabMissing as reason:
        pytest.skip(str(reason))
    pki = tmp_path_factory.mktemp("easyrsa") / "pki"
    run = EasyRsa(pki)
    run("init-pki")
    run("build-ca", "nopass", EASYRSA_REQ_CN="Old CA")
    run("build-server-full", "server", "nopass")
    for name in ("branch-1", "branch-2", "gone", "renewed", "twice", "under_score"):
        run("build-client-full", name, "nopass")
    run("build-client-full", "short", "nopass", EASYRSA_CERT_EXPIRE="1")
    run("revoke", "gone", "keyCompromise")
    run("renew", "renewed", "nopass")
    run("renew", "twice", "nopass")
    run("revoke-renewed", "twice", "superseded")
    run("gen-crl")
    return pki


@pytest.fixture
def old(made_by_easyrsa: Path, tmp_path: Path) -> EasyRsa:
    """A copy for one test."""
    shutil.copytree(made_by_easyrsa, tmp_path / "pki", symlinks=True)
    return EasyRsa(tmp_path / "pki")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Two days on, when one certificate is over."""
    at = datetime.now(UTC) + LATER
    monkeypatch.setattr(Context, "now", lambda self: at)
    return at


async def take(bench: Bench, root: Any, pki: Path, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = await bench.call(root, "vpn.cas.import_easyrsa", {"path": str(pki), "email": EMAIL, **more})
    return found


async def by_name(bench: Bench, root: Any) -> dict[str, dict[str, Any]]:
    page = await bench.call(root, "vpn.clients.list", {"size": 100})
    return {one["name"]: one for one in page["clients"]}


async def test_in_one_revoked_and_back(bench: Bench, old: EasyRsa, later: datetime) -> None:
    root = await bench.user("root", admin=True)
    before = old.index()
    report = await take(bench, root, old.pki)
    assert (report["ca"]["name"], report["ca"]["key_state"]) == ("Old CA", "sealed")
    assert (report["certificates"], report["clients"], report["servers"], report["revoked"]) == (10, 6, 1, 2)
    odd = [f"{one['where']}: {one['what']}" for one in report["odd"]]
    assert any("short expired at" in line for line in odd)
    assert any("'under_score' cannot be the name of a client" in line for line in odd)
    assert any("renewed: 2 certificates of this name are not revoked" in line for line in odd)
    assert len(odd) == 3
    clients = await by_name(bench, root)
    assert {name: one["status"] for name, one in clients.items()} == {
        "branch-1": "valid", "branch-2": "valid", "gone": "revoked", "renewed": "valid", "twice": "valid",
        "short": "expired",
    }  # fmt: skip
    assert clients["gone"]["revoked_date"] is not None
    shown = await bench.call(root, "vpn.clients.get", {"id": clients["twice"]["id"]})
    assert [one["revoke_reason"] for one in shown["certificates"] if one["status"] == "revoked"] == ["superseded"]
    crl = await newest_crl(bench, root, report["ca"]["id"])
    assert crl["entries"] == 2

    exported = await bench.call(root, "vpn.clients.export", {"id": clients["branch-1"]["id"]})
    assert old.verify(exported["cert"]) == "OK"
    await revoke(bench, root, clients["branch-1"], crl_reason="cessation_of_operation")
    fresh = await client(bench, root, report["ca"]["id"], "fresh")
    await bench.call(root, "vpn.clients.renew", {"id": clients["branch-2"]["id"]})

    given = {"id": report["ca"]["id"], "path": str(old.pki)}
    written = await bench.call(root, "vpn.cas.export_easyrsa", given)
    assert written["certificates"] == 12
    after = old.index()
    assert {serial: state for serial, state in after.items() if serial in before and state != before[serial]} == {
        clients["branch-1"]["serial"]: "R"
    }
    assert len(after) == 12
    assert "revoked" in old.verify(exported["cert"])
    assert not (old.pki / "issued/branch-1.crt").exists()
    assert (old.pki / f"revoked/private_by_serial/{clients['branch-1']['serial']}.key").stat().st_mode & 0o77 == 0
    said = old.crl()
    assert said.count("Serial Number:") == 3
    assert "Cessation Of Operation" in said
    assert "revoked" in old.verify(exported["cert"])
    new = await bench.call(root, "vpn.clients.export", {"id": fresh["id"]})
    assert old.verify(new["cert"]) == "OK"
    assert len((old.pki / "index.txt").read_text().splitlines()) == 12

    old("revoke", "fresh")
    old("build-client-full", "later-one", "nopass")
    assert (old.pki / "renewed/issued/branch-2.crt").exists()
    old("revoke-renewed", "branch-2", "superseded")
    assert old.crl().count("Serial Number:") == 5
    assert "revoked" in old.verify(new["cert"])
    with pytest.raises(StateConflict, match="1 certificates and 2 revocations that are not here"):
        await bench.call(root, "vpn.cas.export_easyrsa", given)
    again = await take(bench, root, old.pki)
    assert (again["certificates"], again["clients"], again["revoked"]) == (1, 1, 2)
    assert (await by_name(bench, root))["fresh"]["revoked"] is True
    assert (await newest_crl(bench, root, report["ca"]["id"]))["entries"] == 5
    await bench.call(root, "vpn.cas.export_easyrsa", given)
    nothing = await bench.plan(root, "vpn.cas.export_easyrsa", given)
    assert (nothing["targets"][0]["after"]["written"], nothing["targets"][0]["after"]["moved"]) == (0, 0)
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"
    entries = [str(row.target_name) for row in await bench.journal() if row.operation == "vpn.cas.import_easyrsa"]
    assert sorted(entries[:7]) == sorted(["Old CA", *clients])


async def test_a_directory_made_anew_works_once_the_key_is_there(
    small_bench: Bench, old: EasyRsa, tmp_path: Path
) -> None:
    root = await small_bench.user("root", admin=True)
    report = await take(small_bench, root, old.pki)
    await client(small_bench, root, report["ca"]["id"], "locked", password="secret-pw")
    made = EasyRsa(tmp_path / "new")
    plan = await small_bench.plan(root, "vpn.cas.export_easyrsa", {"id": report["ca"]["id"], "path": str(made.pki)})
    assert any(r"private/ca.key is not written" in line for line in plan["warnings"])
    await small_bench.call(root, "vpn.cas.export_easyrsa", {"id": report["ca"]["id"], "path": str(made.pki)})
    assert "ENCRYPTED" in (made.pki / "private/locked.key").read_text()
    assert b"BEGIN CERTIFICATE REQUEST" in contents(made.pki / "reqs", "locked.req")
    shutil.copy(old.pki / "private/ca.key", made.pki / "private/ca.key")
    for name in ("openssl-easyrsa.cnf", "safessl-easyrsa.cnf", "vars"):
        if (old.pki / name).exists():
            shutil.copy(old.pki / name, made.pki / name)
    assert made.crl().count("Serial Number:") == 2
    made("revoke", "locked")
    made("build-client-full", "after", "nopass")
    assert made.crl().count("Serial Number:") == 3
    second = await take(small_bench, root, made.pki)
    assert (second["certificates"], second["revoked"]) == (1, 1)


async def test_keys_under_passwords(small_bench: Bench, old: EasyRsa) -> None:
    root = await small_bench.user("root", admin=True)
    for name in ("private/branch-1.key", "private/ca.key"):
        secret = "ca-secret" if "ca.key" in name else "client-secret"
        openssl("pkcs8", "-topk8", "-in", str(old.pki / name), "-out", str(old.pki / "x"), "-passout", f"pass:{secret}")
        (old.pki / "x").replace(old.pki / name)
    before = await counts(small_bench)
    with pytest.raises(InvalidParameter) as error:
        await take(small_bench, root, old.pki)
    assert error.value.field == "ca_passphrase"
    with pytest.raises(InvalidParameter, match="does not open"):
        await take(small_bench, root, old.pki, ca_passphrase="wrong")
    assert await counts(small_bench) == before
    report = await take(small_bench, root, old.pki, ca_passphrase="ca-secret", password="client-secret")
    assert report["ca"]["key_state"] == "passphrase"
    clients = await by_name(small_bench, root)
    exported = await small_bench.call(root, "vpn.clients.export", {"id": clients["branch-1"]["id"]})
    assert "ENCRYPTED" in exported["key"]
    open_one = await small_bench.call(root, "vpn.clients.export", {"id": clients["branch-2"]["id"]})
    assert "ENCRYPTED" not in open_one["key"]


async def test_without_its_key_or_with_keys_that_stay_closed(small_bench: Bench, old: EasyRsa) -> None:
    root = await small_bench.user("root", admin=True)
    key = old.pki / "private/branch-2.key"
    openssl("pkcs8", "-topk8", "-in", str(key), "-out", str(old.pki / "x"), "-passout", "pass:mine")
    (old.pki / "x").replace(key)
    report = await take(small_bench, root, old.pki, without_ca_key=True)
    assert report["ca"]["key_state"] == "offline"
    assert any("the key stays here: the private key is encrypted" in one["what"] for one in report["odd"])
    assert report["ca"]["crl_status"]["entries"] == 2
    with pytest.raises(VpnCaKeyMissing):
        await client(small_bench, root, report["ca"]["id"], "x")
    clients = await by_name(small_bench, root)
    with pytest.raises(StateConflict, match="is not here"):
        await small_bench.call(root, "vpn.clients.export", {"id": clients["branch-2"]["id"]})


async def test_a_directory_in_disorder_is_reported_line_by_line(small_bench: Bench, old: EasyRsa) -> None:
    root = await small_bench.user("root", admin=True)
    foreign = Outside("Foreign")
    (old.pki / "issued/foreign.crt").write_text(cert_pem(foreign.issue("foreign").cert))
    (old.pki / "issued/broken.crt").write_text("-----BEGIN CERTIFICATE-----\nabc\n")
    index = old.pki / "index.txt"
    lines = index.read_text().splitlines()
    gone = next(line for line in lines if line.startswith("R"))
    kept = [line for line in lines if "/CN=branch-1" not in line and line != gone]
    damaged = [
        *kept, gone.replace(gone.split("\t")[2], "garbage"), kept[0], "nonsense",
        "V\t400101000000Z\t\t0ABC\tunknown\t/CN=lost",
    ]  # fmt: skip
    index.write_text("\n".join(damaged) + "\n")
    report = await take(small_bench, root, old.pki)
    odd = "\n".join(f"{one['where']}: {one['what']}" for one in report["odd"])
    for says in (
        "another authority signed it",
        "issued/broken.crt: truncated",
        "the index does not know branch-1",
        "revoked without a date that can be read ('garbage",
        "stands on line 1 already",
        "not a line of an index",
        "there is no certificate of /CN=lost (0ABC)",
        "which the index does not say is revoked; it counts as so",
    ):
        assert says in odd, says
    assert report["ca"]["crl_status"]["entries"] == 2
    clients = await by_name(small_bench, root)
    assert clients["gone"]["revoked"] is True
    assert "foreign" not in clients


async def test_what_is_no_such_directory(small_bench: Bench, old: EasyRsa, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    (tmp_path / "empty").mkdir()
    for path in ("nowhere", "empty"):
        with pytest.raises(InvalidParameter) as error:
            await take(small_bench, root, tmp_path / path)
        assert error.value.field == "path"
    made = await ca(small_bench, root)
    with pytest.raises(InvalidParameter, match="belongs to CN=Old CA, not to Branches"):
        await small_bench.call(root, "vpn.cas.export_easyrsa", {"id": made["id"], "path": str(old.pki)})
    viewer = await small_bench.user("viewer", "vpn.view_vpn_client", "vpn.manage_vpn_ca")
    with pytest.raises(PermissionDenied, match="export_vpn_key"):
        await small_bench.call(viewer, "vpn.cas.export_easyrsa", {"id": made["id"], "path": str(tmp_path / "x")})
    outsider = await small_bench.user("outsider", "vpn.view_vpn_client")
    with pytest.raises(PermissionDenied, match="manage_vpn_ca"):
        await take(small_bench, outsider, old.pki)
    object.__setattr__(small_bench.house.settings, "captive", True)
    with pytest.raises(NotSupported):
        await take(small_bench, root, old.pki)


def test_times_and_names_of_an_index() -> None:
    assert easyrsa.read_moment("491231235959Z") == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert easyrsa.read_moment("500101000000Z") == datetime(1950, 1, 1, tzinfo=UTC)
    assert easyrsa.read_moment("20510101000000Z") == datetime(2051, 1, 1, tzinfo=UTC)
    assert [easyrsa.read_moment(text) for text in ("", "26", "261399000000Z", "261301000000Z")] == [None] * 4
    assert easyrsa_write.moment_text(datetime(2051, 1, 1, tzinfo=UTC)) == "20510101000000Z"
    lines, odd = easyrsa.read_index("R\t301231000000Z\t260101000000Z,keyCompromise\tabc\tunknown\t/CN=x\n\n")
    assert (lines[0].serial, lines[0].reason, odd) == ("0ABC", "key_compromise", [])
    with pytest.raises(PkiError):
        easyrsa.read_directory(Path("/nonexistent"), now=datetime.now(UTC))
