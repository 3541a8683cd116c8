"""What ssh_config says about one host, read by asyncssh's own parser, plus what that parser passes over.

asyncssh reads no system file by itself and drops options it does not know without a word; here both are mended.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.config import ConfigParseError, SSHClientConfig

from drivers import ssh_config_file
from drivers.errors import ProtocolError
from drivers.ssh_types import SshEndpoint, SshFiles

_UNSET: tuple[()] = ()
# Known to asyncssh, but never done by us, whatever the file says.
_NEVER = {"ForwardAgent": "yes", "RemoteCommand": "", "RequestTTY": "yes", "ForwardX11Trusted": "yes"}
_SPELLING = {
    name.lower(): name
    for name in (
        "AddKeysToAgent", "BatchMode", "BindInterface", "CheckHostIP", "ClearAllForwardings", "ConnectionAttempts",
        "ControlMaster", "ControlPath", "ControlPersist", "DynamicForward", "EscapeChar", "ExitOnForwardFailure",
        "FingerprintHash", "ForwardX11", "GatewayPorts", "HashKnownHosts", "HostbasedAcceptedAlgorithms",
        "IPQoS", "KnownHostsCommand", "LocalCommand", "LocalForward", "LogLevel", "NoHostAuthenticationForLocalhost",
        "NumberOfPasswordPrompts", "PermitLocalCommand", "ProxyUseFdpass", "PubkeyAcceptedAlgorithms",
        "PubkeyAcceptedKeyTypes", "RemoteForward", "RequiredRSASize", "RevokedHostKeys", "SecurityKeyProvider",
        "SessionType", "StreamLocalBindUnlink", "StrictHostKeyChecking", "Tunnel", "UpdateHostKeys", "VerifyHostKeyDNS",
        "VisualHostKey", "XAuthLocation",
    )
}  # fmt: skip


class _Handlers(dict[str, tuple[str, Callable[..., Any]]]):
    """asyncssh's table of options, with an answer for every other name too."""

    def __missing__(self, option: str) -> tuple[str, Callable[..., Any]]:
        return _SPELLING.get(option, option), _HostConfig.note_ignored


class _HostConfig(SSHClientConfig):
    _handlers = _Handlers(SSHClientConfig._handlers)  # noqa: SLF001 - the table its parser looks options up in

    def __init__(self, *args: Any) -> None:
        *rest, address = args
        super().__init__(*rest)
        self.ignored: list[str] = []
        if address is not None:
            self._options["Hostname"] = address

    def parse(self, path: Path) -> None:
        """As the library does it line by line, but the file is cut into words once and other hosts' blocks skipped."""
        self._path, self._matching, self._tokens = path, True, {"%": "%"}
        for block in ssh_config_file.read(path):
            if block.names is not None:
                self._matching = self._orig_host in block.names
            elif block.head is not None:
                self._apply(block.head)
            for line in block.lines if self._matching else ():
                self._apply(line)
        super().parse(Path(os.devnull))  # what it does after the last line: tokens and their expansion

    def _apply(self, line: ssh_config_file.Line) -> None:
        self._line_no = line.number
        option, handler = self._handlers[line.option]
        if not line.words:
            self._error(f"Missing {option} value")
        words = list(line.words)
        handler(self, option, words)
        if words:
            self._error(f"Extra data at end: {' '.join(words)}")

    def note_ignored(self, option: str, args: list[str]) -> None:
        """Called by the parser in place of an option's own handler."""
        self.ignored.append(option)
        args.clear()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """One host as ssh_config, endpoint and credential together have it. `config` is asyncssh's own object."""

    config: SSHClientConfig
    host: str
    port: int
    user: str
    alias: str | None
    jumps: tuple[SshEndpoint, ...]
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]
    identities_only: bool
    agent: str | None
    connect_timeout: float | None
    ignored: tuple[str, ...]

    @property
    def lookup_name(self) -> str:
        """The name known_hosts is asked for."""
        return self.alias or self.host

    @property
    def lookup_port(self) -> int:
        """An alias stands alone, as in ssh."""
        return 22 if self.alias else self.port


def load(endpoint: SshEndpoint, user: str | None, files: SshFiles) -> HostSettings:
    """Read the files for one host. Raises `ProtocolError` naming file and line for one that cannot be read."""
    try:
        config = _load(endpoint, user, files)
        jumps = parse_jumps(str(config.get("ProxyJump") or "none"))
    except (ConfigParseError, asyncssh.IllegalUserName, ValueError, OSError) as error:
        raise ProtocolError(
            endpoint.name, "read ssh_config", str(error), remedy="correct that line, or take it out"
        ) from None
    named = list(dict.fromkeys(_strings(config.get("IdentityFile"))))
    # asyncssh keeps `none` as None, which is not the same as nothing said.
    agent = config.get("IdentityAgent", "")
    never = [name for name, value in _NEVER.items() if _asks(config.get(name), value)]
    return HostSettings(
        config=config,
        host=str(config.get("Hostname", endpoint.name)),
        port=_number(config.get("Port"), 22),
        user=str(config.get("User") or getpass.getuser()),
        alias=str(config.get("HostKeyAlias")) if config.get("HostKeyAlias") else None,
        jumps=jumps,
        known_hosts=_known_hosts(config, files),
        identities=tuple(Path(name).expanduser() for name in named) if named else files.identities,
        identities_only=bool(config.get("IdentitiesOnly")),
        agent="none" if agent is None else str(agent) or None,
        connect_timeout=float(_number(config.get("ConnectTimeout"), 0)) or None,
        ignored=tuple(sorted({*config.ignored, *never})),
    )


def _load(endpoint: SshEndpoint, user: str | None, files: SshFiles) -> _HostConfig:
    paths = [path for path in files.config if path.is_file()]
    given = (getpass.getuser(), user or _UNSET, endpoint.name, endpoint.port or _UNSET, endpoint.address)
    config = _HostConfig.load(None, list(paths), False, False, False, *given)
    if config.has_match_final():
        config = _HostConfig.load(config, list(paths), False, False, True, *given)
    if not isinstance(config, _HostConfig):
        raise TypeError("asyncssh loaded another kind of config")
    return config


def parse_jumps(text: str) -> tuple[SshEndpoint, ...]:
    """`user@host:port,[v6]:port,…` of ProxyJump, in the order of travel. Raises ValueError for nonsense."""
    if text.lower() == "none":
        return ()
    return tuple(_parse_jump(hop.strip().removeprefix("ssh://")) for hop in text.split(","))


def _parse_jump(text: str) -> SshEndpoint:
    user, at, place = text.rpartition("@")
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = place.partition(":") if place.count(":") == 1 else (place, "", "")
    if not host or (at and not user):
        raise ValueError(f"ProxyJump {text!r} names no host")
    return SshEndpoint(host, port=int(port) if port else None, user=user or None)


def _known_hosts(config: SSHClientConfig, files: SshFiles) -> tuple[Path, ...]:
    """`UserKnownHostsFile none` means no user file here, never that nothing is checked."""
    user, system = config.get("UserKnownHostsFile"), config.get("GlobalKnownHostsFile")
    if user is None and system is None:
        return (*files.known_hosts, files.own_known_hosts)
    in_system = [path for path in files.known_hosts if path.is_relative_to("/etc")]
    in_home = [path for path in files.known_hosts if path not in in_system]
    first = in_home if user is None else [Path(name).expanduser() for name in _strings(user)]
    second = in_system if system is None else [Path(name).expanduser() for name in _strings(system)]
    return (*first, *second, files.own_known_hosts)


def _asks(value: object, wanted: str) -> bool:
    return bool(value) and (wanted == "" or value is True or isinstance(value, str))


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
