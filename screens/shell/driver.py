"""The library's terminal driver with two differences: a paste is text whatever is in it, and esc is always esc."""

from __future__ import annotations

import os
import re
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Final

from textual import events
from textual._parser import ParseError, ParseTimeout
from textual._time import get_time
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

MOST_PASTED: Final = 1024 * 1024
"""Characters kept of one paste."""
_NO_SEQUENCE: Final = re.compile(r"[^\x1b\[O\]PX^_\x00-\x1f\x7f]")
_ESCAPE_AND_KEY: Final = re.compile(rf"\x1b(?={_NO_SEQUENCE.pattern})")
READ_SIZE: Final = 65536
LOOK_EVERY: Final = 0.1


class KeyParser(XTermParser):
    """Takes what is pasted out before the library reads it, which would replay an escape in it as keys."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasting = False
        self._text = ""
        self._begun = ""

    @property
    def patience(self) -> float:
        """Seconds until it wants to be asked again: an escape that nothing follows is a key of its own."""
        if self._timeout_time is None:
            return LOOK_EVERY
        return min(max(self._timeout_time - get_time(), 0.0), LOOK_EVERY)

    def feed(self, data: str) -> Iterator[Message]:
        if not data:
            yield from super().feed(data)
            return
        begun = self._begun if self._timeout_time is not None else ""
        if begun and (begun + data).startswith(BRACKETED_PASTE_START):
            self._start_again()
            data = begun + data
        elif begun == "\x1b" and _NO_SEQUENCE.match(data):
            yield from self._escape_now()
        while data:
            if self._pasting:
                pasted, data = self._take(data)
                if pasted is not None:
                    yield events.Paste(pasted.replace("\x00", ""))
                continue
            before, mark, data = data.partition(BRACKETED_PASTE_START)
            yield from self._typed(before)
            self._pasting = bool(mark)
            self._begun = "" if mark else _half_mark(begun + before)

    def _typed(self, data: str) -> Iterator[Message]:
        """Keys. An escape and the key after it come together over a slow line; that is no key with alt."""
        start = 0
        for found in _ESCAPE_AND_KEY.finditer(data):
            if found.start() > start:
                yield from super().feed(data[start : found.start()])
            yield from super().feed("\x1b")
            yield from self._escape_now()
            start = found.end()
        if start < len(data):
            yield from super().feed(data[start:])

    def _escape_now(self) -> Iterator[Message]:
        """The escape that waits for more is a key of its own."""
        self._timeout_time = None
        self._awaiting = self._gen.throw(ParseTimeout())
        while self._tokens:
            yield self._tokens.popleft()

    def _start_again(self) -> None:
        """The library forgets the escape it was waiting over."""
        self._gen.close()
        self._gen = self.parse(self._tokens.append)
        self._awaiting = next(self._gen)
        self._timeout_time = None

    def _take(self, data: str) -> tuple[str | None, str]:
        """Add to the paste. The whole of it and what follows, or nothing yet."""
        seam = max(len(self._text) - len(BRACKETED_PASTE_END), 0)
        text = self._text + data
        end = text.find(BRACKETED_PASTE_END, seam)
        if end < 0:
            # The last few characters may be the beginning of the end, whatever is left out before them.
            kept = len(BRACKETED_PASTE_END)
            self._text = text if len(text) <= MOST_PASTED else text[: MOST_PASTED - kept] + text[-kept:]
            return None, ""
        self._pasting, self._text = False, ""
        return text[: min(end, MOST_PASTED)], text[end + len(BRACKETED_PASTE_END) :]


def _half_mark(data: str) -> str:
    """The end of the data, where it may be the beginning of the mark."""
    tail = data[data.rfind("\x1b") :] if "\x1b" in data[-len(BRACKETED_PASTE_START) :] else ""
    return tail if BRACKETED_PASTE_START.startswith(tail) else ""


class ConsoleDriver(LinuxDriver):
    """A terminal on Linux."""

    def run_input_thread(self) -> None:
        """Read keys until told to stop."""
        parser = KeyParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(parser.patience):
                    data = os.read(self.fileno, READ_SIZE)
                    if not data:
                        break
                    text = decode(data)
                    for event in parser.feed(text) if text else ():  # half a character is no text yet
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        try:
            for _ in parser.feed(""):
                pass
        except (EOFError, ParseError):
            return
