"""An operator whose fleet is the OpenVPN lab: a house of the test's own, and ssh files under a fresh HOME."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from opsconsole.engine.context import Context
from opsconsole.engine.identity import who
from opsconsole.house import House
from tests.lab.openvpn import VpnLab
from tests.opsconsole.services.conftest import Desk


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vpn_lab: VpnLab) -> AsyncIterator[Desk]:
    """The operator; the server's machine is known to him as `vpnhost`, by ssh."""
    home, ssh = tmp_path / "home", tmp_path / "user" / ".ssh"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("OPSCONSOLE_HOME", str(home))
    ssh.mkdir(parents=True, mode=0o700)
    (ssh / "config").write_text(f"Host *\n  IdentityFile {vpn_lab.key}\n  IdentitiesOnly yes\n")
    (ssh / "known_hosts").write_text(f"{vpn_lab.known_hosts}\n")
    home.mkdir(mode=0o700)
    (home / "settings.toml").write_text("connect_timeout = 3.0\nsnapshot_timeout = 10.0\n")
    house = House.open(home)
    one = Desk(house, Context(house, await house.caller(who(), via="call")))
    await one.add(vpn_lab.name, vpn_lab.address)
    yield one
    await house.close()
