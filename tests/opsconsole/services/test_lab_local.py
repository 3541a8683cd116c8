"""The console on the machine it manages: run inside a systemd host, on that host's own units."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guests import Guest

pytestmark = pytest.mark.lab
PROGRAM = Path(sys.executable).with_name("opsconsole")


@pytest.fixture
def home(guest_a: Guest) -> Iterator[str]:
    made = guest_a.sh("mktemp -d").strip()
    yield made
    guest_a.sh(f"rm -rf {made}; systemctl start work")


def run(guest: Guest, home: str, *words: str) -> subprocess.CompletedProcess[str]:
    return guest.ssh(f"OPSCONSOLE_HOME={home} {PROGRAM} {shlex.join(words)}", timeout=60)


def test_its_own_units_without_any_configuration(guest_a: Guest, home: str) -> None:
    listed = run(guest_a, home, "services", "list")
    assert listed.returncode == 0, listed.stderr
    answer = json.loads(listed.stdout)
    rows = {row["name"]: row for row in answer["services"]}
    assert [host["state"] for host in answer["hosts"]] == ["ok"]
    assert rows["work"]["status"] == "started"
    assert rows["crashloop"]["status"] == "error"


def test_restart_stop_and_start_here(guest_a: Guest, home: str) -> None:
    before = guest_a.sh("systemctl show -p InvocationID --value work")
    done = run(guest_a, home, "services", "restart", "work", "--confirm", "yes")
    assert (done.returncode, done.stdout.strip()) == (0, "{}"), done.stderr
    assert guest_a.sh("systemctl show -p InvocationID --value work") != before
    assert run(guest_a, home, "services", "stop", "work", "--confirm", "yes").returncode == 0
    assert guest_a.ssh("systemctl is-active work").stdout.strip() == "inactive"
    assert run(guest_a, home, "services", "start", "work").returncode == 0


def test_its_own_sshd_is_guarded_because_we_came_through_it(guest_a: Guest, home: str) -> None:
    planned = run(guest_a, home, "services", "stop", "ssh", "--plan")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["rung"], plan["expect"]) == (3, "ssh")


def test_its_journal(guest_a: Guest, home: str) -> None:
    guest_a.sh("systemctl restart work")
    read = run(guest_a, home, "services", "journal", "follow", "--name", "work", "--lines", "3", "--no-follow")
    lines = [json.loads(line) for line in read.stdout.splitlines()]
    assert read.returncode == 0, read.stderr
    assert any("Works" in line["message"] for line in lines)
