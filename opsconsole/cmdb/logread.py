"""What a piece of a log is, by bytes or by lines, for files of any size.

Bytes are read once. Lines from the end are found by reading backwards in growing blocks; lines from the start by
counting over there as far as one asked to skip. A file longer than `COUNTED` is not read whole only to number its
lines: then the number is not known and answered as null, unless somebody insists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drivers.remote_file import Piece
from opsconsole.engine.errors import InvalidParameter, LogModeMismatch, LogPositionConflict, StateConflict

COUNTED = 64 * 1024 * 1024
SCANNED = 64 * 1024 * 1024
CONTENT = 8 * 1024 * 1024
BLOCK_SIZE, LINES = 8192, 1000
_SMALLEST, _LARGEST = 64 * 1024, 4 * 1024 * 1024
_PER_LINE = 200
_BYTES = ("from_position", "from_last_position", "block_size")
_HEAD, _TAIL = ("lines", "from_lines"), ("latest_lines", "latest_lines_offset")

Read = Callable[..., Awaitable[Piece]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters as given; None is not given."""

    mode: str = "bytes"
    from_position: int | None = None
    from_last_position: int | None = None
    block_size: int | None = None
    lines: int | None = None
    from_lines: int | None = None
    latest_lines: int | None = None
    latest_lines_offset: int | None = None
    count_lines: bool = False

    def check(self) -> None:
        """LogModeMismatch and LogPositionConflict name the fields."""
        foreign = (*_HEAD, *_TAIL) if self.mode == "bytes" else _BYTES
        other = "lines" if self.mode == "bytes" else "bytes"
        for name in foreign:
            if getattr(self, name) is not None:
                raise LogModeMismatch(field=name, other=other, mode=self.mode)
        pairs = [("from_position", "from_last_position")] + [(one, two) for one in _HEAD for two in _TAIL]
        for first, second in pairs:
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise LogPositionConflict(first=first, second=second, field=second)


@dataclass(frozen=True, slots=True)
class Chunk:
    """`position` is the byte behind the content, `lines` the number of the last line (None: not known, or by bytes)."""

    content: bytes
    total_length: int
    position: int
    lines: int | None = None


async def read_chunk(read: Read, asked: Asked) -> Chunk:
    """The piece that was asked for; `read` is `drivers.remote_file.read` with runner and path filled in."""
    asked.check()
    if asked.mode == "bytes":
        return await _by_bytes(read, asked)
    if asked.latest_lines is not None or asked.latest_lines_offset is not None:
        return await _tail(read, asked)
    return await _head(read, asked)


async def _by_bytes(read: Read, asked: Asked) -> Chunk:
    size = asked.block_size or BLOCK_SIZE
    if asked.from_last_position is not None:
        piece = await read(back=asked.from_last_position, size=size)
    else:
        piece = await read(start=asked.from_position or 0, size=size)
    return Chunk(piece.content, piece.size, piece.end)


async def _head(read: Read, asked: Asked) -> Chunk:
    wanted = LINES if asked.lines is None else asked.lines
    skip = asked.from_lines or 0
    guess = _guess(wanted)
    if skip:
        piece = await read(skip_lines=skip, size=guess)
    else:
        piece = await read(size=guess)
    before = (piece.skipped or 0) if skip else 0
    total, content = piece.size, piece.content
    while content.count(b"\n") < wanted and piece.start + len(content) < total and len(content) <= CONTENT:
        guess = min(guess * 2, _LARGEST)
        more = await read(start=piece.start + len(content), size=min(guess, total - piece.start - len(content)))
        _same(piece, more)
        content += more.content
    content = _first_lines(content, wanted, before)
    if not content and before < skip:
        before += await _unfinished(read, total)
    position = piece.start + len(content)
    return Chunk(content, total, position, before + _count(content))


async def _unfinished(read: Read, total: int) -> int:
    """1 when the file ends in a piece without a line end, which is a line too."""
    last = await read(start=total - 1, size=1) if total else None
    return 1 if last is not None and last.content not in (b"\n", b"") else 0


async def _tail(read: Read, asked: Asked) -> Chunk:
    wanted = LINES if asked.latest_lines is None else asked.latest_lines
    offset = asked.latest_lines_offset or 0
    guess = _guess(wanted + min(offset, 1_000_000))
    counted = 2**62 if asked.count_lines else COUNTED
    piece = await read(back=guess, size=guess, count_up_to=counted)
    total, content, start = piece.size, piece.content, piece.start
    while start > 0 and _count(content) <= wanted + offset:
        if total - start > SCANNED:
            raise InvalidParameter(
                field="latest_lines_offset" if offset else "latest_lines",
                reason=f"these lines begin more than {SCANNED >> 20} MiB before the end; read the file by bytes",
            )
        guess = min(guess * 2, _LARGEST)
        more = await read(start=max(0, start - guess), size=min(guess, start))
        _same(piece, more)
        content, start = more.content + content, more.start
    lines = _split(content)
    if start > 0:
        start += len(lines[0])
        lines = lines[1:]
    end = max(0, len(lines) - offset)
    first = max(0, end - wanted)
    chosen = b"".join(lines[first:end])
    position = start + sum(len(line) for line in lines[:end])
    _refuse_long(chosen)
    if start == 0:
        number: int | None = end
    elif piece.newlines is None:
        number = None
    else:
        number = piece.newlines - content.count(b"\n") + 1 + end
    return Chunk(chosen, total, position, number)


def _guess(lines: int) -> int:
    return min(max(_SMALLEST, lines * _PER_LINE), _LARGEST)


def _same(first: Piece, more: Piece) -> None:
    if more.inode != first.inode or more.size < first.size:
        raise StateConflict("the log was rotated while it was being read; read it again")


def _split(content: bytes) -> list[bytes]:
    """Lines with their ends; `\\n` alone ends a line."""
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _count(content: bytes) -> int:
    return content.count(b"\n") + (1 if content and not content.endswith(b"\n") else 0)


def _first_lines(content: bytes, wanted: int, before: int) -> bytes:
    """At most `wanted` lines and `CONTENT` bytes, whole ones only."""
    end = 0
    for _ in range(wanted):
        found = content.find(b"\n", end)
        if found < 0:
            end = len(content) if len(content) <= CONTENT else end
            break
        if found + 1 > CONTENT:
            break
        end = found + 1
    if end == 0 and content:
        raise InvalidParameter(
            field="lines", reason=f"line {before + 1} is longer than {CONTENT >> 20} MiB; read the file by bytes"
        )
    return content[:end]


def _refuse_long(content: bytes) -> None:
    if len(content) > CONTENT:
        raise InvalidParameter(
            field="latest_lines", reason=f"these lines have more than {CONTENT >> 20} MiB; ask for fewer"
        )
