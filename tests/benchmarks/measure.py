"""Running two or more things in turn, and what may be said about them afterwards: medians, and ratios of pairs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds. `cpu` is that of the process and the children it waited for, None where it was not measured."""

    wall: float
    cpu: float | None = None


Work = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Pair:
    """Our side beside a peer; `goal` is the highest ratio of wall times we want, None when there is no goal."""

    ours: str
    peer: str
    goal: float | None = None


@dataclass(slots=True)
class Table:
    """What one benchmark found. `note` says what was measured, in words."""

    name: str
    note: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    load: tuple[float, float] = (0.0, 0.0)

    def ratio(self, pair: Pair) -> float:
        """Median over the rounds of ours / peer: both halves of a quotient saw the same neighbours."""
        both = zip(self.samples[pair.ours], self.samples[pair.peer], strict=True)
        return statistics.median(ours.wall / peer.wall for ours, peer in both)

    def cpu_ratio(self, pair: Pair) -> float | None:
        """The same for CPU, which a busy machine disturbs less; None where it was not measured."""
        both = zip(self.samples[pair.ours], self.samples[pair.peer], strict=True)
        known = [ours.cpu / peer.cpu for ours, peer in both if ours.cpu is not None and peer.cpu]
        return statistics.median(known) if known else None

    def text(self) -> str:
        width = max(len(name) for name in self.samples)
        lines = [f"== {self.name}", self.note, ""]
        lines.append(f"{'':{width}}  {'median ms':>10}  {'min':>8}  {'max':>8}  {'cpu ms':>8}")
        for name, samples in self.samples.items():
            walls = [sample.wall * 1000 for sample in samples]
            cpus = [sample.cpu * 1000 for sample in samples if sample.cpu is not None]
            cpu = _shown(statistics.median(cpus)) if cpus else "-"
            shown = [_shown(value) for value in (statistics.median(walls), min(walls), max(walls))]
            lines.append(f"{name:{width}}  {shown[0]:>10}  {shown[1]:>8}  {shown[2]:>8}  {cpu:>8}")
        lines += ["", f"{'wall':>7} {'cpu':>7}  ratios"]
        for pair in self.pairs:
            said = "" if pair.goal is None else f"   goal {pair.goal:.2f} or less: {self._verdict(pair)}"
            cpu = "-" if (found := self.cpu_ratio(pair)) is None else f"{found:.2f}"
            lines.append(f"{self.ratio(pair):7.2f} {cpu:>7}  {pair.ours} / {pair.peer}{said}")
        rounds = max(len(samples) for samples in self.samples.values())
        lines.append(f"rounds {rounds}, load average before {self.load[0]:.1f}, after {self.load[1]:.1f}")
        return "\n".join(lines)

    def _verdict(self, pair: Pair) -> str:
        return "reached" if pair.goal is None or self.ratio(pair) <= pair.goal else "missed"

    def as_json(self) -> dict[str, Any]:
        sides = {
            name: {"wall_ms": [_ms(s.wall) for s in samples], "cpu_ms": [_ms(s.cpu) for s in samples]}
            for name, samples in self.samples.items()
        }
        pairs = [{"ours": p.ours, "peer": p.peer, "goal": p.goal, "ratio": round(self.ratio(p), 3)} for p in self.pairs]
        return {"name": self.name, "note": self.note, "sides": sides, "ratios": pairs, "load": list(self.load)}


def _shown(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.{1 if milliseconds >= 10 else 2}f}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def compare(
    name: str, note: str, sides: Mapping[str, Work], pairs: Sequence[Pair], *, rounds: int, warm: int = 1
) -> Table:
    """Every side once per round, always in the same order; the `warm` rounds before are not counted."""
    table = Table(name, note, {side: [] for side in sides}, tuple(pairs))
    before = os.getloadavg()[0]
    for number in range(warm + rounds):
        for side, work in sides.items():
            sample = work()
            if number >= warm:
                table.samples[side].append(sample)
    table.load = (before, os.getloadavg()[0])
    return table


def process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    check: Callable[[bytes], bool] | None = None,
    stdin: bytes = b"",
    status: int = 0,
) -> Sample:
    """A whole process, from its start to its end, its children's CPU included.

    Another exit status than `status`, or an output that `check` does not accept, is a broken measurement and raises.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        start = time.perf_counter()
        child = subprocess.Popen(argv, stdin=given, stdout=out, stderr=err, env=dict(env), cwd=ROOT)
        _, code, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(code)
        for file in (out, err):
            file.seek(0)
        if child.returncode != status:
            raise RuntimeError(f"{' '.join(argv)[:200]}: status {child.returncode}: {err.read()[-500:]!r}")
        if check is not None and not check(answer := out.read()):
            raise RuntimeError(f"{' '.join(argv)[:200]}: not the answer that was to come: {answer[-500:]!r}")
    return Sample(wall, usage.ru_utime + usage.ru_stime)


@contextmanager
def stopwatch(into: list[Sample]) -> Iterator[None]:
    """Time a block of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into.append(Sample(time.perf_counter() - wall, time.process_time() - cpu))


def clean_environment(home: Path) -> dict[str, str]:
    """For children: nobody's own files or agent, byte code written and used as after an installation."""
    dropped = ("OPSCONSOLE_", "PYTHON", "SSH_", "XDG_", "COLORTERM", "NO_COLOR", "TMUX")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home), "OPSCONSOLE_HOME": str(home / "console"), "LC_ALL": "C.UTF-8"}


def as_json_line(table: Table) -> str:
    return json.dumps(table.as_json(), separators=(",", ":"))
