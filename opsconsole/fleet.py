"""The way to the managed machines: host rows in, runners out, one connection per host for the whole process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmodel import Session, col, select

from data.models import Credential
from drivers.errors import Unreachable
from drivers.local import LocalRunner
from drivers.runner import Runner
from drivers.ssh import SshPool
from drivers.ssh_types import SshCredential, SshEndpoint, SshFiles
from opsconsole.engine.identity import came_by_ssh

if TYPE_CHECKING:
    from drivers.systemd import HostUnits
    from opsconsole.hosts.lookup import HostFacts
    from opsconsole.house import House

_BANNER_SECONDS = 10.0
_DEFAULTS_SECONDS = 5.0
_REMEMBERED = 300
_FOR_SSH = ("password", "ssh_key")


class Fleet:
    """Runners by host. Connections are made on first use and kept."""

    def __init__(self, house: House) -> None:
        self._house = house
        settings = house.settings
        self.pool = SshPool(
            ssh_files(house),
            house.prompter,
            connect_limit=settings.connect_limit,
            connect_timeout=settings.connect_timeout,
        )
        self._local = LocalRunner("local")
        self.earlier: dict[int, HostUnits] = {}
        self._environments: frozenset[int] = frozenset()
        self._looked = -_DEFAULTS_SECONDS

    async def runner(self, host: HostFacts, *, retry: bool = False) -> Runner:
        """The runner of one host. `retry` ignores the pause after a recent failure (an operator asked again)."""
        if host.local:
            return self._local
        credential = await self._credential(host)
        return self.pool.runner(endpoint(host), credential, retry=retry)

    async def unattended(self, host: HostFacts) -> bool:
        """Whether a worker, which has no agent and asks nobody, has anything to log in with there."""
        if host.local:
            return True
        credential = await self._credential(host)
        return self.pool.unattended(endpoint(host), credential)

    def remember(self, host_id: int, units: HostUnits) -> None:
        """Keep the newest look at a host for the next one; the longest unseen go first."""
        self.earlier.pop(host_id, None)
        self.earlier[host_id] = units
        while len(self.earlier) > _REMEMBERED:
            del self.earlier[next(iter(self.earlier))]

    async def _credential(self, host: HostFacts) -> SshCredential | None:
        """The host's own, else its environment's default, else None: ssh_config, identity files and agent decide."""
        if host.credential_id is None and host.environment_id not in await self._defaults():
            return None
        row = await self._house.database.read(lambda tx: _credential_row(tx, host))
        if row is None:
            return None
        secret = json.loads(await self._house.unseal(row.sealed, context=f"credential:{row.id}"))
        if row.kind == "password":
            return SshCredential("password", row.username, password=secret["password"])
        return SshCredential(
            "ssh_key", row.username, private_key=secret["private_key"], passphrase=secret.get("passphrase")
        )

    async def _defaults(self) -> frozenset[int]:
        """Environments with a credential of their own; looked up at most every few seconds, for every host asks."""
        if time.monotonic() - self._looked > _DEFAULTS_SECONDS:
            query = select(Credential.environment_id).where(col(Credential.kind).in_(_FOR_SSH))
            found = await self._house.database.read(lambda tx: tx.exec(query).all())
            self._environments = frozenset(key for key in found if key is not None)
            self._looked = time.monotonic()
        return self._environments

    def connection_kind(self, host: HostFacts) -> str:
        """How the operator stands to a host: `ssh` when stopping its network side could cut him off, else `local`."""
        return "ssh" if not host.local or came_by_ssh() else "local"

    async def prove_way_in(self, host: HostFacts) -> None:
        """That a new connection can be made now; for this machine, that the ssh server we came through answers."""
        if not host.local:
            await (await self.runner(host, retry=True)).fresh()
        elif came_by_ssh():
            await _ssh_banner(host.name)

    async def close(self) -> None:
        await self.pool.close()


def ssh_files(house: House) -> SshFiles:
    """OpenSSH's files of this account, or with `ssh_files = "home"` only `ssh_config` and `known_hosts` of our home."""
    own = house.home / "known_hosts"
    if house.settings.ssh_files == "home":
        return SshFiles(config=(house.home / "ssh_config",), known_hosts=(), own_known_hosts=own)
    return SshFiles.of_system(Path.home(), own=own)


def endpoint(host: HostFacts) -> SshEndpoint:
    return SshEndpoint(host.name, host.address, host.ssh_port, host.ssh_user, host.become)


def _credential_row(tx: Session, host: HostFacts) -> Credential | None:
    """The oldest one where an environment has several: its default does not change when another is added."""
    query = select(Credential).where(col(Credential.kind).in_(_FOR_SSH)).order_by(col(Credential.id)).limit(1)
    if host.credential_id is not None:
        return tx.exec(query.where(Credential.id == host.credential_id)).one_or_none()
    return tx.exec(query.where(Credential.environment_id == host.environment_id)).one_or_none()


async def _ssh_banner(name: str) -> None:
    """Connect where our own session came in and wait for the server's greeting."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    address, port = (words[2], int(words[3])) if len(words) == 4 and words[3].isdigit() else ("127.0.0.1", 22)
    try:
        async with asyncio.timeout(_BANNER_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            greeting = await reader.readline()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise Unreachable(name, f"reach the ssh server at {address}:{port}", str(error) or "no answer") from error
    if not greeting.startswith(b"SSH-"):
        raise Unreachable(name, f"reach the ssh server at {address}:{port}", "it does not greet as one")
