"""ssh_config read in blocks means the same as read line by line by the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asyncssh.config import ConfigParseError, SSHClientConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import ssh_config_file
from drivers.errors import ProtocolError
from drivers.ssh_config import _HostConfig, load
from drivers.ssh_types import SshEndpoint, SshFiles

_HOSTS = ("web1", "web2", "db1")
_LINES = (
    "Host web1", "Host web*", "Host *", "Host db1 web2", "Host web1,db1", "Host !web1 web*", "HOST=web1", 'Host "web2"',
    "Match host web1", "Match all", "Match final user deploy", "Match originalhost db1 user root", "Include other",
    "Port 2022", "Port=2023", "Port = 2024", "Port =2025", "User deploy", 'User "root"', "HostName %h.example.net",
    "IdentityFile ~/.ssh/k1", "IdentityFile=/k2", "IdentityFile = /keys/%n", "ProxyCommand  nc  'a b' %h %p",
    "SetEnv A=1 B=2", "SetEnv=A=3", "SetEnv = A=4 B", "Ciphers ^aes128-ctr", "# Port 1", "", "   ", "Unheard of",
    "ProxyJump jump1", "ServerAliveInterval 7", "Port", "Port 1 2", "Port many", "Match nothing", 'User "open',
)  # fmt: skip


def _loaded(cls: type[SSHClientConfig], path: Path, host: str, *more: Any) -> dict[str, object] | str:
    given_values = ("me", (), host, (), *more)
    try:
        config = cls.load(None, [path], False, False, False, *given_values)
        if config.has_match_final():
            config = cls.load(config, [path], False, False, True, *given_values)
    except ConfigParseError as error:
        return str(error)
    return config.get_options(reload=False)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(_LINES), max_size=14), other=st.lists(st.sampled_from(_LINES), max_size=4))
def test_as_the_library_reads_it(
    lines: list[str], other: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / ".ssh"
    place.mkdir(exist_ok=True)
    (place / "other").write_text("\n".join(line for line in other if line != "Include other"), "utf-8")
    path = place / "config"
    ssh_config_file._read.cache_clear()  # the same inode, size and tick of the clock may come again here
    path.write_text("\n".join(lines), "utf-8")
    for host in _HOSTS:
        theirs = _loaded(SSHClientConfig, path, host)
        ours = _loaded(_HostConfig, path, host, None)
        if isinstance(ours, str) and "No closing quotation" in ours:
            assert isinstance(theirs, str)  # ours finds that one before any other mistake of the file
        else:
            assert ours == theirs


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    config = tmp_path / "config"
    files = SshFiles((config,), (), tmp_path / "own")
    config.write_text("Host a\n  Port 1000\n", "utf-8")
    assert load(SshEndpoint("a"), None, files).port == 1000
    config.write_text("Host a\n  Port 20000\n", "utf-8")
    assert load(SshEndpoint("a"), None, files).port == 20000


def test_what_is_under_another_host_costs_and_breaks_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config"
    files = SshFiles((config,), (), tmp_path / "own")
    config.write_text("Host a\n  Port many\nHost b\n  Port 7\n", "utf-8")
    assert load(SshEndpoint("b"), None, files).port == 7
    with pytest.raises(ProtocolError, match="config line 2"):
        load(SshEndpoint("a"), None, files)
