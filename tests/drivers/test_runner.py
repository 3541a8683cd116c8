"""The local runner, and what every runner shares."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProtocolError, Refused, TimedOut, Unsupported
from drivers.local import LocalRunner
from drivers.runner import Completed, Runner, lines, quote_argv, sudo_refusal


async def test_status_output_and_input_come_back() -> None:
    done = await LocalRunner().run("cat; echo err >&2; exit 3", stdin=b"in\0put", timeout=10)
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"in\0put", b"err\n")
    assert not done.ok


async def test_a_signal_is_no_exit_status() -> None:
    assert (await LocalRunner().run("kill -9 $$", timeout=10)).exit_status is None


def test_local_runner_is_a_runner() -> None:
    assert isinstance(LocalRunner(), Runner)


async def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(TimedOut, match=r"0\.5 s"):
        await LocalRunner().run(f"sleep 600 & echo $! > {pids}; sleep 601", timeout=0.5)
    assert await asyncio.to_thread(_gone, int(pids.read_text()))


async def test_leaving_a_stream_kills_the_whole_group() -> None:
    async with LocalRunner().stream("sleep 600 & echo $!; sleep 601") as stream:
        pid = int(await anext(aiter(stream)))
    assert await asyncio.to_thread(_gone, pid)


async def test_a_stream_ends_with_status_and_stderr() -> None:
    async with LocalRunner().stream("echo out; echo err >&2; exit 4") as stream:
        out = b"".join([chunk async for chunk in stream])
        assert (out, stream.exit_status, stream.stderr) == (b"out\n", 4, b"err\n")


async def test_too_much_output_is_an_error_and_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.local.MAX_OUTPUT", 100_000)
    started = time.monotonic()
    with pytest.raises(ProtocolError, match="output"):
        await LocalRunner().run("yes", timeout=30)
    assert time.monotonic() - started < 10


async def test_children_inherit_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONSOLE_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    environment = (await LocalRunner().run("env", timeout=10)).stdout
    assert b"secret" not in environment
    assert b"LC_ALL=C\n" in environment


async def test_become_is_the_command_itself_for_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    done = await LocalRunner().run(f"touch {tmp_path / 'made'}", timeout=10, become=True)
    assert done.ok
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "said",
    [
        b"sudo: a password is required",
        b"sudo: a terminal is required to read the password; either use the -S option",
        b"ops is not in the sudoers file.",
        b"sudo: unable to resolve host a: failure\nSorry, user ops is not allowed to execute '/bin/x' as root on a.",
    ],
)
def test_a_refusal_of_sudo_is_told_from_the_command(said: bytes) -> None:
    error = sudo_refusal("web1", "systemctl restart x", said)
    assert isinstance(error, Refused)
    assert error.code == "privilege"
    assert "NOPASSWD" in error.remedy
    assert "systemctl" in error.remedy


def test_no_sudo_is_unsupported_and_a_warning_is_nothing() -> None:
    assert isinstance(sudo_refusal("h", "x", b"/bin/sh: 1: exec: sudo: not found"), Unsupported)
    assert sudo_refusal("h", "x", b"sudo: unable to resolve host a: Temporary failure") is None
    assert sudo_refusal("h", "x", b"Failed: a password is required for the database") is None


def test_quoting_survives_a_real_shell() -> None:
    argv = ["printf", "%s|", "a b", "'", '"$(id)"', "", "-x", "\n", "é\\"]
    done = asyncio.run(LocalRunner().run(quote_argv(argv), timeout=10))
    assert done.stdout.decode() == "".join(f"{word}|" for word in argv[2:])


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_what_cannot_be_quoted(argv: list[str]) -> None:
    with pytest.raises(ValueError, match="command"):
        quote_argv(argv)


@given(st.lists(st.binary(max_size=12)), st.integers(1, 20))
def test_lines_do_not_depend_on_how_chunks_fall(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    expected = [(line[:limit], len(line) > limit) for line in whole.split(b"\n")]
    if expected[-1][0] == b"":
        expected.pop()
    assert asyncio.run(_collect(chunks, limit)) == expected


async def _collect(chunks: list[bytes], limit: int) -> list[tuple[bytes, bool]]:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [line async for line in lines(source(), limit=limit)]


def _gone(pid: int) -> bool:
    """Within two seconds; a zombie that nobody reaps counts as gone."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_completed_says_ok_only_for_zero() -> None:
    assert [Completed(status, b"", b"", 0.0).ok for status in (0, 1, None)] == [True, False, False]
