"""The kernel's word that a file was written to (inotify), without a package for three calls."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_IN_MODIFY = 0x2
_EVENTS = 64 * 1024


@contextmanager
def writes_to(path: str) -> Iterator[int | None]:
    """A descriptor that can be read when somebody has written to `path`; None where the kernel cannot tell."""
    descriptor = _watching(path)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def drain(descriptor: int) -> None:
    """Forget what was told so far."""
    with contextlib.suppress(BlockingIOError):
        while len(os.read(descriptor, _EVENTS)) > _EVENTS // 2:
            continue


def _watching(path: str) -> int | None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return None
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor
