"""Out of the console for a while: a shell on a host in the operator's own terminal, and back."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from textual.app import SuspendNotSupported

from opsconsole.client import Client, OperationFailed
from screens.frame import Console
from screens.performing import Order, Performing
from screens.text import Safe, join

NOT_FOUND: Final = 127


def not_here(console: Console) -> Safe:
    """Why there is no way out of this console; empty when there is one."""
    if console.facts.get("mode") != "personal" or console.facts.get("captive"):
        return Safe("there is no shell behind this console: an account that many people share owns it")
    return Safe("")


async def shell_on(console: Console, client: Client, host: str) -> None:
    """Ask the house for the command, hand the terminal over, and come back when it ends. The journal knows of it."""
    reason = not_here(console)
    if reason:
        console.say(str(reason), "warn")
        return
    name = Safe(host)
    try:
        done = await Performing(console, client).run(Order("hosts.shell", {"id": host}, Safe(f"a shell on {name}")))
    except OperationFailed as error:
        console.say_failure(f"a shell on {name}", error)
        return
    if done is None:
        return
    argv = [str(word) for word in done.answer["argv"]]
    try:
        with console.suspend():
            status = outside(argv, name, Safe(done.answer.get("note")))
    except SuspendNotSupported:
        console.say("this terminal cannot be handed over", "warn")
    else:
        ended = Safe("") if status == 0 else Safe(f"with status {status}")
        console.say(join([Safe(f"the shell on {name} ended"), *([ended] if ended else [])], " "), "" if ended else "ok")


def outside(argv: Sequence[str], name: Safe, note: Safe = Safe("")) -> int:  # noqa: B008 - it never changes
    """Run it in the terminal as it is now. What failed stays to be read until Enter."""
    _print(f"a shell on {name}: {Safe(shlex.join(argv))}")
    if note:
        _print(note)
    _print("exit leads back to the console")
    with _interrupts_for_the_child():
        try:
            status = subprocess.run(argv, check=False).returncode
        except OSError as error:
            _print(f"{Safe(argv[0])}: {Safe(error.strerror)}")
            status = NOT_FOUND
        if status not in (0, 130):
            _print(f"it ended with status {status}; Enter leads back")
            sys.stdin.readline()
    return status


def _print(text: str) -> None:
    sys.__stdout__.write(f"opsconsole: {text}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


@contextmanager
def _interrupts_for_the_child() -> Iterator[None]:
    """Ctrl-C ends what runs in the terminal, not the console behind it. A handler, since an ignored signal would be
    ignored by the child too."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
