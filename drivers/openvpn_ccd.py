"""The files of client-config-dir, and whether they fit each other and their server.

A network behind a client needs two lines that nothing in OpenVPN compares: `route` on the server (the kernel hands
the packet to the tunnel) and `iroute` in the client's file (the daemon hands it to that client).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers.openvpn_conf import Directive, Network, ServerConfig, network_of, parse, split_line

ALLOWED = (
    "iroute",
    "iroute-ipv6",
    "ifconfig-push",
    "ifconfig-ipv6-push",
    "push",
    "push-reset",
    "push-remove",
    "disable",
)  # fmt: skip
"""What the console writes into such a file; others are kept where they stand, and named."""
_COMPARED = 2000


@dataclass(slots=True)
class ClientFile:
    """One client's file. `address` is what ifconfig-push gives it."""

    name: str
    iroutes: list[Network] = field(default_factory=list)
    pushed: list[Network] = field(default_factory=list)
    address: ipaddress.IPv4Address | None = None
    peer: str | None = None
    disabled: bool = False
    others: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def client_file(name: str, text: str) -> ClientFile:
    """Read one file; never raises."""
    parsed = parse(text)
    found = ClientFile(name, problems=list(parsed.problems))
    for line in parsed.directives:
        _take(found, line)
    return found


def _take(found: ClientFile, line: Directive) -> None:
    where = f"line {line.line}"
    if line.name in ("iroute", "iroute-ipv6"):
        _add(found.iroutes, line.args, found.problems, where)
    elif line.name == "push":
        words, problem = split_line(line.args[0] if line.args else "")
        if problem or not words:
            found.problems.append(f"{where}: push: {problem or 'nothing to push'}")
        elif words[0] in ("route", "route-ipv6"):
            _add(found.pushed, tuple(words[1:]), found.problems, where)
    elif line.name == "ifconfig-push":
        _address(found, line, where)
    elif line.name == "disable":
        found.disabled = True
    elif line.name not in ALLOWED:
        found.others.append(line.name)


def _address(found: ClientFile, line: Directive, where: str) -> None:
    try:
        found.address = ipaddress.IPv4Address(line.args[0])
        found.peer = line.args[1]
        ipaddress.IPv4Address(found.peer)
    except (IndexError, ValueError):
        found.problems.append(f"{where}: ifconfig-push needs an address and a mask or peer")


def _add(networks: list[Network], args: tuple[str, ...], problems: list[str], where: str) -> None:
    network, problem = network_of(args)
    if network is not None:
        networks.append(network)
    elif problem is not None:
        problems.append(f"{where}: {problem}")


def check(server: ServerConfig, files: Mapping[str, ClientFile]) -> list[str]:
    """What does not fit, one sentence each, with the names of the files."""
    said = [f"{name}: {problem}" for name, one in sorted(files.items()) for problem in one.problems]
    said += [f"{name}: {word} in it is not looked at" for name, one in sorted(files.items()) for word in one.others]
    owned = [(net, name) for name, one in sorted(files.items()) if name != "DEFAULT" for net in one.iroutes]
    if "DEFAULT" in files and files["DEFAULT"].iroutes:
        said.append("DEFAULT: an iroute there would belong to every client without a file")
    said += _overlaps(owned)
    routed, behind = set(server.routes), {net for net, _ in owned}
    for net, name in owned:
        if net not in routed and not any(_covers(route, net) for route in server.routes):
            said.append(f"{name}: iroute {net} has no route line in the server's configuration: nothing gets there")
        for own in server.networks:
            if _overlap(net, own):
                said.append(f"{name}: iroute {net} overlaps the tunnel's own network {own}")
        if any(_covers(route, net) for route in files[name].pushed):
            said.append(f"{name}: its own network {net} is pushed to it; it would send it into the tunnel")
    for route in server.routes:
        if route in behind:
            continue
        if not any(_overlap(route, net) for net, _ in owned) and not any(_overlap(route, n) for n in server.networks):
            said.append(f"route {route} in the server's configuration has no iroute: no client is behind it")
    return said + _addresses(server, files)


def _overlaps(owned: list[tuple[Network, str]]) -> list[str]:
    """Neighbours in the sorted order and whatever contains them: every overlap is told once, without comparing all."""
    said: list[str] = []
    for version in (4, 6):
        ordered = sorted(
            (one for one in owned if one[0].version == version),
            key=lambda one: (int(one[0].network_address), one[0].prefixlen),
        )
        open_ones: list[tuple[Network, str]] = []
        for net, name in ordered:
            open_ones = [one for one in open_ones if int(one[0].broadcast_address) >= int(net.network_address)]
            said += [f"{other_name}: iroute {other} overlaps iroute {net} of {name}" for other, other_name in open_ones]
            open_ones.append((net, name))
            if len(said) > _COMPARED:
                return [*said, "… and more"]
    return said


def _addresses(server: ServerConfig, files: Mapping[str, ClientFile]) -> list[str]:
    said: list[str] = []
    taken: dict[ipaddress.IPv4Address, str] = {}
    v4 = [net for net in server.networks if net.version == 4]
    for name, one in sorted(files.items()):
        if one.address is None:
            continue
        if one.address in taken:
            said.append(f"{name}: ifconfig-push {one.address} is given to {taken[one.address]} too")
        taken.setdefault(one.address, name)
        if v4 and not any(one.address in net for net in v4):
            said.append(f"{name}: ifconfig-push {one.address} is outside of the tunnel's network {v4[0]}")
        if one.peer is not None and v4 and one.problems == []:
            is_mask = one.peer.startswith("255.")
            if (server.topology == "subnet") is not is_mask:
                wanted = "a mask" if server.topology == "subnet" else "the other end's address"
                said.append(f"{name}: ifconfig-push needs {wanted} under topology {server.topology}")
    return said


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.overlaps(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.overlaps(other)
    return False


def _covers(wide: Network, narrow: Network) -> bool:
    if isinstance(wide, ipaddress.IPv4Network) and isinstance(narrow, ipaddress.IPv4Network):
        return narrow.subnet_of(wide)
    if isinstance(wide, ipaddress.IPv6Network) and isinstance(narrow, ipaddress.IPv6Network):
        return narrow.subnet_of(wide)
    return False
