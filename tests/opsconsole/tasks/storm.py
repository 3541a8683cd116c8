"""A task of many steps on real sshd hosts, while everything that carries it is killed at moments that a seed decides.

The hosts count the effects themselves: each step appends its own name to a file. What a console saw of the output,
through any number of deaths of its own, is compared byte by byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.postgres import PostgresServer
from tests.lab.sshfarm import Node
from tests.opsconsole.tasks.place import Place

LINES = 12
KINDS = ("console", "worker", "connection", "sshd")
UNDER_WAY = {"pending", "running", "waiting"}
ENDED = {"finished", "partial", "failed", "timeout", "cancelled", "unknown"}
WORKERS = 2
_STEP = """\
# step {number}
echo "$OPSCONSOLE_JOB" >> {effects}
i=0; while [ $i -lt {lines} ]; do echo "$OPSCONSOLE_JOB line $i"; i=$((i+1)); sleep 0.0{pause}; done
printf 'no newline, \\377 and \\360\\237\\220\\247' >&2
"""


@dataclass
class Console:
    """`tasks follow` as a console does it: killed, it goes on behind the last event it has seen."""

    place: Place
    task_id: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    over: bool = False

    def start(self) -> None:
        after = max((event["seq"] for event in self.events if event["event"] == "output"), default=0)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "opsconsole", "tasks", "follow", self.task_id, "--after", str(after)],
                env=self.place.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self._take()

    def finish(self) -> None:
        """Let it see the end. One that found no database when it began is begun again, as a person would."""
        assert self.process is not None
        until = time.monotonic() + 120
        while not self.over:
            self.process.wait(60)
            self._take()
            if not self.over:
                assert time.monotonic() < until
                self.start()

    def _take(self) -> None:
        """Whole lines only: the last one may be torn."""
        for line in self.log.read_bytes().split(b"\n")[:-1]:
            event = json.loads(line)
            if event["event"] == "output":
                self.events.append(event)
            self.over = event["event"] == "end"
        self.log.write_bytes(b"")


@dataclass
class Storm:
    """`kills` deaths while tasks of `steps` steps run on all `nodes`; with a server, its restarts are deaths too.

    A death counts only when it found a task at work: what ends too soon is followed by another task.
    """

    place: Place
    nodes: list[Node]
    seed: int
    steps: int
    kills: int
    server: PostgresServer | None = None
    at_once: int = 1

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.effects = Path("/tmp") / f"opsconsole-storm-{os.getpid()}-{self.seed}"
        self.done: Counter[str] = Counter()
        kinds = (*KINDS, "database") if self.server else KINDS
        self.deaths = [kind for _ in range(self.kills // len(kinds) + 1) for kind in kinds][: self.kills]
        self.random.shuffle(self.deaths)

    def prepare(self) -> None:
        """Hosts known to the operator's ssh, and to the console."""
        ssh = Path(os.environ["HOME"]) / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        blocks = [
            f"Host {node.name}\n  HostName {node.address}\n  Port {node.port}\n  User {node.user}\n"
            f"  IdentityFile {node.key}\n"
            for node in self.nodes
        ]
        (ssh / "config").write_text("".join(blocks), "utf-8")
        (ssh / "known_hosts").write_text("".join(f"{node.known_hosts}\n" for node in self.nodes), "utf-8")
        known = {host["name"] for host in self.place.json("hosts", "list")["results"]}
        for node in self.nodes:
            if node.name not in known:
                self.place.run("hosts", "create", "--name", node.name, "--host-type", "PHY_HOST")
        self.effects.write_bytes(b"")
        self.effects.chmod(0o666)

    def begin(self) -> Console:
        """Through a console that waits for the end, and is killed once the task is there."""
        steps = [
            _STEP.format(number=number, effects=self.effects, lines=LINES, pause=self.random.randrange(1, 4))
            for number in range(1, self.steps + 1)
        ]
        given = {"hosts": [node.name for node in self.nodes], "steps": steps, "timeout": 120}
        consent = ["--confirm", f"{len(self.nodes)} default", "--reason", "storm"]
        before = set(self._tasks())
        waiting = subprocess.Popen(
            [sys.executable, "-P", "-m", "opsconsole", "call", "hosts.execute", "--input", "-", "--wait", *consent],
            env=self.place.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert waiting.stdin is not None
        waiting.stdin.write(json.dumps(given).encode())
        waiting.stdin.close()
        until = time.monotonic() + 60
        while not (new := set(self._tasks()) - before):
            assert waiting.poll() is None, waiting.stderr.read() if waiting.stderr else ""
            assert time.monotonic() < until
            time.sleep(0.1)
        waiting.kill()
        waiting.wait(20)
        task_id = new.pop()
        return Console(self.place, task_id, self.place.home / f"console-{task_id}.log")

    def _tasks(self) -> list[str]:
        return [task["id"] for task in self.place.json("tasks", "list")["results"]]

    def kill(self, kind: str, console: Console) -> None:
        node = self.random.choice(self.nodes)
        if kind == "console":
            console.kill()
            console.start()
        elif kind == "worker":
            self.kill_worker()
        elif kind == "connection":
            node.cut()
        elif kind == "sshd":
            node.stop()
            time.sleep(self.random.uniform(0.0, 0.5))
            node.start()
        else:
            assert self.server is not None
            self.server.stop()
            time.sleep(self.random.uniform(0.0, 2.0))
            self.server.start()
        self.done[kind] += 1

    def kill_worker(self) -> None:
        """The one of a SQLite home, with whoever is about to become it; any one of several on PostgreSQL."""
        alive = {int(name.split(":")[2]) for name in self.place.json("jobs", "list")["workers"]}
        # One just started may not have told anybody of itself yet.
        alive |= {worker.pid for worker in self.place.workers}
        for pid in [self.random.choice(sorted(alive))] if self.server else alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            for worker in [worker for worker in self.place.workers if worker.pid == pid]:
                worker.wait(20)
                self.place.workers.remove(worker)
            alive = alive - {pid}
        if not alive or (self.server and len(alive) < WORKERS):
            self.place.worker()

    def run(self) -> list[dict[str, Any]]:
        """Tasks through their storm, as they ended."""
        self.prepare()
        for _ in range(WORKERS if self.server else 1):
            self.place.worker()
        ended: list[dict[str, Any]] = []
        while self.deaths:
            ended += self.gust()
        self.effects.unlink()
        return ended

    def gust(self) -> list[dict[str, Any]]:
        consoles = [self.begin() for _ in range(self.at_once)]
        for console in consoles:
            console.start()
        while self.deaths:
            time.sleep(self.random.uniform(0.2, 1.6))
            if not any(self.place.state(console.task_id) in UNDER_WAY for console in consoles):
                break
            self.kill(self.deaths.pop(), self.random.choice(consoles))
        ended = []
        for console in consoles:
            task = self.place.ended(console.task_id, 180)
            console.finish()
            self.check(task, console)
            ended.append(task)
        return ended

    def check(self, task: dict[str, Any], console: Console) -> None:
        """No effect twice, no byte lost or doubled, and what is said to be done has been done."""
        assert task["state"] in ENDED, task
        effects = Counter(self.effects.read_text("utf-8").split())
        assert [name for name, count in effects.items() if count > 1] == []
        texts: dict[tuple[int, int], str] = defaultdict(str)
        for event in console.events:
            key = (event["position"], event["step"])
            assert event["offset"] == len(texts[key].encode("latin-1")), (key, event)
            texts[key] += event["text"].replace("\N{REPLACEMENT CHARACTER}", "\xff").replace(PENGUIN, PENGUIN_BYTES)
        for result in task["results"]:
            position = result["position"]
            names = {f"{task['id']}-{position}-{step}" for step in range(1, self.steps + 1)}
            mine = {name: path for path in effects if (name := path.rstrip("/").rpartition("/")[2]) in names}
            if result["state"] == "done":
                assert set(mine) == names
                for step in range(1, self.steps + 1):
                    path = mine[f"{task['id']}-{position}-{step}"]
                    expected = "".join(f"{path} line {line}\n" for line in range(LINES))
                    assert texts[position, step] == f"{expected}no newline, \xff and {PENGUIN_BYTES}", (position, step)
            else:
                assert result["state"] in {"failed", "unknown"}, result
                assert result["error"], result


PENGUIN = "\N{PENGUIN}"
PENGUIN_BYTES = PENGUIN.encode().decode("latin-1")
