"""Scripts that run on a host by themselves: begun once, whoever asks how often, and looked at from anywhere.

A job belongs to its host, not to a connection. It goes on when we, our line to it or its sshd die; it ends when its
script ends, when its time is over, or by `stop`. Where the login can have it, systemd keeps it as the transient unit
`opsconsole-job-NAME` (the system's for root, the user's own with lingering), otherwise it keeps itself in a session
of its own. A job with `run_as` belongs to root, one without to the login. Its directory is
`/var/lib/opsconsole-jobs/NAME` for root, `~/.local/state/opsconsole/jobs/NAME` for others, below `/var/tmp` where the
home cannot be written or is on NFS; all of them outlive a reboot, which is how a job is known to be lost.

The output is stdout and stderr in the order written, every byte, in one file there. What a script leaves in the
background goes on when the script has ended, as it would behind ssh; `stop` and the timeout end it too. Where systemd
does not keep a job, its processes are known by session and environment: one that leaves both on purpose escapes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import cast, get_args

from drivers.detached_script import KEEPER, LAUNCH, LIST, QUESTION, START
from drivers.detached_types import (
    MARKER,
    JobSpec,
    Leftover,
    Look,
    Started,
    State,
    check_name,
    header,
    is_name,
    look_of,
    raise_for_answer,
    whole,
)
from drivers.errors import ProtocolError, Refused, TimedOut, Unsupported
from drivers.runner import Completed, Runner, quote_argv, sudo_refusal

__all__ = ["JobSpec", "Leftover", "Look", "Started", "follow", "leftovers", "look", "remove", "start", "stop"]

MAX_LOOK = 32 * 1024 * 1024
"""Bytes of output one `look` may bring."""
_TIMEOUT = 60.0
_RENEWED = 300
_PAUSE = 0.2


async def start(runner: Runner, spec: JobSpec) -> Started:
    """Start the job, or attach to the one of this name; the script runs once, whatever happens and whoever asks.

    When the answer is lost (`Unreachable`, `TimedOut`), ask again: it is the same question. Raises `Refused`:
    `in_use` (another job has this name), `no_space`, `read_only`, `privilege`, `not_found` (no such account),
    `limit` (this host would end it at logout), `invalid`; after each of these nothing has begun.
    """
    spec.check(runner.name)
    entry, keeper, launch = spec.entry(), KEEPER.encode(), LAUNCH.encode()
    secrets = sorted(spec.secret_files.items())
    sizes = [str(len(part)) for part in (entry, spec.script, keeper, launch)]
    words = [
        spec.run_as or "",
        spec.digest(),
        str(max(1, round(spec.timeout * 10))),
        str(round(spec.grace * 10)),
        *sizes,
    ]
    words += [word for name, content in secrets for word in (name, str(len(content)))]
    payload = b"".join([entry, spec.script, keeper, launch, *(content for _, content in secrets)])
    facts, data, as_root = await _ask(runner, START, "start", spec.name, *words, payload=payload)
    found = look_of(runner.name, spec.name, facts, data, as_root=as_root)
    return Started(found, attached=facts.get("new") != "yes")


async def look(runner: Runner, name: str, *, offset: int = 0, limit: int = 1024 * 1024) -> Look:
    """The job as it is now, with up to `limit` bytes of its output from `offset` on."""
    check_name(runner.name, name)
    if offset < 0 or not 0 <= limit <= MAX_LOOK:
        raise ValueError(f"offset {offset}, limit {limit}")
    facts, data, as_root = await _ask(runner, QUESTION, "look", name, str(offset), str(limit))
    found = look_of(runner.name, name, facts, data, as_root=as_root)
    if offset > found.size and found.state != "absent":
        shrunk = f"the output has {found.size} bytes, and had {offset} before"
        raise ProtocolError(runner.name, f"read the output of job {name}", shrunk)
    return found


async def follow(runner: Runner, name: str, *, offset: int = 0) -> AsyncGenerator[Look, None]:
    """Pieces of the output as they are written, from `offset` on; the last `Look` is of the ended job.

    Each piece has its own `offset`; where the next begins is `offset + len(data)`. Nothing is sent while nothing is
    written. Survives no cut of the connection: it raises `Unreachable`, and the caller follows again from where he
    was. Raises `Refused` (`not_found`) when no such job has begun. Close it (`aclose`) to end it early.
    """
    while True:
        now = await look(runner, name, offset=offset)
        if now.state == "absent":
            raise Refused(runner.name, f"follow job {name}", "no such job has begun there", code="not_found")
        offset += len(now.data)
        if now.state != "running" and offset >= now.size:
            yield now
            return
        if now.data:
            yield now
            continue
        if not now.watch:
            await asyncio.sleep(_PAUSE)
            continue
        began, before = time.monotonic(), offset
        chunks = _tail(runner, now, offset)
        try:
            async for chunk in chunks:
                yield replace(now, data=chunk, offset=offset, size=offset + len(chunk))
                offset += len(chunk)
        finally:
            await chunks.aclose()
        if offset == before and time.monotonic() - began < _PAUSE:
            await asyncio.sleep(_PAUSE)


async def _tail(runner: Runner, job: Look, offset: int) -> AsyncGenerator[bytes, None]:
    """What tail says until the end has been written down; renewed now and then, so that none stays behind forever."""
    tail = ["timeout", str(_RENEWED), "tail", "-c", f"+{offset + 1}", "-f", "-s", "0.1", f"--pid={job.watch}", "--"]
    script = f"printf '\\n{MARKER.decode().strip()}\\n'; exec {quote_argv([*tail, job.path + '/out'])}"
    head: bytes | None = b""
    async with runner.stream(quote_argv(["/bin/sh", "-c", script]), become=job.as_root) as stream:
        async for chunk in stream:
            if head is None:
                yield chunk
                continue
            head += chunk
            _, found, rest = head.partition(MARKER)
            if found:
                head = None
                if rest:
                    yield rest
        if head is not None:
            if error := sudo_refusal(runner.name, "/bin/sh", stream.stderr):
                raise error
            said = stream.stderr.decode("utf-8", "replace").strip()[:300]
            raise ProtocolError(runner.name, f"follow job {job.name}", said or "no answer of a shell")


async def stop(runner: Runner, name: str, *, grace: float = 10.0) -> Look:
    """End the job and all it started: TERM, after `grace` seconds KILL; the answer says what became of it.

    `processes` of the answer is 0 when nothing of it is left. A job that lay ready and had not begun never will.
    Ends also what an ended job left in the background. Asking twice does no harm. `absent` says nothing about a start
    that is still on its way: only who alone may start it can know.
    """
    check_name(runner.name, name)
    if not 0 <= grace <= 3600:
        raise ValueError(f"grace {grace}")
    facts, data, as_root = await _ask(runner, QUESTION, "stop", name, str(round(grace * 10)), timeout=grace + _TIMEOUT)
    return look_of(runner.name, name, facts, data, as_root=as_root)


async def remove(runner: Runner, name: str) -> None:
    """Take away all files of an ended or lost job; none there is fine. Raises `Refused` (`busy`) while it runs."""
    check_name(runner.name, name)
    await _ask(runner, QUESTION, "remove", name)


async def leftovers(runner: Runner) -> list[Leftover]:
    """Everything of ours on the host that this login may see; root's through sudo where that is allowed.

    Starts that were cut before anything began (`torn`) are cleared away by this after an hour.
    """
    done = await _put(runner, LIST, "list", "-", become=False, payload=b"", timeout=_TIMEOUT)
    facts, _ = header(done)
    raise_for_answer(runner.name, "list jobs", facts, done)
    found = _leftovers(done, as_root=False)
    if facts.get("where") == "root":
        try:
            done = await _put(runner, LIST, "list", "-", become=True, payload=b"", timeout=_TIMEOUT)
        except (Refused, Unsupported) as error:
            # Without sudo this login cannot have started any of root's.
            if isinstance(error, Refused) and error.code != "privilege":
                raise
            return found
        facts, _ = header(done)
        raise_for_answer(runner.name, "list jobs", facts, done)
        found += _leftovers(done, as_root=True)
    return found


def _leftovers(done: Completed, *, as_root: bool) -> list[Leftover]:
    found: dict[str, Leftover] = {}
    units: list[str] = []
    _, _, answer = done.stdout.partition(MARKER)
    for line in answer.decode("utf-8", "surrogateescape").splitlines():
        key, _, value = line.partition("=")
        words = value.split(" ", 4)
        if key == "unit" and is_name(value):
            units.append(value)
        elif key == "job" and len(words) == 5 and words[0] in (*get_args(State), "torn"):
            state = cast("State", words[0])
            age, size, processes = (whole(word) for word in words[1:4])
            name = words[4].rpartition("/")[2]
            if words[0] != "torn" and not is_name(name):
                continue
            found[name] = Leftover(name, state, age, size or 0, processes or 0, words[4], as_root)
    known = [*found.values()]
    return known + [Leftover(unit, "stray", None, 0, 1, "", as_root) for unit in units if unit not in found]


async def _ask(
    runner: Runner, script: bytes, verb: str, name: str, *words: str, payload: bytes = b"", timeout: float = _TIMEOUT
) -> tuple[dict[str, str], bytes, bool]:
    """One question, asked again through sudo when the host says that the job is root's."""
    as_root = False
    done = await _put(runner, script, verb, name, *words, become=False, payload=payload, timeout=timeout)
    facts, data = header(done)
    if facts.get("where") == "root":
        as_root = True
        done = await _put(runner, script, verb, name, *words, become=True, payload=payload, timeout=timeout)
        facts, data = header(done)
    tried = f"{verb} job {name}"
    if facts.get("fail", "").startswith("slow "):
        raise TimedOut(runner.name, tried, facts["fail"][5:], remedy="start it again: it runs once at most")
    raise_for_answer(runner.name, tried, facts, done)
    return facts, data, as_root


async def _put(
    runner: Runner, script: bytes, verb: str, name: str, *words: str, become: bool, payload: bytes, timeout: float
) -> Completed:
    """Our script and the payload go through stdin; what the host's ps and sudo's log show is one short line."""
    load = f'eval "$(dd bs={len(script)} count=1 iflag=fullblock 2>/dev/null)"'
    command = quote_argv(["/bin/sh", "-c", load, "opsconsole-job", verb, name, *words])
    return await runner.run(command, stdin=script + payload, timeout=timeout, become=become)
