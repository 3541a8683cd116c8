"""A shell on a host: the command, who is refused, and that real ssh takes it."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import opsconsole.hosts.shell  # noqa: F401
from opsconsole.engine.errors import NotSupported, ObjectNotFound, PermissionDenied, ReadOnly
from tests.lab.sshfarm import Node
from tests.opsconsole.houses import Bench


async def test_the_command_is_the_caller_s_own_ssh_and_the_journal_knows(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("web1", address="192.0.2.7", ssh_port=2222, ssh_user="ops")
    await bench.host("web2")
    answer = await bench.call(root, "hosts.shell", {"id": "web1"})
    own = bench.house.home / "known_hosts"
    assert answer == {
        "host": "web1",
        "argv": [
            *("ssh", "-o", f'GlobalKnownHostsFile="/etc/ssh/ssh_known_hosts" "/etc/ssh/ssh_known_hosts2" "{own}"'),
            *("-o", "HostName=192.0.2.7", "-p", "2222", "-l", "ops", "--", "web1"),
        ],
        "note": "",
    }
    plain = await bench.call(root, "hosts.shell", {"id": "web2"})
    assert plain["argv"][-2:] == ["--", "web2"]
    assert len(plain["argv"]) == 5
    rows = await bench.journal()
    assert [(row.operation, row.result, row.host) for row in rows if row.operation == "hosts.shell"] == [
        ("hosts.shell", "done", "web1"),
        ("hosts.shell", "done", "web2"),
    ]


async def test_this_machine_is_entered_without_ssh(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    (shell,) = (await small_bench.call(root, "hosts.shell", {"id": "local"}))["argv"]
    assert Path(shell).is_absolute()


@pytest.mark.parametrize("wanted", [{"captive": True}, {"mode": "team"}])
async def test_a_shared_console_gives_no_shell(small_bench: Bench, wanted: dict[str, object]) -> None:
    root = await small_bench.user("root", admin=True)
    small_bench.house.settings = replace(small_bench.house.settings, **wanted)  # type: ignore[arg-type]
    with pytest.raises(NotSupported):
        await small_bench.call(root, "hosts.shell", {"id": "local"})


async def test_refused_callers_and_bad_input(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    number = await small_bench.host("web1")
    looker = await small_bench.user("looker", hosts={number: "view_host"})
    with pytest.raises(PermissionDenied):
        await small_bench.call(looker, "hosts.shell", {"id": "web1"})
    with pytest.raises(ReadOnly):
        await small_bench.call(replace(root, read_only="for a test"), "hosts.shell", {"id": "web1"})
    with pytest.raises(ObjectNotFound):
        await small_bench.call(root, "hosts.shell", {"id": "nowhere"})


async def test_real_ssh_takes_it(small_bench: Bench, plain_host: Node) -> None:
    root = await small_bench.user("root", admin=True)
    home = small_bench.house.home
    small_bench.house.settings = replace(small_bench.house.settings, ssh_files="home")
    (home / "ssh_config").write_text(f"Host *\n  IdentityFile {plain_host.key}\n  IdentitiesOnly yes\n")
    (home / "known_hosts").write_text(f"{plain_host.known_hosts}\n")
    await small_bench.host("web1", address=plain_host.address, ssh_port=plain_host.port, ssh_user=plain_host.user)
    argv = (await small_bench.call(root, "hosts.shell", {"id": "web1"}))["argv"]
    done = await asyncio.to_thread(
        subprocess.run, [*argv, "echo", "$LAB_NODE"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, plain_host.name), done.stderr
