"""The same work from a script: the real program against real hosts, killed in the middle, refused, asked wrongly."""
# ruff: noqa: ASYNC220, ASYNC221, ASYNC240, ASYNC251  (nothing else runs in these loops)

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from data.models import Lease, Run, RunTarget
from tests.lab.guests import Guest
from tests.opsconsole.services.conftest import Desk, MakeDesk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
PROGRAM = Path(sys.executable).with_name("opsconsole")
UNITS = [f"work@k{number}" for number in range(20)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *words], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )


def error(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stderr)["error"]
    return found


@pytest.fixture
async def desk(desks: MakeDesk, guest_b: Guest) -> Desk:
    return await desks(guest_b, settings="min_uptime = 4.0\ntask_above = 1000\n")


@pytest.fixture
async def twenty(guest_b: Guest) -> AsyncIterator[list[dict[str, str]]]:
    guest_b.sh(f"systemctl start {' '.join(UNITS)}")
    yield [{"host": "b", "name": name} for name in UNITS]
    guest_b.sh(f"systemctl stop {' '.join(UNITS)}")


async def test_killed_in_the_middle_of_twenty(desk: Desk, twenty: list[dict[str, str]]) -> None:
    words = ["call", "services.restart", "--input", "-", "--confirm", "20"]
    process = subprocess.Popen(
        [str(PROGRAM), *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"items": twenty, "limit": 6}).encode())
    process.stdin.close()
    database = desk.house.database

    def states(tx: Any) -> list[str]:
        return [target.state for target in tx.exec(select(RunTarget).order_by(col(RunTarget.position)))]

    deadline = time.monotonic() + 60
    while "done" not in (now := await database.read(states)) or "in_flight" not in now:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    before = await database.read(states)

    assert await desk.house.sweep(force=True)
    after = await database.read(states)
    for was, now_is in zip(before, after, strict=True):
        assert now_is == {"done": "done", "in_flight": "unknown", "waiting": "skipped"}[was]
    done = await database.read(lambda tx: tx.exec(select(Run)).one())
    assert done.state == "unknown"
    assert "look at service" in (done.error or {})["data"]["check"]
    lease = await database.read(lambda tx: tx.exec(select(Lease)).first())
    assert lease is not None
    assert (lease.expires_at - lease.heartbeat_at).total_seconds() <= 30
    verified = run("audit", "verify")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["verdict"] == "intact"
    retried = run("runs", "retry", done.id, "--plan")
    assert retried.returncode == 0, retried.stderr
    assert len(json.loads(retried.stdout)["targets"]) == before.count("in_flight") + before.count("waiting")


async def test_the_whole_day_of_a_script(desk: Desk) -> None:
    listed = run("services", "list", "--host", "b")
    assert listed.returncode == 0, listed.stderr
    rows = {row["name"]: row for row in json.loads(listed.stdout)["services"]}
    assert rows["work"]["status"] == "started"
    assert run("services", "start", "work", "--host", "b").returncode == 0
    asked = run("services", "restart", "work", "--host", "b")
    assert asked.returncode == 7
    assert error(asked)["data"]["expect"] == "yes"
    planned = run("services", "restart", "work", "--host", "b", "--plan")
    assert planned.returncode == 0
    digest = json.loads(planned.stdout)["digest"]
    done = run("services", "restart", "work", "--host", "b", "--confirm", digest)
    assert (done.returncode, json.loads(done.stdout)) == (0, {})
    stale = run("services", "restart", "work", "--host", "b", "--confirm", digest)
    assert (stale.returncode, error(stale)["code"]) == (5, "plan_stale")


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["services", "get", "nosuch", "--host", "b"], 4, "object_not_found"),
        (["services", "get", "work", "--host", "nosuch"], 4, "object_not_found"),
        (["services", "restart", "a[/x]", "--host", "b"], 2, "invalid_parameter"),
        (["services", "restart", "a\x1b]0;x\x07", "--host", "b"], 2, "invalid_parameter"),
        (["services", "restart", "y" * 300, "--host", "b"], 2, "invalid_parameter"),
        (["services", "action", "work", "--host", "b", "--action", "explode"], 2, "service_action_unknown"),
        (["services", "enable", "static", "--host", "b"], 5, "state_conflict"),
        (["call", "services.nosuch"], 4, "object_not_found"),
    ],
)
async def test_asked_wrongly(desk: Desk, words: list[str], status: int, code: str) -> None:
    done = run(*words)
    assert (done.returncode, error(done)["code"]) == (status, code)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_user_without_the_right_is_told_what_is_missing_and_who_could(desk: Desk) -> None:
    created = subprocess.run(
        [str(PROGRAM), "call", "dci.users.create", "--input", "-"],
        input=json.dumps(
            {
                "username": "guest1",
                "email": "guest1@example.org",
                "full_name": "Guest One",
                "password": "Correct-Horse-9",
                "role": "@user",
            }
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert created.returncode == 0, created.stderr
    refused = run("services", "restart", "work", "--host", "b", "--confirm", "yes", "--as", "guest1")
    assert refused.returncode == 3
    said = error(refused)
    assert said["code"] == "module_disabled"
    assert "enable_service_mgmt" in said["message"]
    assert desk.ctx.caller.username in said["message"]
    journal = json.loads(run("audit", "records", "list", "--result", "refused").stdout)
    assert [row["operation_id"] for row in journal["results"]] == ["services.restart"]
    home = Path(os.environ["OPSCONSOLE_HOME"])
    for path in home.rglob("*"):
        if path.is_file():
            assert b"Correct-Horse-9" not in path.read_bytes(), path
