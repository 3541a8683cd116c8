"""The journal of one machine, read and followed over any line, without loss and without doubles."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

from drivers.errors import ProtocolError, Refused, TimedOut, Unreachable, Unsupported
from drivers.journal_parse import FIELDS, MAX_LINE, MAX_MESSAGE, Entry, Gap, parse_line
from drivers.runner import Runner, Stream, quote_argv, sudo_refusal
from drivers.runner import lines as split_lines
from drivers.systemd_answers import check_names

__all__ = ["MAX_MESSAGE", "Entry", "Gap", "follow"]

_CURSOR = re.compile(r"[A-Za-z0-9=;]{1,512}")
_BOOT = re.compile(r"[0-9a-f]{32}|[+-]?\d{1,6}")
_NO_ACCESS, _NO_JOURNAL = 77, 78
_RETRIES = 10
_FIRST_DELAY, _LAST_DELAY = 0.5, 20.0
_STABLE = 10.0
_BASE_END = b"{}"

_SCRIPT = """
LC_ALL=C; SYSTEMD_COLORS=0; SYSTEMD_PAGER=; export LC_ALL SYSTEMD_COLORS SYSTEMD_PAGER
command -v journalctl >/dev/null 2>&1 || exit 78
may=no
if [ "$(id -u)" = 0 ]; then may=yes; else
  for f in /var/log/journal/*/system.journal /run/log/journal/*/system.journal; do [ -r "$f" ] && may=yes; done
fi
if [ $may = yes ]; then s=; elif @BECOME@ sudo -n -l journalctl >/dev/null 2>&1; then s='sudo -n --'; else exit 77; fi
@BASE@
exec $s @COMMAND@
"""
# `journalctl -n N --follow` shows nothing, ever, when no entry matches at its start (seen with 252). So the backlog is
# read first, and then all that comes behind the entry that was the newest before.
_BASE = """
base=$($s journalctl -q --no-pager -n 1 -o json --output-fields=_PID </dev/null |
  sed -n 's/.*"__CURSOR" *: *"\\([^"]*\\)".*/\\1/p')
printf '{"base":"%s"}\\n' "$base"
@BACKLOG@
echo '{}'
"""
_BASE_LINE = re.compile(rb'\{"base":"([^"]*)"\}')


@dataclass(frozen=True, slots=True)
class _Ask:
    units: tuple[str, ...]
    lines: int | None
    after_cursor: str | None
    since: float | None
    until: float | None
    priority: int | None
    boot: str | None
    following: bool
    become: bool

    @property
    def in_two_parts(self) -> bool:
        return self.following and self.lines is not None and self.after_cursor is None

    def command(self) -> str:
        script = _SCRIPT.replace("@BECOME@", "" if self.become else "false &&")
        start = [] if self.since is None else [f"--since=@{self.since:.6f}"]
        if self.after_cursor is not None:
            # Not --after-cursor: with a filter that the entry at the cursor does not pass, that one loses an entry.
            start = ["--cursor=" + self.after_cursor]
        tail = [] if self.lines is None or self.after_cursor is not None else ["-n", str(self.lines)]
        if not self.in_two_parts:
            following = ["--follow", "--no-tail"] if self.following else tail
            return script.replace("@BASE@", "").replace("@COMMAND@", quote_argv([*self._argv(), *start, *following]))
        backlog = "$s " + quote_argv([*self._argv(), *start, *tail]) + " </dev/null" if self.lines else ""
        follow = quote_argv([*self._argv(), "--follow", "--no-tail"]) + ' ${base:+"--cursor=$base"}'
        return script.replace("@BASE@", _BASE.replace("@BACKLOG@", backlog)).replace("@COMMAND@", follow)

    def _argv(self) -> list[str]:
        argv = ["journalctl", "-q", "--no-pager", "-o", "json", "--all", "--output-fields=" + ",".join(FIELDS)]
        for unit in self.units:
            argv += ["-u", unit]
        if self.until is not None:
            argv.append(f"--until=@{self.until:.6f}")
        if self.priority is not None:
            argv += ["-p", str(self.priority)]
        if self.boot is not None:
            argv += ["-b", self.boot]
        return argv


async def follow(
    runner: Runner,
    *,
    units: tuple[str, ...] | None = None,
    lines: int | None = 10,
    after_cursor: str | None = None,
    since: float | None = None,
    until: float | None = None,
    priority: int | None = None,
    boot: str | None = None,
    follow: bool = True,
    become: bool = True,
    retries: int = _RETRIES,
) -> AsyncGenerator[Entry | Gap, None]:
    """Entries in the journal's order, then new ones as they come, until closed (`aclose`); `follow=False` ends.

    `lines` is the backlog (None: all that matches), `since` and `until` Unix seconds, `priority` 0..7 (that and more
    important ones), `boot` a boot id or offset. `units` includes what systemd itself says about them. After a cut the
    iterator yields `Gap`s, reconnects up to `retries` times in a row and goes on behind the last entry.
    The first connection must work. Raises `Refused` when the user may read no journal, `Unsupported` without one.
    """
    ask = _Ask(units or (), lines, after_cursor, since, until, priority, boot, follow, become)
    _check(runner.name, ask)
    follower = _Follower(runner, ask, retries)
    while True:
        session = follower.session()
        try:
            async for item in session:
                yield item
        finally:
            await session.aclose()
        if follower.finished:
            return
        yield Gap(follower.reason, follower.down_for())
        await asyncio.sleep(follower.delay())


class _Follower:
    """Where we are in the journal, across any number of sessions."""

    def __init__(self, runner: Runner, ask: _Ask, retries: int) -> None:
        self._runner = runner
        self._ask = ask
        self._retries = retries
        self._failures = 0
        self._cursor = ask.after_cursor
        self._opened = False
        self._down_since: float | None = None
        self.reason = ""
        self.finished = False

    def down_for(self) -> float:
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since

    def delay(self) -> float:
        longest: float = min(_LAST_DELAY, _FIRST_DELAY * 2 ** max(0, self._failures - 1))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads reconnects

    async def session(self) -> AsyncGenerator[Entry | Gap, None]:
        """One remote journalctl until it ends. Sets `finished` or `reason`; raises what no retry would mend."""
        began, before = time.monotonic(), self._cursor
        try:
            async with self._runner.stream(self._next_ask().command()) as stream:
                self._opened = True
                if self._down_since is not None:
                    yield Gap("", self.down_for(), resumed=True)
                    self._down_since = None
                async for entry in self._entries(stream):
                    yield entry
                self._ended(stream, silent=self._cursor == before)
        except (Unreachable, TimedOut) as error:
            if not self._opened:
                raise
            self.reason = error.message
        if not self.finished:
            worked = self._cursor != before or time.monotonic() - began > _STABLE
            self._count_failure(worked=worked)

    def _next_ask(self) -> _Ask:
        return self._ask if self._cursor is None else replace(self._ask, after_cursor=self._cursor)

    async def _entries(self, stream: Stream) -> AsyncIterator[Entry]:
        base, backlog = "", self._next_ask().in_two_parts
        seen: set[str] = {self._cursor or ""}
        async for line, cut in split_lines(stream, limit=MAX_LINE):
            if backlog and (found := _BASE_LINE.fullmatch(line)):
                base = found[1].decode("ascii", "replace")
            elif backlog and line == _BASE_END:
                backlog, self._cursor = False, self._cursor or base or None
            elif (entry := parse_line(line, cut=cut)) is not None and entry.cursor not in seen:
                if backlog:
                    seen.add(entry.cursor)
                self._cursor = entry.cursor
                yield entry

    def _ended(self, stream: Stream, *, silent: bool) -> None:
        name, status = self._runner.name, stream.exit_status
        if status == _NO_JOURNAL:
            raise Unsupported(name, "read the journal", "there is no journalctl")
        if status == _NO_ACCESS:
            raise Refused(
                name,
                "read the journal",
                "this user may not read the system's journal",
                remedy="add the user to the group systemd-journal, or allow journalctl in its sudoers with NOPASSWD",
                code="privilege",
            )
        if error := sudo_refusal(name, "journalctl", stream.stderr):
            raise error
        said = stream.stderr.decode("utf-8", "replace").strip()[:300]
        if not self._ask.following and status == 0:
            self.finished = True
        elif status and silent:
            raise ProtocolError(name, "read the journal", said or f"journalctl ended with status {status}")
        self.reason = said or "journalctl ended over there"

    def _count_failure(self, *, worked: bool) -> None:
        self._failures = 1 if worked else self._failures + 1
        self._down_since = self._down_since or time.monotonic()
        if self._failures > self._retries:
            raise Unreachable(
                self._runner.name,
                "follow the journal",
                f"given up after {self._retries} attempts: {self.reason}",
                remedy="open the journal again once the host answers; it goes on behind the last entry",
            )


def _check(host: str, ask: _Ask) -> None:
    check_names(host, ask.units)
    bad = ""
    if ask.after_cursor is not None and not _CURSOR.fullmatch(ask.after_cursor):
        bad = "the cursor"
    elif ask.boot is not None and not _BOOT.fullmatch(ask.boot):
        bad = "the boot id"
    elif ask.priority is not None and not 0 <= ask.priority <= 7:
        bad = "the priority (0 to 7)"
    elif ask.lines is not None and ask.lines < 0:
        bad = "the number of lines"
    if bad:
        raise Refused(host, "read the journal", f"{bad} is not valid", code="invalid")
