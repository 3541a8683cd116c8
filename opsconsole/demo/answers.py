"""From a command line our drivers send to what the simulated machine answers. No shell is run.

A line is recognised as a whole, by the drivers' own functions where they have one; any other is "not found" (127).
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drivers.runner import become_root
from drivers.systemd import VERBS
from drivers.systemd_script import MARKER, snapshot_script
from opsconsole.demo import detached, files, journal, render
from opsconsole.demo.detached import Detached
from opsconsole.demo.jobs import Jobs
from opsconsole.demo.machine import SimMachine

Write = Callable[[bytes], Awaitable[None]]
_BECOME = re.compile(r"LC_ALL=C; export LC_ALL; .*? then exec (.*); else exec sudo ", re.DOTALL)
_STAMP = re.compile(r"""if \[ "\$stamp" != '(.*)' \]""")
_SUDO = re.compile(r'^if \[ "(yes|no)" = yes \]', re.MULTILINE)
_CONFIG = re.compile(r"^for f in (/\S+); do\n.*\n  printf '%s %s\\n' '(\S+)' ", re.MULTILINE)
_PROPERTIES = re.compile(r"systemctl show --no-pager -p (\S+) -- '\*\.service'")
_JOURNALCTL = re.compile(r"""(exec )?\$s journalctl (.*?)( \$\{base:\+"--cursor=\$base"\})?(?: </dev/null)?""")
_FOLLOW_SECONDS = 0.15
_NO_ACCESS = 77


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 0
    stdout: bytes = b""
    stderr: str = ""


class Answers:
    """What one machine answers. `write` is for what comes before the end; the rest is in the `Answer`."""

    def __init__(self, machine: SimMachine) -> None:
        self.machine = machine
        self.jobs = Jobs(machine)
        self.detached = Detached(machine)

    @property
    def _root(self) -> bool:
        return self.machine.plan.user == "root"

    @property
    def _may(self) -> bool:
        return self._root or self.machine.plan.sudo

    async def run(self, command: str, stdin: bytes, write: Write) -> Answer:
        """`command` is what the login shell of the host is given."""
        try:
            words = shlex.split(command)
        except ValueError:
            words = []
        if len(words) != 4 or words[:3] != ["exec", "/bin/sh", "-c"]:
            return _unknown(command)
        line = words[3]
        self.machine.advance()
        if line == "exec /bin/sh -s":
            return self.script(stdin.decode("utf-8", "replace"))
        if (found := _BECOME.match(line)) and become_root(found[1]) == line:
            if not self._may:
                return Answer(1, stderr="sudo: a password is required\n")
            return await self._command(_simple(found[1]), root=True)
        if detached.is_ours(asked := _simple(line)):
            said = self.detached.answer(asked, stdin)
            return _unknown(command) if said is None else Answer(stdout=said)
        if files.is_ours(line):
            status, text = files.answer(self.machine, line)
            return Answer(status, text)
        if "exec $s journalctl " in line:
            return await self._journal(line, write)
        return await self._command(_simple(line), root=self._root)

    async def _command(self, words: list[str], *, root: bool) -> Answer:
        if words == ["id", "-u"]:
            return Answer(stdout=b"0\n" if root else b"1000\n")
        if words[:1] == ["systemd-run"] and root:
            return self._later(words)
        if words[:1] != ["systemctl"]:
            return _unknown(shlex.join(words))
        rest = [word for word in words[1:] if word not in {"--no-pager", "--no-ask-password", "--"}]
        verb = rest[0] if rest else ""
        if verb == "show" and rest[1:2] == ["-p"] and len(rest) > 2:
            return Answer(stdout=render.show(self.machine, rest[3:], rest[2].split(",")))
        if verb == "cat" and len(rest) == 2:
            return self._cat(rest[1])
        if verb not in VERBS:
            return _unknown(shlex.join(words))
        if not root:
            return Answer(1, stderr=f"Failed to {verb}: Interactive authentication required.\n")
        status, said = await self.jobs.run(verb, rest[1:])
        return Answer(status, stderr=said)

    def _cat(self, name: str) -> Answer:
        unit = self.machine.names.get(name)
        if unit is None:
            return Answer(1, stderr=f"No files found for {name}.\n")
        return Answer(stdout=render.unit_text(self.machine, unit).encode("utf-8", "surrogateescape"))

    def _later(self, words: list[str]) -> Answer:
        options = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--") and "=" in word)
        rest = words[words.index("--") + 1 :] if "--" in words else []
        action = [word for word in rest if not word.startswith("--")]
        seconds = options.get("on-active", "").removesuffix("s")
        if len(action) != 3 or action[0] != "systemctl" or not seconds.isdigit() or "unit" not in options:
            return _unknown(shlex.join(words))
        status, said = self.jobs.arm(options["unit"], float(seconds), action[1], action[2])
        return Answer(status, stderr=said)

    # The snapshot

    def script(self, script: str) -> Answer:
        """The answer to the snapshot script of our driver, and to no other one."""
        stamp, sudo, asked = _STAMP.search(script), _SUDO.search(script), _PROPERTIES.search(script)
        globs = {template: glob for glob, template in _CONFIG.findall(script)}
        if not (stamp and sudo and asked):
            return _unknown(script)
        privileges = sudo[1] == "yes"
        if snapshot_script(globs, privileges=privileges, stamp=stamp[1]) != script:
            return _unknown(script)
        return Answer(stdout=self._snapshot(asked[1].split(","), globs, stamp[1], privileges=privileges))

    def _snapshot(self, properties: list[str], globs: dict[str, str], stamp: str, *, privileges: bool) -> bytes:
        machine = self.machine
        plan = machine.plan
        host = [
            f"epoch={machine.clock():.9f}",
            f"euid={0 if self._root else 1000}",
            f"boot_id={_dashed(machine.boot_id)}",
        ]
        host += ["systemd=yes", f"version={plan.version}"]
        if privileges and not self._root:
            host.append(f"sudo={'yes' if plan.sudo else 'no'}")
        loaded = [unit.name for unit in machine.units.values() if unit.loaded]
        now = f"{int(machine.machine_id[:7], 16) + machine.files_changed} {len(machine.units)}"
        instances, configs = [link.rpartition("/")[2] for link in render.links(machine)], []
        for template, glob in globs.items():
            stem = template.removesuffix("@.service")
            for name in render.configs(machine, stem):
                configs.append(f"{template} {glob.replace('*', name)}")
                instances.append(f"{stem}@{name}.service")
        parts = {
            "host": "\n".join(host) + "\n",
            "show": render.show(machine, loaded, properties).decode("utf-8", "surrogateescape"),
            "stamp": f"files_stamp={now}\n",
        }
        if now != stamp:
            parts |= {"files": render.unit_files(machine), "texts": render.unit_texts(machine)}
        parts |= {
            "links": "".join(f"{link}\n" for link in render.links(machine)),
            "configs": "".join(f"{line}\n" for line in configs),
            "instances": render.show(machine, instances, properties).decode("utf-8", "surrogateescape"),
            "end": f"epoch_end={machine.clock():.9f}\n",
        }
        text = "".join(f"{MARKER} {name}\n{part}" for name, part in parts.items())
        return text.encode("utf-8", "surrogateescape")

    # The journal

    async def _journal(self, script: str, write: Write) -> Answer:
        """The driver's script: perhaps the newest cursor and a backlog, then one journalctl to the end."""
        if not self._may:
            return Answer(_NO_ACCESS)
        kept, newest = self.machine.journal, ""
        for line in script.splitlines():
            if line.startswith("base=$("):
                newest = kept.cursor(last) if (last := next(kept.after(kept.count - 1), None)) else ""
                await write(f'{{"base":"{newest}"}}\n'.encode())
            elif line == "echo '{}'":
                await write(b"{}\n")
            elif found := _JOURNALCTL.fullmatch(line):
                behind = [f"--cursor={newest}"] if found[3] else []
                query = journal.read([*shlex.split(found[2]), *behind])
                if query is None:
                    return _unknown(found[2])
                await self._print(query, write)
        return Answer()

    async def _print(self, query: journal.Query, write: Write) -> None:
        kept = self.machine.journal
        seen, found = kept.count, query.backlog(kept)
        for start in range(0, len(found), 200):
            await write(b"".join(kept.as_json(one) for one in found[start : start + 200]))
        while query.following:
            await asyncio.sleep(_FOLLOW_SECONDS)
            self.machine.advance()
            new = [one for one in kept.after(seen) if query.wants(one)]
            seen = kept.count
            if new:
                await write(b"".join(kept.as_json(one) for one in new))


def _simple(line: str) -> list[str]:
    """The words of a simple command behind its `NAME=value` prefixes; none for a line a shell would do more with."""
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    if shlex.join(words) != line:
        return []
    while words and re.fullmatch(r"[A-Z_]+=\w*", words[0]):
        words.pop(0)
    return words


def _unknown(command: str) -> Answer:
    program = (command.split() or ["-"])[0][:60]
    return Answer(127, stderr=f"sh: 1: {program}: not found\n")


def _dashed(identity: str) -> str:
    return "-".join((identity[:8], identity[8:12], identity[12:16], identity[16:20], identity[20:]))
