"""One home with its database, used as a person uses it: by the program, with workers as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, LiteralString

import psycopg


class Place:
    """One home with its database, used as a person uses it: by the program."""

    def __init__(self, home: Path, url: str | None) -> None:
        self.home = home
        self.url = url
        self.workers: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        given = {**os.environ, "OPSCONSOLE_HOME": str(self.home), "CI": "true"}
        return given | ({"OPSCONSOLE_DATABASE_URL": self.url} if self.url else {})

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "opsconsole", *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}: {done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words).stdout)

    def worker(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "opsconsole", "worker", "--stay"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.workers.append(process)
        return process

    def execute(self, *steps: str, more: tuple[str, ...] = ()) -> str:
        words = [word for step in steps for word in ("--step", step)]
        consent = ("--confirm", "local", "--reason", "test")
        answer = self.json("hosts", "execute", "--host", "local", *words, *consent, *more)
        return str(answer["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("tasks", "get", task_id)
        return found

    def ended(self, task_id: str, seconds: float = 150) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while (task := self.task(task_id))["state"] in {"pending", "running", "waiting"}:
            assert time.monotonic() < until, task
            time.sleep(0.2)
        return task

    def output(self, task_id: str) -> str:
        done = self.run("tasks", "follow", task_id, check=False)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return "".join(event["text"] for event in events if event["event"] == "output")

    def state(self, task_id: str) -> str:
        """Read past the program, which takes too long for a look between two moments."""
        [[state]] = self._rows("SELECT state FROM task WHERE id = ?", task_id)
        return str(state)

    def output_so_far(self, task_id: str) -> str:
        """What has been copied, read past the program."""
        rows = self._rows("SELECT data FROM task_output WHERE task_id = ? ORDER BY id", task_id)
        return b"".join(row[0] for row in rows).decode("utf-8", "replace")

    def _rows(self, query: LiteralString, *values: str) -> list[Any]:
        if self.url is None:
            with contextlib.closing(sqlite3.connect(self.home / "opsconsole.db", timeout=20)) as file:
                return file.execute(query, values).fetchall()
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.replace("?", "%s"), values).fetchall()

    def until_output(self, task_id: str, text: str, seconds: float = 150) -> None:
        until = time.monotonic() + seconds
        while text not in self.output_so_far(task_id):
            assert time.monotonic() < until, self.task(task_id)
            time.sleep(0.1)

    def close(self) -> None:
        found = self.run("jobs", "list", check=False)
        alive = json.loads(found.stdout)["workers"] if found.returncode == 0 else []
        for worker in self.workers:
            worker.kill()
            worker.wait(20)
        for name in alive:
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(name.split(":")[2]), signal.SIGKILL)
