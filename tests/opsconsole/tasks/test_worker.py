"""Real workers, as processes of their own, on both databases: found, started, killed, taken over, restarted under."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.lab.postgres import MakeUrl, PostgresServer
from tests.opsconsole.tasks.place import Place

pytestmark = pytest.mark.timeout(400)

LINES = 40


@pytest.fixture
def place(make_url: MakeUrl, tmp_path: Path) -> Iterator[Place]:
    url = make_url()
    tmp_path.chmod(0o700)
    place = Place(tmp_path, url)
    (place.home / "settings.toml").write_text("worker_idle = 2.0\n", "utf-8")
    try:
        yield place
    finally:
        place.close()


def count_to(path: Path, lines: int = LINES) -> str:
    return f"for i in $(seq 1 {lines}); do echo line $i; sleep 0.1; done; echo done >> {path}"


def test_a_worker_is_started_where_none_lives_and_goes_when_idle(place: Place, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    done = place.run(
        "hosts", "execute", "--host", "local", "--step", f"echo hello; echo x >> {effects}",
        "--confirm", "local", "--reason", "test", "--wait",
    )  # fmt: skip
    task = json.loads(done.stdout)
    assert (task["state"], task["attempt"]) == ("finished", 1)
    assert effects.read_text("utf-8") == "x\n"
    assert place.output(task["id"]) == "hello\n"
    until = time.monotonic() + 120
    while place.json("jobs", "list")["workers"]:
        assert time.monotonic() < until
        time.sleep(0.3)


def test_how_it_ended_is_the_exit_status(place: Place) -> None:
    place.worker()
    consent = ("--confirm", "local", "--reason", "test", "--wait")
    failed = place.run("hosts", "execute", "--host", "local", "--step", "exit 3", *consent, check=False)
    assert failed.returncode == 6
    error = json.loads(failed.stderr)["error"]
    assert error["code"] == "task_failed"
    assert "exit status 3" in error["message"]
    slow = ("--step", "sleep 60", "--timeout", "1")
    late = place.run("hosts", "execute", "--host", "local", *slow, *consent, check=False)
    assert late.returncode == 6
    assert "stopped after 1 s" in json.loads(late.stderr)["error"]["message"]
    assert place.json("tasks", "list")["results"][0]["state"] == "timeout"


def test_cancelled_while_it_runs(place: Place, tmp_path: Path) -> None:
    place.worker()
    effects = tmp_path / "effects"
    task_id = place.execute(f"echo begun; sleep 60; echo x >> {effects}", "echo never")
    place.until_output(task_id, "begun")
    place.run("task", "cancel", task_id)
    task = place.ended(task_id)
    assert (task["state"], task["results"][0]["state"]) == ("cancelled", "cancelled")
    assert "was stopped and is gone" in task["results"][0]["error"]["message"]
    assert not effects.exists()


def test_killed_in_the_middle_the_next_one_attaches(place: Place, tmp_path: Path) -> None:
    """Not a line is lost or doubled, and the effect is there once."""
    effects = tmp_path / "effects"
    first = place.worker()
    task_id = place.execute(count_to(effects), "echo second")
    place.until_output(task_id, "line 5\n")
    first.kill()
    first.wait(20)
    place.worker()
    task = place.ended(task_id)
    assert (task["state"], task["attempt"]) == ("finished", 2)
    assert effects.read_text("utf-8") == "done\n"
    assert place.output(task_id) == "".join(f"line {i}\n" for i in range(1, LINES + 1)) + "second\n"


def test_ended_in_good_order_it_leaves_its_work_to_the_next(place: Place, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    first = place.worker()
    task_id = place.execute(count_to(effects))
    place.until_output(task_id, "line 3\n")
    first.terminate()
    assert first.wait(90) == 0
    place.worker()
    assert place.ended(task_id)["state"] == "finished"
    assert effects.read_text("utf-8") == "done\n"
    assert place.output(task_id).count("line") == LINES


def test_no_secret_and_no_input_in_the_workflows_own_tables(place: Place) -> None:
    place.worker()
    task_id = place.execute("echo a-word-of-the-script")
    assert place.ended(task_id)["state"] == "finished"
    if place.url is None:
        kept = b"".join(path.read_bytes() for path in place.home.glob("tasks.db*"))
    else:
        kept = _dump(place.url)
    assert task_id.encode() in kept
    assert b"a-word-of-the-script" not in kept


BROKEN = """
import asyncio, os
from opsconsole.house import House
from opsconsole.tasks.leg import Leg
from opsconsole.tasks.worker import Worker

async def wave(self, number):
    raise ValueError("INSERT INTO x VALUES ('a-word-in-an-error')")

async def main():
    Leg.wave = wave
    await Worker(House.open(), stay=False).run()
    os._exit(0)

asyncio.run(main())
"""


def test_what_a_bug_says_is_not_kept_by_the_workflows_and_ends_the_task(tmp_path: Path) -> None:
    """DBOS keeps the exception of a step in clear: statements and values with it, if it were let."""
    tmp_path.chmod(0o700)
    place = Place(tmp_path, None)
    (tmp_path / "settings.toml").write_text("worker_idle = 1.0\n", "utf-8")
    try:
        place.json("jobs", "list")
        with (tmp_path / "worker.lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            task_id = place.execute("true")
            more = {"env": place.environment(), "capture_output": True, "text": True, "timeout": 120}
            subprocess.run([sys.executable, "-P", "-c", BROKEN], check=True, **more)  # type: ignore[call-overload]
            task = place.task(task_id)
        assert (task["state"], task["results"][0]["state"]) == ("failed", "skipped")
        assert "a bug of ours (ValueError)" in task["error"]["message"]
        for path in tmp_path.glob("*.db*"):
            assert b"a-word-in-an-error" not in path.read_bytes(), path
    finally:
        place.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root")
def test_the_disk_of_the_home_is_full_for_a_while(tmp_path: Path) -> None:
    """What runs on hosts goes on, and is taken down when there is room again: no byte lost, none twice, one effect."""
    home, effects = tmp_path / "home", tmp_path / "effects"
    home.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(home)], check=True)
    place = Place(home, None)
    try:
        place.worker()
        task_id = place.execute(
            f"for i in $(seq 1 60); do echo line $i; sleep 0.1; done; echo x >> {effects}", "echo two"
        )
        place.until_output(task_id, "line 5\n")
        with contextlib.suppress(OSError), (home / "filler").open("wb", buffering=0) as filler:
            for _ in range(64 * 1024):
                filler.write(bytes(4096))
        time.sleep(8)
        stuck = place.output_so_far(task_id)
        (home / "filler").unlink()
        task = place.ended(task_id)
        assert "line 60\n" not in stuck
        assert (task["state"], task["attempt"]) == ("finished", 1)
        assert effects.read_text("utf-8") == "x\n"
        assert place.output(task_id) == "".join(f"line {i}\n" for i in range(1, 61)) + "two\n"
        assert place.run("audit", "verify").returncode == 0
    finally:
        place.close()
        subprocess.run(["umount", "-l", str(home)], check=True)


def _dump(url: str) -> bytes:
    found: list[str] = []
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'dbos'")
        for (table,) in tables.fetchall():
            found += [repr(row) for row in connection.execute(f'SELECT * FROM dbos."{table}"')]  # noqa: S608
    return "\n".join(found).encode()


FORGET = """
import asyncio, os, sys
from opsconsole.house import House
from opsconsole.tasks import workflow
from opsconsole.tasks.worker import Worker

async def main():
    house = House.open()
    worker = Worker(house, stay=False)
    workflow.launch(house, worker.id, worker)
    print(await workflow.forget(30), await workflow.forget(-1), flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_what_the_workflows_remember_is_forgotten_some_day(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place = Place(tmp_path, None)
    (tmp_path / "settings.toml").write_text("worker_idle = 1.0\n", "utf-8")
    try:
        ids = [place.execute(f"echo {n}") for n in range(3)]
        assert {place.ended(task_id)["state"] for task_id in ids} == {"finished"}
        rows = ("workflow_status", "workflow_input", "workflow_output", "operation_outputs")
        before = _counted(tmp_path, rows)
        assert before["workflow_status"] == 3 and before["operation_outputs"] == 6
        done = subprocess.run(
            [sys.executable, "-P", "-c", FORGET],
            env=place.environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.split() == ["0", "3"], done.stderr
        assert set(_counted(tmp_path, rows).values()) == {0}
    finally:
        place.close()


def _counted(home: Path, tables: tuple[str, ...]) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(home / "tasks.db", timeout=20)) as file:
        return {name: file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608


def test_a_worker_of_before_an_upgrade_makes_room(tmp_path: Path) -> None:
    """Whoever upgrades migrates the records; a worker that cannot write any more must not keep the next one out."""
    tmp_path.chmod(0o700)
    place = Place(tmp_path, None)
    try:
        worker = place.worker()
        until = time.monotonic() + 120
        while not place.json("jobs", "list")["workers"]:
            assert time.monotonic() < until
            time.sleep(0.2)
        with contextlib.closing(sqlite3.connect(tmp_path / "opsconsole.db", timeout=20)) as file:
            file.execute("UPDATE alembic_version SET version_num = '9999'")
            file.commit()
        assert worker.wait(60) == 0
    finally:
        for one in place.workers:
            one.kill()


def test_one_worker_per_file(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    try:
        first = place.worker()
        until = time.monotonic() + 120
        while not place.json("jobs", "list")["workers"]:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert place.worker().wait(120) == 0
        assert len(place.json("jobs", "list")["workers"]) == 1
        assert first.poll() is None
    finally:
        place.close()


def test_a_tick_keeps_time_without_a_worker(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    try:
        before = place.json("jobs", "list")
        assert (before["timekeeper"], before["overdue"]) == (None, [])
        assert "runs.sweep" in place.json("tick")["ran"]
        after = place.json("jobs", "list")
        assert after["timekeeper"].startswith("tick:")
        assert [job["last_error"] for job in after["jobs"]] == [None] * len(after["jobs"])
    finally:
        place.close()


@pytest.fixture
def postgres_place(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    tmp_path.chmod(0o700)
    url = postgres_server.create("opsconsole_template")
    place = Place(tmp_path, url)
    try:
        yield place
    finally:
        place.close()
        postgres_server.drop(url)


def test_two_workers_share_and_one_takes_over(postgres_place: Place, tmp_path: Path) -> None:
    place, effects = postgres_place, tmp_path / "effects"
    first, second = place.worker(), place.worker()
    until = time.monotonic() + 150
    while len(place.json("jobs", "list")["workers"]) < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    ids = [place.execute("sleep 15") for _ in range(4)]
    assert {place.ended(task_id)["state"] for task_id in ids} == {"finished"}
    assert len({place.task(task_id)["worker"] for task_id in ids}) == 2
    task_id = place.execute(f"sleep 6; echo once >> {effects}")
    until = time.monotonic() + 120
    while (at_work := place.task(task_id)["worker"]) is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    killed = next(worker for worker in (first, second) if f":{worker.pid}:" in at_work)
    killed.kill()
    killed.wait(20)
    task = place.ended(task_id)
    assert (task["state"], task["attempt"]) == ("finished", 2)
    assert effects.read_text("utf-8") == "once\n"


def test_the_database_is_restarted_in_the_middle(
    postgres_place: Place, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    place, effects = postgres_place, tmp_path / "effects"
    place.worker()
    task_id = place.execute(
        f"for i in $(seq 1 50); do echo line $i; sleep 0.1; done; echo done >> {effects}", "echo two"
    )
    place.until_output(task_id, "line 3\n")
    watching = subprocess.Popen(
        [sys.executable, "-P", "-m", "opsconsole", "tasks", "follow", task_id],
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    seen = [json.loads(watching.stdout.readline())]
    postgres_server.stop()
    time.sleep(2)
    postgres_server.start()
    task = place.ended(task_id, 150)
    seen += [json.loads(line) for line in watching.stdout]
    assert watching.wait(20) == 0
    assert [event["event"] for event in seen].count("away") == 1
    assert "".join(event.get("text", "") for event in seen) == place.output(task_id)
    assert (task["state"], task["attempt"]) == ("finished", 1)
    assert effects.read_text("utf-8") == "done\n"
    assert place.output(task_id) == "".join(f"line {i}\n" for i in range(1, 51)) + "two\n"


def test_whoever_watches_may_go_and_another_goes_on_from_the_same_byte(place: Place, tmp_path: Path) -> None:
    place.worker()
    task_id = place.execute(count_to(tmp_path / "effects"))
    first = subprocess.Popen(
        [sys.executable, "-P", "-m", "opsconsole", "tasks", "follow", task_id],
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    seen, seq = "", 0
    while "line 9\n" not in seen:
        event = json.loads(first.stdout.readline())
        if event["event"] == "output":
            seen, seq = seen + event["text"], event["seq"]
    first.kill()
    first.wait(20)
    first.stdout.close()
    done = place.run("tasks", "follow", task_id, "--after", str(seq))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    rest = "".join(event["text"] for event in events if event["event"] == "output")
    assert seen + rest == "".join(f"line {i}\n" for i in range(1, LINES + 1))
    assert (events[-1]["event"], events[-1]["state"]) == ("end", "finished")
