"""A team on a jump host, with real sshd, ForceCommand and sudo: everybody is himself, and nobody gets out."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.fixtures import skip
from tests.lab.guests import GuestLab
from tests.lab.packages import LabMissing, ensure
from tests.lab.team import HOME, SETTINGS, SSHD, SUDOERS, JumpHost, jump_host
from tests.robot.terminal import Terminal, can_play, quiet_environment

pytestmark = pytest.mark.lab
PWNED = "/tmp/pwned"


@pytest.fixture(scope="module")
def host(lab: GuestLab) -> JumpHost:
    try:
        return jump_host(lab)
    except LabMissing as missing:
        skip("a jump host", str(missing))


@pytest.fixture
def terminal(host: JumpHost, tmp_path: Path) -> Iterator[Any]:
    """Opens the console as an operator, in a terminal of its own."""
    if not can_play():
        try:
            ensure(["tmux"])
        except LabMissing as missing:
            skip("the robot", str(missing))
    opened: list[Terminal] = []

    def open_one(operator: str, *options: str) -> Terminal:
        one = Terminal(host.argv(operator, *options, tty=True), size=(120, 40), environment=quiet_environment(tmp_path))
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        one.close()


def error(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stderr)["error"]
    return found


def journal(host: JumpHost, **filters: str) -> list[dict[str, Any]]:
    words = [word for name, value in filters.items() for word in (f"--{name}", value)]
    found: list[dict[str, Any]] = json.loads(host.as_root("audit records list", *words).stdout)["results"]
    return found


def nothing_ran(host: JumpHost) -> None:
    assert host.guest.ssh(f"ls {PWNED}*").returncode != 0, host.guest.sh(f"cat {PWNED}*")


def test_the_page_shows_what_was_tested(root: Path) -> None:
    page = (root / "docs/team.md").read_text("utf-8")
    for text in (SSHD, SUDOERS, SETTINGS):
        assert text in page


def test_each_is_himself_in_the_journal_too(host: JumpHost) -> None:
    made = host.ask("ann", "opsconsole hosts create made-by-ann PHY_HOST")
    assert made.returncode == 0, made.stderr
    refused = host.ask("bob", "hosts create made-by-bob PHY_HOST")
    assert (refused.returncode, error(refused)["code"]) == (3, "module_disabled")
    assert "who could: root, ann" in error(refused)["message"]
    ours = journal(host, operation="hosts.create")
    assert [(row["operator"], row["result"]) for row in ours] == [("bob", "refused"), ("ann", "done")]
    assert {row["source"] for row in ours} == {host.guest.lab.address(1)}
    mine = json.loads(host.ask("bob", "runs list").stdout)
    assert mine["count"] == 0
    assert [row["operator"] for row in json.loads(host.ask("ann", "runs list --operator ann").stdout)["results"]] == [
        "ann"
    ]


def test_who_is_no_user_is_refused_and_told_whom_to_ask(host: JumpHost, terminal: Any) -> None:
    done = host.ask("eve", "hosts list")
    assert done.returncode == 3
    assert error(done)["code"] == "not_signed_in"
    assert "eve is not a user of this console; ask an administrator: root, ann" in error(done)["message"]
    console = terminal("eve")
    assert console.ended(within=40) == 3
    assert "eve is not a user of this console" in console.picture()


def test_only_an_administrator_acts_for_others(host: JumpHost) -> None:
    assert host.ask("bob", "runs list --as root").returncode == 3
    assert host.ask("ann", "runs list --as bob").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        f"touch {PWNED}",
        f"; touch {PWNED}",
        f"hosts list; touch {PWNED}",
        f"hosts list `touch {PWNED}`",
        f"hosts list $(touch {PWNED})",
        f"hosts list\ntouch {PWNED}",
        f"hosts list | tee {PWNED}",
        f"hosts list > {PWNED}",
        "bash -i",
        "sh",
        "python3 -c 'import os; os.system(\"id\")'",
        "scp -t /tmp",
        "/usr/lib/openssh/sftp-server",
        "rsync --server . /",
        "demo",
        "'",
    ],
)
def test_what_is_asked_for_over_ssh_is_a_headless_call_and_nothing_else(host: JumpHost, command: str) -> None:
    done = host.ask("ann", command)
    assert "uid=" not in done.stdout
    assert done.returncode != 0 or "opsconsole" in done.stdout
    if done.returncode:
        assert error(done)["code"] in {"invalid_request", "invalid_parameter", "object_not_found", "not_supported"}
    nothing_ran(host)


@pytest.mark.parametrize(
    "command",
    [
        f"call hosts.create --input {HOME}/audit.key",
        f"hosts list --token-file {HOME}/audit.key",
        f"hosts import-ssh-config --path {HOME}/audit.key",
        f"hosts import-inventory --path {HOME}/settings.toml",
        f"access credentials create x password --password-file {HOME}/key",
        "unlock --passphrase-fd 0",
        "secrets passphrase --passphrase-fd 0",
        "db upgrade",
    ],
)
def test_no_file_of_the_service_account_comes_out(host: JumpHost, command: str) -> None:
    key = host.guest.sh(f"base64 -w0 {HOME}/audit.key").strip()
    done = host.ask("bob", command, given="x\n")
    assert done.returncode in {2, 3, 5}, done.stderr
    told = (done.stdout + done.stderr).encode("utf-8", "surrogateescape")
    assert base64.b64decode(key)[:8] not in told
    assert key.encode() not in told
    assert "mode" not in done.stdout


def test_sshd_lends_nothing_else(host: JumpHost, tmp_path: Path) -> None:
    forward = host.ask("ann", "hosts list", "-o", "ExitOnForwardFailure=yes", "-R", "2299:127.0.0.1:22")
    assert forward.returncode == 255
    direct = subprocess.run(
        [*host.argv("ann", "-W", "127.0.0.1:22")], capture_output=True, text=True, timeout=30, check=False, input=""
    )
    assert direct.returncode != 0
    assert "SSH-2.0" not in direct.stdout
    where = f"ann@{host.guest.address}"
    quiet = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-F", "none"]
    copied = subprocess.run(
        ["sftp", "-q", "-b", "-", *quiet, "-i", str(host.guest.key), where],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        input="ls /\n",
    )
    assert copied.returncode != 0
    assert "etc" not in copied.stdout


TRICKS = {
    "OPSCONSOLE_HOME": "/tmp/other",
    "OPSCONSOLE_DATABASE_URL": "sqlite:////tmp/other/opsconsole.db",
    "XDG_DATA_HOME": "/tmp/other",
    "HOME": "/tmp/other",
    "EDITOR": "/tmp/evil.sh",
    "VISUAL": "/tmp/evil.sh",
    "PAGER": "/tmp/evil.sh",
    "BROWSER": "/tmp/evil.sh",
    "SHELL": "/tmp/evil.sh",
    "TEXTUAL_DRIVER": "evil:Driver",
    "TEXTUAL_LOG": PWNED,
    "TEXTUAL_PRESS": "ctrl+z",
    "PATH": "/tmp/evil:/usr/bin:/bin",
    "GIT_SSH_COMMAND": "/tmp/evil.sh",
    "PGHOST": "192.0.2.1",
    "SUDO_USER": "root",
    "SUDO_UID": "0",
    "LOGNAME": "root",
    "USER": "root",
}
PYTHON_TRICKS = {
    "PYTHONPATH": "/tmp/evil",
    "PYTHONSTARTUP": "/tmp/evil/sitecustomize.py",
    "PYTHONINSPECT": "1",
    "PYTHONHOME": "/tmp/evil",
    "PYTHONBREAKPOINT": "os.system",
    "LD_PRELOAD": "/tmp/evil/none.so",
}


def evil(host: JumpHost) -> None:
    """What the variables point to; each part leaves a trace when it is run."""
    host.write("/tmp/evil.sh", f"#!/bin/sh\necho $0 > {PWNED}-script\n", "0755")
    host.guest.sh("mkdir -p /tmp/evil /tmp/other; chmod 0777 /tmp/evil /tmp/other")
    host.write("/tmp/evil/sitecustomize.py", f"open('{PWNED}-python', 'w').write('x')\n")
    host.write("/tmp/evil/evil.py", f"open('{PWNED}-driver', 'w').write('x')\nclass Driver: pass\n")
    for name in ("git", "ssh", "systemctl", "journalctl"):
        host.write(f"/tmp/evil/{name}", f"#!/bin/sh\necho $0 > {PWNED}-path\n", "0755")


def asked_with(host: JumpHost, tricks: dict[str, str]) -> subprocess.CompletedProcess[str]:
    send = [word for name in tricks for word in ("-o", f"SendEnv={name}")]
    environment = {"PATH": os.environ["PATH"], **tricks}
    argv = [*host.argv("bob", *send), "access explain hosts.list"]
    argv[0] = "/usr/bin/ssh"
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment, input="")


@pytest.mark.parametrize("sloppy", [False, True], ids=["as documented", "sudoers that keeps too much"])
def test_no_environment_variable_leads_out(host: JumpHost, sloppy: bool) -> None:
    """sshd accepts every variable here; with a sloppy sudoers they even reach the program."""
    evil(host)
    host.write("/etc/ssh/sshd_config.d/00-accept.conf", "AcceptEnv *\n")
    if sloppy:
        host.write("/etc/sudoers.d/zz-sloppy", f'Defaults env_keep += "{" ".join(TRICKS)}"\n', "0440")
    host.guest.sh("visudo -c -q")
    host.reload()
    try:
        tricks = TRICKS if sloppy else TRICKS | PYTHON_TRICKS
        done = asked_with(host, tricks)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["user"] == "bob"
        assert json.loads(done.stdout)["who_could"] == ["root", "ann"]
        assert host.guest.sh("ls -A /tmp/other") == ""
        nothing_ran(host)
    finally:
        host.guest.sh("rm -f /etc/ssh/sshd_config.d/00-accept.conf /etc/sudoers.d/zz-sloppy")
        host.reload()


def test_sudo_gives_that_one_command_only(host: JumpHost) -> None:
    """An operator with a shell on the machine (a console of the hypervisor, say) gains nothing by sudo either."""
    for command in (
        "sudo -n -u opsconsole /usr/local/bin/opsconsole doctor",
        "sudo -n -u opsconsole OPSCONSOLE_HOME=/tmp/other /usr/local/bin/opsconsole",
        "sudo -n -E -u opsconsole /usr/local/bin/opsconsole",
        "sudo -n -u opsconsole sh -c id",
        "sudo -n -u root /usr/local/bin/opsconsole",
        f"cat {HOME}/audit.key",
    ):
        done = host.guest.ssh(f"su ann -c '{command}'")
        assert done.returncode != 0, command
        assert "uid=" not in done.stdout


def test_a_console_has_no_way_out(host: JumpHost, terminal: Any) -> None:
    console = terminal("ann")
    console.see("ann@team", within=60)
    console.keys("C-z")
    console.see("no shell behind this console")
    console.keys("F8")
    console.see("saved /srv/exchange/ann/", within=30)
    saved = host.guest.sh("ls -l /srv/exchange/ann").splitlines()[1:]
    assert len(saved) == 2
    assert all(line.startswith("-rw-r--r--") and " opsconsole " in line for line in saved)
    assert host.guest.ssh("su ann -c 'cat /srv/exchange/ann/*.txt'").returncode == 0
    assert host.guest.ssh("su bob -c 'ls /srv/exchange/ann'").returncode != 0
    console.type(":hosts import-ssh-config --path /etc/shadow")
    console.keys("Enter")
    console.see("this console is captive")
    for key in ("C-c", "C-\\", "C-z", "Escape"):
        console.keys(key)
    console.see("ann@team")
    console.type(":q")
    console.keys("Enter")
    assert console.ended() == 0
    assert host.guest.ssh(f"ls {HOME}/dumps {HOME}/history").returncode != 0
    nothing_ran(host)


def test_stopping_it_while_it_starts_gives_no_shell(host: JumpHost) -> None:
    """Keys that a terminal acts on by itself arrive while the program is still starting."""
    for wait in (0.0, 0.3, 0.6, 1.0):
        one = subprocess.Popen(
            host.argv("bob", tty=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert one.stdin is not None
        time.sleep(wait)
        with contextlib.suppress(BrokenPipeError):
            for _ in range(5):
                one.stdin.write(b"\x1a\x1c\x03")
                one.stdin.flush()
                time.sleep(0.05)
            one.stdin.write(b"id; echo shell-$((6*7))\r\n")
            one.stdin.flush()
        try:
            said, _ = one.communicate(timeout=3)
        except subprocess.TimeoutExpired:
            one.kill()
            said, _ = one.communicate()
        assert b"shell-42" not in said
        assert b"uid=" not in said


def test_a_disabled_operator_is_out_within_a_second(host: JumpHost, terminal: Any, tmp_path: Path) -> None:
    items = [
        {"module_name": "service", "permissions": {"enable_service_mgmt": True, "view_service": True}},
        {"module_name": "host", "permissions": {"enable_host_mgmt": True, "manage_host": True}},
    ]
    given = json.dumps({"id": "bob", "items": items})
    done = host.ask("ann", "call access.users.grant_module --input -", given=given)
    assert done.returncode == 0, done.stderr
    console = terminal("bob")
    console.see("bob@team", within=60)
    told = tmp_path / "told"
    with told.open("w") as out:
        following = subprocess.Popen(
            [*host.argv("bob"), "services watch"], stdout=out, stderr=subprocess.PIPE, text=True
        )
    try:
        deadline = time.monotonic() + 30
        while not told.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        done = host.ask("ann", "access users disable bob --confirm yes")
        begun = time.monotonic()
        assert done.returncode == 0, done.stderr
        assert console.ended(within=10) == 3
        assert following.wait(10) == 3
        taken = time.monotonic() - begun
        assert following.stderr is not None
        assert json.loads(following.stderr.read())["error"]["code"] == "user_disabled"
        assert "disabled" in console.picture()
        print(f"out after {taken:.2f} s")
        assert host.ask("bob", "runs list").returncode == 3
    finally:
        following.kill()
        following.wait()
        host.ask("ann", "access users enable bob")
