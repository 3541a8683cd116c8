"""Log files and processes of the simulated machines' applications, as our drivers ask for them."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from zlib import crc32

from drivers import process
from drivers.remote_file import BLOCK, MARK, script_for
from opsconsole.demo.applications import LOG_DIRECTORY
from opsconsole.demo.journal import Line
from opsconsole.demo.machine import SimMachine

_HEAD = re.compile(
    r"LC_ALL=C; export LC_ALL; f=(?P<f>.+); p=(?P<p>\d+); b=(?P<b>-|\d+); n=(?P<n>\d+); k=(?P<k>-|\d+); "
    r"w=(?P<w>\d+); i=(?P<i>\d+); s=same$",
    re.MULTILINE,
)
_ERRORS = 3


_PID_FILE = re.compile(r"LC_ALL=C; export LC_ALL; f=(.+)$", re.MULTILINE)


def is_ours(script: str) -> bool:
    return f": {MARK}\n" in script or f": {process.MARK}\n" in script


def answer(machine: SimMachine, script: str) -> tuple[int, bytes]:
    """Exit status and output of the driver's script, and of no other one (127)."""
    if f": {process.MARK}\n" in script:
        return _process(script)
    found = _HEAD.search(script)
    words = shlex.split(found["f"]) if found is not None else []
    if found is None or len(words) != 1:
        return 127, b""
    path = words[0]
    start, size, inode, count = int(found["p"]), int(found["n"]), int(found["i"]), int(found["w"])
    back, skip = _number(found["b"]), _number(found["k"])
    if script_for(path, start, back, size, skip, count, inode) != script:
        return 127, b""
    text = _text(machine, path)
    if text is None:
        return 66, b""
    return 0, _piece(text, start, back, size, skip, count, crc32(path.encode()) or 1)


def _process(script: str) -> tuple[int, bytes]:
    """One process with a child, listening, for every pid file of the demo's applications."""
    found = _PID_FILE.search(script)
    words = shlex.split(found[1]) if found is not None else []
    ports = "= no ] || ss" in script and "[ yes = no ]" in script.replace('"', "")
    if len(words) != 1 or process.script_for(words[0], ports=ports) != script:
        return 127, b""
    name = words[0].rpartition("/")[2].removesuffix(".pid")
    pid = 2000 + crc32(name.encode()) % 28000
    used = 20_000 + crc32(name.encode()[::-1]) % 400_000
    lines = [
        f"pid {pid}",
        f"{pid} 1 app {used % 70 / 10:.1f} {used} {used * 3} 01:12:03 /srv/{name}/bin/{name.rpartition('-')[2]}",
        f"{pid + 1} {pid} app {used % 30 / 10:.1f} {used // 3} {used} 00:20:11 /srv/{name}/bin/worker",
        process.END,
    ]
    if ports:
        lines.append(f'tcp LISTEN 0 511 0.0.0.0:{8000 + pid % 1000} 0.0.0.0:* users:(("{name[:15]}",pid={pid},fd=6))')
    return 0, "".join(f"{line}\n" for line in lines).encode()


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)


def _piece(text: bytes, start: int, back: int | None, size: int, skip: int | None, count: int, inode: int) -> bytes:
    lines, skipped = "-", "-"
    if back is not None:
        start = max(0, len(text) - back)
    if skip is not None:
        head = b"".join(text.splitlines(keepends=True)[:skip])
        start, lines, skipped = len(head), str(head.count(b"\n")), str(len(head))
    start = min(start, len(text))
    total = str(text.count(b"\n")) if len(text) <= count else "-"
    head_line = f"same {inode} {len(text)} {start} {lines} {skipped} {total}\n".encode()
    first = start - start % BLOCK
    return head_line + text[first : start + min(size, len(text) - start)]


def _text(machine: SimMachine, path: str) -> bytes | None:
    """What the busiest kinds of services there write, a share of it per application; None for a file that is not."""
    if not path.startswith(f"{LOG_DIRECTORY}/"):
        return None
    share = crc32(path.rpartition(".")[0].encode()) % 3
    errors = path.endswith(".err")
    kept = (line for line in machine.journal.after(0) if line.number % 3 == share and not line.by_manager)
    return b"".join(_line(line) for line in kept if not errors or line.priority <= _ERRORS)


def _line(line: Line) -> bytes:
    at = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    level = "ERROR" if line.priority <= _ERRORS else "WARN" if line.priority == 4 else "INFO"
    return f"{at} {level:5} [{line.identifier}] {line.message}\n".encode("utf-8", "surrogateescape")
