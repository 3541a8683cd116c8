"""Ways into the lab's peers, for the tests of the drivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from drivers.ssh import SshCredential, SshEndpoint, SshFiles, SshPool, SshRunner
from tests.lab.guests import Guest
from tests.lab.packages import run
from tests.lab.sshfarm import Node

Peer = Guest | Node


@dataclass
class Answers:
    """A prompter that answers by a list and remembers what it was asked."""

    trust: bool = True
    passwords: list[str | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def host_key(self, host: str, key_type: str, fingerprint: str) -> bool:
        self.asked.append(f"{host} {key_type} {fingerprint}")
        return self.trust

    async def password(self, host: str, user: str, prompt: str, *, echo: bool) -> str | None:
        self.asked.append(f"{user}@{host} {prompt} {echo}")
        return self.passwords.pop(0) if self.passwords else None


class Desk:
    """One operator's files in a directory, and the pools made from them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = SshFiles((directory / "config",), (directory / "known_hosts",), directory / "own_known_hosts")
        self.pools: list[SshPool] = []

    def write(self, name: str, *lines: str) -> None:
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def know(self, *peers: Peer) -> None:
        self.write("known_hosts", *(peer.known_hosts for peer in peers))

    def pool(self, prompter: Answers | None = None, *, connect_timeout: float = 10.0, per_host: int = 8) -> SshPool:
        pool = SshPool(self.files, prompter, connect_timeout=connect_timeout, per_host_limit=per_host)
        self.pools.append(pool)
        return pool

    def runner(self, peer: Peer, user: str | None = None) -> SshRunner:
        """A connection of its own to a known peer."""
        self.know(peer)
        return self.pool().runner(endpoint(peer), key_of(peer, user))

    async def close(self) -> None:
        for pool in self.pools:
            await pool.close()


def endpoint(peer: Peer) -> SshEndpoint:
    return SshEndpoint(peer.name, address=peer.address, port=peer.port)


def key_of(peer: Peer, user: str | None = None) -> SshCredential:
    login = user or (peer.user if isinstance(peer, Node) else "root")
    return SshCredential("ssh_key", username=login, private_key=peer.key.read_text("ascii"))


def keygen(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> None:
    run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path))
