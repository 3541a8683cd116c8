"""OpenVPN's files on a server: what is published there, replaced whole or not at all, and what the daemon sees of it.

Each call is one round trip: a short script of POSIX sh and coreutils, run as root where we may become it.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import DriverError, ProtocolError, Refused, Unsupported
from drivers.runner import Completed, Runner, quote_argv

MAX_FILE = 48 * 1024 * 1024
MAX_CLIENT_FILE = 256 * 1024
_MISSING, _MOVED, _NO_FILE, _CUT = 66, 67, 68, 69

_READ = r"""
f=$(readlink -f -- "$1") && [ -e "$f" ] || exit 66
[ -f "$f" ] || { echo "$f is no file" >&2; exit 68; }
stat -c '%s %Y %a %u %g' -- "$f" && printf '%s\n' "$f" && head -c "$2" -- "$f"
"""

# $1 path, $2 sha256 the new one must have, $3 that of the old one ("-": there must be none, "*": any), $4 mode.
_REPLACE = r"""
set -eu
f=$(readlink -f -- "$1") || { echo "there is no directory $(dirname -- "$1")" >&2; exit 66; }
[ ! -e "$f" ] || [ -f "$f" ] || { echo "$f is no file" >&2; exit 68; }
d=$(dirname -- "$f")
[ -d "$d" ] || { echo "there is no directory $d" >&2; exit 66; }
sum() { sha256sum < "$1" | cut -d ' ' -f 1; }
was=-; then=0
if [ -e "$f" ]; then was=$(sum "$f"); then=$(stat -c %Y -- "$f"); fi
[ "$3" = '*' ] || [ "$3" = "$was" ] || exit 67
umask 077
# What a call left that was killed in the middle.
find "$d" -maxdepth 1 -type f -name '.opsconsole.????????' -mmin +60 -delete 2>/dev/null || :
t=$(mktemp -- "$d/.opsconsole.XXXXXXXX")
trap 'rm -f -- "$t"' EXIT
cat > "$t"
[ "$(sum "$t")" = "$2" ] || exit 69
chmod "$4" -- "$t"
[ ! -e "$f" ] || chown --reference="$f" -- "$t" 2>/dev/null || :
now=$(date +%s)
[ "$now" -gt "$then" ] || touch -d "@$((then + 1))" -- "$t"
sync -- "$t"
mv -f -- "$t" "$f"
sync -- "$d" 2>/dev/null || :
! command -v restorecon >/dev/null 2>&1 || restorecon -- "$f" 2>/dev/null || :
printf '%s %s %s %s\n' "$(sum "$f")" "$(stat -c '%Y %a' -- "$f")" "$was" "$f"
"""

_REMOVE = r"""
set -eu
[ -e "$1" ] || exit 66
[ -f "$1" ] || { echo "$1 is no file" >&2; exit 68; }
[ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$2" ] || exit 67
rm -- "$1"
sync -- "$(dirname -- "$1")" 2>/dev/null || :
"""

_BLOCK = r"""
set -eu
d=$(readlink -f -- "$1") && [ -d "$d" ] || { echo "there is no directory $1" >&2; exit 66; }
umask 022
while read -r s; do [ -e "$d/$s" ] || : > "$d/$s"; done
sync -- "$d" 2>/dev/null || :
find "$d" -maxdepth 1 -type f -printf '%f\n'
"""

_LIST = r"""
d=$(readlink -f -- "$1") && [ -d "$d" ] || { echo "there is no directory $1" >&2; exit 66; }
find "$d" -maxdepth 1 -type f -printf '%f\n'
"""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it is there. `path` is where it really lies, `mtime` Unix seconds, `mode` as in `644`."""

    path: str
    data: bytes
    mtime: int
    mode: str
    uid: int
    gid: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was read back after a file was replaced. `before` is the old one's sha256, None where there was none."""

    path: str
    sha256: str
    mtime: int
    mode: str
    before: str | None


async def run_script(
    runner: Runner, tried: str, script: str, args: Sequence[str], *, stdin: bytes = b"", timeout: float
) -> Completed:
    """Run as root; where sudo says no, as ourselves, for the directory may be ours. Statuses of our own are raised."""
    command = quote_argv(["sh", "-c", script, "opsconsole", *args])
    refused: DriverError | None = None
    try:
        done = await runner.run(command, stdin=stdin, timeout=timeout, become=True)
    except (Refused, Unsupported) as error:
        refused = error
        done = await runner.run(command, stdin=stdin, timeout=timeout)
    if done.ok:
        return done
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    text = said[-1][:300] if said else f"status {done.exit_status}"
    if done.exit_status == _MOVED:
        remedy = "look at it again: another program or person writes it too"
        raise Refused(runner.name, tried, "it was changed by somebody else in the meantime", remedy=remedy, code="busy")
    if done.exit_status == _CUT:
        raise ProtocolError(runner.name, tried, "it did not arrive whole; nothing was replaced")
    if done.exit_status in (_MISSING, _NO_FILE):
        raise Refused(runner.name, tried, text if said else "it is not there", code="not_found")
    if refused is not None and "ermission denied" in text:
        raise refused
    code = "privilege" if "ermission denied" in text else ""
    raise Refused(runner.name, tried, text, code=code)


async def read_file(runner: Runner, path: str, *, timeout: float) -> SeenFile | None:
    """The file, None when there is none. Raises `ProtocolError` above `MAX_FILE`, `Refused` where we may not read."""
    tried = f"read {path}"
    try:
        done = await run_script(runner, tried, _READ, [path, str(MAX_FILE)], timeout=timeout)
    except Refused as error:
        if error.code == "not_found" and error.message == "it is not there":
            return None
        raise
    try:
        head, where, data = done.stdout.split(b"\n", 2)
        size, mtime, mode, uid, gid = head.split()
        seen = SeenFile(where.decode("utf-8", "surrogateescape"), data, int(mtime), mode.decode(), int(uid), int(gid))
    except ValueError:
        raise ProtocolError(runner.name, tried, "an answer that cannot be read") from None
    if int(size) != len(data):
        raise ProtocolError(runner.name, tried, f"{int(size)} bytes there, {len(data)} arrived")
    return seen


async def replace_file(
    runner: Runner, path: str, data: bytes, *, expect: str | None, mode: str = "0644", timeout: float
) -> Replaced:
    """Put `data` in the place of `path`: written beside it, flushed, renamed; then read back.

    `expect` is the sha256 of what was there when it was looked at (None: nothing); anything else by now is
    `Refused` (`busy`). The new file is at least a second younger than the old one, for the daemon looks at whole
    seconds. 0644 by default: the daemon reads it again as an unprivileged user.
    """
    tried = f"replace {path}"
    wanted = hashlib.sha256(data).hexdigest()
    done = await run_script(runner, tried, _REPLACE, [path, wanted, expect or "-", mode], stdin=data, timeout=timeout)
    try:
        found, mtime, bits, was, where = done.stdout.decode("utf-8", "surrogateescape").strip().split(" ", 4)
        result = Replaced(where, found, int(mtime), bits, None if was == "-" else was)
    except ValueError:
        raise ProtocolError(runner.name, tried, "an answer that cannot be read") from None
    if result.sha256 != wanted:
        raise ProtocolError(runner.name, tried, "what is there now is not what was written")
    return result


async def remove_file(runner: Runner, path: str, *, expect: str, timeout: float) -> None:
    """Delete `path` if it still is what was looked at (`expect`, its sha256)."""
    await run_script(runner, f"delete {path}", _REMOVE, [path, expect], timeout=timeout)


async def block_serials(runner: Runner, directory: str, serials: Sequence[int], *, timeout: float) -> frozenset[int]:
    """In the directory of `crl-verify … dir`: one empty file per serial, named in decimal. The daemon looks for it at
    every handshake, so it works at once and needs no key. Answers all serials found there afterwards."""
    if any(serial <= 0 for serial in serials):
        raise ValueError("a serial is a positive number")
    lines = "".join(f"{serial}\n" for serial in serials).encode()
    done = await run_script(runner, f"block serials in {directory}", _BLOCK, [directory], stdin=lines, timeout=timeout)
    return _numbers(done.stdout)


async def blocked_serials(runner: Runner, directory: str, *, timeout: float) -> frozenset[int]:
    """The serials blocked in a directory of `crl-verify … dir`."""
    return _numbers((await run_script(runner, f"list {directory}", _LIST, [directory], timeout=timeout)).stdout)


def _numbers(listed: bytes) -> frozenset[int]:
    names = listed.decode("ascii", "replace").split("\n")
    return frozenset(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 60)


async def read_client_files(runner: Runner, directory: str, *, timeout: float) -> dict[str, str]:
    """Every file of client-config-dir by name, in one archive; larger ones than `MAX_CLIENT_FILE` are refused."""
    tried = f"read {directory}"
    script = 'cd -- "$1" 2>/dev/null || { echo "there is no directory $1" >&2; exit 66; }; exec tar -cf - -h .'
    done = await run_script(runner, tried, script, [directory], timeout=timeout)
    found: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if not member.isfile() or "/" in name or name.startswith("."):
                    continue
                if member.size > MAX_CLIENT_FILE:
                    raise ProtocolError(runner.name, tried, f"{name[:60]} has {member.size} bytes")
                content = archive.extractfile(member)
                found[name] = content.read().decode("utf-8", "replace") if content is not None else ""
    except tarfile.TarError as error:
        raise ProtocolError(runner.name, tried, f"an archive that cannot be read: {error}") from None
    return found


def client_path(directory: str, name: str) -> str:
    """Where the file of one client lies. Raises ValueError for a name that is no file name there."""
    if not name or name.startswith((".", "-")) or "/" in name or not name.isprintable() or len(name) > 64:
        raise ValueError(f"{name[:64]!r} is no name of a client's file")
    return posixpath.join(directory, name)
