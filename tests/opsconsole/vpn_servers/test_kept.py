"""What follows by itself: revocations go on to the servers, the timer keeps them current; server certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlmodel import select

from data.models import VpnCertificate
from opsconsole.engine.errors import ConsoleError, InvalidParameter, PermissionDenied, VpnCaKeyMissing
from opsconsole.vpn.servers_due import keep_current
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn_servers.test_servers import Place, place

__all__ = ["place"]


async def with_key(place: Place) -> int:
    """The place's server under an authority whose key the console has; the authority's id."""
    ca = await place.call("vpn.cas.create", name="Net CA")
    place.authority.id = ca["id"]
    await place.make()
    return int(ca["id"])


async def test_revoking_goes_on_to_the_servers(place: Place) -> None:
    ca = await with_key(place)
    one = await place.call("vpn.clients.create", ca_id=ca, name="site-a", email="a@example.org")
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        assert await place.call("vpn.clients.revoke", id=one["id"], confirm="site-a", reason="stolen") == {}
        assert daemon.sessions == {}
    (certificate,) = (await place.call("vpn.clients.get", id=one["id"]))["certificates"]
    assert certificate["chain"]["effective"] and place.crl.exists()
    assert all(step["at"] for step in certificate["chain"]["steps"]), "every step has its time"
    rows = [(row.operation, row.result) for row in await place.bench.journal()][-2:]
    assert rows == [("vpn.clients.revoke", "done"), ("vpn.revocations.enforce", "done")]


async def test_the_plan_says_what_will_follow_and_what_cannot_be_proven(place: Place) -> None:
    ca = (await place.call("vpn.cas.create", name="Net CA"))["id"]
    one = await place.call("vpn.clients.create", ca_id=ca, name="site-a", email="a@example.org")
    plan = await place.bench.plan(place.admin, "vpn.clients.revoke", {"id": one["id"]})
    assert "sessions ended and gone" in plan["verification"]
    assert plan["warnings"] == [
        "no OpenVPN server of Net CA is known: the list reaches none, and nothing proves that they are locked out"
    ]
    place.authority.id = ca
    await place.make()
    assert (await place.bench.plan(place.admin, "vpn.clients.revoke", {"id": one["id"]}))["warnings"] == []


async def test_what_is_not_effective_is_said_and_the_revocation_stands(place: Place) -> None:
    ca = await with_key(place)
    one = await place.call("vpn.clients.create", ca_id=ca, name="site-a", email="a@example.org")
    answer = await place.call("vpn.clients.revoke", id=one["id"], confirm="site-a", reason="stolen")
    (left,) = answer["not_effective"]
    assert left["state"] == "published" and "site: " in left["why_not"]
    assert (await place.call("vpn.clients.get", id=one["id"]))["revoked"]
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        done: dict[str, Any] = await keep_current(place.bench.house)
        assert done["done"] == [{"server": "site", "enforced": 1, "ended": 1}] and daemon.sessions == {}
        assert (await keep_current(place.bench.house))["done"] == [], "a second time there is nothing to do"
    timer = [row for row in await place.bench.journal() if row.actor == "timer"]
    assert [(row.operation, row.result) for row in timer] == [("vpn.revocations.enforce", "done")]


async def test_the_timer_publishes_what_is_newer_and_names_what_stays_red(place: Place) -> None:
    await place.make()
    await place.authority.sign()
    async with place.running():
        assert (await keep_current(place.bench.house))["done"] == [{"server": "site", "published": 1}]
        await place.authority.sign()
        assert (await keep_current(place.bench.house))["done"] == [{"server": "site", "published": 2}]
        assert (await keep_current(place.bench.house))["done"] == []
        place.crl.write_text("not a list\n")
        with pytest.raises(ConsoleError, match=r"site: .*crl.pem: it holds no revocation list"):
            await keep_current(place.bench.house)
    assert place.crl.read_text() == "not a list\n"
    assert (await place.call("audit.verify"))["verdict"] == "intact"


async def test_a_servers_certificate_is_handed_out_once(place: Place, tmp_path: Path) -> None:
    ca = await with_key(place)
    made = await place.call("vpn.servers.issue", id="site", common_name="vpn.example.org", expiration=90)
    cert = x509.load_pem_x509_certificate(made["cert"].encode())
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert f"{cert.serial_number:X}".zfill(len(made["serial"])) == made["serial"]
    rows = await place.bench.database.read(
        lambda tx: [(r.usage, r.state, r.sealed_key, r.ca_id) for r in tx.exec(select(VpnCertificate))]
    )
    assert rows == [("server", "issued", None, ca)], "its key is not kept"
    path = tmp_path / "server.pem"
    await place.call("vpn.servers.issue", id="site", path=str(path))
    assert path.stat().st_mode & 0o777 == 0o600 and b"PRIVATE KEY" in path.read_bytes()
    with pytest.raises(InvalidParameter, match="exists already"):
        await place.call("vpn.servers.issue", id="site", path=str(path))
    for bad in (0, 7301):
        with pytest.raises(InvalidParameter):
            await place.call("vpn.servers.issue", id="site", expiration=bad)
    assert all("PRIVATE KEY" not in str((row.after, row.detail)) for row in await place.bench.journal())


async def test_who_may_issue_and_with_which_key(place: Place, small_bench: Bench) -> None:
    await place.make()
    with pytest.raises(VpnCaKeyMissing):
        await place.call("vpn.servers.issue", id="site")
    for flags in (("vpn.manage_vpn_server",), ("vpn.manage_vpn_ca",)):
        user = await small_bench.user(flags[0].replace(".", "-"), *flags)
        with pytest.raises((PermissionDenied, VpnCaKeyMissing)) as caught:
            await small_bench.call(user, "vpn.servers.issue", {"id": "site"})
        assert isinstance(caught.value, PermissionDenied) or flags == ("vpn.manage_vpn_ca",)
