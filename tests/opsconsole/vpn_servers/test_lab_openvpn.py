"""Revocation made true on a real OpenVPN 2.6: server and clients in namespaces, the server's host reached by ssh."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.pki_crl import crl_pem
from drivers.pki_files import cert_pem
from opsconsole.engine.errors import ConsoleError, PartlyFailed
from opsconsole.vpn.servers_lookup import newest_list
from tests.lab.openvpn import Process, VpnLab
from tests.lab.packages import run
from tests.lab.sshfarm import ACCOUNT, account
from tests.opsconsole.services.conftest import Desk
from tests.opsconsole.vpn_servers.authority import TestAuthority

CRL = "crl-verify crl.pem"


async def soon(what: Callable[[], bool], within: float = 20) -> bool:
    """Whether it becomes true; asked in a thread."""
    deadline = asyncio.get_running_loop().time() + within
    while not await asyncio.to_thread(what):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


class Site:
    """An authority, its server in the lab, and the console's record of both."""

    def __init__(self, desk: Desk, lab: VpnLab, authority: TestAuthority) -> None:
        self.desk, self.lab, self.authority = desk, lab, authority
        self.server: Process | None = None

    @property
    def daemon(self) -> Process:
        assert self.server is not None
        return self.server

    @property
    def crl(self) -> Path:
        return self.daemon.directory / "crl.pem"

    async def serve(self, name: str = "site", *, crl: str = CRL, more: str = "", management: str = "") -> None:
        await self.authority.certificate("server", "server")
        await self.authority.sign()
        files = self.authority.server_files()
        if crl == CRL:
            made = await self.desk.house.database.read(_newest)
            files["crl.pem"] = crl_pem(made)
        else:
            files["blocked/.keep"] = ""
        if management.endswith("ccd/pw"):
            files["ccd/pw"] = "a secret of the lab\n"
        self.server = await asyncio.to_thread(
            lambda: self.lab.server(name, files, crl=crl, more=more, management=management)
        )
        await self.desk.call(
            "vpn.servers.create",
            name=name,
            host=self.lab.name,
            ca_id=self.authority.id,
            config_path=str(self.daemon.config),
        )

    async def connect(self, name: str, *, which: int = -1) -> Process:
        static_key = (self.daemon.directory / "tc.key").read_text()
        text = self.authority.ovpn(name, self.lab.outside, static_key, which)
        client = await asyncio.to_thread(lambda: self.lab.client(name, text))
        assert await asyncio.to_thread(lambda: client.says("Initialization Sequence Completed")), client.said()[-800:]
        assert await soon(self.lab.through), "nothing comes through the tunnel"
        return client

    async def sessions(self) -> list[dict[str, Any]]:
        answer = await self.desk.call("vpn.sessions.list", server="site")
        return list(answer["sessions"])

    async def alarms(self) -> set[str]:
        return {one["code"] for one in (await self.desk.call("vpn.servers.inspect", id="site"))["alarms"]}

    def openssl(self, name: str, which: int = -1) -> str:
        """What openssl says of a certificate against the published list."""
        directory = self.daemon.directory
        (directory / "check.crt").write_text(cert_pem(self.authority.issued[name][which].cert))
        files = ["-CAfile", str(directory / "ca.crt"), "-CRLfile", str(self.crl)]
        done = run("openssl", "verify", "-crl_check", *files, str(directory / "check.crt"), check=False)
        return done.stdout + done.stderr


def _newest(tx: Any) -> bytes:
    row = newest_list(tx, 1)
    assert row is not None and row.der is not None
    return row.der


@pytest.fixture
async def site(desk: Desk, vpn_lab: VpnLab) -> Site:
    return Site(desk, vpn_lab, await TestAuthority.make(desk.house.database))


async def test_a_revoked_client_is_out_and_cannot_come_back(site: Site) -> None:
    first, second = await site.authority.certificate("site-a"), await site.authority.certificate("site-b")
    await site.serve()
    client = await site.connect("site-a")
    (session,) = await site.sessions()
    assert (session["name"], session["revoked"], session["client_id"]) == ("site-a", False, 0)
    assert session["virtual_address"].startswith(site.lab.net) and session["bytes_received"] > 0
    assert "OK" in site.openssl("site-a") and await site.alarms() == set()

    await site.authority.revoke(first)
    assert await site.alarms() == {"crl_behind"}
    (waiting,) = (await site.desk.call("vpn.revocations.list"))["revocations"]
    assert (waiting["state"], waiting["effective"]) == ("signed", False)
    mark = site.daemon.mark
    done = await site.desk.call("vpn.revocations.enforce", certificate_ids=[first])
    assert done["servers"][0]["ended"] == {"site-a": [0]}

    assert "certificate revoked" in site.openssl("site-a")
    assert site.daemon.says("certificate revoked", after=mark), "it tried to come back and was refused"
    assert await site.sessions() == []
    assert not await asyncio.to_thread(site.lab.through)
    clients = (await site.desk.call("vpn.clients.list"))["clients"]
    assert [(one["name"], (one["last_seen"] or {}).get("server")) for one in clients] == [
        ("site-a", "site"),
        ("site-b", None),
    ]
    chain = await site.desk.call("vpn.revocations.get", certificate_id=first)
    assert chain["effective"] and [step["state"] for step in chain["steps"]] == ["ok"] * 6
    evidence = {one["step"]: one["evidence"] for one in chain["servers"]}
    assert evidence["loaded"]["uid"] == 65534 and evidence["loaded"]["readable"] is True
    assert evidence["session_gone"]["client_ids"] == [0]
    assert await site.alarms() == set()
    assert (await site.desk.call("vpn.revocations.list"))["revocations"] == []

    await asyncio.to_thread(lambda: site.lab.end(client))
    assert "OK" in site.openssl("site-b")
    await site.connect("site-b")
    assert second != first


async def test_before_an_expired_list_locks_everybody_out_the_console_says_so(site: Site) -> None:
    await site.authority.certificate("site-a")
    await site.serve()
    client = await site.connect("site-a")
    await site.authority.sign(lasts=timedelta(hours=3))
    assert await site.alarms() == {"crl_behind"}
    await site.desk.call("vpn.servers.publish_crl", id="site")
    assert await site.alarms() == {"crl_expires_soon"}
    assert "OK" in site.openssl("site-a")
    assert await asyncio.to_thread(site.lab.through), "while it is still valid nobody is locked out"
    (listed,) = (await site.desk.call("vpn.servers.list"))["servers"]
    assert listed["alarms"][0]["level"] == "red" and "ends in 3 hours" in listed["alarms"][0]["message"]

    await site.authority.sign(lasts=timedelta(minutes=-5))
    with pytest.raises(ConsoleError, match="would lock every client out"):
        await site.desk.call("vpn.servers.publish_crl", id="site")
    site.crl.write_text(crl_pem(await site.desk.house.database.read(_newest)))
    assert await site.alarms() == {"crl_expired"}
    mark = site.daemon.mark
    await asyncio.to_thread(lambda: site.lab.end(client))
    static_key = (site.daemon.directory / "tc.key").read_text()
    text = site.authority.ovpn("site-a", site.lab.outside, static_key)
    refused = await asyncio.to_thread(lambda: site.lab.client("again", text))
    assert await asyncio.to_thread(lambda: site.daemon.says("CRL has expired", after=mark)), "what the alarm is about"
    assert "CRL has expired" in site.openssl("site-a")

    await site.authority.sign()
    await site.desk.call("vpn.servers.publish_crl", id="site")
    assert await site.alarms() == set()
    await asyncio.to_thread(lambda: site.lab.end(refused))
    await site.connect("site-a")


async def test_a_missing_list_lets_everybody_in_and_is_an_alarm(site: Site) -> None:
    number = await site.authority.certificate("site-a")
    await site.serve()
    await site.authority.revoke(number)
    await site.desk.call("vpn.servers.publish_crl", id="site")
    site.crl.unlink()
    assert await site.alarms() == {"crl_missing"}
    await site.desk.call("vpn.servers.publish_crl", id="site")
    assert site.crl.stat().st_mode & 0o777 == 0o644 and await site.alarms() == set()
    site.crl.write_text("no list\n")
    assert await site.alarms() == {"crl_damaged"}
    with pytest.raises(ConsoleError, match="is not overwritten"):
        await site.desk.call("vpn.servers.publish_crl", id="site")
    assert site.crl.read_text() == "no list\n"


async def test_a_list_the_daemons_user_cannot_read_is_not_called_loaded(site: Site) -> None:
    number = await site.authority.certificate("site-a")
    await site.serve()
    client = await site.connect("site-a")
    site.daemon.directory.chmod(0o700)
    await site.authority.revoke(number)
    with pytest.raises(ConsoleError, match="cannot read"):
        await site.desk.call("vpn.revocations.enforce", certificate_ids=[number])
    assert "crl_unreadable" in await site.alarms()
    chain = await site.desk.call("vpn.revocations.get", certificate_id=number)
    assert (chain["state"], chain["effective"]) == ("published", False) and "cannot read" in chain["why_not"]
    assert await asyncio.to_thread(site.lab.through), "nothing was killed that could come back"
    site.daemon.directory.chmod(0o711)
    await site.desk.call("vpn.revocations.enforce", client_id=1)
    assert (await site.desk.call("vpn.revocations.get", certificate_id=number))["effective"]
    assert not await asyncio.to_thread(site.lab.through) and client.process is not None


async def test_a_server_out_of_reach_leaves_the_chain_open_and_it_is_resumed(site: Site) -> None:
    number = await site.authority.certificate("site-a")
    await site.serve()
    await site.connect("site-a")
    await site.desk.add("other", site.lab.address, port=1)
    config = str(site.daemon.config)
    await site.desk.call("vpn.servers.create", name="far", host="other", ca_id=1, config_path=config)
    await site.authority.revoke(number)
    with pytest.raises(PartlyFailed) as caught:
        await site.desk.call("vpn.revocations.enforce")
    assert {one["name"]: one["state"] for one in caught.value.targets} == {"site": "done", "far": "failed"}
    chain = await site.desk.call("vpn.revocations.get", certificate_id=number)
    assert (chain["state"], chain["effective"]) == ("signed", False) and chain["why_not"].startswith("far: ")
    published = next(one for one in chain["steps"] if one["step"] == "published")
    assert (published["state"], published["done"], published["total"]) == ("failed", 1, 2)
    assert not await asyncio.to_thread(site.lab.through), "where it could be reached it is out"

    def mend(tx: Any) -> None:
        from sqlmodel import select

        from data.models import Host

        row = tx.exec(select(Host).where(Host.name == "other")).one()
        row.ssh_port = 22
        tx.add(row)

    await site.desk.house.database.write(mend)
    await site.desk.call("vpn.revocations.enforce", servers=["far"])
    chain = await site.desk.call("vpn.revocations.get", certificate_id=number)
    assert chain["effective"] and chain["why_not"] is None


async def test_a_client_with_another_certificate_comes_back_with_that(site: Site) -> None:
    old = await site.authority.certificate("site-a")
    await site.authority.certificate("site-a")
    await site.serve()
    await site.connect("site-a", which=1)
    await site.authority.revoke(old)
    await site.desk.call("vpn.revocations.enforce", certificate_ids=[old])
    chain = await site.desk.call("vpn.revocations.get", certificate_id=old)
    assert chain["effective"]
    assert await soon(site.lab.through), "its valid certificate goes on"
    assert "certificate revoked" in site.openssl("site-a", 0) and "OK" in site.openssl("site-a", 1)


async def test_one_session_is_ended_and_no_other(site: Site) -> None:
    """Over TCP with a password that stands in a file on the host."""
    await site.authority.certificate("site-a")
    await site.authority.certificate("site-b")
    await site.serve(management="127.0.0.1 7505 ccd/pw", more="duplicate-cn")
    await site.connect("site-a")
    await asyncio.to_thread(
        lambda: site.lab.client(
            "site-b", site.authority.ovpn("site-b", site.lab.outside, (site.daemon.directory / "tc.key").read_text())
        )
    )
    assert await soon(lambda: site.daemon.said().count("SENT CONTROL [site-b]: 'PUSH_REPLY") == 1)
    before = {one["name"]: one["client_id"] for one in await site.sessions()}
    assert set(before) == {"site-a", "site-b"}
    with pytest.raises(ConsoleError, match="it interrupts work"):
        await site.desk.call("vpn.sessions.kill", server="site", client_id=before["site-b"])
    with pytest.raises(ConsoleError, match="no session 4711"):
        await site.desk.call("vpn.sessions.kill", server="site", client_id=4711, confirm="yes")
    await site.desk.call("vpn.sessions.kill", server="site", client_id=before["site-b"], confirm="yes")
    after = {one["name"]: one["client_id"] for one in await site.sessions()}
    assert after["site-a"] == before["site-a"] and after.get("site-b") != before["site-b"]
    journal = (await site.desk.call("audit.records.list", kind="vpn_session"))["results"]
    assert journal[0]["target"]["name"] == "site-b"


async def test_times_are_those_of_the_evidence(site: Site) -> None:
    number = await site.authority.certificate("site-a")
    await site.serve()
    begun = datetime.now(UTC)
    await site.authority.revoke(number)
    await site.desk.call("vpn.revocations.enforce")
    chain = await site.desk.call("vpn.revocations.get", certificate_id=number)
    moments = [datetime.fromisoformat(one["at"]) for one in chain["servers"]]
    assert all(begun - timedelta(seconds=5) < at < datetime.now(UTC) for at in moments)


async def test_a_login_that_may_not_write_is_told_so_and_still_sees_who_is_connected(site: Site) -> None:
    """The interface over TCP needs no root; the CRL does."""
    number = await site.authority.certificate("site-a")
    await site.serve(management="127.0.0.1 7505")
    await site.connect("site-a")
    await asyncio.to_thread(account)
    await site.desk.add("plain", site.lab.address, user=ACCOUNT, become=False)
    config = str(site.daemon.config)
    await site.desk.call("vpn.servers.create", name="same", host="plain", ca_id=1, config_path=config)
    (session,) = (await site.desk.call("vpn.sessions.list", server="same"))["sessions"]
    assert session["name"] == "site-a"
    await site.authority.revoke(number)
    with pytest.raises(ConsoleError, match="set not to use sudo"):
        await site.desk.call("vpn.servers.publish_crl", id="same")
    assert await site.alarms() == {"crl_behind"}, "nothing was written"


async def test_a_socket_that_opens_only_to_root_is_named(site: Site) -> None:
    await site.serve()
    await asyncio.to_thread(account)
    (site.daemon.directory / "m.sock").chmod(0o700)
    await site.desk.add("plain", site.lab.address, user=ACCOUNT, become=False)
    config = str(site.daemon.config)
    await site.desk.call("vpn.servers.create", name="same", host="plain", ca_id=1, config_path=config)
    with pytest.raises(ConsoleError, match=r"m\.sock.*(may not enter|open failed|connect failed)"):
        await site.desk.call("vpn.sessions.list", server="same")
