"""The widgets that must hold at a hundred thousand rows and lines, beside the library's own and other programs.

`OPSCONSOLE_BENCH_SECONDS` makes the following last longer than a minute; `OPSCONSOLE_BENCH_PEERS` names the directories
(with colons between) of toolong's `tl` and of `harlequin`, which want other versions of the library than ours.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measure import Pair, Sample, Table, clean_environment
from tests.benchmarks.terminal import Terminal

ROWS, PEER_ROWS = 100_000, 10_000
KEYS = 1000
DOWN, UP = b"\x1b[B", b"\x1b[A"
RATE = 100_000
GIB = 1 << 30
LAST = b"THE LAST LINE"
WRITER = """
import sys, time
path, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
lines = [b"2026-11-21T10:00:00 web1 unit[%d]: request %d took 0.0123 s, status 200, worker %d, and so on\\n"
         % (n, n * 7919, n % 64) for n in range(rate // 50)]
block, start, given = b"".join(lines), time.monotonic(), 0
with open(path, "ab", 0) as file:
    while time.monotonic() - start < seconds:
        due = int((time.monotonic() - start) * 50) - given
        for _ in range(due):
            file.write(block)
        given += due
        time.sleep(0.02)
"""


def seconds() -> float:
    """How long a log is followed."""
    return float(os.environ.get("OPSCONSOLE_BENCH_SECONDS", "60"))


def peer(name: str) -> str | None:
    """The program of a peer, if it is installed here."""
    return shutil.which(name, path=os.environ.get("OPSCONSOLE_BENCH_PEERS", ""))


def child(home: Path, *arguments: object) -> Terminal:
    argv = [sys.executable, "-m", "tests.benchmarks.screens_child", *map(str, arguments)]
    return Terminal(argv, clean_environment(home))


def quantile(samples: Sequence[Sample], share: float) -> float:
    """Milliseconds below which this share of the samples lies."""
    walls = sorted(sample.wall for sample in samples)
    return walls[min(int(len(walls) * share), len(walls) - 1)] * 1000


def _keys(terminal: Terminal, name: str, keys: Sequence[bytes], said: list[str]) -> list[Sample]:
    """Press them one after the other. Said of a key: its time to the painted frame, the same without what it waited for
    a processor that others had, its processor time with what is done after the frame, and its bytes."""
    terminal.quiet(0.2)
    bytes_before = terminal.bytes
    walls: list[Sample] = []
    alone: list[Sample] = []
    processor: list[Sample] = []
    for key in keys:
        ran, waited = terminal.ran()
        walls.append(terminal.press(key))
        alone.append(Sample(max(walls[-1].wall - (terminal.ran()[1] - waited), 0.0)))
        terminal.quiet(0.02)
        processor.append(Sample(terminal.ran()[0] - ran))
    each = (terminal.bytes - bytes_before) / len(keys)
    words = [
        f"{what} p50 {quantile(samples, 0.5):.1f} p99 {quantile(samples, 0.99):.1f} ms"
        for what, samples in (("", walls), ("without waiting", alone), ("CPU", processor))
    ]
    said.append(f"{name}: {len(keys)} keys, {'; '.join(words).strip()}; {each:.0f} bytes each")
    return walls


def tables(home: Path, rounds: int) -> Table:
    """Loading, moving, scrolling and filtering: 100 000 rows in ours, 10 000 in the library's table."""
    before = os.getloadavg()[0]
    first, ordered, library = [], [], []
    said: list[str] = []
    for number in range(rounds):
        with child(home, "table", ROWS) as terminal:
            first.append(_sample(terminal.event("first")))
            ordered.append(_sample(terminal.event("filled")))
            if number == 0:
                said += _table_keys(terminal)
        with child(home, "datatable", PEER_ROWS) as terminal:
            library.append(_sample(terminal.event("filled")))
            if number == 0:
                _keys(terminal, "DataTable, 10 000 rows, in the window", [*[DOWN] * 30, *[UP] * 29] * 4, said)
                terminal.press(b"\x1b[F")
                terminal.press(b"\x1b[H")
                _keys(terminal, "DataTable, scrolling", [DOWN] * 238, said)
    samples = {
        f"ours, {ROWS} rows, painted": first,
        f"ours, {ROWS} rows, in order": ordered,
        f"DataTable, {PEER_ROWS} rows": library,
    }
    names = list(samples)
    note = "From handing over the rows to the painted frame, 8 columns, 120x40.\n" + "\n".join(said)
    pairs = (Pair(names[0], names[2]), Pair(names[1], names[2]))
    return Table("screens: tables", note, samples, pairs, (before, os.getloadavg()[0]))


def _sample(told: dict[str, float]) -> Sample:
    return Sample(told["seconds"], told["cpu"])


def _table_keys(terminal: Terminal) -> list[str]:
    said: list[str] = []
    down_and_up = [*[DOWN] * 30, *[UP] * 29]
    _keys(terminal, "ours, in the window", (down_and_up * (KEYS // 59 + 1))[:KEYS], said)
    terminal.press(b"\x04")
    terminal.press(b"\x04")
    for _ in range(39):
        terminal.press(DOWN)
    _keys(terminal, "ours, scrolling", [DOWN] * KEYS, said)
    terminal.press(b"g")
    terminal.quiet(0.2)
    os.write(terminal.master, b"f")
    during: list[Sample] = []
    start = time.monotonic()
    while not any(told["event"] == "filled" for told in terminal.told) and time.monotonic() - start < 20:
        during.append(terminal.press(DOWN if len(during) % 2 == 0 else UP))
    lasted = (time.monotonic() - start) * 1000
    said.append(
        f"a filter over all rows took {lasted:.0f} ms with {len(during)} keys meanwhile, the slowest "
        f"{quantile(during, 1.0):.0f} ms; {terminal.memory('VmHWM'):.0f} MiB at most"
    )
    return said


def big_file(home: Path) -> Path:
    """A gibibyte of lines with times."""
    path = home / "big.log"
    lines = [
        f"2026-11-21T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02} web1 unit: request {n}\n" for n in range(86_400)
    ]
    block = "".join(lines).encode()
    with path.open("wb") as file:
        while file.tell() < GIB:
            file.write(block)
        file.write(LAST + b"\n")
    return path


def log_end(home: Path, rounds: int) -> Table:
    """The end of a gibibyte on the screen."""
    before = os.getloadavg()[0]
    path = big_file(home)
    small = home / "small.log"
    small.write_bytes(LAST + b"\n")
    sides: dict[str, list[str]] = {"tail": ["tail", "-n", "30", str(path)]}
    if shutil.which("less"):
        sides["less +G"] = ["less", "+G", str(path)]
    toolong = peer("tl")
    if toolong:
        sides["toolong"] = [toolong, str(path)]
    samples: dict[str, list[Sample]] = {"ours, after the first frame": [], "ours, from exec": []}
    samples |= {name: [] for name in sides}
    more: list[float] = []
    said: dict[str, float] = {}
    for _ in range(rounds):
        with child(home, "file", small) as terminal:
            terminal.until(lambda: LAST in terminal.tail)
            terminal.quiet(0.3)
            least = terminal.memory("VmHWM")
        with child(home, "file", path) as terminal:
            frame = float(terminal.event("frame")["at"])
            terminal.until(lambda: LAST in terminal.tail)
            now = time.monotonic()
            samples["ours, after the first frame"].append(Sample(now - frame))
            samples["ours, from exec"].append(Sample(now - terminal.started))
            terminal.quiet(0.3)
            more.append(terminal.memory("VmHWM") - least)
        for name, argv in sides.items():
            with Terminal(argv, clean_environment(home)) as terminal:
                samples[name].append(_shows(terminal, LAST))
                if name == "toolong":
                    said[name] = terminal.memory("VmHWM")
    path.unlink()
    rss = "".join(f"; {name} {mib:.0f} MiB in all" for name, mib in said.items())
    note = (
        f"A file of {GIB} bytes, in the page cache, until its last line is painted.\n"
        f"Memory beyond that of a file of one line: {statistics.median(more):.1f} MiB{rss}"
    )
    note += "" if toolong else "\ntoolong is not installed here"
    pairs = tuple(Pair("ours, from exec", name) for name in sides)
    return Table("screens: the end of a log", note, samples, pairs, (before, os.getloadavg()[0]))


def _shows(terminal: Terminal, word: bytes) -> Sample:
    """From exec to the word on the screen."""
    terminal.until(lambda: word in terminal.tail)
    return Sample(time.monotonic() - terminal.started)


def log_follow(home: Path, rounds: int) -> Table:
    """100 000 lines a second followed in the process, and from a file somebody writes."""
    before = os.getloadavg()[0]
    samples: dict[str, list[Sample]] = {}
    said: list[str] = []
    sides = {"LogView": "log", "Log (library)": "textual-log", "RichLog (library)": "richlog"}
    for _ in range(rounds):
        for name, kind in sides.items():
            lasting = seconds() if kind == "log" else min(seconds(), 15)
            rate = RATE if kind != "richlog" else 5000
            with child(home, kind, rate, lasting) as terminal:
                samples.setdefault(name, []).append(_followed(terminal, f"{name}, {rate} lines/s", lasting, said))
        with _written(home, seconds()) as terminal:
            sample = _followed(terminal, f"a file followed, {RATE} lines/s", seconds(), said, told=False)
            samples.setdefault("a file followed", []).append(sample)
    note = "CPU seconds per second of following (as `ms` of a second).\n" + "\n".join(said)
    pairs = (Pair("LogView", "Log (library)"), Pair("a file followed", "Log (library)"))
    return Table("screens: following a log", note, samples, pairs, (before, os.getloadavg()[0]))


class _written:  # noqa: N801 - a context
    """Our view of a file that a process of its own writes to."""

    def __init__(self, home: Path, lasting: float) -> None:
        self._path = home / "written.log"
        self._path.write_bytes(b"begin\n")
        self._home, self._lasting = home, lasting

    def __enter__(self) -> Terminal:
        self.terminal = child(self._home, "file", self._path)
        self.terminal.event("frame")
        argv = [sys.executable, "-c", WRITER, str(self._path), str(RATE), str(self._lasting + 2)]
        self._writer = subprocess.Popen(argv)
        return self.terminal

    def __exit__(self, *exception: object) -> None:
        self._writer.kill()
        self._writer.wait()
        self.terminal.__exit__()
        self._path.unlink()


def _followed(terminal: Terminal, name: str, lasting: float, said: list[str], *, told: bool = True) -> Sample:
    """CPU share, frames and memory while lines come; the first two seconds are not counted."""
    if told:
        terminal.event("frame")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        terminal.read(0.05)
    cpu, frames, start, least = terminal.cpu(), terminal.frames, time.monotonic(), terminal.memory()
    while time.monotonic() - start < lasting - 3:
        terminal.read(0.05)
    took = time.monotonic() - start
    share, fps = (terminal.cpu() - cpu) / took, (terminal.frames - frames) / took
    said.append(
        f"{name}: {took:.0f} s, {share:.1%} of a core, {fps:.1f} frames/s, {least:.1f} -> {terminal.memory():.1f} MiB"
    )
    return Sample(share)


def memory(home: Path, rounds: int) -> Table:
    """Peak memory of whole programs doing the same as little."""
    before = os.getloadavg()[0]
    small = home / "small.log"
    small.write_text("".join(f"2026-11-21T10:00:00 line {n}\n" for n in range(10_000)) + LAST.decode() + "\n")
    sides: dict[str, tuple[list[str], bytes]] = {
        "our log view": ([sys.executable, "-m", "tests.benchmarks.screens_child", "file", str(small)], LAST),
        "opsconsole": ([str(Path(sys.executable).with_name("opsconsole"))], b"SERVICE"),
    }
    if toolong := peer("tl"):
        sides["toolong"] = ([toolong, str(small)], LAST)
    if harlequin := peer("harlequin"):
        sides["harlequin, sqlite"] = ([harlequin, "-a", "sqlite", ":memory:"], b"Query")
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    said: list[str] = []
    for number in range(rounds):
        for name, (argv, word) in sides.items():
            with Terminal(argv, clean_environment(home)) as terminal:
                samples[name].append(_shows(terminal, word))
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    terminal.read(0.05)
                if number == 0:
                    said.append(f"{name}: {terminal.memory('VmHWM'):.0f} MiB")
    note = "Peak resident memory three seconds after it stands; the table is exec to what it shows first.\n"
    missing = [name for name, found in (("toolong", toolong), ("harlequin", harlequin)) if not found]
    note += "\n".join([*said, *(f"{name} is not installed here" for name in missing)])
    pairs = tuple(Pair("opsconsole", name) for name in sides if name not in ("opsconsole", "our log view"))
    return Table("screens: memory", note, samples, pairs, (before, os.getloadavg()[0]))
