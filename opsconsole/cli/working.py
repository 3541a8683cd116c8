"""worker, tick and task: who performs tasks, who keeps the timers, and following a task as text."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys

from opsconsole.cli import output
from opsconsole.engine.errors import InvalidRequest

_UNIT = """\
[Unit]
Description=opsconsole worker: performs tasks and keeps the timers
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={program} worker --stay
Environment=OPSCONSOLE_HOME={home}
{more}Restart=always
RestartSec=5
KillSignal=SIGTERM
TimeoutStopSec=60
NoNewPrivileges=no

[Install]
WantedBy={wanted}
"""


_ELSEWHERE = """\
# mode 0600, with the line OPSCONSOLE_DATABASE_URL=...; without it the unit does not start
EnvironmentFile={home}/worker.env
"""


def run(words: list[str]) -> int:
    """`worker [--stay] [--unit]` or `tick`."""
    known = {"worker": {"--stay", "--unit"}, "tick": set[str]()}[words[0]]
    wrong = [word for word in words[1:] if word not in known]
    if wrong:
        raise InvalidRequest(f"{words[0]} takes {', '.join(sorted(known)) or 'no options'}; not {wrong[0]}")
    if words[0] == "tick":
        return asyncio.run(_tick())
    if "--unit" in words:
        output.text(unit_text())
        return 0
    return asyncio.run(_work(stay="--stay" in words))


def unit_text() -> str:
    """A systemd unit for this installation and this home; for root a system unit, for others a user unit."""
    from opsconsole.engine import locations

    program = shlex.join([sys.executable, "-P", "-m", "opsconsole"])
    wanted = "multi-user.target" if os.geteuid() == 0 else "default.target"
    # An address with a password is not for a file that everybody may read.
    elsewhere = bool(os.environ.get("OPSCONSOLE_DATABASE_URL"))
    more = _ELSEWHERE.format(home=locations.home()) if elsewhere else ""
    return _UNIT.format(program=program, home=locations.home(), wanted=wanted, more=more)


async def _work(*, stay: bool) -> int:
    from opsconsole.house import House
    from opsconsole.tasks import spawn
    from opsconsole.tasks.worker import Worker

    house = House.open()
    lock = spawn.lock(house.home) if house.database.dialect == "sqlite" else None
    if house.database.dialect == "sqlite" and lock is None:
        output.note("another worker has this home")
        await house.close()
        return 0
    worker = Worker(house, stay=stay)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
    if lock is not None:
        os.close(lock)
    await worker.see_off()
    # Nothing is unwound: what was left for the next worker must not look as if it had ended here.
    os._exit(0)


async def _tick() -> int:
    from opsconsole.house import House
    from opsconsole.tasks import jobs, spawn, workers

    house = House.open()
    try:
        ran = await jobs.run_due(house, f"{jobs.TICK}{workers.new_id()}")
        if await house.database.read(workers.anything_pending):
            await asyncio.to_thread(spawn.ensure, house)
        output.answer({"ran": ran})
    finally:
        await house.close()
    return 0
