"""Type-ahead: keys that come in one burst go where they were meant, one after the other.

The library passes every key of a burst to whatever has the focus when the burst arrives, so `/work` typed quickly (or
over a slow line, which delivers in bursts) lost its letters to the table. Here the next key waits until the one before
it has done its work: the focus has moved, the screen is there, the dialog it asks the house for has opened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from textual import events
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from screens import frame

if TYPE_CHECKING:
    from screens.frame import Console

PATIENCE: Final = 0.5
"""Seconds the next key waits at most: a house that takes longer over a plan must not hold the keyboard."""
NAP: Final = 0.005
CLOSING: Final = 0.02
"""Seconds between looks whether a widget that does not answer is being closed."""
ROUNDS: Final = 2
"""Ways from the focus to the app: one for the key itself, one for the messages its action sends."""
TURNS: Final = 3
"""Turns of the event loop in which a worker that waited for a closed dialog gets to open the next one."""
OPENING: Final = frozenset({"choose", "act", "trust", "send", "command", "take"})
"""Groups of workers that open a dialog; keys typed after the one that started them are meant for it."""


MOVES: Final = frozenset({"move", "page", "edge", "aside", "mark", "scroll"})
"""Actions of our lists and logs that move nothing but themselves; held down, they come by the hundred."""


class TypeAhead:
    """Holds keys and pastes back while the one before them is still at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._held: deque[events.Event] = deque()
        self._passing: events.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._last: float | None = None
        self._known: set[Worker[Any]] = set()
        self._stack: list[Screen[Any]] = []
        self._flowing = False

    @property
    def busy(self) -> bool:
        """Whether keys are waiting for their turn."""
        return self._task is not None

    def keeps(self, event: events.Event) -> bool:
        """Whether the app must not handle this event now: it waits for its turn, or it must not count.

        Before the first screen and after the last one there is nobody to take it.
        """
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            return False
        if not self._console.screen_stack:
            return True
        now = time.monotonic()
        if event is not self._passing and self._must_wait(now):
            self._held.append(event)
            if self._task is None:
                self._task = asyncio.create_task(self._pass_on(), name="type-ahead")
            return True
        self._passing = None
        self._last = now
        self._known = set(self._console.workers)
        self._stack = list(self._console.screen_stack)
        self._flowing = flows(self._console.focused, event)
        return typed_too_early(self._console, event)

    def _must_wait(self, now: float) -> bool:
        if self._task is not None:
            return True
        return not self._flowing and self._last is not None and now - self._last < PATIENCE

    async def _pass_on(self) -> None:
        """Let one event after the other through, until none is left."""
        try:
            while self._held and self._console.is_running:
                if not self._flowing:
                    await self._settled()
                self._passing = self._held.popleft()
                self._console.post_message(self._passing)
                await _reached(self._console)
        finally:
            self._task = None

    async def _settled(self) -> None:
        """Wait until what the last event set off is done, for at most `PATIENCE` seconds."""
        stack = self._stack
        try:
            async with asyncio.timeout(PATIENCE):
                rounds = 0
                while True:
                    chain = list(self._chain())
                    for pump in chain:
                        await _reached(pump)
                    rounds += 1
                    if list(self._console.screen_stack) != stack:
                        stack = list(self._console.screen_stack)
                        for _ in range(TURNS):
                            await asyncio.sleep(0)
                        self._known |= {worker for worker in self._console.workers if self._shown_over(worker)}
                    elif rounds >= ROUNDS and chain == list(self._chain()) and not any(map(_waiting, chain)):
                        if not any(_opens(worker) for worker in self._console.workers if worker not in self._known):
                            return
                        await asyncio.sleep(NAP)
        except TimeoutError:
            return

    def _shown_over(self, worker: Worker[Any]) -> bool:
        """Whether this worker's dialog may be what is on the top now."""
        return isinstance(self._console.screen, frame.ConsoleModal) and worker.group in OPENING

    def _chain(self) -> Iterator[MessagePump]:
        """Whoever a key passes on its way: from the focus up to the app."""
        screen = self._console.screen
        if screen.focused is not None:
            yield from (node for node in screen.focused.ancestors_with_self if isinstance(node, MessagePump))
        else:
            yield screen
            yield self._console


async def _reached(pump: MessagePump) -> None:
    """Wait until it has handled all messages it has now; one that is being closed handles no more."""
    done = asyncio.Event()
    if not pump.is_running or not pump.call_later(done.set):
        return
    while pump.is_running:
        try:
            async with asyncio.timeout(CLOSING):
                await done.wait()
                return
        except TimeoutError:
            continue


def _waiting(pump: MessagePump) -> bool:
    return pump.message_queue_size > 0


def _opens(worker: Worker[Any]) -> bool:
    return worker.group in OPENING and not worker.is_finished


def flows(focus: Widget | None, event: events.Event) -> bool:
    """Whether this key leaves the focus where it is (a letter in a field, a move in a list); the next need not wait."""
    if focus is None or not isinstance(event, events.Key):
        return False
    if focus.check_consume_key(event.key, event.character):
        return True
    bound = focus._bindings.key_to_bindings.get(event.key, ())  # noqa: SLF001 - asked at every key, so no copy is made
    return bool(bound) and all(binding.action.partition("(")[0] in MOVES for binding in bound)


def typed_too_early(console: Console, event: events.Event) -> bool:
    """Enter that was typed before a dialog that confirms could be read: it was meant for something else."""
    screen = console.screen
    if not (isinstance(event, events.Key) and event.key == "enter" and isinstance(screen, frame.ConsoleModal)):
        return False
    return screen.CONFIRMS and (screen.shown_at is None or event.time - screen.shown_at < frame.ARM_AFTER)
