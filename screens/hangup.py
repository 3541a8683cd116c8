"""Leaving when the terminal hangs up or the system asks, also when the terminal is already gone.

The library's writer thread dies of the first write to a terminal that is gone, and what waits for it waits for ever. So
a hang-up first puts the null device in the terminal's place, and a watchdog ends what still does not end: everything
worth keeping is on disk before it is on the screen.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PATIENCE: Final = 3.0


@contextmanager
def leaving_on_signals(leave_soon: Callable[[], None]) -> Iterator[None]:
    """SIGHUP and SIGTERM call `leave_soon` while the block runs, from within whatever the main thread is doing then."""

    def leave(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and _terminal_gone():
            _detach()
        watchdog = threading.Timer(PATIENCE, os._exit, (0,))
        watchdog.daemon = True
        watchdog.start()
        leave_soon()

    before = {number: signal.signal(number, leave) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminal_gone() -> bool:
    """Whether the hang-up is true; a mere `kill -HUP` leaves a terminal that has to be put in order."""
    try:
        termios.tcgetattr(0)
    except termios.error:
        return True
    return False


def _detach() -> None:
    """Reads and writes of the terminal go nowhere from now on, and fail no more."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
