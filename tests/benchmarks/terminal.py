"""A program on a pseudo-terminal of 120x40: keys in, painted frames out, and what it costs meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.benchmarks.measure import ROOT, Sample

FRAME_END = b"\x1b[?2026l"
ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[?2048$p": b"\x1b[?2048;0$y", b"\x1b[c": b"\x1b[?62;22c"}
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0


class Terminal:
    """The child is killed at the end. What it tells on the descriptor `TELL` is in `told`, oldest first."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._tell, tell = os.pipe()
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm-256color", "TELL": str(tell), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            start_new_session=True,
            pass_fds=(tell,),
        )
        os.close(slave)
        os.close(tell)
        self.told: list[dict[str, Any]] = []
        self.tail = b""
        self.frames = 0
        self.bytes = 0
        self._half = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.master)
        os.close(self._tell)

    def read(self, seconds: float) -> bytes:
        """What is painted next; nothing when the time is over."""
        ready, _, _ = select.select([self.master, self._tell], [], [], seconds)
        if self._tell in ready:
            lines = (self._half + os.read(self._tell, 65536)).split(b"\n")
            self._half = lines.pop()
            self.told += [json.loads(line) for line in lines]
        if self.master not in ready:
            return b""
        try:
            new = os.read(self.master, 65536)
        except OSError:
            raise RuntimeError(f"it ended: {self.tail[-800:]!r}") from None
        for query, answer in ANSWERS.items():
            if query in new:
                os.write(self.master, answer)
        self.frames += new.count(FRAME_END)
        self.bytes += len(new)
        self.tail = (self.tail + new)[-65536:]
        return new

    def until(self, holds: Callable[[], Any], seconds: float = PATIENCE) -> float:
        """Read until something holds; how long that took. Raises `RuntimeError` when it never does."""
        start = time.monotonic()
        while not holds():
            if time.monotonic() - start > seconds:
                raise RuntimeError(f"waited in vain; told {self.told[-3:]}, painted {self.tail[-800:]!r}")
            self.read(0.05)
        return time.monotonic() - start

    def event(self, name: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next thing of this name it tells, from now on or before; each is given once."""
        self.until(lambda: any(told["event"] == name for told in self.told), seconds)
        found = next(told for told in self.told if told["event"] == name)
        self.told.remove(found)
        return found

    def quiet(self, seconds: float = 0.02) -> None:
        """Read until nothing is painted for so long."""
        while self.read(seconds):
            continue

    def rest(self, seconds: float) -> None:
        """Read for so long, whatever is painted."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    def press(self, key: bytes) -> Sample:
        """From the key to the end of the frame that answers it; no faster than a held key repeats."""
        self.quiet(0.02)
        frames, cpu = self.frames, self.cpu()
        start = time.perf_counter()
        os.write(self.master, key)
        end = start + PATIENCE
        while self.frames == frames:
            if time.perf_counter() > end:
                raise RuntimeError(f"no frame after {key!r}")
            self.read(0.05)
        return Sample(time.perf_counter() - start, self.cpu() - cpu)

    def cpu(self) -> float:
        """Seconds of CPU the child has used, in steps of a hundredth."""
        with open(f"/proc/{self.child.pid}/stat", "rb") as stat:  # noqa: PTH123 - read often, and briefly
            fields = stat.read().rsplit(b") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def ran(self) -> tuple[float, float]:
        """Seconds its threads have run, and waited for a processor; exact while they sleep."""
        ran = waited = 0
        for task in Path(f"/proc/{self.child.pid}/task").iterdir():
            spent, late, _ = (task / "schedstat").read_text("ascii").split()
            ran, waited = ran + int(spent), waited + int(late)
        return ran / 1e9, waited / 1e9

    def memory(self, name: str = "VmRSS") -> float:
        """MiB in use; `VmHWM` is the most there ever was."""
        with open(f"/proc/{self.child.pid}/status", "rb") as status:  # noqa: PTH123
            return next(int(line.split()[1]) for line in status if line.startswith(name.encode())) / 1024
