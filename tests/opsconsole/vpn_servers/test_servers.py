"""OpenVPN servers as records; and all that is done to them, with a socket here that talks as the daemon does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drivers.pki_crl import crl_pem, sign_crl
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import (
    ConfirmationRequired,
    ConsoleError,
    InvalidParameter,
    NameNotUnique,
    ObjectNotFound,
    PermissionDenied,
    StateConflict,
)
from tests.drivers.test_openvpn_management import Daemon, serving
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn_servers.authority import TestAuthority

HEAD = (
    "TITLE\tOpenVPN 2.6.14\r\nHEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tBytes Received"
    "\tBytes Sent\tConnected Since (time_t)\tClient ID\r\n"
)


class FakeDaemon(Daemon):
    """Keeps sessions; `again` are names that come back with a new number as soon as they are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[int, str] = {}
        self.again: set[str] = set()
        self.newest = 50
        self.answers["pid"] = f"SUCCESS: pid={os.getpid()}\r\n".encode()
        self.answers["state"] = b"4000000000,CONNECTED,SUCCESS,10.98.0.1,,,,\r\nEND\r\n"
        self._show()

    def connect(self, number: int, name: str) -> None:
        self.sessions[number] = name
        self._show()

    def _show(self) -> None:
        rows = "".join(
            f"CLIENT_LIST\t{name}\t192.0.2.1:{number}\t10.98.0.{number}\t{1000 + number}\t5\t1795690086\t{number}\r\n"
            for number, name in self.sessions.items()
        )
        self.answers["status 3"] = (HEAD + rows + "END\r\n").encode()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        class Spy:
            @staticmethod
            async def readline() -> bytes:
                line = await reader.readline()
                self._obey(line.decode().strip())
                return line

        await super().__call__(Spy(), writer)  # type: ignore[arg-type]

    def _obey(self, line: str) -> None:
        if not line.startswith("client-kill "):
            return
        name = self.sessions.pop(int(line.split()[1]), None)
        known = name is not None
        self.answers[line] = (
            b"SUCCESS: client-kill command succeeded\r\n" if known else b"ERROR: client-kill failed\r\n"
        )
        if name in self.again:
            self.newest += 1
            self.sessions[self.newest] = str(name)
        self._show()


@dataclass
class Place:
    """A server on this machine, known to the console as `site`."""

    bench: Bench
    admin: Caller
    authority: TestAuthority
    directory: Path
    daemon: FakeDaemon = field(default_factory=FakeDaemon)

    @property
    def crl(self) -> Path:
        return self.directory / "crl.pem"

    def config(self, *lines: str, crl: str = "crl.pem") -> None:
        text = [f"crl-verify {self.directory}/{crl}", "server 10.98.0.0 255.255.255.0", "topology subnet"]
        text += [f"client-config-dir {self.directory}/ccd", *lines]
        management = f"management {self.directory}/m unix"
        (self.directory / "server.conf").write_text("\n".join([*text, management]) + "\n")
        (self.directory / "ccd").mkdir(exist_ok=True)

    async def call(self, operation: str, **data: Any) -> Any:
        consent = {name: data.pop(name) for name in ("confirm", "reason") if name in data}
        return await self.bench.call(self.admin, operation, data, **consent)

    async def make(self, name: str = "site", **more: Any) -> dict[str, Any]:
        given = {"name": name, "host": "local", "ca_id": self.authority.id, **more}
        return dict(await self.call("vpn.servers.create", config_path=f"{self.directory}/server.conf", **given))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeDaemon]:
        async with serving(self.directory / "m", self.daemon):
            yield self.daemon


@pytest.fixture
async def place(small_bench: Bench, tmp_path: Path) -> Place:
    return await _place(small_bench, tmp_path)


@pytest.fixture
async def both(bench: Bench, tmp_path: Path) -> Place:
    """The same on each of the two databases."""
    return await _place(bench, tmp_path)


async def _place(bench: Bench, tmp_path: Path) -> Place:
    directory = tmp_path / "openvpn"
    directory.mkdir()
    place = Place(bench, await bench.user("root1", admin=True), await TestAuthority.make(bench.database), directory)
    place.config()
    return place


async def test_a_servers_record(both: Place) -> None:
    made = await both.make(unit="openvpn-server@site", description="main office")
    assert (made["name"], made["host"], made["ca"], made["sight"], made["alarms"]) == (
        "site",
        "local",
        "Lab CA",
        None,
        [],
    )
    assert (await both.call("vpn.servers.get", id="site"))["unit"] == "openvpn-server@site"
    changed = await both.call("vpn.servers.update", id=made["id"], unit="", management="tcp:127.0.0.1:7505", version=1)
    assert (changed["unit"], changed["management"], changed["version"]) == (None, "tcp:127.0.0.1:7505", 2)
    with pytest.raises(StateConflict, match="changed since you looked"):
        await both.call("vpn.servers.update", id="site", unit="x", version=1)
    assert [one["name"] for one in (await both.call("vpn.servers.list"))["servers"]] == ["site"]
    with pytest.raises(ConfirmationRequired):
        await both.call("vpn.servers.delete", id="site")
    await both.call("vpn.servers.delete", id="site", confirm="site", reason="gone")
    with pytest.raises(ObjectNotFound, match="make one with"):
        await both.call("vpn.servers.get", id="site")
    journal = [(row.kind, row.operation) for row in await both.bench.journal() if row.kind == "vpn_server"]
    assert journal == [("vpn_server", f"vpn.servers.{verb}") for verb in ("create", "update", "delete")]


async def test_bad_records_are_refused(place: Place) -> None:
    await place.make()
    for field_, value, error in [
        ("config_path", "relative.conf", InvalidParameter),
        ("config_path", "/a\n/b", InvalidParameter),
        ("management", "udp:1:2", InvalidParameter),
        ("management", "tcp:127.0.0.1:99999", InvalidParameter),
        ("unit", "-bad; rm", InvalidParameter),
        ("crl_path", "/dir/", InvalidParameter),
        ("name", "site", NameNotUnique),
        ("host", "nowhere", ObjectNotFound),
        ("ca_id", 99, ObjectNotFound),
        ("environment", "nowhere", ObjectNotFound),
    ]:
        given = {"name": "other", "host": "local", "ca_id": place.authority.id, "config_path": "/etc/x.conf"}
        with pytest.raises(error) as caught:
            await place.call("vpn.servers.create", **(given | {field_: value}))
        assert caught.value.field == field_, field_
    assert len((await place.call("vpn.servers.list"))["servers"]) == 1


async def test_who_may_do_what(place: Place) -> None:
    await place.make()
    bench = place.bench
    viewer = await bench.user("viewer", "vpn.view_vpn_client")
    keeper = await bench.user("keeper", "vpn.manage_vpn_server")
    given = {"name": "n", "host": "local", "ca_id": 1, "config_path": "/etc/passwd"}
    with pytest.raises(PermissionDenied):
        await bench.call(viewer, "vpn.servers.create", given)
    with pytest.raises((PermissionDenied, ObjectNotFound)):
        await bench.call(keeper, "vpn.servers.create", given)
    with pytest.raises(PermissionDenied, match="login_host"):
        await bench.call(keeper, "vpn.servers.update", {"id": "site", "config_path": "/etc/passwd"})
    for operation, data in [
        ("vpn.servers.publish_crl", {"id": "site"}),
        ("vpn.servers.delete", {"id": "site"}),
        ("vpn.sessions.kill", {"server": "site", "client_id": 1}),
        ("vpn.revocations.enforce", {}),
        ("vpn.ccd.set", {"id": "site", "name": "a", "text": "disable"}),
        ("vpn.clients.emergency_block", {"id": 1}),
    ]:
        with pytest.raises(PermissionDenied):
            await bench.call(viewer, operation, data)
    nobody = await bench.user("nobody", "service.view_service")
    for operation, data in [
        ("vpn.servers.list", {}),
        ("vpn.servers.inspect", {"id": "site"}),
        ("vpn.sessions.list", {}),
        ("vpn.revocations.list", {}),
        ("vpn.revocations.get", {"certificate_id": 1}),
        ("vpn.ccd.get", {"id": "site"}),
        ("vpn.servers.get", {"id": "site"}),
    ]:
        with pytest.raises(Exception, match="nobody"):
            await bench.call(nobody, operation, data)
    assert (await bench.call(viewer, "vpn.servers.list"))["servers"][0]["name"] == "site"


async def test_a_look_says_what_is_there_and_what_differs(place: Place) -> None:
    place.config(f"ca {place.directory}/ca.crt", "user nobody")
    (place.directory / "ca.crt").write_text((await TestAuthority.make(place.bench.database, "Other CA")).pem)
    await place.make(crl_path=f"{place.directory}/elsewhere.pem")
    await place.authority.sign()
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        seen = await place.call("vpn.servers.inspect", id="site")
    facts = seen["sight"]["facts"]
    assert (facts["daemon"]["running"], facts["daemon"]["pid"], facts["daemon"]["sessions"]) == (True, os.getpid(), 1)
    assert facts["config"]["client_config_dir"] == f"{place.directory}/ccd"
    assert [one["code"] for one in seen["alarms"]] == ["crl_missing"]
    assert any("elsewhere.pem in the record" in said for said in facts["differences"])
    assert any("does not hold the authority Lab CA" in said for said in facts["differences"])
    down = await place.call("vpn.servers.list", fresh=True)
    assert {one["code"] for one in down["servers"][0]["alarms"]} == {"crl_missing", "management_unreachable"}
    (place.directory / "server.conf").unlink()
    gone = await place.call("vpn.servers.inspect", id="site")
    assert "config_missing" in {one["code"] for one in gone["alarms"]}


async def test_publishing(both: Place) -> None:
    await both.make()
    with pytest.raises(StateConflict, match="no revocation list yet"):
        await both.call("vpn.servers.publish_crl", id="site")
    await both.authority.sign()
    async with both.running():
        done = await both.call("vpn.servers.publish_crl", id="site")
        assert done["servers"][0]["loaded"]["readable"] is True
        before = both.crl.stat()
        assert (await both.call("vpn.servers.publish_crl", id="site"))["servers"][0]["published"]["already"] is True
        assert both.crl.stat().st_ino == before.st_ino, "what is there already is not written again"
        await both.authority.sign()
        await both.call("vpn.servers.publish_crl", ca_id=1)
    assert int(both.crl.stat().st_mtime) > int(before.st_mtime)
    (row,) = (await both.call("vpn.servers.list"))["servers"]
    assert row["alarms"] == [] and row["sight"]["facts"]["crl"]["number"] == 2
    await both.authority.sign()
    (row,) = (await both.call("vpn.servers.list"))["servers"]
    assert [one["code"] for one in row["alarms"]] == ["crl_behind"], "an old sight and a newer list"


async def test_relative_paths_are_those_of_the_running_daemon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    work = place.directory / "work"
    work.mkdir()
    (place.directory / "server.conf").write_text(f"crl-verify crl.pem\nmanagement {place.directory}/m unix\n")
    await place.make()
    await place.authority.sign()
    monkeypatch.chdir(work)
    async with place.running():
        done = await place.call("vpn.servers.publish_crl", id="site")
    assert (work / "crl.pem").exists() and not place.crl.exists()
    assert done["servers"][0]["published"]["path"] == f"{work}/crl.pem"


async def test_a_newer_list_of_another_place_is_not_replaced(place: Place) -> None:
    await place.make()
    theirs = crl_pem(sign_crl(place.authority.authority, [], number=9, now=datetime.now(UTC), days=30).der)
    place.crl.write_text(theirs)
    await place.authority.sign()
    with pytest.raises(ConsoleError, match="newer than our 1"):
        await place.call("vpn.servers.publish_crl", id="site")
    assert place.crl.read_text() == theirs


async def test_a_revocation_goes_all_the_way(both: Place) -> None:
    number = await both.authority.certificate("site-a")
    await both.authority.certificate("site-b")
    await both.make()
    with pytest.raises(StateConflict, match="no revocation to enforce"):
        await both.call("vpn.revocations.enforce")
    await both.authority.revoke(number, sign=False)
    await both.authority.sign()
    async with both.running() as daemon:
        daemon.connect(3, "site-a")
        daemon.connect(4, "site-b")
        daemon.connect(5, "site-a")
        await both.call("vpn.revocations.enforce", certificate_ids=[number])
        assert daemon.sessions == {4: "site-b"}
        assert [line for line in daemon.heard if line.startswith("client-kill")] == ["client-kill 3", "client-kill 5"]
    chain = await both.call("vpn.revocations.get", certificate_id=number)
    assert chain["effective"] and chain["common_name"] == "site-a"
    assert (await both.call("vpn.revocations.list", client_id=1))["revocations"][0]["effective"]
    assert (await both.call("vpn.revocations.list"))["revocations"] == []


async def test_who_comes_back_without_another_certificate_is_told(place: Place) -> None:
    number = await place.authority.certificate("site-a")
    await place.make()
    await place.authority.revoke(number)
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        daemon.again = {"site-a"}
        with pytest.raises(ConsoleError, match="connected again as session"):
            await place.call("vpn.revocations.enforce")
        chain = await place.call("vpn.revocations.get", certificate_id=number)
        assert (chain["state"], chain["effective"]) == ("loaded", False)
        await place.authority.certificate("site-a")
        await place.call("vpn.revocations.enforce")
        assert daemon.sessions, "with a second, valid certificate it may"
    assert (await place.call("vpn.revocations.get", certificate_id=number))["effective"]


async def test_without_signed_list_or_server_nothing_is_called_effective(place: Place) -> None:
    number = await place.authority.certificate("site-a")
    await place.authority.revoke(number, sign=False)
    chain = await place.call("vpn.revocations.get", certificate_id=number)
    assert chain["state"] == "requested" and "no list that names it" in chain["why_not"]
    await place.authority.sign()
    chain = await place.call("vpn.revocations.get", certificate_id=number)
    assert (chain["state"], chain["effective"]) == ("signed", False) and "no OpenVPN server" in chain["why_not"]
    with pytest.raises(StateConflict, match="no OpenVPN server"):
        await place.call("vpn.revocations.enforce")


@pytest.mark.parametrize(
    ("line", "why"),
    [("management-signal", "left alone"), ("username-as-common-name", "hides the certificates' names")],
)
async def test_servers_that_cannot_prove_it(place: Place, line: str, why: str) -> None:
    number = await place.authority.certificate("site-a")
    place.config(line)
    await place.make()
    await place.authority.revoke(number)
    async with place.running() as daemon:
        with pytest.raises(ConsoleError, match=why):
            await place.call("vpn.revocations.enforce")
        assert not any(line.startswith("client-kill") for line in daemon.heard)
    assert not (await place.call("vpn.revocations.get", certificate_id=number))["effective"]


async def test_sessions_of_all_servers_and_ending_one(place: Place) -> None:
    await place.authority.certificate("site-a")
    await place.make()
    await place.make("dark", management="unix:/nowhere/m")
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        daemon.connect(4, "stranger")
        shown = await place.call("vpn.sessions.list")
        assert [(one["name"], one["client_id"], one["vpn_client_id"], one["revoked"]) for one in shown["sessions"]] == [
            ("site-a", 3, 1, False),
            ("stranger", 4, None, None),
        ]
        states = {one["server"]: (one["state"], one["sessions"]) for one in shown["servers"]}
        assert states["site"] == ("ok", 2) and states["dark"][0] == "unreachable" and states["dark"][1] is None
        with pytest.raises(Exception, match="nowhere"):
            await place.call("vpn.sessions.list", server="dark")
        with pytest.raises(ObjectNotFound, match="no session 9"):
            await place.call("vpn.sessions.kill", server="site", client_id=9)
        with pytest.raises(ConfirmationRequired):
            await place.call("vpn.sessions.kill", server="site", client_id=3)
        await place.call("vpn.sessions.kill", server="site", client_id=3, confirm="yes")
        assert daemon.sessions == {4: "stranger"}
        daemon.connect(6, "a")
        items = [{"server": "site", "client_id": 4}, {"server": "site", "client_id": 6}]
        await place.call("vpn.sessions.kill", items=items, confirm="2")
        assert daemon.sessions == {}


async def test_an_emergency_by_serial_files(place: Place) -> None:
    (place.directory / "blocked").mkdir()
    place.config(crl="blocked dir")
    number = await place.authority.certificate("site-a")
    await place.make()
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        done = await place.call("vpn.clients.emergency_block", id=1, confirm="yes")
        assert daemon.sessions == {}
    serial = place.authority.issued["site-a"][0].serial
    assert done["servers"][0]["how"] == "serial files" and (place.directory / "blocked" / str(serial)).exists()
    await place.authority.revoke(number)
    async with place.running():
        assert (await place.call("vpn.revocations.list"))["revocations"][0]["blocked"] == ["site"]
        await place.call("vpn.revocations.enforce")
        assert (await place.call("vpn.revocations.get", certificate_id=number))["effective"]


async def test_an_emergency_by_client_file(place: Place) -> None:
    await place.authority.certificate("site-a")
    await place.make()
    file = place.directory / "ccd" / "site-a"
    file.write_text("iroute 192.168.1.0 255.255.255.0\n")
    async with place.running() as daemon:
        daemon.connect(3, "site-a")
        await place.call("vpn.clients.emergency_block", id=1, confirm="yes")
        assert daemon.sessions == {}
    assert file.read_text() == "disable\niroute 192.168.1.0 255.255.255.0\n"
    (place.directory / "server.conf").write_text(f"crl-verify /x/crl.pem\nmanagement {place.directory}/m unix\n")
    with pytest.raises(ConsoleError, match="neither crl-verify"):
        await place.call("vpn.clients.emergency_block", id=1, confirm="yes")
    with pytest.raises(ObjectNotFound):
        await place.call("vpn.clients.emergency_block", id=77)


async def test_client_files(place: Place) -> None:
    place.config("route 192.168.1.0 255.255.255.0")
    await place.make()
    text = "iroute 192.168.1.0 255.255.255.0"
    done = await place.call("vpn.ccd.set", id="site", name="site-a", text=text)
    assert done["findings"] == [] and (place.directory / "ccd" / "site-a").read_text() == text + "\n"
    plan = await place.bench.plan(place.admin, "vpn.ccd.set", {"id": "site", "name": "site-b", "text": text})
    assert any("site-a: iroute 192.168.1.0/24 overlaps" in one for one in plan["targets"][0]["warnings"])
    shown = await place.call("vpn.ccd.get", id="site")
    assert (shown["count"], shown["files"][0]["iroutes"], shown["findings"]) == (1, ["192.168.1.0/24"], [])
    with pytest.raises(StateConflict, match="not what you looked at"):
        await place.call("vpn.ccd.set", id="site", name="site-a", text="", expect="0" * 64)
    await place.call("vpn.ccd.set", id="site", name="site-a", text="")
    assert not (place.directory / "ccd" / "site-a").exists()
    assert (await place.call("vpn.ccd.get", id="site"))["findings"] == [
        "route 192.168.1.0/24 in the server's configuration has no iroute: no client is behind it"
    ]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("../evil", "disable", "no name"),
        ("a", "script-security 2", "script-security is none of"),
        ("a", "config /etc/shadow", "config is none of"),
        ("a", "<key>\nx\n</key>", "inline"),
        ("a", 'push "route 1.2.3.4', "quote"),
        ("a", "iroute 10.0.0.1 255.0.0.0", "host bits"),
    ],
)
async def test_client_files_that_are_refused(place: Place, name: str, text: str, why: str) -> None:
    await place.make()
    with pytest.raises(InvalidParameter, match=why):
        await place.call("vpn.ccd.set", id="site", name=name, text=text)
    assert list((place.directory / "ccd").iterdir()) == []


async def test_a_host_with_a_server_is_not_deleted(place: Place) -> None:
    host = await place.bench.host("vpn1")
    await place.make("far", host=host)
    with pytest.raises(Exception, match="far"):
        await place.call("hosts.delete", id=host, confirm="vpn1", reason="x")
