"""Small private files written so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from data.errors import SecretsBroken

_LARGEST = 4096


def read_private(path: Path) -> bytes | None:
    """Content of a file only we can read, None when there is none. Raises SecretsBroken for another owner or mode."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretsBroken(
            f"cannot read {path}: {error.strerror}",
            remedy="it must be a plain file of the user who runs the program, not a link",
        ) from error
    try:
        _refuse_doubtful(path, os.fstat(descriptor))
        return os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)


def _refuse_doubtful(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretsBroken(f"{path} is not a plain file", remedy="put the key file back in its place")
    if found.st_uid != os.geteuid():
        raise SecretsBroken(
            f"{path} belongs to user id {found.st_uid}, we are {os.geteuid()}",
            remedy="run as its owner, or give the file back with chown",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SecretsBroken(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o})",
            remedy=f"run `chmod 600 {path}` and consider who may have read it",
        )


def create_private(path: Path, content: bytes) -> bool:
    """Write a new file (0600) that appears complete or not at all; False when somebody else was first."""
    part = _written_part(path, content)
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    sync_directory(path.parent)
    return True


def replace_private(path: Path, content: bytes) -> None:
    """Put `content` in the place of whatever `path` was, at once and durably."""
    _written_part(path, content).rename(path)
    sync_directory(path.parent)


def remove_private(path: Path) -> None:
    """Delete durably; the caller has made sure that its content is kept elsewhere."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a created, renamed or deleted name survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, waiting for others."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written_part(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SecretsBroken(
            f"cannot write {path}: {error.strerror}", remedy="check disk space and the owner of the directory"
        ) from error
    return part
