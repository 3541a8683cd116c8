"""The ssh driver against real sshd: every way in, and every way it can fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.errors import (
    AuthRefused,
    ProtocolError,
    Refused,
    TimedOut,
    Unreachable,
)
from drivers.runner import Runner
from drivers.ssh import SshCredential, SshEndpoint, SshPool
from tests.drivers.support import Answers, Desk, endpoint, key_of, keygen
from tests.lab.base import PASSWORDS
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node, SshFarm

pytestmark = pytest.mark.lab


async def test_a_command_over_a_kept_connection(desk: Desk, plain_host: Node) -> None:
    runner = desk.runner(plain_host)
    assert isinstance(runner, Runner)
    first = await runner.run("cat; echo err >&2; echo $SSH_CONNECTION; exit 3", stdin=b"in\0\n", timeout=20)
    second = await runner.run("echo $SSH_CONNECTION", timeout=20)
    assert (first.exit_status, first.stderr) == (3, b"err\n")
    assert first.stdout == b"in\0\n" + second.stdout


async def test_concurrent_first_uses_share_one_connection(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    pool = desk.pool(per_host=4)
    runners = [pool.runner(endpoint(plain_host), key_of(plain_host)) for _ in range(20)]
    assert pool.state(plain_host.name).status == "idle"
    done = await asyncio.gather(*(runner.run("echo $SSH_CONNECTION", timeout=30) for runner in runners))
    assert len({one.stdout for one in done}) == 1
    assert pool.state(plain_host.name).status == "connected"


async def test_a_broken_connection_is_noticed_and_made_anew(desk: Desk, sshfarm: SshFarm) -> None:
    node = sshfarm.node()
    runner = desk.runner(node)
    first = await runner.run("echo $SSH_CONNECTION", timeout=20)
    with pytest.raises(Unreachable, match="in the middle") as lost:
        await asyncio.gather(runner.run("sleep 60", timeout=30), _cut_soon(node))
    assert "not known" in lost.value.remedy
    second = await runner.run("echo $SSH_CONNECTION", timeout=20)
    assert second.ok
    assert second.stdout != first.stdout


async def _cut_soon(node: Node) -> None:
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(node.cut) > 0


async def test_a_timeout_closes_the_channel_and_keeps_the_connection(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a, "ops")
    await runner.run("true", timeout=20)
    with pytest.raises(TimedOut, match=r"0\.5 s") as timed_out:
        await runner.run("echo $$ > pid; exec sleep 600", timeout=0.5)
    assert "not known" in timed_out.value.remedy
    await asyncio.to_thread(_until_gone, guest_a, "/home/ops/pid")
    assert (await runner.run("echo still here", timeout=20)).stdout == b"still here\n"


def _until_gone(guest: Guest, pid_file: str) -> None:
    guest.sh(f"timeout 5 sh -c 'while [ -d /proc/$(cat {pid_file}) ]; do sleep 0.05; done'")


async def test_leaving_a_stream_ends_the_remote_process(desk: Desk, guest_a: Guest) -> None:
    runner = desk.runner(guest_a)
    async with runner.stream("echo $$ > /root/pid; exec journalctl -f -n 5") as stream:
        assert await anext(aiter(stream))
    await asyncio.to_thread(_until_gone, guest_a, "/root/pid")


async def test_a_stream_gives_all_bytes_and_holds_back_a_fast_peer(desk: Desk, plain_host: Node) -> None:
    runner = desk.runner(plain_host)
    size = 32 * 1024 * 1024
    async with runner.stream(f"head -c {size} /dev/zero; echo end >&2; exit 5") as stream:
        got = 0
        async for chunk in stream:
            got += len(chunk)
            if got == len(chunk):
                await asyncio.sleep(0.3)
        assert (got, stream.exit_status, stream.stderr) == (size, 5, b"end\n")


async def test_streams_leave_sessions_for_commands(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    runner = desk.pool(per_host=4).runner(endpoint(plain_host), key_of(plain_host))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(runner.stream("sleep 600"))
        with pytest.raises(Refused, match="2 are open") as refused:
            await stack.enter_async_context(runner.stream("sleep 600"))
        assert refused.value.code == "limit"
        assert (await runner.run("echo ok", timeout=20)).stdout == b"ok\n"


async def test_sshd_that_opens_no_more_sessions(desk: Desk, sshfarm: SshFarm) -> None:
    node = sshfarm.node(sessions=1)
    runner = desk.runner(node)
    async with runner.stream("sleep 600"):
        with pytest.raises(Refused, match="session") as refused:
            await runner.run("true", timeout=20)
    assert "MaxSessions" in refused.value.remedy


async def test_output_above_the_limit(desk: Desk, plain_host: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.ssh.MAX_OUTPUT", 1_000_000)
    runner = desk.runner(plain_host)
    with pytest.raises(ProtocolError, match="output"):
        await runner.run("yes", timeout=30)
    assert (await runner.run("echo ok", timeout=20)).ok


async def test_a_refused_port(desk: Desk, refused_port: tuple[str, int]) -> None:
    address, port = refused_port
    with pytest.raises(Unreachable, match="connection refused") as refused:
        await desk.pool().runner(SshEndpoint("web1", address, port)).run("true", timeout=20)
    assert refused.value.host == "web1"
    assert "sshd" in refused.value.remedy


async def test_a_dead_address(desk: Desk, dead_address: str) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
        await desk.pool(connect_timeout=0.5).runner(SshEndpoint("web1", dead_address)).run("true", timeout=20)
    assert time.monotonic() - started < 5


async def test_no_route(desk: Desk) -> None:
    with pytest.raises(Unreachable, match=r"no route|failed|unreachable"):
        await desk.pool().runner(SshEndpoint("web1", "2001:db8::1")).run("true", timeout=20)


async def test_a_name_nobody_knows(desk: Desk) -> None:
    with pytest.raises(Unreachable, match=r"look up web1\.invalid: no address") as unknown:
        await desk.pool().runner(SshEndpoint("web1.invalid")).run("true", timeout=60)
    assert "DNS" in unknown.value.remedy


@asynccontextmanager
async def _server(first: bytes) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_that_is_no_ssh_server(desk: Desk) -> None:
    async with _server(b"HTTP/1.1 400 Bad Request\r\n" * 2000) as port:
        with pytest.raises(ProtocolError, match="speak ssh"):
            await desk.pool().runner(SshEndpoint("web1", "127.0.0.1", port)).run("true", timeout=20)


async def test_a_port_that_stays_silent(desk: Desk) -> None:
    pool = SshPool(desk.files, login_timeout=0.5)
    desk.pools.append(pool)
    async with _server(b"") as port:
        with pytest.raises(TimedOut, match=r"not logged in within 0\.5 s"):
            await pool.runner(SshEndpoint("web1", "127.0.0.1", port)).run("true", timeout=20)


async def test_a_wrong_key(desk: Desk, plain_host: Node, tmp_path: Path) -> None:
    desk.know(plain_host)
    keygen(tmp_path / "other")
    wrong = SshCredential("ssh_key", plain_host.user, private_key=(tmp_path / "other").read_text("ascii"))
    with pytest.raises(AuthRefused, match=f"log in as {plain_host.user}.*1 keys offered"):
        await desk.pool().runner(endpoint(plain_host), wrong).run("true", timeout=20)


async def test_a_credential_that_is_no_key(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    broken = SshCredential("ssh_key", plain_host.user, private_key="TOP SECRET rubbish")
    with pytest.raises(AuthRefused, match="no private key") as refused:
        await desk.pool().runner(endpoint(plain_host), broken).run("true", timeout=20)
    assert "SECRET" not in str(refused.value)


async def test_a_key_with_a_passphrase(desk: Desk, plain_host: Node, sshfarm: SshFarm, tmp_path: Path) -> None:
    desk.know(plain_host)
    locked = tmp_path / "locked"
    keygen(locked, passphrase="open it")
    with (sshfarm.directory / "authorized_keys").open("a", encoding="ascii") as keys:
        keys.write(locked.with_suffix(".pub").read_text("ascii"))
    given = SshCredential("ssh_key", plain_host.user, private_key=locked.read_text("ascii"), passphrase="open it")
    assert (await desk.pool().runner(endpoint(plain_host), given).run("true", timeout=20)).ok
    # From ssh_config, with a person to ask.
    desk.write("config", "Host *", f"  User {plain_host.user}", f"  IdentityFile {locked}")
    person = Answers(passwords=["wrong", "open it"])
    assert (await desk.pool(person).runner(endpoint(plain_host)).run("true", timeout=20)).ok
    assert person.asked == [f"{plain_host.user}@{plain_host.name} passphrase of {locked} False"] * 2
    with pytest.raises(AuthRefused, match="no key offered"):
        await desk.pool().runner(endpoint(plain_host)).run("true", timeout=20)


async def test_a_password_from_a_credential_or_a_person(desk: Desk, guest_a: Guest) -> None:
    desk.know(guest_a)
    right = PASSWORDS["pwuser"]
    given = SshCredential("password", "pwuser", password=right)
    assert (await desk.pool().runner(endpoint(guest_a), given).run("id -un", timeout=20)).stdout == b"pwuser\n"
    with pytest.raises(AuthRefused) as refused:
        wrong = SshCredential("password", "pwuser", password="not it")
        await desk.pool().runner(endpoint(guest_a), wrong).run("true", timeout=30)
    assert "not it" not in str(refused.value)
    person = Answers(passwords=["no", right])
    asked = SshEndpoint("a", guest_a.address, user="pwuser")
    assert (await desk.pool(person).runner(asked).run("id -un", timeout=30)).stdout == b"pwuser\n"
    assert person.asked == ["pwuser@a password False"] * 2


async def test_identity_files_and_user_of_ssh_config(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    desk.write("config", "Host farm", f"  HostName {plain_host.address}", f"  Port {plain_host.port}",
               f"  User {plain_host.user}", f"  IdentityFile {plain_host.key}",
               "  StrictHostKeyChecking no")  # fmt: skip
    pool = desk.pool()
    assert (await pool.runner(SshEndpoint("farm")).run("id -un", timeout=20)).stdout.strip() == plain_host.user.encode()
    assert pool.ignored_options("farm") == ("StrictHostKeyChecking",)


@pytest.fixture
def agent(plain_host: Node, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    environment = os.environ | {"SSH_AUTH_SOCK": str(path)}
    subprocess.run(["ssh-add", "-q", str(plain_host.key)], env=environment, check=True)
    yield path
    process.kill()
    process.wait()


async def test_the_agent_is_asked_and_never_passed_on(
    desk: Desk, plain_host: Node, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.know(plain_host)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    desk.write("config", "Host *", f"  User {plain_host.user}", "  ForwardAgent yes")
    pool = desk.pool()
    done = await pool.runner(endpoint(plain_host)).run('echo "agent=$SSH_AUTH_SOCK"', timeout=20)
    assert done.stdout == b"agent=\n"
    assert "ForwardAgent" in pool.ignored_options(plain_host.name)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.with_name("gone")))
    with pytest.raises(AuthRefused, match="no key offered"):
        await desk.pool().runner(endpoint(plain_host)).run("true", timeout=20)


async def test_a_host_that_failed_is_left_alone_for_a_while(desk: Desk) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        there = SshEndpoint("web1", "127.0.0.1", taken.getsockname()[1])
        pool = desk.pool()
        for expected in (False, True):
            with pytest.raises(Unreachable) as refused:
                await pool.runner(there).run("true", timeout=20)
            assert ("not tried again" in refused.value.message) == expected
        state = pool.state("web1")
        assert state.status == "failed"
        assert state.retry_at is not None
        with pytest.raises(Unreachable) as again:
            await pool.runner(there, retry=True).run("true", timeout=20)
        assert "not tried again" not in again.value.message
        pool.forget("web1")
        assert pool.state("web1").status == "idle"


async def test_a_fresh_connection_is_a_second_one(desk: Desk, sshfarm: SshFarm) -> None:
    node = sshfarm.node()
    runner = desk.runner(node)
    await runner.run("true", timeout=20)
    before = node.log().count("Accepted publickey")
    await runner.fresh()
    assert node.log().count("Accepted publickey") == before + 1
    node.stop_listening()
    with pytest.raises(Unreachable, match="refused"):
        await runner.fresh()
    assert (await runner.run("echo old one works", timeout=20)).ok


async def test_closing_ends_what_runs(desk: Desk, plain_host: Node) -> None:
    desk.know(plain_host)
    pool = desk.pool()
    runner = pool.runner(endpoint(plain_host), key_of(plain_host))
    await runner.run("true", timeout=20)
    running = asyncio.create_task(runner.run("sleep 60", timeout=60))
    await asyncio.sleep(0.2)
    await pool.close()
    with pytest.raises(Unreachable):
        await running
    with pytest.raises(Unreachable, match="closing"):
        await runner.run("true", timeout=20)


async def test_sudo_where_we_are_not_root(desk: Desk, guest_a: Guest) -> None:
    admin = desk.runner(guest_a, "admin1")
    assert (await admin.run("systemctl is-active work.service", timeout=20, become=True)).stdout == b"active\n"
    with pytest.raises(Refused, match="sudo") as refused:
        await admin.run("id", timeout=20, become=True)
    assert refused.value.code == "privilege"
    with pytest.raises(Refused, match="password is required"):
        await desk.runner(guest_a, "ops").run("systemctl is-active work.service", timeout=20, become=True)
    no_sudo = SshEndpoint("a", guest_a.address, become=False)
    with pytest.raises(Refused, match="set not to use sudo"):
        await desk.pool().runner(no_sudo, key_of(guest_a)).run("id", timeout=20, become=True)
