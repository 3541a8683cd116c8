"""This machine, by child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from drivers.dialling import Address, Reading, Writing
from drivers.errors import ProtocolError, Refused, TimedOut, Unreachable, Unsupported
from drivers.runner import MAX_OUTPUT, STDERR_KEPT, Completed, Stream, become_root, check_sudo

_CHUNK = 64 * 1024
_KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "TMPDIR", "TZ")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return kept | {"LC_ALL": "C"}


async def _spawn(command: str, *, become: bool, stdin: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        become_root(command) if become else command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole group, also what a finished shell left behind in it, and reap the child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    if process.returncode is None:
        try:
            await asyncio.wait_for(process.wait(), 1)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    # Somebody outside the group may still hold the pipes; we let go of them all the same.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


async def _read_capped(reader: asyncio.StreamReader, name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await reader.read(_CHUNK):
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise ProtocolError(name, "read the answer", f"more than {MAX_OUTPUT >> 20} MiB of output")
        parts.append(chunk)
    return b"".join(parts)


async def _feed(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        writer.write(data)
        await writer.drain()
    writer.close()


def _status(process: asyncio.subprocess.Process) -> int | None:
    code = process.returncode
    return None if code is None or code < 0 else code


class _LocalStream:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = bytearray()
        self._stderr_task = asyncio.create_task(self._keep_stderr())

    @property
    def exit_status(self) -> int | None:
        return _status(self._process)

    @property
    def stderr(self) -> bytes:
        return bytes(self._tail)

    async def _keep_stderr(self) -> None:
        reader = cast("asyncio.StreamReader", self._process.stderr)
        while chunk := await reader.read(_CHUNK):
            self._tail += chunk
            del self._tail[:-STDERR_KEPT]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = cast("asyncio.StreamReader", self._process.stdout)
        while chunk := await reader.read(_CHUNK):
            yield chunk
        await self._process.wait()
        await self._stderr_task

    async def close(self) -> None:
        await _end(self._process)
        self._stderr_task.cancel()
        await asyncio.gather(self._stderr_task, return_exceptions=True)


class LocalRunner:
    """Commands on the machine the console runs on, each in a process group of its own.

    Children get a short list of environment variables and LC_ALL=C, so no secret of ours leaks into them.
    """

    def __init__(self, name: str = "local") -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        started = time.monotonic()
        process = await self._start(command, become=become, stdin=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(timeout):
                _, stdout, stderr, _ = await asyncio.gather(
                    _feed(cast("asyncio.StreamWriter", process.stdin), stdin),
                    _read_capped(cast("asyncio.StreamReader", process.stdout), self._name),
                    _read_capped(cast("asyncio.StreamReader", process.stderr), self._name),
                    process.wait(),
                )
        except TimeoutError:
            raise TimedOut(self._name, "run a command", f"no end within {timeout:g} s") from None
        finally:
            await _end(process)
        done = Completed(_status(process), stdout, stderr, time.monotonic() - started)
        if become:
            check_sudo(self._name, command, done)
        return done

    @asynccontextmanager
    async def stream(self, command: str, *, become: bool = False) -> AsyncIterator[Stream]:
        process = await self._start(command, become=become, stdin=asyncio.subprocess.DEVNULL)
        stream = _LocalStream(process)
        try:
            yield stream
        finally:
            await stream.close()

    async def fresh(self) -> None:
        """Nothing to prove: this machine is where we are."""

    async def dial(self, address: Address) -> tuple[Reading, Writing]:
        """A stream to what listens on this machine."""
        tried = f"connect to {address}"
        try:
            if address.path is not None:
                return await asyncio.open_unix_connection(address.path)
            return await asyncio.open_connection(address.host, address.port)
        except PermissionError as error:
            said = error.strerror or "not permitted"
            remedy = "log in as a user who may open it"
            raise Refused(self._name, tried, said, remedy=remedy, code="privilege") from None
        except OSError as error:
            raise Unreachable(self._name, tried, error.strerror or str(error) or "nothing listens there") from None

    async def _start(self, command: str, *, become: bool, stdin: int) -> asyncio.subprocess.Process:
        try:
            return await _spawn(command, become=become, stdin=stdin)
        except OSError as error:
            raise Unsupported(self._name, "start /bin/sh", error.strerror or "failed") from None
