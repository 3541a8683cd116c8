"""A byte stream to something that listens on a machine, whichever way leads there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Address:
    """Where it listens, seen from that machine: a unix socket's `path`, or `host` and `port`."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"tcp:{self.host}:{self.port}"


class Reading(Protocol):
    async def read(self, n: int = -1, /) -> bytes: ...


class Writing(Protocol):
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class Dialler(Protocol):
    """A runner that can also connect. Raises `Unreachable` when nothing listens there or the connection is lost, and
    `Refused` (`privilege`) when the machine does not let this login through."""

    async def dial(self, address: Address) -> tuple[Reading, Writing]: ...
