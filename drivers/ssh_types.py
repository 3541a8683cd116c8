"""What goes into and comes out of the ssh driver; no heavy import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class SshEndpoint:
    """A machine to log in to.

    `name` is matched against the `Host` patterns of ssh_config; `address`, `port` and `user` win over what is found
    there. `become` says whether a command may ask for `sudo -n` here.
    """

    name: str
    address: str | None = None
    port: int | None = None
    user: str | None = None
    become: bool = True


@dataclass(frozen=True, slots=True)
class SshCredential:
    """Used instead of identity files and agent. `private_key` is the text of a key file."""

    kind: Literal["password", "ssh_key"]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SshFiles:
    """Which files say how and whom to trust. `config` in order of precedence (user before system).

    `own_known_hosts` is the only one ever written (mode 0600); `identities` are tried where ssh_config names none.
    """

    config: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    own_known_hosts: Path
    identities: tuple[Path, ...] = ()

    @classmethod
    def of_system(cls, home: Path, *, own: Path | None = None) -> SshFiles:
        """The files OpenSSH would read for the user with this `home`; missing ones are fine.

        `own` is the console's file of accepted keys, default `home/.ssh/known_hosts_opsconsole`.
        """
        ssh, system = home / ".ssh", Path("/etc/ssh")
        return cls(
            config=(ssh / "config", system / "ssh_config"),
            known_hosts=(
                ssh / "known_hosts",
                ssh / "known_hosts2",
                system / "ssh_known_hosts",
                system / "ssh_known_hosts2",
            ),
            own_known_hosts=own or ssh / "known_hosts_opsconsole",
            identities=tuple(ssh / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")),
        )


@dataclass(frozen=True, slots=True)
class KeyOffer:
    """A host key the machine shows now. `line` is what `trust` takes: one known_hosts line."""

    key_type: str
    fingerprint: str
    line: str


@dataclass(frozen=True, slots=True)
class PoolState:
    """`since` and `retry_at` are `time.monotonic()` seconds; `error` is the text of the last failure."""

    status: Literal["idle", "connecting", "connected", "failed"]
    since: float
    error: str = ""
    retry_at: float | None = None


class Prompter(Protocol):
    """The person in front of the console. Without one, every question is answered with no."""

    async def host_key(self, host: str, key_type: str, fingerprint: str) -> bool:
        """Shall this unknown key be trusted from now on?"""
        ...

    async def password(self, host: str, user: str, prompt: str, *, echo: bool) -> str | None:
        """A password, passphrase or one-time code; None gives up."""
        ...
