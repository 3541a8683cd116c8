"""The headless contract, seen from outside: bytes in, bytes and an exit status out."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import sqlite3
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from opsconsole.engine.tokens import hash_of
from tests.cli.conftest import Program


def test_a_read_answers_one_line_of_json(program: Program) -> None:
    done = program("call", "sample.echo", "--input", "-", given=b'{"name": "h\xc3\xa9", "count": 2}')
    assert done.status == 0
    assert done.out.count(b"\n") == 1
    assert done.json["name"] == "hé"
    assert done.json["count"] == 2
    assert done.err == b""


def test_words_and_options_say_the_same(program: Program, tmp_path: Path) -> None:
    given = tmp_path / "in.json"
    given.write_text('{"name": "from-file", "count": 5, "mode": "loud"}')
    options = ["--count", "3", "--tag", "a", "--tag=b", "--item", "web1/nginx", "--deep", "--ref", "7"]
    done = program("sample", "echo", *options, "--meta", '{"x": 1}', "--input", str(given))
    answer = done.json
    assert done.status == 0
    assert (answer["name"], answer["count"], answer["mode"]) == ("from-file", 3, "loud")
    assert answer["tags"] == ["a", "b"]
    assert answer["items"] == [{"host": "web1", "name": "nginx"}]
    assert (answer["deep"], answer["ref"], answer["meta"]) == (True, 7, {"x": 1})


def test_nothing_a_terminal_acts_on_is_printed(program: Program) -> None:
    done = program("call", "sample.hostile")
    assert done.status == 0
    assert done.json["text"] == "\x1b[2J\x9b31m\u202eabc\x07"
    assert not {0x1B, 0x07} & set(done.out)
    assert "\u202e" not in done.out.decode()
    assert "\x9b" not in done.out.decode()


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        (b"[1]", "invalid_request", None),
        (b"{", "invalid_request", "input"),
        (b'{"name": NaN}', "invalid_request", "input"),
        (b'{"name": "a", "name": "b"}', "invalid_request", "input"),
        (b"\xff{}", "invalid_request", None),
        (b"[" * 100_000, "invalid_request", "input"),
        (b"{}", "required_field_missing", "name"),
        (b'{"name": "a", "nmae": "b"}', "invalid_parameter", "nmae"),
        (b'{"name": "a", "count": "x"}', "invalid_parameter", "count"),
        (b'{"name": "\\u0000"}', "invalid_parameter", "name"),
        (b'{"name": "\\ud800"}', "invalid_parameter", "name"),
    ],
)
def test_bad_input_is_status_2(program: Program, given: bytes, code: str, field: str | None) -> None:
    done = program("call", "sample.echo", "--input", "-", given=given)
    assert done.status == 2
    assert done.error["code"] == code
    assert done.error["field"] == field
    assert done.out == b""


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["call", "sample.ech"], 4, "object_not_found"),
        (["sample", "nothing"], 4, "object_not_found"),
        (["sample"], 2, "invalid_request"),
        (["call"], 2, "invalid_request"),
        (["call", "sample.echo", "--input", "/nowhere"], 2, "invalid_parameter"),
        (["sample", "echo", "a", "--count", "many"], 2, "invalid_parameter"),
        (["sample", "echo", "a", "b"], 2, "invalid_request"),
        (["sample", "echo", "a", "--bogus"], 2, "invalid_parameter"),
        (["sample", "echo", "a", "--password", "hunter2"], 2, "invalid_parameter"),
        (["sample", "echo", "a", "--as", "nobody-such"], 3, "not_signed_in"),
        (["call", "sample.unreachable"], 6, "host_unreachable"),
        (["--bogus"], 2, "invalid_parameter"),
    ],
)
def test_every_refusal_has_its_status(program: Program, arguments: list[str], status: int, code: str) -> None:
    done = program(*arguments)
    assert (done.status, done.error["code"]) == (status, code)


def test_a_nearby_name_is_offered(program: Program) -> None:
    assert "sample.echo" in program("call", "sample.ech").error["message"]


def test_a_plan_changes_nothing(program: Program) -> None:
    done = program("sample", "things", "destroy", "lamp", "--plan")
    assert done.status == 0
    assert (done.json["rung"], done.json["expect"], done.json["needs_reason"]) == (3, "lamp", True)
    with sqlite3.connect(program.home / "opsconsole.db") as records:
        assert records.execute("SELECT count(*) FROM run").fetchone() == (0,)


def test_confirmation_is_asked_for_and_taken(program: Program) -> None:
    asked = program("sample", "things", "destroy", "lamp")
    assert (asked.status, asked.error["code"]) == (7, "confirmation_required")
    assert asked.error["data"]["expect"] == "lamp"
    assert program("sample", "things", "destroy", "lamp", "--confirm", "lamp").status == 7
    assert program("sample", "things", "destroy", "lamp", "--confirm", "lamp", "--reason", "broken").status == 0


def test_partly_failed_names_the_targets(program: Program) -> None:
    places = ["--item", "good", "--item", "web1/bad-one"]
    done = program("sample", "things", "touch", *places, "--confirm", "2")
    assert (done.status, done.error["code"]) == (8, "partly_failed")
    assert [(target["name"], target["state"]) for target in done.error["targets"]] == [
        ("good", "done"),
        ("bad-one", "failed"),
    ]


def test_readonly_refuses_changes_and_allows_reads(program: Program) -> None:
    assert program("--readonly", "sample", "things", "touch", "lamp").status == 3
    assert program("--readonly", "sample", "echo", "a").status == 0


def test_a_bug_is_one_json_object_and_a_private_log(program: Program) -> None:
    done = program("sample", "crash", "x", "--password-stdin", given=b"hunter2\n")
    assert (done.status, done.error["code"]) == (1, "unexpected_error")
    assert b"hunter2" not in done.err + done.out
    log = program.home / "log" / "errors.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert "RuntimeError: boom ***" in text
    assert "hunter2" not in text


def test_errors_speak_the_language_of_the_settings(program: Program) -> None:
    (program.home / "settings.toml").write_text('language = "ru"\n')
    assert program("call", "sample.echo").error["message"] == "name: обязательное поле"


def test_a_secret_comes_by_stdin_or_file_and_stays_out_of_records(program: Program, tmp_path: Path) -> None:
    kept = tmp_path / "password"
    kept.write_text("correct horse\n")
    assert program("sample", "secrets", "keep", "door", "--password-file", str(kept)).status == 0
    assert program("sample", "secrets", "keep", "door", "--password-stdin", given=b"correct horse\n").status == 0
    missing = program("sample", "secrets", "keep", "door")
    assert (missing.status, missing.error["field"]) == (2, "password")
    assert "--password-stdin" in missing.error["message"]
    for path in program.home.rglob("*"):
        assert not path.is_file() or b"correct horse" not in path.read_bytes(), path


def test_a_captive_account_reads_no_file_for_its_users(program: Program, tmp_path: Path) -> None:
    (program.home / "settings.toml").write_text("captive = true\n")
    given = tmp_path / "in.json"
    given.write_text('{"name": "a"}')
    done = program("call", "sample.echo", "--input", str(given))
    assert (done.status, done.error["field"]) == (2, "input")
    assert program("call", "sample.echo", "--input", "-", given=given.read_bytes()).status == 0


def test_administrators_may_act_for_others_and_others_may_not(program: Program) -> None:
    program("sample", "echo", "first")
    with sqlite3.connect(program.home / "opsconsole.db") as records:
        records.execute(
            "INSERT INTO user (username, status, vlans_per_user, domain_name, created_at, updated_at)"
            " VALUES ('eve', 'enabled', 5, 'default', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
        )
    refused = program("sample", "echo", "a", "--as", "eve")
    assert (refused.status, refused.error["code"]) == (3, "permission_denied")
    with sqlite3.connect(program.home / "opsconsole.db") as records:
        records.execute("DELETE FROM user_role")
    assert program("sample", "echo", "a", "--as", "eve").status == 3


def test_a_token_stands_for_its_owner(program: Program, tmp_path: Path) -> None:
    program("sample", "echo", "first")
    with sqlite3.connect(program.home / "opsconsole.db") as records:
        insert = (
            "INSERT INTO auth_token (name, value_hash, last_four, creator, user_id, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        for name, ends in (("good", None), ("old", "2020-01-01 00:00:00.000000")):
            row = (name, hash_of(f"token-{name}"), "xxxx", "test", 1, "2026-01-01 00:00:00.000000", ends)
            records.execute(insert, row)
    kept = tmp_path / "token"
    kept.write_text("token-good\n")
    assert program("sample", "echo", "a", "--token-file", str(kept)).status == 0
    assert program("sample", "echo", "a", "--token-file", "-", given=b"token-good").status == 0
    for bad in (b"token-old", b"token-unknown"):
        done = program("sample", "echo", "a", "--token-file", "-", given=bad)
        assert (done.status, done.error["code"]) == (3, "not_signed_in")
        assert bad not in done.err
    both = program("call", "sample.echo", "--input", "-", "--token-file", "-", given=b"{}")
    assert (both.status, both.error["field"]) == (2, "token_file")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stream_is_json_lines_until_stopped(program: Program, number: int, status: int) -> None:
    running = program.start("sample", "ticks", "watch")
    assert running.stdout is not None
    lines = [running.stdout.readline() for _ in range(3)]
    assert [json.loads(line)["tick"] for line in lines] == [0, 1, 2]
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == status
    assert err == b""


def test_a_reader_that_leaves_is_no_error(program: Program) -> None:
    running = program.start("sample", "ticks", "watch")
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(20) == 0
    assert running.stderr.read() == b""
    running.stderr.close()


def test_an_interrupted_change_is_recorded(program: Program) -> None:
    running = program.start("sample", "things", "touch", "lamp", "--delay", "30")
    records = program.home / "opsconsole.db"
    wait = threading.Event()
    for _ in range(400):
        with sqlite3.connect(records) as opened:
            if opened.execute("SELECT count(*) FROM run_target WHERE state = 'in_flight'").fetchone() == (1,):
                break
        wait.wait(0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=20)
    assert running.returncode == 143
    with sqlite3.connect(records) as opened:
        assert opened.execute("SELECT state FROM run").fetchall() == [("unknown",)]
        assert opened.execute("SELECT count(*) FROM audit").fetchone() == (1,)


def test_on_a_terminal_the_answer_is_indented(program: Program) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*program.argv, "sample", "echo", "a"],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=program.root,
        env=program.environment,
    ) as running:
        os.close(terminal)
        said = b""
        # The other end of a pseudo-terminal is closed with EIO.
        with contextlib.suppress(OSError):
            while chunk := os.read(controller, 4096):
                said += chunk
        running.wait(20)
    os.close(controller)
    assert b'{\r\n  "name": "a"' in said


def test_the_console_needs_a_terminal(program: Program) -> None:
    done = program()
    assert (done.status, done.error["code"]) == (2, "invalid_request")


def test_as_a_user_sees_it(program: Program) -> None:
    done = program("--version")
    assert (done.status, done.out) == (0, b"opsconsole 0.1.0\n")
    listed = program("ops")
    assert b"sample.things.destroy" in listed.out
    assert listed.out.count(b"\n") == 8
