"""Whom the ssh driver trusts, and the ways that lead over other machines; against real sshd."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from pathlib import Path

import pytest

from drivers.errors import AuthRefused, HostKeyChanged, HostKeyUnknown, Refused, Unreachable
from drivers.ssh import SshCredential, SshEndpoint
from tests.drivers.support import Answers, Desk, endpoint, key_of, keygen
from tests.lab.guests import Guest
from tests.lab.packages import run
from tests.lab.sshfarm import Node, SshFarm

pytestmark = pytest.mark.lab


async def test_an_unknown_host_key_without_a_person(desk: Desk, plain_host: Node) -> None:
    with pytest.raises(HostKeyUnknown) as unknown:
        await desk.pool().runner(endpoint(plain_host), key_of(plain_host)).run("true", timeout=20)
    assert unknown.value.key == plain_host.known_hosts
    assert unknown.value.fingerprint == _fingerprint(plain_host)
    assert not desk.files.own_known_hosts.exists()


def _fingerprint(node: Node) -> str:
    done = subprocess.run(
        ["ssh-keygen", "-lf", str(node.directory / "hk.pub")], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[1]


async def test_a_person_is_asked_once_and_the_answer_is_kept(desk: Desk, plain_host: Node) -> None:
    person = Answers()
    pool = desk.pool(person)
    users = [key_of(plain_host), SshCredential("ssh_key", plain_host.user, private_key="no key")]
    runners = [pool.runner(endpoint(plain_host), user) for user in users]
    done = await asyncio.gather(*(runner.run("true", timeout=20) for runner in runners), return_exceptions=True)
    assert isinstance(done[1], AuthRefused)
    assert not isinstance(done[0], BaseException)
    assert person.asked == [f"{plain_host.name} ssh-ed25519 {_fingerprint(plain_host)}"]
    assert desk.files.own_known_hosts.read_text("ascii") == plain_host.known_hosts + "\n"
    assert stat.S_IMODE(desk.files.own_known_hosts.stat().st_mode) == 0o600
    assert (await desk.pool().runner(endpoint(plain_host), key_of(plain_host)).run("true", timeout=20)).ok


async def test_a_person_may_say_no(desk: Desk, plain_host: Node) -> None:
    with pytest.raises(HostKeyUnknown):
        await desk.pool(Answers(trust=False)).runner(endpoint(plain_host), key_of(plain_host)).run("true", timeout=20)
    assert not desk.files.own_known_hosts.exists()


async def test_a_changed_host_key_names_file_and_line_and_asks_nobody(desk: Desk, sshfarm: SshFarm) -> None:
    node = sshfarm.node()
    desk.write("known_hosts", "# first line", node.known_hosts)
    node.stop()
    sshfarm.new_host_key(node)
    node.start()
    person = Answers()
    with pytest.raises(HostKeyChanged) as changed:
        await desk.pool(person).runner(endpoint(node), key_of(node)).run("true", timeout=20)
    assert changed.value.known_in == f"{desk.files.known_hosts[0]}:2"
    assert changed.value.fingerprint == _fingerprint(node)
    assert person.asked == []


async def test_another_type_of_key_than_the_known_one_is_a_change(desk: Desk, sshfarm: SshFarm, tmp_path: Path) -> None:
    node = sshfarm.node()
    keygen(tmp_path / "rsa", kind="rsa")
    other = (tmp_path / "rsa.pub").read_text("ascii").split()
    desk.write("known_hosts", f"[{node.address}]:{node.port} {other[0]} {other[1]}")
    with pytest.raises(HostKeyChanged):
        await desk.pool().runner(endpoint(node), key_of(node)).run("true", timeout=20)


async def test_a_revoked_host_key(desk: Desk, plain_host: Node) -> None:
    desk.write("known_hosts", plain_host.known_hosts, f"@revoked * {plain_host.known_hosts.split(None, 1)[1]}")
    with pytest.raises(AuthRefused, match=r"@revoked in .*known_hosts:2"):
        await desk.pool().runner(endpoint(plain_host), key_of(plain_host)).run("true", timeout=20)


async def test_a_host_certificate_of_a_known_authority(desk: Desk, sshfarm: SshFarm, tmp_path: Path) -> None:
    node = sshfarm.node()
    keygen(tmp_path / "ca")
    run(
        "ssh-keygen",
        "-q",
        "-s",
        str(tmp_path / "ca"),
        "-I",
        "n",
        "-h",
        "-n",
        node.address,
        str(node.directory / "hk.pub"),
    )
    with (node.directory / "sshd_config").open("a", encoding="ascii") as config:
        config.write(f"HostCertificate {node.directory}/hk-cert.pub\n")
    node.stop()
    node.start()
    authority = " ".join((tmp_path / "ca.pub").read_text("ascii").split()[:2])
    desk.write("known_hosts", f"@cert-authority [127.*]:{node.port} {authority}")
    assert (await desk.pool().runner(endpoint(node), key_of(node)).run("true", timeout=20)).ok


async def test_scan_and_trust(desk: Desk, plain_host: Node) -> None:
    pool = desk.pool()
    offers = await pool.scan_host_key(endpoint(plain_host))
    assert [(offer.key_type, offer.fingerprint, offer.line) for offer in offers] == [
        ("ssh-ed25519", _fingerprint(plain_host), plain_host.known_hosts)
    ]
    assert not desk.files.own_known_hosts.exists()
    for wrong in ("", "other ssh-ed25519 AAAA", f"{plain_host.known_hosts.split()[0]} ssh-ed25519 AAAA"):
        with pytest.raises(Refused) as refused:
            await pool.trust(endpoint(plain_host), wrong)
        assert refused.value.code == "invalid"
    await pool.trust(endpoint(plain_host), offers[0].line + " a comment")
    assert (await pool.runner(endpoint(plain_host), key_of(plain_host)).run("true", timeout=20)).ok


async def test_a_jump_host_carries_the_connection(desk: Desk, guest_a: Guest, guest_b: Guest) -> None:
    desk.know(guest_a, guest_b)
    desk.write("config", "Host gate", f"  HostName {guest_a.address}", "Host inner", f"  HostName {guest_b.address}",
               "  ProxyJump gate", "Host *", "  User root", f"  IdentityFile {guest_a.key}")  # fmt: skip
    pool = desk.pool()
    done = await pool.runner(SshEndpoint("inner")).run("hostname; echo $SSH_CONNECTION", timeout=30)
    name, connection = done.stdout.decode().splitlines()
    assert name == "b"
    assert connection.split()[0] == guest_a.address
    assert pool.state("gate").status == "connected"


async def test_an_unknown_jump_host_is_refused_by_its_own_name(desk: Desk, guest_a: Guest, guest_b: Guest) -> None:
    desk.know(guest_b)
    desk.write("config", "Host *", "  User root", f"  IdentityFile {guest_a.key}")
    desk.write("config", "Host inner", f"  HostName {guest_b.address}", f"  ProxyJump root@{guest_a.address}",
               "Host *", "  User root", f"  IdentityFile {guest_a.key}")  # fmt: skip
    with pytest.raises(HostKeyUnknown) as unknown:
        await desk.pool().runner(SshEndpoint("inner")).run("true", timeout=30)
    assert unknown.value.host == guest_a.address


async def test_jumps_in_a_circle(desk: Desk) -> None:
    desk.write("config", "Host one", "  ProxyJump two", "Host two", "  ProxyJump one")
    with pytest.raises(Unreachable, match="circle"):
        await desk.pool().runner(SshEndpoint("one")).run("true", timeout=20)


async def test_what_a_jump_host_cannot_reach(desk: Desk, guest_a: Guest) -> None:
    desk.know(guest_a)
    desk.write("config", "Host gate", f"  HostName {guest_a.address}", "Host inner", "  HostName 127.0.0.1", "  Port 9",
               "  ProxyJump gate", "Host *", "  User root", f"  IdentityFile {guest_a.key}")  # fmt: skip
    with pytest.raises(Unreachable, match="jump host"):
        await desk.pool().runner(SshEndpoint("inner")).run("true", timeout=30)


async def test_a_proxy_command(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    relay = desk.directory / "relay.py"
    relay.write_text(_RELAY, "ascii")
    desk.write("config", "Host *", f"  ProxyCommand python3 {relay} %h %p")
    done = await desk.pool().runner(endpoint(plain_host), key_of(plain_host)).run("echo through", timeout=30)
    assert done.stdout == b"through\n"


_RELAY = """\
import os, socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := s.recv(65536):
    os.write(1, data)
"""
