"""The process behind a pid file on another machine: whether it lives, what it uses and where it listens.

One round trip, POSIX tools; ports are named where `ss` is there and tells us whose they are.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from drivers.errors import ProtocolError, Refused
from drivers.runner import Runner

MARK = "opsconsole-process"
_TIMEOUT = 30.0
_SCRIPT = """
: @MARK@
LC_ALL=C; export LC_ALL; f=@PATH@
if [ ! -e "$f" ]; then echo none; exit 0; fi
[ -r "$f" ] || exit 77
read -r pid rest <"$f" || [ -n "$pid" ] || { echo none; exit 0; }
case $pid in ''|*[!0-9]*) echo "odd $(printf %s "$pid" | tr -cd '[:print:]' | cut -c1-40)"; exit 0;; esac
echo "pid $pid"
ps -A -o pid= -o ppid= -o user= -o pcpu= -o rss= -o vsz= -o time= -o args=
echo @END@
[ "@PORTS@" = no ] || ss -Hltnup 2>/dev/null || true
"""
END = "opsconsole-end-of-processes"
_LINE = re.compile(r"\s*(\d+)\s+(\d+)\s+(\S+)\s+([\d.]+)\s+(\d+)\s+\d+\s+(\S+)\s+(.*)")
_PORT = re.compile(r"(tcp|udp)\s+\S+\s+\d+\s+\d+\s+(\S+)\s+\S+\s+users:\((.*)\)")
_OWNER = re.compile(r"pid=(\d+)")
_DEFUNCT = "<defunct>"


@dataclass(frozen=True, slots=True)
class Process:
    """`cpu` in percent of one processor as ps sees it, `memory` resident KiB, `time` processor time `[dd-]hh:mm:ss`."""

    pid: int
    parent: int
    user: str
    cpu: float
    memory: int
    time: str
    command: str


@dataclass(frozen=True, slots=True)
class Seen:
    """`pid` is what the file says (None: there is no file, or nothing in it), `odd` what it says instead of a number.

    `processes` is the one of that id, first, and all its descendants; empty when it does not live. `ports` are
    `tcp 0.0.0.0:80`, sorted.
    """

    pid: int | None
    processes: tuple[Process, ...] = ()
    ports: tuple[str, ...] = ()
    odd: str = ""

    @property
    def alive(self) -> bool:
        return bool(self.processes)

    def belongs_to(self, user: str | None) -> bool:
        """Whether the process is that user's; ps cuts long names."""
        if user is None or not self.processes:
            return True
        shown = self.processes[0].user
        return shown == user or (len(shown) >= 7 and user.startswith(shown.rstrip("+")))


async def look(runner: Runner, pid_path: str, *, ports: bool = False) -> Seen:
    """What lives there now. Raises `Refused` (`privilege`) when the pid file may not be read."""
    done = await runner.run(script_for(pid_path, ports=ports), timeout=_TIMEOUT)
    tried = f"look at the process of {pid_path}"
    if done.exit_status == 77:
        raise Refused(
            runner.name,
            tried,
            "this user may not read the pid file",
            remedy="let the login user read it",
            code="privilege",
        )
    return parse(runner.name, tried, done.stdout.decode("utf-8", "replace"))


def script_for(pid_path: str, *, ports: bool) -> str:
    """The script of one look; ValueError for a path that is not absolute."""
    if "\0" in pid_path or not pid_path.startswith("/"):
        raise ValueError("the path of a pid file must be absolute")
    script = _SCRIPT.replace("@MARK@", MARK).replace("@PATH@", shlex.quote(pid_path)).replace("@END@", END)
    return script.replace("@PORTS@", "yes" if ports else "no")


def parse(host: str, tried: str, answer: str) -> Seen:
    """The answer of the script."""
    head, _, rest = answer.partition("\n")
    word, _, value = head.partition(" ")
    if word == "none":
        return Seen(None)
    if word == "odd":
        return Seen(None, odd=value or "nothing readable")
    if word != "pid" or not value.isdigit():
        raise ProtocolError(host, tried, f"cannot read the answer {answer[:80]!r}")
    pid = int(value)
    listed, _, listening = rest.partition(f"{END}\n")
    known: dict[int, Process] = {}
    for line in listed.splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and not found[7].endswith(_DEFUNCT):
            known[int(found[1])] = Process(
                int(found[1]), int(found[2]), found[3], float(found[4]), int(found[5]), found[6], found[7][:500]
            )
    tree = _tree(known, pid)
    return Seen(pid, tree, _ports(listening, {process.pid for process in tree}))


def _tree(known: dict[int, Process], root: int) -> tuple[Process, ...]:
    if root not in known:
        return ()
    children: dict[int, list[Process]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process)
    found, queue = [known[root]], [root]
    while queue:
        for child in sorted(children.get(queue.pop(0), []), key=lambda process: process.pid):
            if child not in found:
                found.append(child)
                queue.append(child.pid)
    return tuple(found)


def _ports(listening: str, pids: set[int]) -> tuple[str, ...]:
    found: set[str] = set()
    for line in listening.splitlines():
        match = _PORT.match(line)
        if match is not None and pids & {int(number) for number in _OWNER.findall(match[3])}:
            found.add(f"{match[1]} {match[2]}")
    return tuple(sorted(found))
