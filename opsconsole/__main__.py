"""The composition root: the one place that knows both the screens and what stands below them.

Started by the console script; children of ours are started as `sys.executable -P -m …`.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from opsconsole.cli import entry
from opsconsole.engine.locations import tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsconsole.client import Client


def main() -> int:
    """The exit status for the words this process was started with."""
    return entry.guarded(lambda: _run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    tidy()
    switches, words = entry.split(entry.asked_over_ssh(arguments))
    if words[:1] == ["demo"] and not (switches.version or switches.help):
        from opsconsole.demo import start

        return start.run(words[1:], switches, _console)
    if words or switches.version or switches.help:
        return entry.run(switches, words)
    return _console(switches)


def _console(switches: entry.Switches, prepare: Callable[[], None] | None = None) -> int:
    """`prepare` runs once before the house is opened, in the same thread."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        from opsconsole.engine.errors import InvalidRequest

        raise InvalidRequest("the console needs a terminal; for everything else see: opsconsole --help")
    gc.disable()  # what is imported stays; the app switches it on again behind the first frame
    from screens.app import run

    def connect() -> Client:
        from opsconsole.backend import connect

        if prepare is not None:
            prepare()
        return connect(readonly=switches.readonly)

    return run(connect, ascii=switches.ascii, readonly=switches.readonly, mouse=not switches.no_mouse)


if __name__ == "__main__":
    raise SystemExit(main())
