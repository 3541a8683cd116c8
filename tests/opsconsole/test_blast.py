"""Every dangerous plan says what hangs on its targets: applications, what requires them, lines and people."""

from __future__ import annotations

import pytest
from sqlmodel import Session, select

import opsconsole.cmdb.blast
from data.models import User
from opsconsole.cmdb import blast
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Subject
from opsconsole.engine.plan import Target
from opsconsole.engine.registry import find
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_applications import app, grant


async def landscape(bench: Bench, root: Caller) -> dict[str, int]:
    """db on two hosts, web on one; web requires db, portal requires web, report requires portal."""
    hosts = {name: await bench.host(name) for name in ("h1", "h2", "h3")}
    await bench.call(root, "cmdb.productions.create", {"name": "bank"})
    ids = {}
    for name in ("db", "web", "portal", "report", "other"):
        ids[name] = (await app(bench, root, name, production="bank" if name == "portal" else None))["id"]
    for one, two in (("web", "db"), ("portal", "web"), ("report", "portal")):
        await bench.call(root, "cmdb.required_apps.add", {"id": one, "items": [{"id": two}]})
    await bench.call(
        root, "cmdb.instances.add", {"id": "db", "items": [{"hostid": hosts["h1"]}, {"hostid": "h2"}]}, confirm="2"
    )
    await bench.call(root, "cmdb.instances.add", {"id": "web", "items": [{"hostid": "h3"}]})
    await bench.user("ann")

    def person(tx: Session) -> None:
        row = tx.exec(select(User).where(User.username == "ann")).one()
        row.full_name, row.phone = "Ann Lee", "555"
        tx.add(row)

    await bench.database.write(person)
    await bench.call(root, "cmdb.response_persons.add", {"id": "report", "items": [{"id": "ann", "type": "ops"}]})
    return {**hosts, **ids}


def on_host(host: int) -> Target:
    return Target("service", "h/x", "x.service", "h", Subject("service", "x.service", ids=(("host", host),)))


async def test_from_a_host_to_the_people(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await landscape(bench, root)
    found = await bench.database.read(lambda tx: blast.dependents(tx, root, [on_host(ids["h1"])]))
    assert found == (
        "application db: 1 of 2 instances",
        "application web requires db",
        "application portal requires web",
        "application report requires portal",
        "product line bank",
        "responsible: Ann Lee (ann), 555, ops",
    )
    both = await bench.database.read(lambda tx: blast.dependents(tx, root, [on_host(ids["h1"]), on_host(ids["h2"])]))
    assert both[0] == "application db: all of its 2 instances"
    alone = await bench.database.read(lambda tx: blast.dependents(tx, root, [on_host(ids["h3"])]))
    assert alone[0] == "application web: its only instance"
    two = await bench.database.read(lambda tx: blast.dependents(tx, root, [on_host(ids["h1"]), on_host(ids["h3"])]))
    assert two[:2] == ("application web: its only instance", "application db: 1 of 2 instances"), "gone before fewer"


async def test_plans_that_are_dangerous_carry_it(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await landscape(bench, root)
    plan = await bench.plan(root, "cmdb.instances.remove", {"id": "db", "items": [{"id": "h1"}]})
    assert plan["dependents"][:2] == ["application db: 1 of 2 instances", "application web requires db"]
    plan = await bench.plan(root, "cmdb.applications.delete", {"id": "portal"})
    assert plan["dependents"][0] == "application report requires portal"
    assert "application portal" not in " ".join(
        line for line in plan["dependents"] if line.startswith("application portal")
    )
    harmless = await bench.plan(root, "hosts.update", {"id": "h1", "cpu": 4})
    assert harmless["dependents"] == []
    assert blast.counts(find("services.restart"))
    assert blast.counts(find("hosts.delete"))


async def test_what_he_may_not_see_is_only_counted(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await landscape(bench, root)
    await bench.user("eve")
    await grant(bench, "eve", ids["portal"], "view_app")
    eve = await bench.caller("eve")
    found = await bench.database.read(lambda tx: blast.dependents(tx, eve, [on_host(ids["h1"])]))
    assert found == (
        "application portal requires one of them",
        "and 3 applications that you may not see",
        "product line bank",
    )


async def test_it_ends_somewhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    ids = await landscape(bench, root)
    monkeypatch.setattr(opsconsole.cmdb.blast, "MOST", 2)
    monkeypatch.setattr(opsconsole.cmdb.blast, "LISTED", 2)
    found = await bench.database.read(lambda tx: blast.dependents(tx, root, [on_host(ids["h1"])]))
    assert found[:3] == ("application db: 1 of 2 instances", "application web requires db", "and 1 more applications")
    assert "and more: only the first 2 were looked at" in found
