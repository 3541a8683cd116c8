"""One login: the answers our side gives during the handshake, in the order a person would expect.

Identity files and agent are the pool's; a credential replaces both. What was offered is remembered for the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from drivers.errors import AuthRefused
from drivers.ssh_config import HostSettings
from drivers.ssh_known_hosts import Known
from drivers.ssh_types import Prompter, SshCredential

_PASSWORD_TRIES = 3


class Identities:
    """Private keys and the agent, read once and shared by all hosts of a pool."""

    def __init__(self) -> None:
        self._keys: dict[Path, tuple[int, asyncssh.SSHKey | None]] = {}
        self._agents: dict[str, asyncssh.SSHAgentClient] = {}

    def key(self, path: Path) -> asyncssh.SSHKey | None:
        """The key in this file, or None when it is missing, unreadable, or locked by a passphrase."""
        try:
            stamp = path.stat().st_mtime_ns
            cached = self._keys.get(path)
            if cached is None or cached[0] != stamp:
                cached = self._keys[path] = (stamp, _read_key(path))
        except OSError:
            return None
        return cached[1]

    def locked(self, path: Path) -> bool:
        return path.is_file() and self.key(path) is None

    def unlock(self, path: Path, passphrase: str) -> asyncssh.SSHKey | None:
        """Keep the key for this pool's life; None for a wrong passphrase."""
        try:
            key = asyncssh.read_private_key(path, passphrase)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError):
            return None
        self._keys[path] = (path.stat().st_mtime_ns, key)
        return key

    async def agent_keys(self, socket: str, only: Sequence[bytes] | None) -> list[asyncssh.SSHKeyPair]:
        """Keys of the agent at this socket, none when it does not answer."""
        agent = self._agents.get(socket)
        try:
            if agent is None:
                agent = self._agents[socket] = await asyncssh.connect_agent(socket)
            return list(await agent.get_keys(only))
        except (OSError, ValueError, asyncssh.Error):
            if agent := self._agents.pop(socket, None):
                agent.close()
            return []

    def close(self) -> None:
        for agent in self._agents.values():
            agent.close()
        self._agents.clear()


def _read_key(path: Path) -> asyncssh.SSHKey | None:
    try:
        return asyncssh.read_private_key(path)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        return None


def public_blob(path: Path, identities: Identities) -> bytes | None:
    """The public half of an identity file, to pick it out of an agent."""
    for candidate in (path.with_name(path.name + ".pub"), path):
        try:
            return asyncssh.read_public_key(candidate).public_data
        except (OSError, asyncssh.KeyImportError):
            continue
    key = identities.key(path)
    return key.public_data if key else None


def credential_key(host: str, credential: SshCredential) -> asyncssh.SSHKey | None:
    """The credential's own key. Raises `AuthRefused` when it cannot be read; never repeats any of it."""
    if credential.private_key is None:
        return None
    try:
        return asyncssh.import_private_key(credential.private_key, credential.passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        raise AuthRefused(
            host,
            "read the credential's private key",
            "it is no private key, or its passphrase is wrong",
            remedy="store the key again, with its passphrase",
        ) from None


class Login(asyncssh.SSHClient):
    """asyncssh's callbacks for one connection attempt.

    `shown_key` is the host key that was not trusted; `lost` is set when the finished connection goes away.
    """

    def __init__(
        self,
        name: str,
        settings: HostSettings,
        known: Known,
        credential: SshCredential | None,
        identities: Identities,
        agent: str | None,
        prompter: Prompter | None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._known = known
        self._credential = credential
        self._identities = identities
        self._agent = agent
        self._prompter = prompter
        self._keys: AsyncIterator[asyncssh.SSHKey | asyncssh.SSHKeyPair] | None = None
        self._password_left = credential.password if credential else None
        self._tries = _PASSWORD_TRIES
        self.limit: asyncio.Timeout | None = None
        self.allowed_seconds = 30.0
        self.shown_key: asyncssh.SSHKey | None = None
        self.keys_offered = 0
        self.lost = asyncio.Event()
        self.banner = ""

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()

    def auth_banner_received(self, msg: str, lang: str) -> None:
        del lang
        self.banner = msg[:2000]

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        del host, addr, port
        self.shown_key = key
        return False

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKey | asyncssh.SSHKeyPair] | None:
        if self._keys is None:
            self._keys = self._offer()
        key = await anext(self._keys, None)
        if key is None:
            return None
        self.keys_offered += 1
        return [key]

    async def _offer(self) -> AsyncIterator[asyncssh.SSHKey | asyncssh.SSHKeyPair]:
        if self._credential is not None:
            if key := credential_key(self._name, self._credential):
                yield key
            return
        paths = self._settings.identities
        offered: set[bytes] = set()
        if self._agent:
            blobs = [blob for path in paths if (blob := public_blob(path, self._identities))]
            only = blobs if self._settings.identities_only else None
            pairs = await self._identities.agent_keys(self._agent, only)
            for pair in sorted(pairs, key=lambda pair: pair.public_data not in blobs):
                offered.add(pair.public_data)
                yield pair
        for path in paths:
            if (key := self._identities.key(path)) and key.public_data not in offered:
                yield key
        async for key in self._unlocked(paths, offered):
            yield key

    async def _unlocked(self, paths: Sequence[Path], offered: set[bytes]) -> AsyncIterator[asyncssh.SSHKey]:
        for path in paths if self._prompter else ():
            if not self._identities.locked(path) or public_blob(path, self._identities) in offered:
                continue
            while answer := await self._ask(f"passphrase of {path}", echo=False):
                if key := self._identities.unlock(path, answer):
                    yield key
                    break

    async def password_auth_requested(self) -> str | None:
        if self._password_left is not None:
            password, self._password_left = self._password_left, None
            return password
        if self._credential is not None:
            return None
        return await self._ask("password", echo=False)

    def kbdint_auth_requested(self) -> str | None:
        may = self._password_left is not None or (self._prompter is not None and self._credential is None)
        return "" if may else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        del name, lang
        answers = []
        for prompt, echo in prompts:
            answer = None
            if not echo and self._password_left is not None:
                answer, self._password_left = self._password_left, None
            elif self._credential is None or self._prompter is not None:
                answer = await self._ask(f"{instructions}\n{prompt}".strip(), echo=echo)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _ask(self, prompt: str, *, echo: bool) -> str | None:
        if self._prompter is None or self._tries <= 0:
            return None
        self._tries -= 1
        async with self._patience():
            return await self._prompter.password(self._name, self._settings.user, prompt, echo=echo)

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """While a person thinks, the clock of the login stands still."""
        if self.limit is None:
            yield
            return
        self.limit.reschedule(None)
        try:
            yield
        finally:
            self.limit.reschedule(asyncio.get_running_loop().time() + self.allowed_seconds)
