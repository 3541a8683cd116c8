"""The simulated fleet: one process, one ssh server per host on sockets it was given.

Started by the demo with the listening sockets open and its standard input a pipe; when that closes, by whatever
death of the demo, it takes the demo's directory away and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
from pathlib import Path

import asyncssh

from opsconsole.demo import place
from opsconsole.demo.answers import Answers
from opsconsole.demo.catalogue import FLEET, Machine
from opsconsole.demo.machine import SimMachine

_SLOW_SECONDS = (1.5, 3.0)
_MOST_STDIN = 1024 * 1024


class Fleet:
    """Machines by the port they listen on; each comes to life when it is first asked something."""

    def __init__(self, ports: dict[int, Machine]) -> None:
        self._plans = ports
        self._answers: dict[int, Answers] = {}

    def answers(self, port: int) -> Answers:
        found = self._answers.get(port)
        if found is None:
            found = self._answers[port] = Answers(SimMachine(self._plans[port]))
        return found

    def plan(self, port: int) -> Machine:
        return self._plans[port]

    def lets_in(self, port: int) -> bool:
        """Without its ssh service a host takes no new connection."""
        if port not in self._answers:
            return True
        machine = self._answers[port].machine
        machine.advance()
        return machine.units["ssh.service"].active == "active"

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """One exec request."""
        port = process.get_extra_info("sockname")[1]
        talk = asyncio.create_task(self._talk(process, port))
        gone = asyncio.create_task(process.channel.wait_closed())
        await asyncio.wait({talk, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not talk.done():
            talk.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncssh.Error, asyncssh.SignalReceived, OSError):
            await talk

    async def _talk(self, process: asyncssh.SSHServerProcess[bytes], port: int) -> None:
        async def write(data: bytes) -> None:
            process.stdout.write(data)
            await process.stdout.drain()

        if process.command is None:
            process.stdout.write(f"{self._plans[port].name} is simulated: there is no shell on it.\r\n".encode())
            process.exit(0)
            return
        command = process.command
        wanted = command.endswith(("-s'", "-s")) or " opsconsole-job " in command
        stdin = await process.stdin.read(_MOST_STDIN) if wanted else b""
        if self._plans[port].way == "slow":
            await asyncio.sleep(random.uniform(*_SLOW_SECONDS))  # noqa: S311 - only a delay
        answer = await self.answers(port).run(command, stdin, write)
        process.stdout.write(answer.stdout)
        process.stderr.write(answer.stderr.encode("utf-8", "surrogateescape"))
        process.exit(answer.status)


class _Login(asyncssh.SSHServer):
    """Only the demo's own key, and only as the user the host has."""

    def __init__(self, fleet: Fleet, key: asyncssh.SSHKey) -> None:
        self._fleet = fleet
        self._key = key
        self._port = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._port = conn.get_extra_info("sockname")[1]
        if not self._fleet.lets_in(self._port):
            conn.abort()

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._fleet.plan(self._port).user and key.public_data == self._key.public_data


async def serve(home: Path, sockets: dict[str, socket.socket]) -> None:
    """Answer on all sockets until standard input ends. Two hosts are dead: nobody ever takes their connections."""
    host_key, client_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    plans = {sock.getsockname()[1]: plan for plan in FLEET if (sock := sockets[plan.name])}
    place.write_keys(home, plans, client_key, host_key.export_public_key("openssh").decode("ascii").strip())
    fleet = Fleet(plans)
    options = asyncssh.SSHServerConnectionOptions(
        server_host_keys=[host_key],
        server_factory=lambda: _Login(fleet, client_key),
        process_factory=fleet.handle,
        encoding=None,
        config=None,
        line_editor=False,
        gss_host=None,
        allow_scp=False,
        agent_forwarding=False,
        x11_forwarding=False,
        login_timeout=30,
    )
    for plan in FLEET:
        if plan.way in {"answers", "slow"}:
            await asyncssh.listen(sock=sockets[plan.name], options=options)
    os.write(1, b"ready\n")
    await _end_of_input()


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main(arguments: list[str]) -> int:
    """`HOME NAME=FD …`: one listening (or merely bound) socket per host."""
    home = Path(arguments[0])
    sockets = {}
    for word in arguments[1:]:
        name, _, number = word.rpartition("=")
        sockets[name] = socket.socket(fileno=int(number))
        sockets[name].setblocking(False)
    try:
        asyncio.run(serve(home, sockets))
    finally:
        place.remove(home)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
