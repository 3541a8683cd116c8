"""Instances started, stopped and restarted by their own commands over a real sshd, and what is seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import AppInstance, Application, Host
from drivers.process import look, parse
from opsconsole.engine.errors import (
    ConfirmationRequired,
    EmptyList,
    HostOffline,
    InstanceBusy,
    ObjectNotFound,
    PermissionDenied,
    StateConflict,
)
from opsconsole.tasks import workers
from opsconsole.tasks.gates import Gates
from opsconsole.tasks.leg import Leg
from tests.lab.sshfarm import Node
from tests.opsconsole.houses import Bench
from tests.opsconsole.services.conftest import Desk, MakeDesk, desks
from tests.opsconsole.tasks.conftest import walk
from tests.opsconsole.test_applications import app, grant

__all__ = ["desks"]


@dataclass
class Site:
    """An application `web` with one instance on a real sshd; its commands keep a process called after its directory."""

    desk: Desk
    node: Node
    directory: Path
    instance: int

    @property
    def pid(self) -> Path:
        return self.directory / "web.pid"

    async def act(self, verb: str, confirm: str | None = "yes") -> dict[str, Any]:
        submitted = await self.desk.call(f"cmdb.instances.{verb}", confirm=confirm, id="web", instance_id=self.instance)
        leg = Leg(self.desk.house, submitted["task_id"], workers.new_id(), Gates(4))
        await walk(leg)
        found: dict[str, Any] = await self.desk.call("tasks.get", id=submitted["task_id"])
        return found

    async def status(self) -> str:
        row = await self.desk.house.database.read(lambda tx: tx.get(AppInstance, self.instance))
        assert row is not None
        return row.status

    async def change(self, **fields: Any) -> None:
        def work(tx: Session) -> None:
            row = tx.exec(select(Application)).one()
            for name, value in fields.items():
                setattr(row, name, value)
            tx.add(row)

        await self.desk.house.database.write(work)


@pytest.fixture
async def site(desks: MakeDesk, plain_host: Node, tmp_path: Path) -> Site:
    desk = await desks()
    desk.house.wake_worker = lambda house: None
    ssh = tmp_path / "user" / ".ssh"
    (ssh / "config").write_text(f"Host *\n  IdentityFile {plain_host.key}\n  IdentitiesOnly yes\n")
    (ssh / "known_hosts").write_text(f"{plain_host.known_hosts}\n")
    directory = plain_host.directory / f"app {tmp_path.name}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    await desk.add(plain_host.name, plain_host.address, plain_host.port, plain_host.user)
    pid = f"'{directory}/web.pid'"

    def work(tx: Session) -> int:
        host = tx.exec(select(Host).where(Host.name == plain_host.name)).one()
        web = Application(
            name="web",
            full_name="web",
            directory=str(directory),
            startup_cmd=f"nohup sleep 600 >/dev/null 2>&1 </dev/null & echo $! > {pid}; echo up in $PWD",
            stop_cmd=f"kill $(cat {pid}); rm {pid}",
            pid_path=str(directory / "web.pid"),
        )
        tx.add(web)
        tx.flush()
        instance = AppInstance(application_id=web.id, host_id=host.id)
        tx.add(instance)
        tx.flush()
        return instance.id

    return Site(desk, plain_host, directory, await desk.house.database.write(work))


async def test_a_life_from_start_to_stop(site: Site) -> None:
    plan = await site.desk.plan("cmdb.instances.start", id="web", instance_id=site.instance)
    assert plan["warnings"][0].startswith("startup cmd: nohup sleep")
    started = await site.act("start", confirm=None)
    assert (started["state"], started["results"][0]["after"]["status"]) == ("finished", "running")
    assert await site.status() == "running"
    first = int(site.pid.read_text())
    again = await site.act("start", confirm=None)
    assert again["state"] == "finished"
    assert int(site.pid.read_text()) == first

    seen = await site.desk.call("cmdb.applications.monitor", id="web")
    one = seen["series"][0]
    assert (one["state"], one["pid"], one["processes"][0]["command"]) == ("running", first, "sleep 600")
    assert one["memory"] > 0
    later = await site.desk.call("cmdb.applications.monitor", id="web", **{"from": "2999-01-01T00:00:00Z"})
    assert later["series"] == []

    with pytest.raises(ConfirmationRequired):
        await site.act("restart", confirm=None)
    restarted = await site.act("restart")
    assert restarted["state"] == "finished"
    assert int(site.pid.read_text()) != first
    assert await site.status() == "running"

    stopped = await site.act("stop")
    assert stopped["results"][0]["after"]["status"] == "stopped"
    assert await site.status() == "stopped"
    assert not site.pid.exists()
    assert (await site.desk.call("cmdb.applications.monitor", id="web"))["series"][0]["state"] == "stopped"


async def test_a_command_that_lies_is_not_believed(site: Site) -> None:
    await site.change(startup_cmd="true")
    task = await site.act("start", confirm=None)
    assert task["state"] == "failed"
    assert "did not come up: there is no pid file" in task["results"][0]["error"]["message"]
    assert await site.status() == "stopped"
    await site.change(startup_cmd=f"sleep 1 & echo $! > '{site.pid}'")
    task = await site.act("start", confirm=None)
    assert "did not" in task["results"][0]["error"]["message"]
    await site.change(startup_cmd="echo no >&2; exit 3")
    task = await site.act("restart")
    assert "exit status 3" in task["results"][0]["error"]["message"]
    assert await site.status() == "stopped"


async def test_a_stop_that_does_not_stop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsconsole.cmdb.actions._ENDS_WITHIN", 1.0)
    assert (await site.act("start", confirm=None))["state"] == "finished"
    await site.change(stop_cmd="true")
    task = await site.act("stop")
    assert "still lives" in task["results"][0]["error"]["message"]
    assert await site.status() == "running"
    await site.change(stop_cmd=f"kill $(cat '{site.pid}')")
    assert (await site.act("stop"))["state"] == "finished"


async def test_what_stands_in_the_way(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("h1")
    made = await app(bench, root, "web")
    added = await bench.call(root, "cmdb.instances.add", {"id": "web", "items": [{"hostid": "h1"}]})
    one = {"id": "web", "instance_id": added[0]["id"]}
    with pytest.raises(StateConflict) as unset:
        await bench.plan(root, "cmdb.instances.start", one)
    assert "no startup_cmd" in unset.value.message
    fields = {"startup_cmd": "a", "stop_cmd": "b", "pid_path": "/run/x.pid"}
    await bench.call(root, "cmdb.applications.update", {"id": "web", **fields})
    with pytest.raises(EmptyList):
        await bench.plan(root, "cmdb.instances.start", {"id": "web"})
    with pytest.raises(ObjectNotFound):
        await bench.plan(root, "cmdb.instances.stop", {"id": "web", "items": [{"id": added[0]["id"]}, {"id": 99}]})
    await bench.user("eve")
    await grant(bench, "eve", made["id"], "view_app edit_app")
    eve = await bench.caller("eve")
    for verb in ("start", "stop", "restart"):
        with pytest.raises(PermissionDenied):
            await bench.plan(eve, f"cmdb.instances.{verb}", one)
    with pytest.raises(PermissionDenied):
        await bench.call(eve, "cmdb.applications.monitor", {"id": "web"})

    def state(tx: Session) -> None:
        row = tx.exec(select(AppInstance)).one()
        row.status = "updating"
        tx.add(row)

    await bench.database.write(state)
    with pytest.raises(InstanceBusy):
        await bench.plan(root, "cmdb.instances.restart", one)

    def offline(tx: Session) -> None:
        row = tx.exec(select(AppInstance)).one()
        row.status = "stopped"
        host = tx.exec(select(Host).where(Host.name == "h1")).one()
        host.status = "offline"
        tx.add_all([row, host])

    await bench.database.write(offline)
    with pytest.raises(HostOffline):
        await bench.plan(root, "cmdb.instances.start", one)


async def test_pid_files_that_say_nothing_useful(site: Site) -> None:
    from opsconsole.hosts.lookup import visible_hosts

    caller = site.desk.ctx.caller
    facts = await site.desk.house.database.read(lambda tx: visible_hosts(tx, caller, [site.node.name]))
    runner = await site.desk.house.fleet.runner(facts[0], retry=True)
    for text, pid, odd in (("", None, ""), ("\n", None, "nothing readable"), ("$(id)", None, "$(id)"), ("1\n", 1, "")):
        site.pid.write_text(text)
        seen = await look(runner, str(site.pid), ports=True)
        assert (seen.pid, seen.odd) == (pid, odd)
        assert seen.alive == (pid == 1)
    assert not seen.belongs_to("nobody")
    assert seen.belongs_to("root")
    site.pid.write_text("999999999")
    assert not (await look(runner, str(site.pid))).alive


def test_ports_of_the_whole_tree() -> None:
    answer = """pid 10
   10     1 www       1.5  1000 5000 00:00:01 nginx: master
   11    10 www       0.5  2000 5000 00:00:01 nginx: worker
   12    11 www       0.0     0 0 00:00:00 [x] <defunct>
   99     1 root      9.0  9000 5000 00:00:01 other
opsconsole-end-of-processes
tcp   LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=11,fd=6),("nginx",pid=10,fd=6))
tcp   LISTEN 0 511 [::]:443 [::]:* users:(("nginx",pid=10,fd=7))
udp   UNCONN 0 0 0.0.0.0:53 0.0.0.0:* users:(("named",pid=99,fd=7))
"""
    seen = parse("h", "look", answer)
    assert [one.pid for one in seen.processes] == [10, 11]
    assert seen.ports == ("tcp 0.0.0.0:80", "tcp [::]:443")
