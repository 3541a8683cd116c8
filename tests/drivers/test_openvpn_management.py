"""The management protocol against sockets that behave as OpenVPN does, and against those that do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import openvpn_management as management
from drivers.dialling import Address
from drivers.errors import AuthRefused, ProtocolError, Refused, TimedOut, Unreachable
from drivers.local import LocalRunner
from drivers.openvpn_management import Transcript, converse, kill, look
from drivers.runner import Completed
from tests.drivers.test_openvpn_status import RECORDED_3

GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class OnlyCommands:
    """A machine whose socket this login may not open: only commands, as root."""

    name = "relayed"

    def __init__(self) -> None:
        self.local = LocalRunner("relayed")
        self.stdin: list[bytes] = []
        self.commands: list[str] = []

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        self.stdin.append(stdin)
        self.commands.append(command)
        return await self.local.run(command, stdin=stdin, timeout=timeout)

    def stream(self, command: str, *, become: bool = False) -> contextlib.AbstractAsyncContextManager[object]:
        raise NotImplementedError

    async def fresh(self) -> None:
        return None


class Daemon:
    """Serves one client at a time, as OpenVPN does."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password
        self.heard: list[str] = []
        self.free = asyncio.Lock()
        self.answers: dict[str, bytes] = {
            "version": b"OpenVPN Version: OpenVPN 2.6.14 x86\r\nManagement Version: 5\r\nEND\r\n",
            "pid": b"SUCCESS: pid=4711\r\n",
            "state": b"1795690085,CONNECTED,SUCCESS,10.98.0.1,,,,\r\nEND\r\n",
            "status 3": RECORDED_3.encode(),
        }

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self.free:
            if self.password is not None:
                for _ in range(3):
                    writer.write(b"ENTER PASSWORD:")
                    if (await reader.readline()).decode().strip() == self.password:
                        writer.write(b"SUCCESS: password is correct\r\n")
                        break
                    writer.write(b"ERROR: bad password\r\n")
                else:
                    writer.close()
                    return
            writer.write(GREETING)
            while line := (await reader.readline()).decode().strip():
                self.heard.append(line)
                if line == "quit":
                    break
                writer.write(b">CLIENT:ENV,common_name=END\r\n")
                answer = self.answers.get(line, b"ERROR: unknown command, enter 'help' for more options\r\n")
                for start in range(0, len(answer), 7):
                    writer.write(answer[start : start + 7])
                    if start % 70 == 0:
                        await writer.drain()
                writer.write(b">LOG:1,I,SUCCESS: not an answer\r\n")
        writer.close()


@asynccontextmanager
async def serving(path: Path, handler: Handler) -> AsyncIterator[Address]:
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(one, path)
    try:
        yield Address(path=str(path))
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _secret() -> str | None:
    return "s3cret"


async def _wrong() -> str | None:
    return "wrong"


RUNNERS = [LocalRunner, OnlyCommands]


@pytest.mark.parametrize("make", RUNNERS)
async def test_one_conversation(tmp_path: Path, make: Callable[[], LocalRunner]) -> None:
    daemon = Daemon()
    async with serving(tmp_path / "m", daemon) as address:
        seen = await look(make(), address, timeout=10)
    assert (seen.version, seen.pid, seen.state) == ("OpenVPN 2.6.14 x86", 4711, "CONNECTED")
    assert [one.client_id for one in seen.status.sessions] == [0, 7]
    assert daemon.heard == ["version", "pid", "state", "status 3", "quit"]
    assert any(notice.startswith(">CLIENT:ENV") for notice in seen.notices)


@pytest.mark.parametrize("make", RUNNERS)
async def test_a_password(tmp_path: Path, make: Callable[[], LocalRunner]) -> None:
    async with serving(tmp_path / "m", Daemon("s3cret")) as address:
        assert (await look(make(), address, timeout=10, password=_secret)).pid == 4711
        with pytest.raises(AuthRefused, match="password is wrong"):
            await look(make(), address, timeout=10, password=_wrong)
        with pytest.raises(AuthRefused, match="no file we can read"):
            await look(make(), address, timeout=10)


async def test_the_password_is_no_argument(tmp_path: Path) -> None:
    runner = OnlyCommands()
    async with serving(tmp_path / "m", Daemon("s3cret")) as address:
        await converse(runner, address, ["pid"], timeout=10, password=_secret)  # type: ignore[arg-type]
    assert all("s3cret" not in command for command in runner.commands)
    assert b"s3cret" in runner.stdin[-1]


@pytest.mark.parametrize("make", RUNNERS)
async def test_another_program_holds_it(
    tmp_path: Path, make: Callable[[], LocalRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "GREETING_SECONDS", 0.5)
    daemon = Daemon()
    async with serving(tmp_path / "m", daemon) as address, daemon.free:
        with pytest.raises(Refused, match="another program holds") as caught:
            await converse(make(), address, ["pid"], timeout=10)
    assert caught.value.code == "busy" and daemon.heard == []


@pytest.mark.parametrize("make", RUNNERS)
async def test_nothing_listens(tmp_path: Path, make: Callable[[], LocalRunner]) -> None:
    with pytest.raises(Unreachable):
        await converse(make(), Address(path=str(tmp_path / "none")), ["pid"], timeout=10)


@pytest.mark.parametrize("make", RUNNERS)
async def test_something_else_listens(tmp_path: Path, make: Callable[[], LocalRunner]) -> None:
    async def ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n>INFO:\r\n")
        await reader.read()

    async with serving(tmp_path / "m", ssh) as address:
        with pytest.raises(ProtocolError, match="something else listens"):
            await converse(make(), address, ["pid"], timeout=10)


@pytest.mark.parametrize("make", RUNNERS)
async def test_it_hangs_up_in_the_middle(tmp_path: Path, make: Callable[[], LocalRunner]) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readline()
        writer.write(b"TITLE\tOpenVPN\r\n")

    async with serving(tmp_path / "m", dies) as address:
        with pytest.raises(Unreachable, match="hung up"):
            await converse(make(), address, ["status 3"], timeout=10)


async def test_no_answer_ends_at_the_deadline(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.read()

    async with serving(tmp_path / "m", silent) as address:
        with pytest.raises(TimedOut):
            await converse(LocalRunner(), address, ["pid"], timeout=0.3)


async def test_killing_by_number_only(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.answers["client-kill 3"] = b"SUCCESS: client-kill command succeeded\r\n"
    daemon.answers["client-kill 77"] = b"ERROR: client-kill command failed\r\n"
    async with serving(tmp_path / "m", daemon) as address:
        assert await kill(LocalRunner(), address, [3, 77], timeout=5) == {3: None, 77: "client-kill command failed"}
    assert daemon.heard == ["client-kill 3", "client-kill 77", "quit"]
    with pytest.raises(ValueError, match="negative"):
        await kill(LocalRunner(), Address(path="/none"), [-1], timeout=5)
    with pytest.raises(ValueError, match="one line"):
        await converse(LocalRunner(), Address(path="/none"), ["pid\nsignal SIGTERM"], timeout=5)


async def test_over_tcp() -> None:
    daemon = Daemon()
    server = await asyncio.start_server(daemon, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await look(LocalRunner(), Address(host="127.0.0.1", port=port), timeout=10)).pid == 4711
    server.close()


def test_an_answer_without_end_is_bounded() -> None:
    seen = Transcript("h", greeted=True)
    with pytest.raises(ProtocolError, match="more than"):
        for _ in range(100):
            seen.feed(b"x" * (1 << 20))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_in_any_split(chunks: list[bytes]) -> None:
    whole, split = Transcript("h", greeted=True), Transcript("h", greeted=True)
    whole.feed(b"".join(chunks))
    for chunk in chunks:
        split.feed(chunk)
    assert (whole.answers, whole.notices) == (split.answers, split.notices)
