"""Whom we trust: all known_hosts files, parsed once, read again when they change.

OpenSSH's format: plain, hashed and wildcard names, `@revoked` and `@cert-authority`. A line that makes no sense is
skipped, as ssh does; one bad line must not lock anybody out of every host.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hmac
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import asyncssh

DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    patterns: str
    key: str
    where: str


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key found for a host; `where` is `file:line`."""

    key: asyncssh.SSHKey
    where: str


@dataclass(slots=True)
class Known:
    """All that the files say about one host."""

    keys: list[KnownKey] = field(default_factory=list)
    authorities: list[KnownKey] = field(default_factory=list)
    revoked: list[KnownKey] = field(default_factory=list)

    def for_asyncssh(self) -> tuple[list[asyncssh.SSHKey], ...]:
        """The shape asyncssh takes from a known_hosts callable."""
        own, cas, revoked = ([one.key for one in group] for group in (self.keys, self.authorities, self.revoked))
        return own, cas, revoked, [], [], [], []


@dataclass(slots=True)
class _File:
    stamp: tuple[int, int]
    exact: dict[str, list[_Line]] = field(default_factory=dict)
    others: list[_Line] = field(default_factory=list)


def host_pattern(host: str, port: int) -> str:
    """How known_hosts names a host: bare on port 22, else `[host]:port`."""
    return host.lower() if port == DEFAULT_PORT else f"[{host.lower()}]:{port}"


class KnownHosts:
    """A cache over known_hosts files; `lookup` stats them and reads again only what changed."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._keys: dict[str, asyncssh.SSHKey | None] = {}

    def lookup(self, host: str, port: int, paths: Iterable[Path]) -> Known:
        """What the files in `paths` say about `host` (a name or an address) at `port`; no DNS is asked.

        As ssh does, a key known for the bare host counts also on another port, when that port has none of its own.
        """
        names = [host_pattern(host, port)] + ([host.lower()] if port != DEFAULT_PORT else [])
        files = [self._load(path) for path in dict.fromkeys(paths)]
        known = Known()
        for name in names:
            found = [line for file in files if file for line in self._matching(file, name)]
            groups = {"": known.keys, "cert-authority": known.authorities, "revoked": known.revoked}
            trusted = bool(known.keys or known.authorities)
            for line in found:
                if (line.marker == "revoked" or not trusted) and (key := self._key(line.key)):
                    groups[line.marker].append(KnownKey(key, line.where))
        return known

    def _load(self, path: Path) -> _File | None:
        try:
            status = path.stat()
            cached = self._files.get(path)
            stamp = (status.st_mtime_ns, status.st_size)
            if cached is None or cached.stamp != stamp:
                cached = self._files[path] = _parse(path, path.read_text("utf-8", "replace"), stamp)
        except OSError:
            self._files.pop(path, None)
            return None
        return cached

    def _matching(self, file: _File, name: str) -> list[_Line]:
        return file.exact.get(name, []) + [line for line in file.others if _matches(line.patterns, name)]

    def _key(self, text: str) -> asyncssh.SSHKey | None:
        if text not in self._keys:
            try:
                self._keys[text] = asyncssh.import_public_key(text)
            except asyncssh.KeyImportError:
                self._keys[text] = None
        return self._keys[text]


def _parse(path: Path, text: str, stamp: tuple[int, int]) -> _File:
    file = _File(stamp)
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split(None, 2 if raw.lstrip().startswith("@") else 1)
        marker = words.pop(0)[1:] if len(words) == 3 else ""
        if len(words) != 2 or words[0].startswith("#") or marker not in ("", "revoked", "cert-authority"):
            continue
        line = _Line(marker, words[0], words[1], f"{path}:{number}")
        if any(char in words[0] for char in "*?|!"):
            file.others.append(line)
        else:
            for name in words[0].split(","):
                file.exact.setdefault(name.lower(), []).append(line)
    return file


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|"):
        return _hash_matches(patterns, name)
    hit = False
    for pattern in patterns.lower().split(","):
        negated = pattern.startswith("!")
        # In ssh's patterns brackets stand for themselves.
        plain = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatchcase(name, plain):
            if negated:
                return False
            hit = True
    return hit


def _hash_matches(pattern: str, name: str) -> bool:
    try:
        _, magic, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest)
        return magic == "1" and hmac.digest(base64.b64decode(salt), name.encode(), "sha1") == wanted
    except (ValueError, binascii.Error):
        return False


def known_line(host: str, port: int, key: asyncssh.SSHKey) -> str:
    """The line to add for `key`, without newline."""
    return f"{host_pattern(host, port)} {key.export_public_key('openssh').decode('ascii').strip()}"


def add_line(path: Path, line: str) -> None:
    """Put `line` into our own file, in place of an older key of the same type and name; atomic, mode 0600."""
    name, key_type = line.split()[:2]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else []
        kept = [other for other in old if other.split()[:2] != [name, key_type]]
        _replace(path, [*kept, line])


def _replace(path: Path, lines: Sequence[str]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write("".join(f"{line}\n" for line in lines))
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
