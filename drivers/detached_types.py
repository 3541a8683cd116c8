"""What goes into and comes out of jobs that run detached on a host, and how a host's answer is read. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from drivers.errors import ProtocolError, Refused, Unsupported
from drivers.runner import Completed

State = Literal["running", "exited", "lost", "absent"]
Way = Literal["systemd", "user", "setsid", ""]
"""Who keeps a job: the system's systemd, the user's own, or only itself."""

MARKER = b"@@opsconsole-job\n"
MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of script, environment and secrets together."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHEBANG = re.compile(rb"#![ \t]*(/[^ \t\r\n]*)(?:[ \t]+([^\r\n]*?))?[ \t]*\r?(?:\n|\Z)")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One script to be run once.

    `name` is `[a-z0-9-]{1,100}`, chosen by the caller and unique per effect: it is what makes a start happen once.
    `script` runs by its own `#!` line, else by /bin/sh, also where files may not be executed. `run_as` is another
    account than the login (that takes root or `sudo -n`). `cwd` is absolute; without it the account's home.
    `environment` is for values that anybody on the host may see; `secret_files` (name to content) for the others:
    they lie as 0600 files in the directory `$OPSCONSOLE_SECRETS` while the job runs, and are wiped when it ends.
    After `timeout` seconds the host itself ends the job, whether or not anybody is connected: TERM to all of it, and
    KILL `grace` seconds later.
    """

    name: str
    script: bytes = field(repr=False)
    run_as: str | None = None
    cwd: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 3600.0
    secret_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    grace: float = 10.0

    def check(self, host: str) -> None:
        """Raise `Refused` (`invalid`) naming the field that no job can have."""
        bad = ""
        if not _NAME.fullmatch(self.name):
            bad = f"name {self.name[:110]!r}: 1 to 100 of a-z, 0-9 and -, not beginning with -"
        elif self.run_as is not None and not _ACCOUNT.fullmatch(self.run_as):
            bad = f"run_as {self.run_as[:70]!r}: not an account name"
        elif self.cwd is not None and (not self.cwd.startswith("/") or "\0" in self.cwd):
            bad = f"cwd {self.cwd[:200]!r}: not an absolute path"
        elif any(not _VARIABLE.fullmatch(key) or "\0" in value for key, value in self.environment.items()):
            bad = "environment: a name that is no variable, or a NUL byte in a value"
        elif any(not _FILE.fullmatch(name) for name in self.secret_files):
            bad = "secret_files: a name may have letters, digits, _ . and -, 64 at most"
        elif not 0 < self.timeout < 10**8:
            bad = f"timeout {self.timeout}: not a number of seconds above 0"
        elif not 0 <= self.grace <= 3600:
            bad = f"grace {self.grace}: not 0 to 3600 seconds"
        elif len(self.script) + sum(map(len, self.secret_files.values())) + len(self.entry()) > MAX_PAYLOAD:
            bad = f"script: with environment and secrets more than {MAX_PAYLOAD >> 20} MiB"
        if bad:
            raise Refused(host, f"start job {self.name[:100]}", bad, code="invalid")

    def digest(self) -> str:
        """SHA-256 over all but the contents of secrets: two specs of one name must agree in it."""
        parts = (
            self.script.hex(),
            self.run_as,
            self.cwd,
            sorted(self.environment.items()),
            sorted(self.secret_files),
            f"{self.timeout:g} {self.grace:g}",
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def entry(self) -> bytes:
        """The shell file that sets the scene as the job's own account and becomes the script."""
        lines = ["j=$1", '. "$j/job/who"', f"PATH={_PATH}; export PATH"]
        lines += [f"export {key}={shlex.quote(value)}" for key, value in sorted(self.environment.items())]
        if self.cwd is None:
            lines.append('cd -- "$HOME" 2>/dev/null || cd /')
        else:
            lines.append(f"cd -- {shlex.quote(self.cwd)} || exit 126")
        interpreter = ["/bin/sh"]
        if (found := _SHEBANG.match(self.script)) is not None:
            interpreter = [part.decode("utf-8", "surrogateescape") for part in found.groups() if part]
        lines[-1] += "; unset OLDPWD"
        lines.append(f'exec {shlex.join(interpreter)} "$j/job/script"')
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Look:
    """A job as it is now, and a piece of its output.

    `running`: something of it is alive. `exited`: it ended and left its status. `lost`: it began, is gone, and left
    no status (the host was rebooted or lost power, or its keeper was killed): what it did is not known, `reason` says
    how we know. `absent`: nothing of that name has begun there; with `prepared` everything lies ready for `start`.
    `exit_status` is as a shell counts it, `signal` the one that 128 + n stands for. An `exited` job without
    `exit_status` was stopped before it began and never will. `size` is the bytes of output there are, `data` those
    from `offset` on; `output_cut` says that the host could not store all of it. Times are by the host's own clock,
    never to be compared with ours; `elapsed` is in seconds and does not depend on any clock being right.
    """

    name: str
    state: State
    exit_status: int | None = None
    signal: int | None = None
    timed_out: bool = False
    stopped: bool = False
    size: int = 0
    offset: int = 0
    data: bytes = field(default=b"", repr=False)
    output_cut: bool = False
    host_clock: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    elapsed: float | None = None
    boot_id: str = ""
    way: Way = ""
    reason: str = ""
    prepared: bool = False
    processes: int | None = None
    """How many processes of it were left; only `stop` counts them."""
    watch: int = 0
    """A process on the host that ends when the job's end has been written down; 0 before it is known."""
    path: str = ""
    """Its directory on the host."""
    as_root: bool = False
    """It belongs to root and we are not: asked through sudo."""


@dataclass(frozen=True, slots=True)
class Started:
    """The answer of `start`. `attached`: the job was there before, begun by an earlier or simultaneous start."""

    look: Look
    attached: bool


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours on a host. `age` in seconds by the host's own clock; `size` is the output's bytes.

    `state` is one of a `Look`, or `torn` for a start that was cut before it was complete, or `stray` for a unit
    without a directory. `processes` are those still alive (of an ended job: what it left in the background).
    """

    name: str
    state: Literal["running", "exited", "lost", "absent", "torn", "stray"]
    age: float | None
    size: int
    processes: int
    path: str
    as_root: bool = False


def is_name(text: str) -> bool:
    """Whether a job can be called so."""
    return _NAME.fullmatch(text) is not None


def check_name(host: str, name: str) -> None:
    """Raise `Refused` (`invalid`) for what is no job's name."""
    if not is_name(name):
        raise Refused(host, "look at a job", f"{name[:110]!r} is no job's name", code="invalid")


def header(done: Completed) -> tuple[dict[str, str], bytes]:
    """The `key=value` lines of an answer, and the bytes behind them. Empty when the host gave no answer of ours.

    What a login shell printed before the marker is passed over.
    """
    _, found, rest = done.stdout.partition(MARKER)
    if not found:
        return {}, b""
    head, _, data = rest.partition(b"\n\n")
    pairs = (line.partition("=") for line in head.decode("utf-8", "replace").splitlines())
    return {key: value for key, _, value in pairs}, data


def look_of(host: str, name: str, facts: Mapping[str, str], data: bytes, *, as_root: bool) -> Look:
    """A `Look` from an answer's header. Raises `ProtocolError` when it is not one."""
    state = facts.get("state", "")
    if state not in ("running", "exited", "lost", "absent"):
        raise ProtocolError(host, f"look at job {name}", f"the host says {state[:40]!r}")
    begun, ended, child = (facts.get(key, "").split() for key in ("begun", "exit", "child"))
    status = whole(ended[0]) if ended else None
    up = real(facts.get("uptime", ""))
    up_begun, up_ended = (real(begun[6]) if len(begun) > 6 else None), (real(ended[6]) if len(ended) > 6 else None)
    end = up_ended if state == "exited" else up if state == "running" else None
    way = begun[4] if len(begun) > 4 else ""
    return Look(
        name=name,
        state=state,  # type: ignore[arg-type]
        exit_status=status,
        signal=status - 128 if status is not None and 128 < status <= 192 else None,
        timed_out=_flag(ended, 1),
        stopped=_flag(ended, 2),
        output_cut=_flag(ended, 3) or facts.get("cut") == "yes",
        size=whole(facts.get("size", "")) or 0,
        offset=whole(facts.get("offset", "")) or 0,
        data=data,
        host_clock=real(facts.get("clock", "")) or 0.0,
        started_at=real(begun[5]) if len(begun) > 5 else None,
        ended_at=real(ended[5]) if len(ended) > 5 else None,
        elapsed=end - up_begun if end is not None and up_begun is not None else None,
        boot_id=begun[2] if len(begun) > 2 else "",
        way=way if way in ("systemd", "user", "setsid") else "",  # type: ignore[arg-type]
        reason=facts.get("why", ""),
        prepared=facts.get("prepared") == "yes",
        processes=whole(facts.get("processes", "")),
        watch=(whole(child[2]) or 0) if len(child) > 2 else 0,
        path=facts.get("path", ""),
        as_root=as_root,
    )


def _flag(words: list[str], index: int) -> bool:
    return len(words) > index and words[index] == "yes"


def whole(text: str) -> int | None:
    """A decimal number of a sane length, else None."""
    return int(text) if re.fullmatch(r"\d{1,19}", text) else None


def real(text: str) -> float | None:
    """A decimal fraction of a sane length, else None."""
    return float(text) if re.fullmatch(r"\d{1,19}(\.\d{1,9})?", text) else None


_SAID = (
    ("No space left on device", "no_space", "the disk is full", "make room there; nothing was started"),
    ("Disk quota exceeded", "no_space", "the quota is used up", "make room there; nothing was started"),
    ("Read-only file system", "read_only", "the file system is read-only", "make it writable; nothing was started"),
    ("Permission denied", "privilege", "permission denied", "look at the owner and mode of that directory"),
)


def raise_for_answer(host: str, tried: str, facts: Mapping[str, str], done: Completed) -> None:
    """Raise what the host says went wrong, in our words; return when nothing did."""
    fail = facts.get("fail", "")
    if not fail and facts:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    if not facts:
        raise ProtocolError(host, tried, said[:300] or f"no answer of a shell (exit status {done.exit_status})")
    code, _, text = fail.partition(" ")
    if code == "unsupported":
        raise Unsupported(host, tried, text)
    if code == "store":
        for phrase, kind, short, remedy in _SAID:
            if phrase in said:
                raise Refused(host, tried, f"{short}: {text}", remedy=remedy, code=kind)
    refused: tuple[str, str] = {
        "in_use": ("in_use", "each effect needs a name of its own"),
        "busy": ("busy", "stop it first"),
        "account": ("not_found", "make the account, or name another one"),
        "logout": ("limit", "allow lingering (loginctl enable-linger), or log in as root or with sudo"),
    }.get(code, ("", ""))
    raise Refused(host, tried, f"{text} ({said[:300]})" if said else text, remedy=refused[1], code=refused[0])
