"""From settings to one logged-in connection, every failure under its own name."""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from drivers import ssh_socket
from drivers.errors import (
    AuthRefused,
    DriverError,
    HostKeyChanged,
    HostKeyUnknown,
    ProtocolError,
    TimedOut,
    Unreachable,
)
from drivers.ssh_config import HostSettings
from drivers.ssh_known_hosts import Known, known_line
from drivers.ssh_login import Identities, Login
from drivers.ssh_types import Prompter, SshCredential

_HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
    "rsa-sha2-512,rsa-sha2-256",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `connect` is for TCP, `login` for everything up to the first command, people's thinking not counted."""

    connect: float = 10.0
    login: float = 30.0
    keepalive: float = 15.0
    keepalive_count: int = 3


@lru_cache(maxsize=1)
def _base_options() -> asyncssh.SSHClientConnectionOptions:
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        client_keys=None,
        known_hosts=b"",
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        agent_forwarding=False,
        x11_forwarding=False,
        send_env=None,
        command=None,
        request_pty=False,
        gss_kex=False,
        gss_auth=False,
        connect_timeout=None,
        login_timeout=0,
    )


def _options(settings: HostSettings) -> asyncssh.SSHClientConnectionOptions:
    options = copy.copy(_base_options())
    options.config = settings.config
    return options


def _algorithms(settings: HostSettings, known: Known, timing: Timing) -> dict[str, object]:
    """ssh_config wins; else the cipher that costs least, and host key types we know first, so that a changed key of
    a known type is never mistaken for an unknown one of another type."""
    config = settings.config
    chosen: dict[str, object] = {}
    if not config.get("Ciphers"):
        chosen["encryption_algs"] = "^aes128-gcm@openssh.com"
    if not config.get("KexAlgorithms"):
        chosen["kex_algs"] = "^curve25519-sha256"
    if not config.get("HostKeyAlgorithms"):
        first = [alg for one in known.keys for alg in one.key.sig_algorithms]
        certificates = list(get_default_certificate_algs()) if known.authorities else []
        names = dict.fromkeys([*certificates, *first, *get_default_public_key_algs()])
        chosen["server_host_key_algs"] = [name.decode("ascii") for name in names]
    if config.get("ServerAliveInterval") is None:
        chosen |= {"keepalive_interval": timing.keepalive, "keepalive_count_max": timing.keepalive_count}
    return chosen


def agent_socket(settings: HostSettings) -> str | None:
    """The agent to ask: IdentityAgent, else SSH_AUTH_SOCK, when there is a socket."""
    name = settings.agent or "SSH_AUTH_SOCK"
    path = os.environ.get(name.removeprefix("$"), "") if name in ("SSH_AUTH_SOCK", "$SSH_AUTH_SOCK") else name
    if not path or path.lower() == "none":
        return None
    try:
        found = Path(path).expanduser()
        return str(found) if stat.S_ISSOCK(found.stat().st_mode) else None
    except OSError:
        return None


async def _transport(
    name: str, settings: HostSettings, tunnel: asyncssh.SSHClientConnection | None, timing: Timing
) -> dict[str, object]:
    if tunnel is not None:
        return {"tunnel": tunnel}
    if settings.config.get("ProxyCommand"):
        return {"tunnel": None}
    family, bind = settings.config.get("AddressFamily"), settings.config.get("BindAddress")
    sock = await ssh_socket.connect(
        name,
        settings.host,
        settings.port,
        timeout=settings.connect_timeout or timing.connect,
        family=family if isinstance(family, int) else 0,
        bind=bind if isinstance(bind, str) else None,
    )
    return {"tunnel": None, "sock": sock}


async def log_in(
    name: str,
    settings: HostSettings,
    known: Known,
    *,
    credential: SshCredential | None,
    identities: Identities,
    tunnel: asyncssh.SSHClientConnection | None,
    prompter: Prompter | None,
    slots: asyncio.Semaphore,
    timing: Timing,
) -> tuple[asyncssh.SSHClientConnection, Login]:
    """One attempt. `slots` bounds handshakes, which cost CPU; waiting for TCP does not take one.

    Raises `Unreachable`, `TimedOut`, `AuthRefused`, `HostKeyUnknown`, `HostKeyChanged`, `ProtocolError`.
    """
    agent = None if credential else agent_socket(settings)
    login = Login(name, settings, known, credential, identities, agent, prompter)
    login.allowed_seconds = timing.login
    transport = await _transport(name, settings, tunnel, timing)
    connection: asyncssh.SSHClientConnection | None = None
    try:
        async with slots, asyncio.timeout(timing.login) as limit:
            login.limit = limit
            connection = await asyncssh.connect(
                settings.host,
                settings.port,
                config=None,
                options=_options(settings),
                username=settings.user,
                client_factory=lambda: login,
                known_hosts=lambda *_: known.for_asyncssh(),
                **_algorithms(settings, known, timing),
                **transport,
            )
    except TimeoutError:
        raise TimedOut(
            name,
            f"log in as {settings.user}",
            f"not logged in within {timing.login:g} s",
            remedy="check that this port is sshd, and how loaded the host is",
        ) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        raise _named(name, settings, known, login, error) from None
    finally:
        login.limit = None
        if connection is None and isinstance(sock := transport.get("sock"), socket.socket):
            sock.close()
    return connection, login


def _named(name: str, settings: HostSettings, known: Known, login: Login, error: Exception) -> DriverError:
    tried = f"log in as {settings.user}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _host_key_error(name, settings, known, login, error)
    if isinstance(error, asyncssh.PermissionDenied):
        how = f"{login.keys_offered} keys offered" if login.keys_offered else "no key offered"
        return AuthRefused(
            name, tried, f"{error.reason} ({how})", remedy="check user, key or credential; see the host's auth log"
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(name, "connect through the jump host", f"it could not: {error.reason}")
    if isinstance(error, asyncssh.ProtocolError | asyncssh.ProtocolNotSupported | asyncssh.KeyExchangeFailed):
        return ProtocolError(
            name, f"speak ssh on port {settings.port}", error.reason, remedy="check that this port is an ssh server"
        )
    if isinstance(error, asyncssh.Error):
        reason = getattr(error, "reason", "") or "the connection was closed"
        return Unreachable(
            name,
            tried,
            f"the host closed the connection: {reason}",
            remedy="see its log; look for MaxStartups or a ban",
        )
    if isinstance(error, OSError):
        return Unreachable(name, f"connect to {settings.host}", error.strerror or "the connection was closed")
    return ProtocolError(name, tried, str(error), remedy="check what ssh_config says about this host")


def _host_key_error(
    name: str, settings: HostSettings, known: Known, login: Login, error: asyncssh.HostKeyNotVerifiable
) -> DriverError:
    if "revoked" in error.reason:
        where = ", ".join(one.where for one in known.revoked)
        return AuthRefused(
            name, "check the host key", f"its key is marked @revoked in {where}", remedy="give the host a new key"
        )
    key = login.shown_key
    if key is None:
        return AuthRefused(name, "check the host key", error.reason, remedy="check its certificate and authority")
    if known.keys:
        return HostKeyChanged(name, key.get_fingerprint(), ", ".join(one.where for one in known.keys))
    line = known_line(settings.lookup_name, settings.lookup_port, key)
    return HostKeyUnknown(name, key.get_fingerprint(), line)


async def offered_keys(
    name: str, settings: HostSettings, tunnel: asyncssh.SSHClientConnection | None, timing: Timing
) -> list[asyncssh.SSHKey]:
    """The host keys shown now, one per type, nothing logged in. Raises as `log_in` when the host is not there."""

    async def one(algorithms: str) -> asyncssh.SSHKey | None:
        transport = await _transport(name, settings, tunnel, timing)
        try:
            async with asyncio.timeout(timing.login):
                return await asyncssh.get_server_host_key(
                    settings.host,
                    settings.port,
                    server_host_key_algs=algorithms,
                    config=None,
                    options=_options(settings),
                    **transport,  # type: ignore[arg-type]
                )
        except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost, ConnectionError):
            # Without a key of this type sshd hangs up, and which of both ends is first is a matter of luck.
            return None
        except TimeoutError:
            raise TimedOut(name, "ask for the host key", f"no answer within {timing.login:g} s") from None
        except (OSError, asyncssh.Error) as error:
            said = getattr(error, "reason", "") or str(error)
            raise ProtocolError(name, "ask for the host key", said) from None

    found = [key for key in await asyncio.gather(*map(one, _HOST_KEY_TYPES)) if key is not None]
    if not found:
        raise ProtocolError(
            name, "ask for the host key", "it shows none", remedy="check that this port is an ssh server"
        )
    return found
