"""The lab's peers as pytest fixtures. Import with `pytest_plugins = ["tests.lab.fixtures"]`.

What cannot be had on this machine is skipped, and `skipped_by_name` says what and why.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import pytest

from tests.lab.guests import Guest, GuestLab
from tests.lab.openvpn import VpnLab
from tests.lab.packages import LabMissing
from tests.lab.sshfarm import Node, SshFarm

skipped_by_name: list[str] = []
_T = TypeVar("_T")


def skip(what: str, reason: str) -> NoReturn:
    """Skip, and remember it for the end of the run."""
    line = f"{what}: {reason}"
    if line not in skipped_by_name:
        skipped_by_name.append(line)
    pytest.skip(line)


def _have(what: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except LabMissing as missing:
        skip(what, str(missing))


@pytest.fixture(scope="session")
def lab() -> Iterator[GuestLab]:
    """A place for systemd guests; `lab.guest(name)` boots one more."""
    place = _have("systemd guests", GuestLab)
    try:
        yield place
    finally:
        place.close()


@pytest.fixture(scope="session")
def guest_a(lab: GuestLab) -> Guest:
    """A systemd host with everything of `tests.lab.units`. A test that breaks it mends it."""
    return _have("systemd guests", lambda: lab.guest("a"))


@pytest.fixture(scope="session")
def guest_b(lab: GuestLab) -> Guest:
    """A second one, reachable from the first."""
    return _have("systemd guests", lambda: lab.guest("b"))


@pytest.fixture(scope="session")
def sshfarm() -> Iterator[SshFarm]:
    """Any number of plain sshd; `sshfarm.node()` gives one more."""
    farm = _have("sshd on loopback", SshFarm)
    try:
        yield farm
    finally:
        farm.close()


@pytest.fixture(scope="session")
def vpn_place() -> Iterator[VpnLab]:
    """Namespaces for OpenVPN, with sshd beside the server."""
    place = _have("OpenVPN in namespaces", VpnLab)
    try:
        yield place
    finally:
        place.close()


@pytest.fixture
def vpn_lab(vpn_place: VpnLab) -> Iterator[VpnLab]:
    """The same, with no openvpn left from another test."""
    try:
        yield vpn_place
    finally:
        vpn_place.mend_ssh()
        vpn_place.stop_all()


@pytest.fixture(scope="session")
def plain_host(sshfarm: SshFarm) -> Node:
    """A host with sshd; it has no systemd when this machine has none."""
    return _have("sshd on loopback", sshfarm.node)


@pytest.fixture(scope="session")
def dead_address(lab: GuestLab) -> str:
    """An address from which nothing ever comes back."""
    return _have("systemd guests", lab.dead_address)


@pytest.fixture
def refused_port() -> Iterator[tuple[str, int]]:
    """An address and port that refuse: taken by us, and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address, port = taken.getsockname()
        yield address, port
