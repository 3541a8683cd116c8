"""`services.list` over many systemd hosts beside clush."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from data.models import Host
from drivers.runner import quote_argv
from drivers.ssh import SshPool
from drivers.ssh_types import SshFiles
from drivers.systemd_parse import PROPERTIES
from drivers.systemd_script import snapshot_script
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.fleet import Fleet
from opsconsole.house import House
from opsconsole.services import conf
from tests.benchmarks import places
from tests.benchmarks.measure import Pair, Sample, Table, Work, clean_environment, compare, process, stopwatch
from tests.benchmarks.ssh_hosts import AT_ONCE, COMMON, HOSTS, Masters, write_files
from tests.benchmarks.startup import PROGRAM
from tests.lab.guests import Guest, GuestLab

GUESTS = 25
SHOW = quote_argv(["systemctl", "show", "--no-pager", "-p", ",".join(PROPERTIES), "--", "*.service"])


def services(home: Path, rounds: int) -> Table:
    """A hundred names for twenty-five real systemd machines: four names each, a connection for every name."""
    if shutil.which("clush") is None:
        raise RuntimeError("clush is missing (Debian: apt-get install clustershell)")
    lab = GuestLab()
    masters: Masters | None = None
    try:
        guests = [_quiet(lab.guest(f"g{number:02}")) for number in range(GUESTS)]
        names = [f"host{number:03}" for number in range(HOSTS)]
        hosts = [(name, guests[number % GUESTS].address, 22, "root") for number, name in enumerate(names)]
        known = [guest.known_hosts for guest in guests]
        cold, warm = home / "cold", home / "warm"
        for directory in (cold, warm):
            directory.mkdir()
            write_files(directory, lab.key, hosts, known)
        _our_files(home, lab.key, known)
        places.inside(home, lambda house: places.add_hosts(house, [_record(*host) for host in hosts]))
        masters = Masters(warm, names)
        masters.wait()
        return _measure(home, cold, warm, rounds)
    finally:
        if masters is not None:
            masters.close()
        lab.close()


def _quiet(guest: Guest) -> Guest:
    """Without the unit that crashes twice a second, which in twenty-five machines would keep a core busy."""
    guest.sh("systemctl disable --now crashloop.service 2>&1")
    return guest


def _record(name: str, address: str, port: int, user: str) -> Host:
    return Host(name=name, host_type="VM", status="attached", address=address, ssh_port=port, ssh_user=user)


def _our_files(home: Path, key: Path, known_hosts: Sequence[str]) -> None:
    """The files of a person whose hosts are in the records: no block per host in his ssh_config.

    A first look costs every machine about half a second of CPU; where all share two cores, that needs patience.
    """
    (home / "console").mkdir(mode=0o700)
    (home / "console" / "settings.toml").write_text("snapshot_timeout = 300.0\n", "ascii")
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    known = ssh / "known_hosts"
    known.write_text("".join(f"{line}\n" for line in known_hosts), "ascii")
    (ssh / "config").write_text(COMMON.format(key=key, known=known, directory=ssh), "ascii")


def _clush(directory: Path, home: Path, command: str, *, stdin: bytes = b"", each: bytes) -> Work:
    argv = ["clush", "-S", "-f", AT_ONCE, "-o", f"-F {directory / 'config'}", "-w", f"host[000-{HOSTS - 1:03}]"]
    env = clean_environment(home)
    quiet = [] if stdin else ["-n"]
    return lambda: process([*argv, *quiet, command], env=env, stdin=stdin, check=lambda out: out.count(each) == HOSTS)


def _measure(home: Path, cold: Path, warm: Path, rounds: int) -> Table:
    env = clean_environment(home)
    script = snapshot_script(conf.load(home / "console").instance_configs, privileges=True).encode()
    journald = b": Id=systemd-journald.service\n"
    with asyncio.Runner() as runner:
        house = _house(home)
        ctx = runner.run(places.context(house))

        def look() -> Sample:
            return _look(runner, ctx)

        sides: dict[str, Work] = {
            "cold: opsconsole services list": lambda: process([PROGRAM, "services", "list"], env=env, check=_all_ok),
            "cold: clush systemctl show": _clush(cold, home, SHOW, each=journald),
            "cold: clush our whole script": _clush(
                cold, home, "exec /bin/sh -s", stdin=script, each=b"@@opsconsole end"
            ),
            "open: services.list": look,
            "open: clush systemctl show": _clush(warm, home, SHOW, each=journald),
        }
        pairs = [
            Pair("cold: opsconsole services list", "cold: clush systemctl show"),
            Pair("cold: opsconsole services list", "cold: clush our whole script"),
            Pair("open: services.list", "open: clush systemctl show"),
        ]
        note = (
            f"{HOSTS} names for {GUESTS} systemd machines in containers, four names each, on the cores that also run"
            "\nthe clients. clush only prints `systemctl show`; ours asks more (unit files, instances, clock, rights),"
            "\nkeeps it in the database and prints JSON. The same script by clush costs the machines the same work."
            "\nOpen is what a running console does: it has the unit files already, clush has a ControlMaster per name."
        )
        try:
            return compare("services", note, sides, pairs, rounds=rounds)
        finally:
            runner.run(house.close())


def _house(home: Path) -> House:
    """In this process, but with the files of `home`: what a console that runs there would read."""
    house = places.console(home)
    files = SshFiles.of_system(home, own=house.home / "known_hosts")
    ours = Fleet(house)
    ours.pool = SshPool(files, None, connect_limit=house.settings.connect_limit)
    house.__dict__["fleet"] = ours
    return house


def _look(runner: asyncio.Runner, ctx: Context) -> Sample:
    taken: list[Sample] = []
    with stopwatch(taken):
        answer = runner.run(dispatch.call(ctx, "services.list"))
        text = json.dumps(answer, default=str)
    if len(answer["hosts"]) != HOSTS or any(host["state"] != "ok" for host in answer["hosts"]):
        raise RuntimeError(f"not every host answered: {text[-500:]}")
    return taken[0]


def _all_ok(out: bytes) -> bool:
    states = [host["state"] for host in json.loads(out)["hosts"]]
    return states == ["ok"] * HOSTS
