"""Host keys against a real ssh server: unknown, accepted, changed, another one than shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncssh
import pytest

import opsconsole.hosts.keys  # noqa: F401
from opsconsole.engine.errors import ConfirmationRequired, ConsoleError, InvalidParameter, NotSupported, StateConflict
from tests.opsconsole.houses import Bench


@dataclass
class Server:
    """An ssh server on loopback whose key can be changed."""

    port: int
    key: asyncssh.SSHKey
    listener: asyncssh.SSHAcceptor

    async def rekey(self) -> str:
        self.listener.close()
        await self.listener.wait_closed()
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.listener = await asyncssh.listen("127.0.0.1", self.port, server_host_keys=[self.key])
        return self.key.get_fingerprint()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key])
    made = Server(listener.get_port(), key, listener)
    yield made
    made.listener.close()
    await made.listener.wait_closed()


async def test_scan_trust_and_a_changed_key(small_bench: Bench, server: Server) -> None:
    bench = small_bench
    root = await bench.user("root", admin=True)
    await bench.host("web", address="127.0.0.1", ssh_port=server.port)
    try:
        old = server.key.get_fingerprint()
        scanned = await bench.call(root, "hosts.scan_key", {"id": "web"})
        assert scanned["offers"] == [{"key_type": "ssh-ed25519", "fingerprint": old, "state": "unknown"}]

        other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint()
        with pytest.raises(StateConflict) as shown:
            await bench.call(root, "hosts.trust", {"host": "web", "fingerprint": other}, confirm="yes")
        assert old in shown.value.message
        with pytest.raises(ConfirmationRequired) as asked:
            await bench.call(root, "hosts.trust", {"host": "web", "fingerprint": old})
        assert asked.value.data["expect"] == "yes"
        answer = await bench.call(root, "hosts.trust", {"host": "web", "fingerprint": old}, confirm="yes")
        assert answer == {"host": "web", "trusted": old}
        assert (await bench.call(root, "hosts.scan_key", {"id": "web"}))["offers"][0]["state"] == "known"

        new = await server.rekey()
        changed = await bench.call(root, "hosts.scan_key", {"id": "web"})
        assert changed["offers"][0]["state"] == "changed"
        with pytest.raises(ConfirmationRequired) as named:
            await bench.call(root, "hosts.trust", {"host": "web", "fingerprint": new}, confirm="yes")
        assert (named.value.data["rung"], named.value.data["expect"]) == (3, "web")
        await bench.call(root, "hosts.trust", {"host": "web", "fingerprint": new}, confirm="web", reason="reinstalled")
        assert (await bench.call(root, "hosts.scan_key", {"id": "web"}))["offers"][0]["state"] == "known"
        done = [row for row in await bench.journal() if row.result == "done"]
        assert [(row.operation, row.reason, row.after["trusted"]) for row in done] == [
            ("hosts.trust", None, old),
            ("hosts.trust", "reinstalled", new),
        ]
    finally:
        await bench.house.fleet.close()


async def test_bad_input_and_a_dead_host(small_bench: Bench, server: Server) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.host("web", address="127.0.0.1", ssh_port=server.port)
    server.listener.close()
    await server.listener.wait_closed()
    try:
        with pytest.raises(InvalidParameter):
            await small_bench.call(root, "hosts.trust", {"host": "web", "fingerprint": "MD5:aa"})
        with pytest.raises(NotSupported):
            await small_bench.call(root, "hosts.scan_key", {"id": "local"})
        with pytest.raises(ConsoleError) as dead:
            await small_bench.call(root, "hosts.scan_key", {"id": "web"})
        assert dead.value.exit_status == 6
    finally:
        await small_bench.house.fleet.close()
