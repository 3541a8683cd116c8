"""Reading OpenVPN's configuration: the words of a file, and of a server's file what the console must know.

Inline blocks (`<key>` … `</key>`) are skipped without a look: they hold secrets. Relative paths are put together as
the daemon does it: from its working directory, and below its chroot for what it reads while it runs.
"""

from __future__ import annotations

import ipaddress
import posixpath
from dataclasses import dataclass, field
from typing import Literal

from drivers.dialling import Address

MAX_TEXT = 1024 * 1024
_MAX_LINES = 20_000
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Directive:
    """One line: its words, without quotes and comments, and its number in the file."""

    words: tuple[str, ...]
    line: int

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def args(self) -> tuple[str, ...]:
        return self.words[1:]


@dataclass(slots=True)
class Parsed:
    """A file in words. `problems` name what the daemon would not read as its writer meant it."""

    directives: list[Directive] = field(default_factory=list)
    inline: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def last(self, name: str) -> Directive | None:
        return next((found for found in reversed(self.directives) if found.name == name), None)

    def all(self, name: str) -> list[Directive]:
        return [found for found in self.directives if found.name == name]


def parse(text: str) -> Parsed:
    """Split a configuration into words. Never raises; what is odd becomes a problem."""
    parsed = Parsed()
    if len(text) > MAX_TEXT:
        parsed.problems.append(f"longer than {MAX_TEXT} characters; the rest is not read")
        text = text[:MAX_TEXT]
    inside: str | None = None
    lines = text.split("\n")
    for number, raw in enumerate(lines[:_MAX_LINES], start=1):
        line = raw.strip("\r\t ").removeprefix("\ufeff")
        if inside is not None:
            if line == f"</{inside}>":
                inside = None
            continue
        if line.startswith("<") and line.endswith(">") and line[1:-1].replace("-", "").isalnum():
            inside = line[1:-1]
            parsed.inline.add(inside)
            continue
        words, problem = split_line(line)
        if problem:
            parsed.problems.append(f"line {number}: {problem}")
        elif words:
            words[0] = words[0].removeprefix("--")
            parsed.directives.append(Directive(tuple(words), number))
    if inside is not None:
        parsed.problems.append(f"<{inside}> has no end; all lines after it belong to it")
    if len(lines) > _MAX_LINES:
        parsed.problems.append(f"more than {_MAX_LINES} lines; the rest is not read")
    return parsed


def split_line(line: str) -> tuple[list[str], str | None]:
    """The words of one line by OpenVPN's rules: `"…"` with backslashes, `'…'` without, `#` and `;` begin a comment at
    the start of a word."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    signs = iter(line)
    for sign in signs:
        if quote == "'":
            if sign == "'":
                quote = ""
            else:
                (word := word if word is not None else []).append(sign)
        elif sign == "\\":
            following = next(signs, None)
            if following is None:
                return words, "a backslash at the end"
            word = [*(word or []), following]
        elif quote == '"':
            if sign == '"':
                quote = ""
            else:
                (word := word if word is not None else []).append(sign)
        elif sign in "\"'":
            quote = sign
            word = word or []
        elif sign.isspace():
            if word is not None:
                words.append("".join(word))
                word = None
        elif sign in "#;" and word is None:
            break
        else:
            word = [*(word or []), sign]
    if quote:
        return words, "a quote without its end"
    if word is not None:
        words.append("".join(word))
    return words, None


@dataclass(slots=True)
class ServerConfig:
    """What a server's file says. Paths are as the machine's own root sees them; None where there is no such line.

    `crl_seen_path` is the same file as the daemon sees it, below its chroot if it has one.
    `relative` says that where files lie depends on the working directory of the daemon.
    `management_refusal` says why the console must not touch the management interface although there is one.
    """

    crl_path: str | None = None
    crl_seen_path: str | None = None
    crl_mode: Literal["file", "dir"] = "file"
    crl_inline: bool = False
    management: Address | None = None
    management_password_file: str | None = None
    management_refusal: str | None = None
    client_config_dir: str | None = None
    ccd_exclusive: bool = False
    relative: bool = False
    chroot: str | None = None
    user: str | None = None
    group: str | None = None
    topology: str = "net30"
    dev: str | None = None
    port: str | None = None
    proto: str | None = None
    ca_path: str | None = None
    networks: list[Network] = field(default_factory=list)
    routes: list[Network] = field(default_factory=list)
    pushed: list[Network] = field(default_factory=list)
    duplicate_cn: bool = False
    username_as_common_name: bool = False
    client_to_client: bool = False
    includes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def server_config(text: str, *, path: str, cwd: str | None = None) -> ServerConfig:
    """Read the file `path` of a server. `cwd` is the daemon's working directory when it is known."""
    parsed = parse(text)
    found = ServerConfig(problems=list(parsed.problems))
    base = cwd or posixpath.dirname(path) or "/"
    if (given := _first(parsed, "cd")) is not None and cwd is None:
        base = posixpath.normpath(posixpath.join(base, given))
    if (given := _first(parsed, "chroot")) is not None:
        found.chroot = posixpath.normpath(posixpath.join(base, given))
    given_paths = [given for name in ("crl-verify", "client-config-dir") if (given := _first(parsed, name))]
    found.relative = found.chroot is None and any(not given.startswith(("/", "[")) for given in given_paths)
    _crl(parsed, found, base)
    _management(parsed, found, base)
    if (given := _first(parsed, "client-config-dir")) is not None:
        found.client_config_dir = while_running(given, base, found.chroot)
    if (given := _first(parsed, "ca")) is not None and given != "[inline]":
        found.ca_path = posixpath.normpath(posixpath.join(base, given))
    for name in ("user", "group", "dev", "port", "proto"):
        setattr(found, name, _first(parsed, name))
    found.topology = _first(parsed, "topology") or "net30"
    for name in ("ccd-exclusive", "duplicate-cn", "username-as-common-name", "client-to-client"):
        setattr(found, name.replace("-", "_"), parsed.last(name) is not None)
    found.includes = [one.args[0] for one in parsed.all("config") if one.args]
    _networks(parsed, found)
    return found


def while_running(path: str, base: str, chroot: str | None) -> str:
    """Where a path of the configuration lies for a daemon at work: below its chroot, whose root is its directory."""
    if chroot is not None:
        return posixpath.normpath(chroot + "/" + posixpath.normpath("/" + path).lstrip("/"))
    return posixpath.normpath(posixpath.join(base, path))


def _first(parsed: Parsed, name: str) -> str | None:
    found = parsed.last(name)
    return found.args[0] if found is not None and found.args else None


def _crl(parsed: Parsed, found: ServerConfig, base: str) -> None:
    if "crl-verify" in parsed.inline or _first(parsed, "crl-verify") == "[inline]":
        found.crl_inline = True
        found.problems.append("its CRL stands inside the configuration: a new one needs a restart")
        return
    line = parsed.last("crl-verify")
    if line is None or not line.args:
        found.problems.append("there is no crl-verify line: a revoked certificate is let in")
        return
    found.crl_mode = "dir" if line.args[1:2] == ("dir",) else "file"
    found.crl_path = while_running(line.args[0], base, found.chroot)
    inside = posixpath.normpath("/" + line.args[0])
    found.crl_seen_path = found.crl_path if found.chroot is None else "/" + inside.lstrip("/")


_ANY = "0.0.0.0"  # noqa: S104 - what stands in a configuration; nothing is bound here
_REFUSALS = {
    "management-signal": "management-signal ends every session when a program leaves the management interface",
    "management-client": "management-client: the daemon connects to a program of its own, nobody can connect to it",
}


def _management(parsed: Parsed, found: ServerConfig, base: str) -> None:
    line = parsed.last("management")
    if line is None:
        return
    if len(line.args) < 2:
        found.problems.append(f"line {line.line}: management needs an address and a port")
        return
    where, port = line.args[:2]
    if port == "unix":
        found.management = Address(path=posixpath.normpath(posixpath.join(base, where)))
    elif port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
        found.management = Address(host="127.0.0.1" if where in ("tunnel", _ANY) else where, port=int(port))
        if where == "tunnel":
            found.management_refusal = "it listens inside the tunnel only"
    else:
        found.problems.append(f"line {line.line}: management port {port[:20]!r} is none")
        return
    if len(line.args) > 2:
        source = line.args[2]
        if source == "stdin":
            found.management_refusal = "its password was typed at its start; name a password file instead"
        else:
            found.management_password_file = posixpath.normpath(posixpath.join(base, source))
    for name, why in _REFUSALS.items():
        if parsed.last(name) is not None:
            found.management_refusal = why


def _networks(parsed: Parsed, found: ServerConfig) -> None:
    for line in parsed.directives:
        where = f"line {line.line}"
        if line.name in ("server", "server-ipv6"):
            _add(found.networks, line.args, found.problems, where)
        elif line.name in ("route", "route-ipv6"):
            _add(found.routes, line.args, found.problems, where)
        elif line.name == "push" and line.args:
            words, problem = split_line(line.args[0])
            if problem:
                found.problems.append(f"{where}: push: {problem}")
            elif words and words[0] in ("route", "route-ipv6"):
                _add(found.pushed, tuple(words[1:]), found.problems, where)


def _add(networks: list[Network], args: tuple[str, ...], problems: list[str], where: str) -> None:
    network, problem = network_of(args)
    if network is not None:
        networks.append(network)
    elif problem is not None:
        problems.append(f"{where}: {problem}")


_NAMED = ("vpn_gateway", "net_gateway", "remote_host", "default")


def network_of(args: tuple[str, ...]) -> tuple[Network | None, str | None]:
    """The network of `ADDRESS [MASK]` or `ADDRESS/BITS`; a problem when it is none; neither for OpenVPN's own words."""
    if not args:
        return None, "an address is missing"
    if args[0] in _NAMED:
        return None, None
    text = args[0]
    if ":" not in text and "/" not in text:
        mask = args[1] if len(args) > 1 and args[1] != "default" else "255.255.255.255"
        text = f"{text}/{mask}"
    try:
        return ipaddress.ip_network(text), None
    except ValueError as error:
        return None, str(error)[:200]
