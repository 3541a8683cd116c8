"""A TCP connection of our own making, so that its failure has an exact name and a dead host costs others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from concurrent.futures import ThreadPoolExecutor

from drivers.errors import Unreachable

# Name lookups block for seconds when a resolver is dead; they must not take the loop's own threads.
_resolvers = ThreadPoolExecutor(max_workers=32, thread_name_prefix="resolve")
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


async def resolve(name: str, host: str, port: int, family: int) -> list[_Address]:
    """Addresses of `host`, without duplicates. Raises `Unreachable` when the name has none."""
    loop = asyncio.get_running_loop()

    def ask(flags: int) -> list[_Address]:
        infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=flags)
        return list(dict.fromkeys((info[0], info[4]) for info in infos))  # type: ignore[misc]

    with contextlib.suppress(socket.gaierror):
        return ask(socket.AI_NUMERICHOST)
    try:
        return await loop.run_in_executor(_resolvers, ask, 0)
    except (socket.gaierror, UnicodeError) as error:
        said = error.strerror if isinstance(error, socket.gaierror) and error.strerror else str(error)
        raise Unreachable(
            name,
            f"look up {host}",
            f"no address: {said}",
            remedy="check the host's name, or give its address; check this machine's DNS",
        ) from None


async def connect(
    name: str, host: str, port: int, *, timeout: float, family: int = 0, bind: str | None = None
) -> socket.socket:
    """The first address that answers, within `timeout` seconds for all. Raises `Unreachable`, saying why."""
    tried = f"connect to {host} port {port}"
    last: OSError | None = None
    try:
        async with asyncio.timeout(timeout):
            for address_family, address in await resolve(name, host, port, family):
                try:
                    return await _connect_one(address_family, address, bind)
                except OSError as error:
                    last = error
    except TimeoutError:
        raise Unreachable(
            name, tried, f"no answer within {timeout:g} s", remedy="check that it is up, its address, and firewalls"
        ) from None
    raise _refused(name, tried, last)


async def _connect_one(family: socket.AddressFamily, address: tuple[str | int, ...], bind: str | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if bind:
            sock.bind((bind, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _refused(name: str, tried: str, error: OSError | None) -> Unreachable:
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(name, tried, "connection refused", remedy="check that sshd runs there, on this port")
    if error is not None and error.errno in _NO_ROUTE:
        return Unreachable(name, tried, f"no route: {error.strerror}", remedy="check the network and the address")
    if error is not None and error.errno == errno.ETIMEDOUT:
        return Unreachable(name, tried, "no answer", remedy="check that it is up, its address, and firewalls")
    return Unreachable(name, tried, (error.strerror if error else None) or "failed")
