"""Machines over ssh: one connection per host, kept and shared by everything that is done there.

pool = SshPool(SshFiles.of_system(Path.home()))
done = await pool.runner(SshEndpoint("web1")).run("uptime", timeout=20)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from drivers import ssh_config
from drivers.dialling import Address, Reading, Writing
from drivers.errors import HostKeyUnknown, Refused, TimedOut, Unreachable
from drivers.runner import MAX_OUTPUT, Completed, Stream, become_root, check_sudo, quote_argv
from drivers.ssh_connect import Timing, log_in, offered_keys
from drivers.ssh_host import Host, Key
from drivers.ssh_known_hosts import KnownHosts, add_line, host_pattern, known_line
from drivers.ssh_login import Identities, Login
from drivers.ssh_session import open_session, open_stream
from drivers.ssh_types import KeyOffer, PoolState, Prompter, SshCredential, SshEndpoint, SshFiles

__all__ = [
    "KeyOffer",
    "PoolState",
    "Prompter",
    "SshCredential",
    "SshEndpoint",
    "SshFiles",
    "SshPool",
    "SshRunner",
    "Timing",
]

_KEPT_FOR_RUNS = 2


class SshPool:
    """All connections of one program. Belongs to one event loop; `close` it at the end.

    `connect_limit` handshakes run at once; `per_host_limit` sessions are open at once on a host (sshd's MaxSessions
    is 10), of which streams leave two for commands. Without a `prompter` every question is a refusal.
    """

    def __init__(
        self,
        files: SshFiles,
        prompter: Prompter | None = None,
        *,
        connect_limit: int = 50,
        per_host_limit: int = 8,
        connect_timeout: float = 10.0,
        login_timeout: float = 30.0,
        keepalive: float = 15.0,
        keepalive_count: int = 3,
    ) -> None:
        self._files = files
        self._prompter = prompter
        self._per_host = per_host_limit
        self._timing = Timing(connect_timeout, login_timeout, keepalive, keepalive_count)
        self._slots = asyncio.Semaphore(connect_limit)
        self._known = KnownHosts()
        self._identities = Identities()
        self._hosts: dict[Key, Host] = {}
        self._questions: dict[tuple[str, str], asyncio.Task[bool]] = {}
        self._closed = False

    def runner(
        self, endpoint: SshEndpoint, credential: SshCredential | None = None, *, retry: bool = False
    ) -> SshRunner:
        """Commands on this host; connects on first use. `retry` forgets that the host failed a moment ago."""
        host = self._host(endpoint, credential, None)
        if retry:
            host.forget_failure()
        return SshRunner(self, host)

    def forget(self, name: str) -> None:
        """Let the next use of this host connect at once, whatever happened before."""
        for host in self._named(name):
            host.forget_failure()

    def state(self, name: str) -> PoolState:
        """What is known about the way to this host, without asking it."""
        states = [host.state() for host in self._named(name)]
        order = ("connected", "connecting", "failed", "idle")
        return min(states, key=lambda state: order.index(state.status), default=PoolState("idle", 0.0))

    def unattended(self, endpoint: SshEndpoint, credential: SshCredential | None = None) -> bool:
        """Whether somebody without an agent and without answers has anything to log in with: a stored credential, or an
        identity file that no passphrase locks. Reads files; connects to nothing."""
        if credential is not None:
            return True
        settings = self._settings(self._host(endpoint, None, None))
        return any(self._identities.key(path) is not None for path in settings.identities)

    def ignored_options(self, name: str) -> tuple[str, ...]:
        """Options of ssh_config for this host that have no effect here; empty before it was used."""
        return tuple(sorted({option for host in self._named(name) for option in host.ignored}))

    async def close(self) -> None:
        """Close every connection. Running commands fail with `Unreachable`."""
        self._closed = True
        await asyncio.gather(*(host.close() for host in list(self._hosts.values())))
        for question in self._questions.values():
            question.cancel()
        self._identities.close()

    async def scan_host_key(self, endpoint: SshEndpoint) -> list[KeyOffer]:
        """The keys the host shows now, one per type, trusted or not; nothing is logged in or stored."""
        host = self._host(endpoint, None, None)
        settings = self._settings(host)
        keys = await offered_keys(endpoint.name, settings, await self._tunnel(host, ()), self._timing)
        place = settings.lookup_name, settings.lookup_port
        return [KeyOffer(key.get_algorithm(), key.get_fingerprint(), known_line(*place, key)) for key in keys]

    async def trust(self, endpoint: SshEndpoint, line: str) -> None:
        """Accept one known_hosts line for this host from now on. Raises `Refused` (`invalid`) for any other line."""
        settings = self._settings(self._host(endpoint, None, None))
        pattern = host_pattern(settings.lookup_name, settings.lookup_port)
        words = line.split()
        try:
            if len(words) < 3 or words[0] != pattern or "\n" in line.strip():
                raise ValueError(f"it does not begin with {pattern}")
            key = asyncssh.import_public_key(" ".join(words[1:3]))
        except (ValueError, asyncssh.KeyImportError) as error:
            raise Refused(
                endpoint.name,
                "trust a host key",
                f"not a known_hosts line for this host: {error}",
                remedy="give the line as hosts.scan or the refusal showed it",
                code="invalid",
            ) from None
        self._add(endpoint.name, known_line(settings.lookup_name, settings.lookup_port, key))
        self.forget(endpoint.name)

    async def connection(self, host: Host, trail: tuple[Host, ...] = ()) -> asyncssh.SSHClientConnection:
        """The open connection of this host, made now if need be. `trail` are the hosts that wait for it as a jump."""
        name = host.endpoint.name
        if self._closed:
            raise Unreachable(name, "connect", "the console is closing its connections")
        if host in trail:
            way = " -> ".join([*(one.endpoint.name for one in trail), name])
            raise Unreachable(name, "follow ProxyJump", f"a circle: {way}", remedy="correct ssh_config")
        return await host.connection(lambda: self._open(host, trail))

    async def fresh(self, host: Host) -> None:
        """Make a second connection and drop it."""
        connection, _ = await self._open(host, ())
        connection.abort()
        await connection.wait_closed()

    async def _open(self, host: Host, trail: tuple[Host, ...]) -> tuple[asyncssh.SSHClientConnection, Login]:
        settings = self._settings(host)
        tunnel = await self._tunnel(host, trail)
        while True:
            known = self._known.lookup(settings.lookup_name, settings.lookup_port, settings.known_hosts)
            try:
                return await log_in(
                    host.endpoint.name,
                    settings,
                    known,
                    credential=host.credential,
                    identities=self._identities,
                    tunnel=tunnel,
                    prompter=self._prompter,
                    slots=self._slots,
                    timing=self._timing,
                )
            except HostKeyUnknown as unknown:
                # Somebody may have said yes to the same key while this attempt was under way.
                known = self._known.lookup(settings.lookup_name, settings.lookup_port, settings.known_hosts)
                if unknown.fingerprint in {one.key.get_fingerprint() for one in known.keys}:
                    continue
                if self._prompter is None or not await self._ask_once(unknown):
                    raise

    async def _tunnel(self, host: Host, trail: tuple[Host, ...]) -> asyncssh.SSHClientConnection | None:
        trail = (*trail, host)
        if host.via is not None:
            return await self.connection(host.via, trail)
        last: Host | None = None
        for hop in self._settings(host).jumps:
            last = self._host(hop, None, last) if last or hop.user or hop.port else self._known_host(hop)
        return await self.connection(last, trail) if last else None

    async def _ask_once(self, unknown: HostKeyUnknown) -> bool:
        """Many tasks may meet the same unknown key at once; the person is asked one time."""
        line, name = unknown.key, unknown.host
        place = (line.split(None, 1)[0], unknown.fingerprint)
        if place not in self._questions:
            self._questions[place] = asyncio.create_task(self._ask(name, line, unknown.fingerprint))
            self._questions[place].add_done_callback(lambda _: self._questions.pop(place, None))
        return await asyncio.shield(self._questions[place])

    async def _ask(self, name: str, line: str, fingerprint: str) -> bool:
        if self._prompter is None or not await self._prompter.host_key(name, line.split()[1], fingerprint):
            return False
        self._add(name, line)
        return True

    def _add(self, name: str, line: str) -> None:
        try:
            add_line(self._files.own_known_hosts, line)
        except OSError as error:
            where = f"{self._files.own_known_hosts}: {error.strerror}"
            raise Refused(name, "store the host key", where, remedy="make that file writable for this user") from None

    def _settings(self, host: Host) -> ssh_config.HostSettings:
        return host.settings(self._files)

    def _host(self, endpoint: SshEndpoint, credential: SshCredential | None, via: Host | None) -> Host:
        key = (endpoint, credential, via.key if via else None)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(key, endpoint, credential, via, self._per_host, _KEPT_FOR_RUNS)
        return host

    def _known_host(self, hop: SshEndpoint) -> Host:
        """A jump host the program already knows by this name is used as it is known, credential and all."""
        same = [host for host in self._named(hop.name) if host.via is None]
        return same[0] if same else self._host(hop, None, None)

    def _named(self, name: str) -> list[Host]:
        return [host for host in self._hosts.values() if host.endpoint.name == name]


class SshRunner:
    """A `Runner` over the pool's connection to one host."""

    def __init__(self, pool: SshPool, host: Host) -> None:
        self._pool = pool
        self._host = host

    @property
    def name(self) -> str:
        return self._host.endpoint.name

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        started = time.monotonic()
        line = self._line(command, become=become)
        doing = "connect"
        try:
            async with asyncio.timeout(timeout):
                connection = await self._pool.connection(self._host)
                doing = "run a command"
                async with self._host.session_slot():
                    exit_status, out, err = await self._exchange(connection, line, stdin)
        except TimeoutError:
            remedy = "its effect is not known: look at the state before doing it again" if doing != "connect" else ""
            raise TimedOut(self.name, doing, f"no end within {timeout:g} s", remedy=remedy) from None
        done = Completed(exit_status, out, err, time.monotonic() - started)
        if become:
            check_sudo(self.name, command, done)
        return done

    async def _exchange(
        self, connection: asyncssh.SSHClientConnection, line: str, stdin: bytes
    ) -> tuple[int | None, bytes, bytes]:
        channel, session = await open_session(connection, self.name, line, streaming=False, limit=MAX_OUTPUT)
        try:
            with contextlib.suppress(OSError):
                channel.write(stdin)
                channel.write_eof()
            await session.wait()
        finally:
            await session.end()
        return session.exit_status, session.stdout, session.stderr

    @asynccontextmanager
    async def stream(self, command: str, *, become: bool = False) -> AsyncIterator[Stream]:
        line = self._line(command, become=become)
        connection = await self._pool.connection(self._host)
        async with self._host.stream_slot():
            _, session = await open_session(connection, self.name, line, streaming=True, limit=0)
            try:
                yield session
            finally:
                await session.end()

    async def fresh(self) -> None:
        await self._pool.fresh(self._host)

    async def dial(self, address: Address) -> tuple[Reading, Writing]:
        """A stream forwarded by sshd to what listens over there, as this login (sudo has no part in it)."""
        connection = await self._pool.connection(self._host)
        return await open_stream(connection, self.name, address)

    def _line(self, command: str, *, become: bool) -> str:
        """For the login shell over there, which may be no POSIX shell."""
        if become and not self._host.endpoint.become:
            raise Refused(
                self.name,
                "become root",
                "this host is set not to use sudo",
                remedy="log in as root, or allow sudo for this host",
                code="privilege",
            )
        return "exec " + quote_argv(["/bin/sh", "-c", become_root(command) if become else command])
