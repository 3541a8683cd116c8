"""A shell in the operator's own terminal: what runs, what is said, and where there is none."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest
from textual.worker import WorkerState

from screens.shell import outside
from screens.text import Safe
from tests.screens.fake import HOSTILE, FakeClient
from tests.screens.support import console, screen_text, until


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What would stand on the terminal; Enter is pressed when it is waited for."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", written)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    return written


def test_it_runs_and_its_status_comes_back(terminal: io.StringIO) -> None:
    assert outside.outside(["/bin/sh", "-c", "exit 0"], Safe("web1")) == 0
    assert "a shell on web1: /bin/sh" in terminal.getvalue()
    assert "Enter" not in terminal.getvalue()
    assert outside.outside(["/bin/sh", "-c", "exit 7"], Safe("web1"), Safe("your own keys")) == 7
    assert "your own keys" in terminal.getvalue()
    assert "status 7; Enter leads back" in terminal.getvalue()


def test_what_is_not_there_is_said(terminal: io.StringIO) -> None:
    assert outside.outside(["/nowhere/ssh"], Safe("web1")) == outside.NOT_FOUND
    assert "No such file" in terminal.getvalue()


def test_an_interrupt_is_for_the_child(terminal: io.StringIO) -> None:
    before = signal.getsignal(signal.SIGINT)
    script = f"kill -INT {os.getpid()}; kill -INT $$; sleep 5"
    assert outside.outside(["/bin/sh", "-c", script], Safe("web1")) == -signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_hostile_words_are_harmless(terminal: io.StringIO) -> None:
    outside.outside(["/nowhere/" + HOSTILE.replace("\0", "")], Safe(HOSTILE), Safe(HOSTILE))
    assert all(line.isprintable() for line in terminal.getvalue().splitlines())


@pytest.mark.parametrize("facts", [{"captive": True}, {"mode": "team"}])
async def test_a_shared_console_has_no_way_out(facts: dict[str, object]) -> None:
    client = FakeClient()
    async with console(client) as (app, pilot, _):
        app.facts |= facts
        for key in ("s", "ctrl+z"):
            app.messages.clear()
            await pilot.press(key)
            await until(pilot, lambda: "there is no shell behind this console" in screen_text(app))
        assert client.calls == [call for call in client.calls if call[0] != "hosts.shell"]


async def test_it_is_asked_for_and_handed_over() -> None:
    client = FakeClient()
    client.results = [{"host": "web1", "argv": ["/bin/true"], "note": ""}]
    client.plan_more = {"rung": 0, "expect": None}
    client.plan_targets = [{"host": "web1", "name": "web1"}]
    async with console(client) as (app, pilot, screen):
        screen.table.move_to("web1:web1/nginx.service")
        await pilot.press("s")
        await until(pilot, lambda: "cannot be handed over" in screen_text(app))  # there is no terminal in this test
        assert [call[:2] for call in client.calls if call[0] == "hosts.shell"] == [("hosts.shell", {"id": "web1"})]
        assert all(worker.state is not WorkerState.ERROR for worker in app.workers)
