"""When Python's collector walks over everything that lives: while nobody types.

It does so by itself after some hundred thousand new objects, wherever that happens to be: for a held key every second,
for 20 to 300 ms, and it was the whole tail of a key's time. Young objects are still collected as usual, so that what
dies young dies soon.
"""

from __future__ import annotations

import gc
import time
from typing import Final

LOOK_EVERY: Final = 1.0
QUIET: Final = 1.0
"""Seconds without a key after which a walk disturbs nobody."""
DUE: Final = 10
"""Collections of the middle generation after which a walk is due; Python's own number."""
AT_LAST: Final = 400
"""After so many it is done whoever types."""
SHARE: Final = 0.01
"""Of the time at most this much goes into walking."""


class Collecting:
    """The policy for one process; `begin()` puts it in force."""

    def __init__(self) -> None:
        self._typed = 0.0
        self._not_before = 0.0

    def begin(self) -> None:
        """What was made until now stays, and is never walked over again."""
        young, middle, _ = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(young, middle, AT_LAST)
        gc.enable()

    def typed(self) -> None:
        """A key was pressed."""
        self._typed = time.monotonic()

    def look(self) -> None:
        """Walk now, if it is due and nobody types."""
        now = time.monotonic()
        if now < max(self._not_before, self._typed + QUIET) or gc.get_count()[2] < DUE:
            return
        gc.collect()
        end = time.monotonic()
        self._not_before = end + (end - now) / SHARE
