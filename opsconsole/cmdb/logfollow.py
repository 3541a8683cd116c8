"""One log as it grows, through rotation, truncation and a line that breaks.

The file is looked at again and again, since that alone survives everything: a new file under the same name is followed
after the rest of the old one was read from where it was moved to; a file that became shorter is read from its start;
after a cut connection reading goes on at the byte where it stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from drivers import remote_file
from drivers.errors import TimedOut, Unreachable
from drivers.remote_file import Piece
from drivers.runner import Runner
from opsconsole.cmdb.logread import Asked, read_chunk

_BUSY, _FIRST, _SLOWEST = 0.2, 0.4, 2.0
_LAST_RETRY = 15.0
_RETRIES = 40
_BLOCK = 512 * 1024
LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end; `truncated` when it was longer than `LONGEST` bytes."""

    content: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened to the file or on the way to it; `resumed` when it is over."""

    text: str
    seconds: float = 0.0
    resumed: bool = False


@dataclass(slots=True)
class _Joiner:
    """Lines from blocks: what has no end yet waits, so that neither a line nor a character is split."""

    rest: bytearray = field(default_factory=bytearray)
    cut: bool = False

    def lines(self, content: bytes) -> list[Line]:
        found: list[Line] = []
        start = 0
        while (end := content.find(b"\n", start)) >= 0:
            self._add(content[start:end])
            found.append(self._take())
            start = end + 1
        self._add(content[start:])
        return found

    def flush(self) -> list[Line]:
        """What waits, as a line of its own: nothing will be added to it any more."""
        return [self._take()] if self.rest else []

    def _add(self, piece: bytes) -> None:
        room = LONGEST - len(self.rest)
        self.rest += piece[:room]
        self.cut = self.cut or len(piece) > room

    def _take(self) -> Line:
        line = Line(bytes(self.rest).removesuffix(b"\r"), self.cut)
        self.rest, self.cut = bytearray(), False
        return line


class Follower:
    """`runner` is asked for anew after every failure. `backlog` lines come first."""

    def __init__(
        self,
        runner: Callable[[], Awaitable[Runner]],
        path: str,
        *,
        user: str | None = None,
        backlog: int = 200,
        following: bool = True,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runner = runner
        self._path = path
        self._user = user
        self._backlog = backlog
        self._following = following
        self._pause = pause
        self._joiner = _Joiner()
        self._inode = 0
        self._position = 0
        self._missing = False

    async def events(self) -> AsyncIterator[Line | Notice]:
        """Lines and notices until closed, or with `following` false until the end of the file. The first look must
        work; later ones are tried again for minutes."""
        for event in await self._begin():
            yield event
        quiet, failures, since = _FIRST, 0, 0.0
        while self._following:
            await self._pause(quiet if not failures else min(_LAST_RETRY, 2.0**failures))
            try:
                events, more = await self._look()
            except (Unreachable, TimedOut) as error:
                since = since or time.monotonic()
                failures += 1
                if failures > _RETRIES:
                    raise
                yield Notice(error.message, time.monotonic() - since)
                continue
            if failures:
                yield Notice("", time.monotonic() - since, resumed=True)
                failures, since = 0, 0.0
            for event in events:
                yield event
            quiet = _BUSY if more else _FIRST if events else min(_SLOWEST, quiet * 1.3)
        for event in self._joiner.flush():
            yield event

    async def _begin(self) -> list[Line | Notice]:
        """The last lines of the file as it is now; a piece without an end is kept for what follows it."""
        read = partial(remote_file.read, await self._runner(), self._path, user=self._user)
        if not self._backlog:
            piece = await read(back=0, size=1)
            self._inode, self._position = piece.inode, piece.size
            return []
        inodes: list[int] = []

        async def noting(**options: Any) -> Piece:
            piece = await read(**options)
            inodes.append(piece.inode)
            return piece

        chunk = await read_chunk(noting, Asked(mode="lines", latest_lines=self._backlog))
        self._inode, self._position = inodes[-1], chunk.position
        return list(self._joiner.lines(chunk.content))

    async def _look(self) -> tuple[list[Line | Notice], bool]:
        """What is new, and whether there is more to read at once."""
        runner = await self._runner()
        try:
            piece = await remote_file.read(
                runner, self._path, start=self._position, size=_BLOCK, inode=self._inode, user=self._user
            )
        except remote_file.FileMissing:
            events: list[Line | Notice] = [] if self._missing else [Notice("the file is gone; waiting for a new one")]
            self._missing = True
            return events, False
        return self._taken(piece), piece.end < piece.size

    def _taken(self, piece: Piece) -> list[Line | Notice]:
        events: list[Line | Notice] = []
        if piece.state == "new":
            events += [*self._joiner.flush(), Notice("the file was rotated", resumed=True)]
        elif piece.state == "cut":
            events += [*self._joiner.flush(), Notice("the file was truncated", resumed=True)]
        self._missing = False
        self._inode, self._position = piece.inode, piece.end
        return [*events, *self._joiner.lines(piece.content)]
