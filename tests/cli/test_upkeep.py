"""Schema, keys and the doctor, on real homes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.keyagent import agent_status, forget
from opsconsole.cli.doctor import machine, report
from opsconsole.cli.doctor.finding import Finding, Place
from tests.cli.conftest import Done, Program


def with_passphrase(program: Program, text: str, *arguments: str) -> Done:
    """Run with the passphrase on a descriptor of its own."""
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    try:
        return program(*arguments, "--passphrase-fd", str(reader), pass_fds=(reader,))
    finally:
        os.close(reader)


def test_db_upgrade_makes_the_tables_once(root: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "fresh", root)
    first, second = program("db", "upgrade"), program("db", "upgrade")
    assert (first.status, first.json["before"], first.json["changed"]) == (0, None, True)
    assert (second.json["before"], second.json["changed"]) == (first.json["after"], False)
    assert program("db", "upgrade", "--force").status == 2


def test_a_passphrase_is_set_unlocked_locked_and_taken_off(program: Program) -> None:
    assert program("unlock").error["code"] == "state_conflict"
    assert with_passphrase(program, "open sesame", "secrets", "passphrase").json["mode"] == "passphrase"
    wrong = with_passphrase(program, "something else", "unlock")
    assert (wrong.status, wrong.error["field"]) == (2, "passphrase")
    try:
        assert with_passphrase(program, "open sesame", "unlock", "--ttl", "60").json["unlocked"] is True
        assert agent_status(program.home) is not None
        assert program("lock").json == {"locked": True, "was_unlocked": True}
        assert agent_status(program.home) is None
    finally:
        forget(program.home)
    assert with_passphrase(program, "open sesame", "secrets", "passphrase", "--off").json["mode"] == "file"
    assert (program.home / "key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("ttl", ["0", "-1", "x", "99999999"])
def test_unlock_refuses_a_senseless_time(program: Program, ttl: str) -> None:
    with_passphrase(program, "open sesame", "secrets", "passphrase")
    done = with_passphrase(program, "open sesame", "unlock", f"--ttl={ttl}")
    assert (done.status, done.error["field"]) == (2, "ttl")


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Place:
    return Place(home, None, tmp_path)


def found(place: Place, check: str) -> list[Finding]:
    return [finding for finding in report.examine(place) if finding.check == check]


def states(place: Place, check: str) -> set[str]:
    return {finding.state for finding in found(place, check)}


def test_a_healthy_home_has_no_failure(program: Program) -> None:
    program("call", "sample.echo", "--input", "-", given=b'{"name": "a"}')
    done = program("doctor", "--json")
    assert done.status == 0, done.json
    assert done.json["ok"] is True
    checks = {finding["check"] for finding in done.json["findings"]}
    assert {"python", "home", "settings", "keys", "secrets", "disk", "schema", "database", "journal"} <= checks
    assert {"ssh config", "known hosts", "ssh login", "clock", "terminal"} <= checks
    assert all(bool(finding["remedy"]) == (finding["state"] != "ok") for finding in done.json["findings"])


def test_doctor_changes_nothing(root: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "never", root)
    assert program("doctor").status == 0
    assert not program.home.exists()


def _open_home(home: Path) -> None:
    home.chmod(0o755)


def _open_key(home: Path) -> None:
    (home / "audit.key").chmod(0o644)


def _no_key(home: Path) -> None:
    (home / "audit.key").unlink()


def _damage(home: Path) -> None:
    with (home / "opsconsole.db").open("r+b") as file:
        file.seek(5000)
        file.write(os.urandom(40_000))


def _older(home: Path) -> None:
    with sqlite3.connect(home / "opsconsole.db") as records:
        records.execute("UPDATE alembic_version SET version_num = '9999'")


def _cut(home: Path) -> None:
    (home / "audit.anchor").write_text('{"step": 7, "last_seq": 9, "mac": "x"}\n')


def _moved_head(home: Path) -> None:
    with sqlite3.connect(home / "opsconsole.db") as records:
        records.execute("UPDATE audit_head SET step = 3")


@pytest.mark.parametrize(
    ("break_it", "check"),
    [
        (_open_home, "home"),
        (_open_key, "keys"),
        (_no_key, "keys"),
        (_damage, "database"),
        (_older, "schema"),
        (_cut, "journal"),
        (_moved_head, "journal"),
    ],
)
def test_what_is_wrong_is_found_with_its_remedy(place: Place, break_it: Callable[[Path], Any], check: str) -> None:
    key = place.home / "audit.key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    assert states(place, check) == {"ok"}
    break_it(place.home)
    failed = [finding for finding in found(place, check) if finding.state == "fail"]
    assert failed
    assert all(finding.remedy for finding in failed)


def test_a_failure_is_status_5(program: Program) -> None:
    _open_home(program.home)
    done = program("doctor")
    assert done.status == 5
    assert b"chmod 700" in done.out


def test_settings_ssh_and_agent_are_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (place.home / "settings.toml").write_text("nonsense = 1\n")
    assert "line 1" in found(place, "settings")[0].finding
    ssh = place.user_home / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text("Host web1\n  ForwardAgent yes\n  VisualHostKey yes\n")
    said = " ".join(finding.finding for finding in found(place, "ssh config"))
    assert "VisualHostKey" in said
    assert "web1" in said
    (ssh / "config").write_text("Host web1\n  Port many\n")
    assert "fail" in states(place, "ssh config")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert states(place, "ssh login") == {"warn"}


def test_an_unreachable_server_is_a_finding(home: Path, tmp_path: Path, refused_port: tuple[str, int]) -> None:
    address, port = refused_port
    place = Place(home, f"postgresql://ops:hunter2@{address}:{port}/x", tmp_path)
    failed = [finding for finding in report.examine(place) if finding.check == "database" and finding.state == "fail"]
    assert failed
    assert "hunter2" not in str(failed)


def test_a_check_that_breaks_is_a_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> list[Finding]:
        raise RuntimeError("no")

    monkeypatch.setattr(report, "CHECKS", (broken, machine.python))
    first, second = report.examine(place)
    assert (first.state, second.check) == ("fail", "python")


def test_the_clock_of_this_kernel_can_be_asked() -> None:
    assert machine.kernel_synchronised() in {True, False, None}


def test_a_backup_is_no_second_home(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place.home, copy)
    copy.chmod(0o700)
    assert states(Place(copy, None, tmp_path), "database") == {"ok"}
