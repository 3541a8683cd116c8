"""Pieces of a file on another machine, in one round trip each, with POSIX tools alone (and `head -c`).

Only the blocks that are asked for are read over there, whatever the size of the file. What is counted from the
beginning of the file (lines before a place) reads it up to that place, and is bounded by the caller.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from drivers.errors import ProtocolError, Refused, Unsupported
from drivers.runner import Runner

BLOCK = 4096
MARK = "opsconsole-file"
_MISSING, _NOT_READABLE, _NOT_REGULAR = 66, 77, 65
_TIMEOUT = 60.0

# `ls -Lnid` gives inode, mode and size on every system; `wc -c` and `stat` do not (some read the file, some differ).
_SCRIPT = """
: @MARK@
LC_ALL=C; export LC_ALL; f=@PATH@; p=@START@; b=@BACK@; n=@SIZE@; k=@SKIP@; w=@COUNT@; i=@INODE@; s=same
look() { set -- $(ls -Lnid -- "$1" 2>/dev/null); inode=$1; mode=$2; size=$6; }
err=$(ls -Lnid -- "$f" 2>&1 >/dev/null) || case $err in *ermission*) exit 77;; esac
look "$f"
if [ "$i" != 0 ] && [ "$inode" != "$i" ]; then
  s=new
  for g in "$f"?*; do
    set -- $(ls -nid -- "$g" 2>/dev/null)
    if [ "$1" = "$i" ]; then
      other=${size:-0}; look "$g"; s=old
      if [ "$size" -le "$p" ] && [ "$other" -gt 0 ]; then look "$f"; s=new; else f=$g; fi
      break
    fi
  done
  [ $s = new ] && p=0
fi
[ -n "$inode" ] || exit 66
case $mode in -*) ;; *) exit 65;; esac
[ -r "$f" ] || exit 77
lines=-; bytes=-; total=-
if [ "$b" != - ]; then p=$((size - b)); [ $p -lt 0 ] && p=0; fi
if [ "$k" != - ]; then set -- $(head -n "$k" -- "$f" | wc -lc); lines=$1; bytes=$2; p=$bytes; fi
if [ "$size" -le "$w" ]; then total=$(head -c "$size" -- "$f" | wc -l); fi
if [ "$p" -gt "$size" ]; then
  if [ $s = same ] && [ "$i" != 0 ]; then s=cut; p=0; else p=$size; fi
fi
echo $s $inode $size $p $lines $bytes $total
left=$((size - p)); [ $n -gt $left ] && n=$left
[ $n -gt 0 ] || exit 0
exec dd if="$f" bs=@BLOCK@ skip=$((p / @BLOCK@)) count=$(((p % @BLOCK@ + n + @BLOCK@ - 1) / @BLOCK@)) 2>/dev/null
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read. `state` compares with the inode and place one came with: `same`; `old` (the file was rotated and
    this is the rest of the old one); `new` (another file, read from its beginning); `cut` (it was truncated, and is
    read from its beginning).

    `size` is that of the file at that time, `start` the byte at which `content` begins. `newlines` counts all line ends
    of the file (None: it was bigger than `count_up_to`), `skipped` those before `start` when lines were skipped.
    """

    state: str
    inode: int
    size: int
    start: int
    content: bytes
    newlines: int | None = None
    skipped: int | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.content)


class FileMissing(Refused):
    """There is no such file."""


async def read(
    runner: Runner,
    path: str,
    *,
    start: int = 0,
    back: int | None = None,
    size: int,
    skip_lines: int | None = None,
    count_up_to: int = 0,
    inode: int = 0,
    user: str | None = None,
) -> Piece:
    """`size` bytes from `start`; from `back` bytes before the end; or behind the first `skip_lines` lines.

    A place behind the end is the end, unless `inode` says which file one has been following. `user`: a file that the
    login user may not read is read as that one, where sudo allows it. Raises `FileMissing`, `Refused` (`privilege`:
    not readable, `invalid`: no regular file), and what the runner raises.
    """
    script = script_for(path, start, back, size, skip_lines, count_up_to, inode)
    done = await runner.run(script, timeout=_TIMEOUT)
    if done.exit_status == _NOT_READABLE and user is not None:
        done = await runner.run(_as_user(script, user), timeout=_TIMEOUT)
    tried = f"read {path}"
    if done.exit_status == _MISSING:
        raise FileMissing(runner.name, tried, "there is no such file", code="not_found")
    if done.exit_status == _NOT_REGULAR:
        raise Refused(runner.name, tried, "it is no regular file", code="invalid")
    if done.exit_status == _NOT_READABLE or (done.stderr.startswith(b"sudo:") and not done.ok):
        raise Refused(
            runner.name,
            tried,
            "this user may not read it",
            remedy="let the login user read it (a group), or set run_user and allow sudo to that user",
            code="privilege",
        )
    return _parse(runner.name, tried, done.stdout, size)


def script_for(
    path: str, start: int, back: int | None, size: int, skip: int | None, count_up_to: int, inode: int
) -> str:
    """The script of one read; ValueError for a path that is not absolute."""
    if "\0" in path or not path.startswith("/"):
        raise ValueError("the path of a remote file must be absolute")
    values = {
        "MARK": MARK,
        "PATH": shlex.quote(path),
        "START": str(start),
        "BACK": "-" if back is None else str(back),
        "SIZE": str(size),
        "SKIP": "-" if skip is None else str(skip),
        "COUNT": str(count_up_to),
        "INODE": str(inode),
        "BLOCK": str(BLOCK),
    }
    script = _SCRIPT
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script


def _as_user(script: str, user: str) -> str:
    return f"exec sudo -n -u {shlex.quote(user)} -- sh -c {shlex.quote(script)} </dev/null"


def _parse(host: str, tried: str, answer: bytes, size: int) -> Piece:
    head, newline, body = answer.partition(b"\n")
    words = head.decode("ascii", "replace").split()
    if not newline or len(words) != 7 or words[0] not in {"same", "old", "new", "cut"}:
        said = answer[:80].decode("utf-8", "replace")
        raise ProtocolError(host, tried, f"cannot read the answer {said!r}")
    try:
        inode, total, start = int(words[1]), int(words[2]), int(words[3])
        skipped = None if words[4] == "-" else int(words[4])
        newlines = None if words[6] == "-" else int(words[6])
    except ValueError:
        raise Unsupported(host, tried, f"ls answers in a form we do not know: {' '.join(words)[:80]}") from None
    offset = start % BLOCK
    content = body[offset : offset + min(size, max(0, total - start))]
    return Piece(words[0], inode, total, start, content, newlines, skipped)
