"""One command on many hosts: the ssh driver beside OpenSSH, with one set of files and one set of algorithms."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import fan_out
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare, process, stopwatch
from tests.lab.sshfarm import SshFarm

HOSTS = 100
AT_ONCE = "50"
# OpenSSH's first choice of key exchange costs several times the CPU of the one asyncssh takes; both get the latter.
COMMON = """\
Host *
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
  KexAlgorithms curve25519-sha256
  Ciphers aes128-gcm@openssh.com
  HostKeyAlgorithms ssh-ed25519
  ControlPath {directory}/%n
  ControlMaster no
"""


def write_files(
    directory: Path, key: Path, hosts: Sequence[tuple[str, str, int, str]], known_hosts: Sequence[str]
) -> None:
    """`config` and `known_hosts` for both sides; a host is (name, address, port, user)."""
    known = directory / "known_hosts"
    known.write_text("".join(f"{line}\n" for line in known_hosts), "ascii")
    blocks = [
        f"Host {name}\n  HostName {address}\n  Port {port}\n  User {user}\n" for name, address, port, user in hosts
    ]
    common = COMMON.format(key=key, known=known, directory=directory)
    (directory / "config").write_text("".join(blocks) + common, "ascii")


class Masters:
    """An open OpenSSH connection to every host, for clients that share it."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        self._children = [
            subprocess.Popen(["ssh", "-F", str(directory / "config"), "-M", "-N", name], stdin=subprocess.DEVNULL)
            for name in names
        ]
        self._names = names

    def wait(self) -> None:
        """Until each of them answers."""
        for name, child in zip(self._names, self._children, strict=True):
            while subprocess.run(
                ["ssh", "-F", str(self._directory / "config"), "-O", "check", name], capture_output=True, check=False
            ).returncode:
                if child.poll() is not None:
                    raise RuntimeError(f"the master of {name} ended with {child.returncode}")

    def close(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait()


def xargs_ssh(directory: Path, names: Sequence[str], home: Path) -> Work:
    """`true` by one ssh per host; they share a master where its socket is there."""
    argv = ["xargs", "-P", AT_ONCE, "-I{}", "ssh", "-n", "-F", str(directory / "config"), "{}", "true"]
    given = "".join(f"{name}\n" for name in names).encode()
    return lambda: process(argv, env=clean_environment(home), stdin=given)


def commands(home: Path, rounds: int) -> Table:
    """`true` on a hundred sshd of this machine, first with a login each, then on connections that are open."""
    farm = SshFarm()
    masters: Masters | None = None
    try:
        nodes = [farm.node() for _ in range(HOSTS)]
        names = [f"host{number:03}" for number in range(HOSTS)]
        hosts = [(name, node.address, node.port, node.user) for name, node in zip(names, nodes, strict=True)]
        cold, warm = home / "cold", home / "warm"
        for directory in (cold, warm):
            directory.mkdir()
            write_files(directory, farm.key, hosts, [node.known_hosts for node in nodes])
        masters = Masters(warm, names)
        masters.wait()
        return _measure(home, cold, warm, names, rounds)
    finally:
        if masters is not None:
            masters.close()
        farm.close()


def _measure(home: Path, cold: Path, warm: Path, names: list[str], rounds: int) -> Table:
    env = clean_environment(home)
    module = [sys.executable, "-P", "-m", "tests.benchmarks.fan_out", str(cold), *names]
    with asyncio.Runner() as runner:
        pool = fan_out.pool_of(cold)

        def on_open() -> Sample:
            taken: list[Sample] = []
            with stopwatch(taken):
                runner.run(fan_out.run_everywhere(pool, names))
            return taken[0]

        sides: dict[str, Work] = {
            "cold: our driver": lambda: process(module, env=env),
            f"cold: xargs -P {AT_ONCE} ssh": xargs_ssh(cold, names, home),
            "open: our driver": on_open,
            f"open: xargs -P {AT_ONCE} ssh, ControlMaster": xargs_ssh(warm, names, home),
        }
        pairs = [
            Pair("cold: our driver", f"cold: xargs -P {AT_ONCE} ssh", 1.0),
            Pair("open: our driver", f"open: xargs -P {AT_ONCE} ssh, ControlMaster", 0.6),
        ]
        note = (
            f"`true` on {len(names)} sshd on loopback, which share the cores with both clients. curve25519, aes128-gcm,"
            "\none ed25519 key and the same ssh_config and known_hosts on both sides. Cold is the whole process,"
            "\ninterpreter and imports included; open is a call in a running program beside an ssh per host."
        )
        try:
            return compare("ssh", note, sides, pairs, rounds=rounds)
        finally:
            runner.run(pool.close())
