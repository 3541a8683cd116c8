"""What can go wrong between us and a real component, in six words.

Every driver raises only these. An error says which host, what was tried and what to do about it; it never carries a
secret and never a traceback text of a library.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of the family. `host` is the operator's name for it, `tried` a verb phrase, `remedy` an instruction.

    `begun`: what was asked for had reached the peer when it went wrong, so that its effect is not known.
    """

    kind = "failed"

    def __init__(self, host: str, tried: str, message: str, *, remedy: str = "", begun: bool = False) -> None:
        super().__init__(f"{host}: {tried}: {message}")
        self.begun = begun
        self.host = host
        self.tried = tried
        self.message = message
        self.remedy = remedy


class Unreachable(DriverError):
    """No connection: name not resolved, port closed, route missing, connection lost in the middle."""

    kind = "unreachable"


class TimedOut(DriverError):
    """The deadline passed. What the peer did in the meantime is not known."""

    kind = "timeout"


class AuthRefused(DriverError):
    """The peer answered and did not accept who we are."""

    kind = "auth"


class Refused(DriverError):
    """The peer understood and said no. `code` names the reason for programs: `privilege`, `not_found`, `masked`,
    `invalid`, `busy`, `limit` or empty."""

    kind = "refused"

    def __init__(self, host: str, tried: str, message: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(host, tried, message, remedy=remedy)
        self.code = code


class Unsupported(DriverError):
    """The peer has no such thing (no systemd, no journal, an old version)."""

    kind = "unsupported"


class ProtocolError(DriverError):
    """The peer answered something we cannot read."""

    kind = "protocol"


class HostKeyUnknown(AuthRefused):
    """The peer's key is in no known_hosts file. `fingerprint` is SHA256:…, `key` one known_hosts line."""

    kind = "host_key_unknown"

    def __init__(self, host: str, fingerprint: str, key: str) -> None:
        super().__init__(
            host,
            "check the host key",
            f"unknown host key {fingerprint}",
            remedy="compare the fingerprint with the machine's own, then accept it with hosts.trust",
        )
        self.fingerprint = fingerprint
        self.key = key


class HostKeyChanged(AuthRefused):
    """The peer shows another key than the known one: a reinstalled machine, or somebody in between."""

    kind = "host_key_changed"

    def __init__(self, host: str, fingerprint: str, known_in: str) -> None:
        super().__init__(
            host,
            "check the host key",
            f"the host key changed to {fingerprint}; another one is known in {known_in}",
            remedy="find out why first; then remove the old line and accept the new key with hosts.trust",
        )
        self.fingerprint = fingerprint
        self.known_in = known_in
