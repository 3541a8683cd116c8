"""From nothing to a true revocation by the console's own operations alone, with a real server and a real client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from opsconsole.vpn.servers_due import keep_current
from tests.lab.openvpn import Process, VpnLab
from tests.lab.packages import run
from tests.opsconsole.services.conftest import Desk
from tests.opsconsole.vpn_servers.test_lab_openvpn import soon


async def serve(desk: Desk, lab: VpnLab, *, crl: str = "crl-verify crl.pem") -> Process:
    """An authority, a server with its certificate and the first list, all made by operations; the server runs."""
    ca = await desk.call("vpn.cas.create", name="Net CA")
    directory = lab.directory / "site"
    given = {"host": lab.name, "ca_id": ca["id"], "config_path": f"{directory}/server.conf"}
    await desk.call("vpn.servers.create", name="site", **given)
    issued = await desk.call("vpn.servers.issue", id="site", common_name="vpn.example.org")
    newest = await desk.call("vpn.crls.get", ca_id=ca["id"])
    files = {"ca.crt": issued["ca_chain"], "server.crt": issued["cert"], "server.key": issued["key"]}
    return await asyncio.to_thread(lambda: lab.server("site", files | {"crl.pem": newest["crl"]}, crl=crl))


async def client_of(desk: Desk, lab: VpnLab, server: Process, name: str, tmp_path: Path) -> tuple[int, Process]:
    """A client's exported file, connected untouched."""
    made = await desk.call("vpn.clients.create", ca_id=1, name=name, email="site@example.org")
    await desk.call(
        "vpn.clients.export",
        id=made["id"],
        format="ovpn",
        remote=[lab.outside],
        static_key=(server.directory / "tc.key").read_text(),
        server_name="vpn.example.org",
        path=str(tmp_path / f"{name}.ovpn"),
    )
    ovpn = (tmp_path / f"{name}.ovpn").read_text()
    client = await asyncio.to_thread(lambda: lab.client(name, ovpn))
    assert await asyncio.to_thread(lambda: client.says("Initialization Sequence Completed")), client.said()[-800:]
    return made["id"], client


def openssl(server: Process, certificate: str) -> str:
    """What openssl says of a certificate against the published list."""
    (server.directory / "check.crt").write_text(certificate)
    names = [str(server.directory / name) for name in ("ca.crt", "crl.pem", "check.crt")]
    done = run("openssl", "verify", "-crl_check", "-CAfile", names[0], "-CRLfile", names[1], names[2], check=False)
    return done.stdout + done.stderr


async def pem_of(desk: Desk, client: int) -> str:
    shown = await desk.call("vpn.clients.get", id=client)
    return str((await desk.call("vpn.certificates.get", id=shown["certificates"][0]["id"]))["cert"])


async def test_exported_connected_revoked_and_gone(desk: Desk, vpn_lab: VpnLab, tmp_path: Path) -> None:
    server = await serve(desk, vpn_lab)
    number, client = await client_of(desk, vpn_lab, server, "site-a", tmp_path)
    assert await soon(vpn_lab.through), "the exported file connects as it is"
    pem = await pem_of(desk, number)
    assert openssl(server, pem).strip().endswith("OK")
    assert (await desk.call("vpn.servers.inspect", id="site"))["alarms"] == []
    assert [one["vpn_client_id"] for one in (await desk.call("vpn.sessions.list"))["sessions"]] == [number]

    mark = server.mark
    answer = await desk.call("vpn.clients.revoke", "site-a", "stolen", id=number)
    assert answer == {}, "nothing is left to be done"
    assert not await asyncio.to_thread(vpn_lab.through)
    assert (await desk.call("vpn.sessions.list"))["sessions"] == []
    assert "certificate revoked" in openssl(server, pem)
    assert await asyncio.to_thread(lambda: server.says("certificate revoked", after=mark)), "it cannot come back"
    (certificate,) = (await desk.call("vpn.clients.get", id=number))["certificates"]
    assert certificate["chain"]["effective"]
    assert [step["step"] for step in certificate["chain"]["steps"] if step["state"] == "ok"] == [
        "requested",
        "signed",
        "published",
        "loaded",
        "session_gone",
        "effective",
    ]
    operations = [row["operation_id"] for row in (await desk.call("audit.records.list", page_size=100))["results"]]
    assert {"vpn.clients.revoke", "vpn.revocations.enforce"} <= set(operations)
    assert client.process is not None and (await desk.call("audit.verify"))["verdict"] == "intact"


async def test_a_revocation_that_cannot_reach_its_server_is_finished_by_the_timer(
    desk: Desk, vpn_lab: VpnLab, tmp_path: Path
) -> None:
    server = await serve(desk, vpn_lab)
    number, _ = await client_of(desk, vpn_lab, server, "site-a", tmp_path)
    await desk.house.fleet.pool.close()
    desk.house.__dict__.pop("fleet")
    await asyncio.to_thread(vpn_lab.cut_ssh)
    answer = await desk.call("vpn.clients.revoke", "site-a", "stolen", id=number)
    (left,) = answer["not_effective"]
    assert left["state"] == "signed" and left["why_not"].startswith("site: ")
    assert await asyncio.to_thread(vpn_lab.through), "it is still there, and nobody says otherwise"
    await asyncio.to_thread(vpn_lab.mend_ssh)
    desk.house.fleet.pool.forget(vpn_lab.name)
    done: dict[str, Any] = await keep_current(desk.house)
    assert done["done"][-1] == {"server": "site", "enforced": 1, "ended": 1}
    assert not await asyncio.to_thread(vpn_lab.through)
    (certificate,) = (await desk.call("vpn.clients.get", id=number))["certificates"]
    assert certificate["chain"]["effective"]
    assert (await desk.call("audit.verify"))["verdict"] == "intact"


async def test_a_list_signed_anew_reaches_the_server_by_the_timer(desk: Desk, vpn_lab: VpnLab) -> None:
    await serve(desk, vpn_lab)
    await desk.call("vpn.crls.sign", ca_id=1)
    assert [one["code"] for one in (await desk.call("vpn.servers.inspect", id="site"))["alarms"]] == ["crl_behind"]
    assert (await keep_current(desk.house))["done"] == [{"server": "site", "published": 2}]
    assert (await desk.call("vpn.servers.list"))["servers"][0]["alarms"] == []


async def test_an_emergency_block_by_serial_file_works_without_the_key(
    desk: Desk, vpn_lab: VpnLab, tmp_path: Path
) -> None:
    (vpn_lab.directory / "blocked").mkdir(mode=0o755)
    server = await serve(desk, vpn_lab, crl=f"crl-verify {vpn_lab.directory}/blocked dir")
    number, client = await client_of(desk, vpn_lab, server, "site-a", tmp_path)
    mark = server.mark
    done = await desk.call("vpn.clients.emergency_block", "yes", id=number)
    assert done["servers"][0]["how"] == "serial files"
    assert not await asyncio.to_thread(vpn_lab.through)
    await asyncio.to_thread(lambda: vpn_lab.end(client))
    again = await asyncio.to_thread(lambda: vpn_lab.client("again", (tmp_path / "site-a.ovpn").read_text()))
    assert await asyncio.to_thread(lambda: server.says("is revoked", after=mark) or server.says("VERIFY", after=mark))
    assert not await asyncio.to_thread(lambda: again.says("Initialization Sequence Completed", within=3))
    for file in (vpn_lab.directory / "blocked").iterdir():
        file.unlink()
    (vpn_lab.directory / "blocked").rmdir()
