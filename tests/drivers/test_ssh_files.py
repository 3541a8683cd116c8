"""ssh_config and known_hosts, as OpenSSH reads them."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import asyncssh
import pytest

from drivers import ssh_config
from drivers.errors import ProtocolError
from drivers.ssh_connect import agent_socket
from drivers.ssh_known_hosts import KnownHosts, add_line, host_pattern, known_line
from drivers.ssh_types import SshCredential, SshEndpoint, SshFiles


def _key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


def _public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


@pytest.fixture
def files(tmp_path: Path) -> SshFiles:
    return SshFiles((tmp_path / "config", tmp_path / "system"), (tmp_path / "known",), tmp_path / "own")


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def test_known_by_name_port_pattern_and_hash(tmp_path: Path) -> None:
    key = _key()
    path = _write(tmp_path / "known", f"web1,10.0.0.1 {_public(key)}", f"[web2]:2222 {_public(key)}",
                  f"*.lab,!bad.lab {_public(key)}", f"hashed.host {_public(key)}")  # fmt: skip
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    known = KnownHosts()
    for host, port, count in (
        ("web1", 22, 1), ("WEB1", 22, 1), ("10.0.0.1", 22, 1), ("web2", 2222, 1), ("web2", 22, 0),
        ("a.lab", 22, 1), ("bad.lab", 22, 0), ("hashed.host", 22, 1), ("web1", 2222, 1), ("nobody", 22, 0),
    ):  # fmt: skip
        assert len(known.lookup(host, port, [path]).keys) == count, (host, port)


def test_revoked_and_authorities_are_kept_apart(tmp_path: Path) -> None:
    bad, ca = _key(), _key()
    path = _write(tmp_path / "known", f"@revoked * {_public(bad)}", f"@cert-authority *.lab {_public(ca)}")
    found = KnownHosts().lookup("a.lab", 22, [path])
    assert [one.where for one in found.revoked] == [f"{path}:1"]
    assert [one.where for one in found.authorities] == [f"{path}:2"]
    assert found.keys == []


def test_bad_lines_hurt_nobody(tmp_path: Path) -> None:
    key = _key()
    path = _write(tmp_path / "known", "rubbish", "# comment", "", "|1|bad|hash ssh-ed25519 AAAA", "@strange * x y",
                  "web1 ssh-ed25519 notbase64", f"web1 {_public(key)}")  # fmt: skip
    found = KnownHosts().lookup("web1", 22, [path])
    assert [one.where for one in found.keys] == [f"{path}:7"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path / "known", f"web1 {_public(_key())}")
    known = KnownHosts()
    assert known.lookup("web2", 22, [path]).keys == []
    _write(path, f"web1 {_public(_key())}", f"web2 {_public(_key())}")
    assert len(known.lookup("web2", 22, [path]).keys) == 1
    path.unlink()
    assert known.lookup("web2", 22, [path]).keys == []


def test_a_line_is_added_once_per_type_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "own"
    first, second = _key(), _key()
    add_line(path, known_line("web1", 2222, first))
    add_line(path, known_line("web1", 22, first))
    add_line(path, known_line("web1", 2222, second))
    assert path.stat().st_mode & 0o777 == 0o600
    found = KnownHosts().lookup("web1", 2222, [path]).keys
    assert [one.key for one in found] == [second.convert_to_public()]
    assert len(path.read_text().splitlines()) == 2


def test_patterns_of_addresses() -> None:
    assert host_pattern("::1", 22) == "::1"
    assert host_pattern("::1", 2222) == "[::1]:2222"


def test_ssh_config_is_honoured_and_the_endpoint_wins(files: SshFiles) -> None:
    _write(files.config[0], "Host web*", "  HostName 10.0.0.9", "  Port 2022", "  User deploy", "  IdentityFile ~/k1",
           "  ConnectTimeout 3", "  HostKeyAlias farm", "Host *", "  User nobody")  # fmt: skip
    found = ssh_config.load(SshEndpoint("web1"), None, files)
    assert (found.host, found.port, found.user, found.connect_timeout) == ("10.0.0.9", 2022, "deploy", 3.0)
    assert found.identities == (Path("~/k1").expanduser(),)
    assert (found.lookup_name, found.lookup_port) == ("farm", 22)
    mine = ssh_config.load(SshEndpoint("web1", address="10.1.1.1", port=22), "root", files)
    assert (mine.host, mine.port, mine.user) == ("10.1.1.1", 22, "root")


def test_the_users_file_comes_before_the_systems(files: SshFiles) -> None:
    _write(files.config[0], "Host a", "  Port 1000")
    _write(files.config[1], "Host *", "  Port 2000", "  User sys")
    found = ssh_config.load(SshEndpoint("a"), None, files)
    assert (found.port, found.user) == (1000, "sys")


def test_match_blocks_and_match_final(files: SshFiles) -> None:
    _write(files.config[0], "Match host web1", "  User matched", "Match final host 10.0.0.9", "  Port 77", "Host web1",
           "  HostName 10.0.0.9")  # fmt: skip
    found = ssh_config.load(SshEndpoint("web1"), None, files)
    assert (found.user, found.port) == ("matched", 77)


def test_ignored_options_are_named(files: SshFiles) -> None:
    _write(files.config[0], "Host a", "  StrictHostKeyChecking no", "  ForwardAgent yes", "  ControlMaster auto",
           "  SomethingNew 1", "Host b", "  LocalForward 1 h:2")  # fmt: skip
    assert ssh_config.load(SshEndpoint("a"), None, files).ignored == (
        "ControlMaster", "ForwardAgent", "StrictHostKeyChecking", "somethingnew",
    )  # fmt: skip


def test_a_broken_line_is_named(files: SshFiles) -> None:
    _write(files.config[0], "Host *", "  Port many")
    with pytest.raises(ProtocolError, match=r"config line 2"):
        ssh_config.load(SshEndpoint("a"), None, files)


def test_known_hosts_files_of_ssh_config_and_never_none(files: SshFiles, tmp_path: Path) -> None:
    _write(files.config[0], "Host a", f"  UserKnownHostsFile {tmp_path}/mine", "Host b", "  UserKnownHostsFile none")
    assert ssh_config.load(SshEndpoint("a"), None, files).known_hosts == (tmp_path / "mine", files.own_known_hosts)
    assert ssh_config.load(SshEndpoint("b"), None, files).known_hosts == (files.own_known_hosts,)
    assert ssh_config.load(SshEndpoint("c"), None, files).known_hosts == (*files.known_hosts, files.own_known_hosts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("gate", (SshEndpoint("gate"),)),
        ("me@gate:2022,inner", (SshEndpoint("gate", port=2022, user="me"), SshEndpoint("inner"))),
        ("[::1]:22", (SshEndpoint("::1", port=22),)),
        ("fe80::1", (SshEndpoint("fe80::1"),)),
    ],
)
def test_proxy_jump(text: str, expected: tuple[SshEndpoint, ...]) -> None:
    assert ssh_config.parse_jumps(text) == expected


def test_proxy_jump_nonsense(files: SshFiles) -> None:
    _write(files.config[0], "Host a", "  ProxyJump @x:y")
    with pytest.raises(ProtocolError, match="ssh_config"):
        ssh_config.load(SshEndpoint("a"), None, files)


def test_a_credential_shows_no_secret() -> None:
    shown = repr(SshCredential("password", "u", "s3cret", "PRIVATE", "phrase"))
    assert not any(word in shown for word in ("s3cret", "PRIVATE", "phrase"))


def test_the_systems_files() -> None:
    files = SshFiles.of_system(Path("/home/x"))
    assert files.config == (Path("/home/x/.ssh/config"), Path("/etc/ssh/ssh_config"))
    assert Path("/etc/ssh/ssh_known_hosts2") in files.known_hosts
    assert files.own_known_hosts.is_relative_to("/home/x")


def test_identity_agent_none_means_no_agent_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` is not the same as nothing said: then the agent of the environment is asked."""
    socket_path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        config = tmp_path / "config"
        config.write_text("Host quiet\n  IdentityAgent none\n")
        files = SshFiles(config=(config,), known_hosts=(), own_known_hosts=tmp_path / "known")
        assert agent_socket(ssh_config.load(SshEndpoint("quiet"), None, files)) is None
        assert agent_socket(ssh_config.load(SshEndpoint("other"), None, files)) == str(socket_path)
