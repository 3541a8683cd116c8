"""`opsconsole demo`: a directory of its own, the simulated fleet as a child process, and the console over both.

Light until the first frame: the sockets are opened here at once, everything else happens in the child and, after
the first frame, in the thread that makes the house.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from opsconsole.cli import output
from opsconsole.cli.entry import Switches
from opsconsole.engine.errors import ConsoleError, InvalidParameter, NotSupported, UnexpectedError

_SWITCHES = ("--serve", "--ascii", "--readonly")
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_READY_SECONDS = 30.0
_END_SECONDS = 5.0

Show = Callable[[Switches, Callable[[], None]], int]
"""Runs the console; the function is what to do before the house opens, in its thread."""


def run(words: list[str], switches: Switches, show: Show) -> int:
    """The exit status of `opsconsole demo WORDS`."""
    if {"--help", "-h"} & set(words):
        from opsconsole.cli.helping import text_for

        output.text(text_for(["demo"]))
        return 0
    for word in words:
        if word not in _SWITCHES:
            raise InvalidParameter(field=word, reason=f"the demo knows {', '.join(_SWITCHES)}")
    _refuse_captive()
    given = {word.removeprefix("--"): True for word in words}
    serve = given.pop("serve", False)
    asked = switches._replace(**given)
    with Demo(read_only=asked.readonly) as demo:
        return demo.serve() if serve else show(asked, demo.prepare)


def _refuse_captive() -> None:
    """The demo has settings of its own, which would not hold back somebody who is held back here."""
    from opsconsole.engine import locations, settings

    if settings.load(locations.home() / "settings.toml").captive:
        raise NotSupported(what="the demo", reason="this console is captive; start the demo as a user of your own")


class Demo:
    """A running fleet and its directory; both are gone when the context is left, or this process dies."""

    def __init__(self, *, read_only: bool = False) -> None:
        from opsconsole.demo import place

        self.home = place.make(read_only=read_only)
        sockets = place.bind()
        self._ports = {name: int(sock.getsockname()[1]) for name, sock in sockets.items()}
        numbers = {name: sock.fileno() for name, sock in sockets.items()}
        with (self.home / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "opsconsole.demo.server", str(self.home)),
                    *(f"{name}={number}" for name, number in numbers.items()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=tuple(numbers.values()),
                start_new_session=True,
                cwd=self.home,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"HOME": str(self.home)},
            )
        for sock in sockets.values():
            sock.close()

    def __enter__(self) -> Demo:
        os.environ["OPSCONSOLE_HOME"] = str(self.home)
        os.environ.pop("OPSCONSOLE_DATABASE_URL", None)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Make the database and wait for the server; blocks. Raises UnexpectedError when there is no server."""
        from opsconsole.demo.seed import seed

        seed(self.home, self._ports)
        output_pipe = self._server.stdout
        if output_pipe is None or not select.select([output_pipe], [], [], _READY_SECONDS)[0]:
            raise UnexpectedError(f"the simulated fleet did not start within {_READY_SECONDS:.0f} s")
        if output_pipe.readline() != b"ready\n":
            raise self._dead()

    def serve(self) -> int:
        """Print what to set elsewhere, and wait for the end: of this process by a signal, or of the server."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupted)
        self.prepare()
        output.text(f"export OPSCONSOLE_HOME={self.home}\nunset OPSCONSOLE_DATABASE_URL\n")
        output.note("The fleet runs until ctrl+c. Give the lines above to another shell, then for example:")
        output.note(
            "  opsconsole services list --host web-1 · opsconsole services restart nginx --host web-2 --confirm yes"
        )
        try:
            self._server.wait()
        except KeyboardInterrupt:
            return 0
        raise self._dead()

    def close(self) -> None:
        """End the server, which takes the directory with it."""
        from opsconsole.demo import place

        if self._server.stdin is not None:
            self._server.stdin.close()
        try:
            self._server.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        place.remove(self.home)

    def _dead(self) -> ConsoleError:
        said = _tail(self.home / "server.log")
        return UnexpectedError(f"the simulated fleet ended by itself (status {self._server.poll()}): {said}")


def _tail(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing"


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
