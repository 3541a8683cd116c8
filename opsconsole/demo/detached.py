"""Detached jobs of a simulated machine: what our driver asks for by name, and a script that is played, not run.

No shell runs here. A played script prints what `echo` says, waits where it sleeps (not for long), ends where it exits,
and of any other command only prints that it would have been run.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from drivers.detached_script import LIST, QUESTION, START
from drivers.detached_types import MARKER
from opsconsole.demo.machine import SimMachine

_WORD = "opsconsole-job"
_LONGEST_SLEEP = 20.0
_LOOP = re.compile(
    r"for (\w+) in (?:\$\(seq (\d{1,3})(?: (\d{1,3}))?\)|([\w ./-]+))\s*;\s*do\s+(.*?)\s*;?\s*done", re.DOTALL
)
_SECONDS = re.compile(r"sleep (\d+(?:\.\d+)?)")
_MOST_LINES = 2000


def is_ours(words: list[str]) -> bool:
    """Whether this is the command line of our driver."""
    return words[:2] == ["/bin/sh", "-c"] and words[3:4] == [_WORD] and len(words) > 5


@dataclass(slots=True)
class Job:
    """What it will print and when, laid out when it began; `ended` counts seconds from then."""

    began: float
    digest: str
    timeout: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0
    status: int = 0
    timed_out: bool = False
    stopped: bool = False

    def output(self, now: float) -> bytes:
        return b"".join(text for at, text in self.pieces if at <= now - self.began)

    def over(self, now: float) -> bool:
        return now - self.began >= self.ended


class Detached:
    """The jobs of one machine."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine
        self._jobs: dict[str, Job] = {}

    def answer(self, words: list[str], stdin: bytes) -> bytes | None:
        """The host's answer; None for what is none of the driver's questions."""
        verb, name, rest = words[4], words[5], words[6:]
        if verb == "list" and stdin.startswith(LIST):
            return self._list()
        if verb == "start" and stdin.startswith(START):
            return self._start(name, rest, stdin[len(START) :])
        if not stdin.startswith(QUESTION):
            return None
        job = self._jobs.get(name)
        if verb == "look":
            return self._look(name, int(rest[0]), int(rest[1]))
        if verb == "stop":
            if job is not None and not job.over(self._now):
                job.ended, job.status, job.stopped = self._now - job.began, 143, True
                job.pieces = [piece for piece in job.pieces if piece[0] <= job.ended]
            return self._look(name, 0, 0, processes=0)
        if verb == "remove":
            if job is not None and not job.over(self._now):
                return _header({"fail": "busy it is running"})
            self._jobs.pop(name, None)
            return _header({"state": "absent"})
        return None

    @property
    def _now(self) -> float:
        return self._machine.clock()

    def _start(self, name: str, rest: list[str], payload: bytes) -> bytes:
        run_as, digest, timeout, sizes = rest[0], rest[1], float(rest[2]), [int(word) for word in rest[4:6]]
        job = self._jobs.get(name)
        if job is not None and job.digest != digest:
            return _header({"fail": f"in_use another job has the name {name}"})
        new = job is None
        if job is None:
            script = payload[sizes[0] : sum(sizes)].decode("utf-8", "replace")
            job = self._jobs[name] = Job(self._now, digest, timeout)
            play(job, script, run_as or self._machine.plan.user)
        return self._look(name, 0, 0, new=new)

    def _look(self, name: str, offset: int, limit: int, *, new: bool | None = None, processes: int = 0) -> bytes:
        job, now = self._jobs.get(name), self._now
        if job is None:
            return _header({"state": "absent", "clock": f"{now:.3f}"})
        text, over = job.output(now), job.over(now)
        facts = {
            "state": "exited" if over else "running",
            "path": f"/var/lib/opsconsole-jobs/{name}",
            "begun": f"2 1 {self._machine.boot_id} 1 systemd {job.began:.3f} {job.began:.3f}",
            "clock": f"{now:.3f}",
            "uptime": f"{now:.3f}",
            "size": str(len(text)),
            "offset": str(min(offset, len(text))),
            "processes": str(processes),
        }
        if new is not None:
            facts["new"] = "yes" if new else "no"
        if over:
            at = job.began + job.ended
            facts["exit"] = f"{job.status} {_flag(job.timed_out)} {_flag(job.stopped)} no - {at:.3f} {at:.3f}"
        return _header(facts) + text[offset : offset + limit]

    def _list(self) -> bytes:
        now = self._now
        lines = [
            f"job={'exited' if job.over(now) else 'running'} {int(now - job.began)} {len(job.output(now))}"
            f" {0 if job.over(now) else 1} /var/lib/opsconsole-jobs/{name}"
            for name, job in self._jobs.items()
        ]
        return MARKER + "".join(f"{line}\n" for line in lines).encode() + b"\n"


def play(job: Job, script: str, user: str) -> None:
    """Lay out what the script prints and how it ends."""
    at = 0.0
    for line in _flat(script):
        if len(job.pieces) >= _MOST_LINES or job.status:
            break
        if found := _SECONDS.fullmatch(line):
            at += min(float(found[1]), _LONGEST_SLEEP)
            continue
        at += 0.02
        printed, status = _line(line, user)
        if status is not None:
            job.status = status
            if line.startswith("exit"):
                break
        if printed:
            job.pieces.append((at, f"{printed}\n".encode("utf-8", "surrogateescape")))
    job.ended = at + 0.05
    if job.ended > job.timeout:
        job.ended, job.status, job.timed_out = job.timeout, 143, True


def _flat(script: str) -> list[str]:
    """Commands one by one; simple loops are written out."""

    def unrolled(found: re.Match[str]) -> str:
        name, first, last, listed, body = found.groups()
        if listed is not None:
            values = listed.split()
        else:
            low, high = (1, int(first)) if last is None else (int(first), int(last))
            values = [str(number) for number in range(low, high + 1)]
        return ";".join(re.sub(rf"\$\{{?{name}\}}?\b", value, body) for value in values)

    lines = re.split(r"[\n;]", _LOOP.sub(unrolled, script))
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _line(line: str, user: str) -> tuple[str, int | None]:
    """What one command prints, and the status when it is not 0 or ends the script."""
    try:
        words = shlex.split(line)
    except ValueError:
        return f"sh: syntax error: {line}", 2
    match words:
        case ["echo", *rest]:
            return " ".join(rest), None
        case ["exit", *status]:
            return "", int(status[0]) if status and status[0].isdigit() else 0
        case ["false"]:
            return "", 1
        case ["id", "-un"] | ["whoami"]:
            return user, None
        case ["true"] | [":"]:
            return "", None
    return f"(simulated host) would run: {line}", None


def _header(facts: dict[str, str]) -> bytes:
    return MARKER + "".join(f"{key}={value}\n" for key, value in facts.items()).encode() + b"\n"


def _flag(value: bool) -> str:
    return "yes" if value else "no"
