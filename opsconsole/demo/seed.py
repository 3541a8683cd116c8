"""What the demo's database holds: environments, hosts, applications, VPN clients, colleagues, and the last sight of
dead hosts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import Session, col, select

from data.models import Environment, Host, HostTag
from drivers.systemd_parse import HostUnits, number
from drivers.systemd_script import read_answer, snapshot_script
from opsconsole.demo import applications, attention, vpn
from opsconsole.demo.answers import Answers
from opsconsole.demo.catalogue import FLEET, Machine
from opsconsole.demo.machine import SimMachine
from opsconsole.engine.context import Context
from opsconsole.engine.identity import who
from opsconsole.hosts.lookup import HostFacts, visible_hosts
from opsconsole.house import House
from opsconsole.services import observe
from opsconsole.services.observe import Sight
from opsconsole.services.project import rows_of

_COLOURS = {"prod": "error", "stage": "warning", "dev": "success"}
_LAST_SEEN = timedelta(hours=2, minutes=13)


def seed(home: Path, ports: dict[str, int]) -> None:
    """Make the database of `home` and fill it; `ports` is where each host listens. The operator becomes its
    administrator."""
    house = House.open(home, url=f"sqlite:///{home / 'opsconsole.db'}")
    house.settings = replace(house.settings, read_only=False)  # so is what may be read in it made
    try:
        asyncio.run(house.caller(who(), via="screen"))
        house.database.write_sync(lambda tx: _fill(tx, ports))
        asyncio.run(_remember(house))
        asyncio.run(_certificates(house))
    finally:
        house.database.close()


def _fill(tx: Session, ports: dict[str, int]) -> None:
    # The machine the demo runs on is none of its business.
    for own in tx.exec(select(Host).where(col(Host.local))).all():
        tx.delete(own)
    rings = {level: Environment(name=level, level=level, colour_role=colour) for level, colour in _COLOURS.items()}
    tx.add_all(rings.values())
    tx.flush()
    hosts = {plan.name: _host(plan, rings[plan.environment].id, ports[plan.name]) for plan in FLEET}
    tx.add_all(hosts.values())
    tx.flush()
    applications.fill(tx, hosts)
    tx.add_all([HostTag(host_id=hosts[plan.name].id, tag=tag) for plan in FLEET for tag in plan.tags])


def _host(plan: Machine, environment_id: int, port: int) -> Host:
    return Host(
        name=plan.name,
        host_type="PHY_HOST" if plan.physical else "OPENSTACK",
        status="inited",
        environment_id=environment_id,
        address="127.0.0.1",
        ssh_port=port,
        ssh_user=plan.user,
        protected=plan.protected,
        description=f"simulated: {', '.join(plan.roles)}",
    )


async def _remember(house: House) -> None:
    """The dead hosts were alive a while ago: their last known state is what a console would still have of them."""
    caller = await house.caller(who(), via="screen")
    ctx = Context(house=house, caller=caller)
    hosts = {host.name: host for host in await house.database.read(lambda tx: visible_hosts(tx, caller))}
    for plan in FLEET:
        if plan.way in {"refuses", "swallows"}:
            await observe.keep(ctx, _last_sight(ctx, plan, hosts[plan.name]), duration=0.2)


async def _certificates(house: House) -> None:
    caller = await house.caller(who(), via="screen")
    await attention.fill(house, caller, await vpn.fill(house, caller))


def _last_sight(ctx: Context, plan: Machine, host: HostFacts) -> Sight:
    known = observe.known_services(ctx)
    configs = known.instance_configs
    answer = Answers(SimMachine(plan)).script(snapshot_script(configs, privileges=True))
    parsed = read_answer(answer.stdout.decode("utf-8", "replace"), configs)
    version, sudo = number(parsed.facts["version"]), parsed.facts.get("sudo") == "yes"
    units = HostUnits(plan.name, parsed.units, version, parsed.facts["boot_id"], 1000, sudo, time.time(), None, 0.2)
    sight = Sight(host, "ok", rows_of(units, known), units, observed_at=datetime.now(UTC) - _LAST_SEEN)
    sight.facts = {"privileged": sudo, "version": version, "clock_skew": 0.0}
    return sight
