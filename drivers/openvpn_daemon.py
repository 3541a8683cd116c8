"""What a running OpenVPN daemon sees: its identity, and whether the file it will read is the one that was published.

The daemon reads its CRL at the next handshake when the file's time or size changed, as its own user and below its own
root. If it cannot, it goes on with the old one and says so only in its log; nothing else would tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import ProtocolError
from drivers.openvpn_files import run_script
from drivers.runner import Runner

# $1 pid, $2 path as the daemon sees it
_VIEW = r"""
p=$1
[ -d "/proc/$p" ] || exit 66
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$p/status"; }
set -- "$2" $(field Uid)
path=$1 uid=$3
gid=$(field Gid | { read -r _ e _; echo "$e"; })
groups=$(field Groups | tr -s ' ' ',' | sed 's/,$//')
root=$(readlink "/proc/$p/root") || root=
cwd=$(readlink "/proc/$p/cwd") || cwd=
echo "comm $(cat "/proc/$p/comm")"
echo "uid $uid"
echo "root $root"
echo "cwd $cwd"
tr '\0' '\n' < "/proc/$p/cmdline" | sed 's/^/arg /'
[ -n "$root" ] || exit 0
here=/proc/$p/root$path
if [ -f "$here" ]; then
  echo "sha256 $(sha256sum < "$here" | cut -d ' ' -f 1)"
  echo "mtime $(stat -c %Y -- "$here")"
elif [ -d "$here" ]; then echo "sha256 dir"
else echo "sha256 none"; exit 0
fi
if [ "$uid" = 0 ]; then echo "readable yes"; exit 0; fi
command -v setpriv >/dev/null 2>&1 || exit 0
if [ -n "$groups" ]; then keep="--groups=$groups"; else keep=--clear-groups; fi
if [ "$root" = / ]; then there=$path; else there=$root$path; fi
if setpriv --reuid="$uid" --regid="$gid" "$keep" test -r "$there"; then echo "readable yes"; else echo "readable no"; fi
"""


@dataclass(frozen=True, slots=True)
class DaemonView:
    """`sha256` is that of the file at the daemon's path: `dir` for a directory, None where there is nothing.
    `readable` says whether the daemon's own user can read it, None when that could not be found out. `started_with` is
    the configuration its command line names, as it stands there."""

    comm: str
    uid: int | None
    root: str | None
    cwd: str | None
    sha256: str | None
    mtime: int | None
    readable: bool | None
    started_with: str | None = None


async def daemon_view(runner: Runner, pid: int, path: str, *, timeout: float) -> DaemonView:
    """Look through the eyes of process `pid` at `path`. Raises `Refused` (`not_found`) when it does not run."""
    done = await run_script(runner, f"look at process {pid}", _VIEW, [str(pid), path], timeout=timeout)
    lines = [line.partition(" ") for line in done.stdout.decode("utf-8", "surrogateescape").splitlines() if " " in line]
    said = {name: value for name, _, value in lines if name != "arg"}
    if "comm" not in said:
        raise ProtocolError(runner.name, f"look at process {pid}", "an answer that cannot be read")
    found = said.get("sha256", "none")
    return DaemonView(
        comm=said["comm"][:40],
        uid=_number(said.get("uid")),
        root=said.get("root") or None,
        cwd=said.get("cwd") or None,
        sha256=None if found == "none" else found,
        mtime=_number(said.get("mtime")),
        readable={"yes": True, "no": False}.get(said.get("readable", "")),
        started_with=_configuration([value for name, _, value in lines if name == "arg"]),
    )


def _configuration(words: list[str]) -> str | None:
    """`--config FILE`, or the only word behind the program."""
    if "--config" in words[:-1]:
        return words[words.index("--config") + 1]
    return words[1] if len(words) == 2 and not words[1].startswith("-") else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None
