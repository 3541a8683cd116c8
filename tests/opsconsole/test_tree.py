"""The tree of product lines, applications and instances, read piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from data.models import HostObservation, utc_now
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import InvalidParameter, ModuleDisabled, ObjectNotFound
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_applications import app, grant
from tests.opsconsole.test_blast import landscape
from tests.opsconsole.test_instances import set_status


async def forest(bench: Bench, root: Caller) -> dict[str, int]:
    """bank: core (core.db, core.db.replica), edge under core but in the line shop; free stands in no line."""
    ids: dict[str, int] = {}
    for name in ("bank", "shop"):
        ids[name] = (await bench.call(root, "cmdb.productions.create", {"name": name}))["id"]
    for name, parent, line in (
        ("core", None, "bank"),
        ("db", "core", "bank"),
        ("replica", "core.db", "bank"),
        ("edge", "core", "shop"),
        ("free", None, None),
    ):
        ids[name] = (await app(bench, root, name, parent, **({"production": line} if line else {})))["id"]
    ids["h1"], ids["h2"] = await bench.host("h1"), await bench.host("h2")
    made = await bench.call(
        root, "cmdb.instances.add", {"id": "core.db", "items": [{"hostid": "h1"}, {"hostid": "h2"}]}, confirm="2"
    )
    for one in made:
        await set_status(bench, one["id"], "running")

    def dead(tx: Session) -> None:
        tx.add(HostObservation(host_id=ids["h2"], kind="services", state="unreachable", observed_at=utc_now()))

    await bench.database.write(dead)
    return ids


async def names(bench: Bench, caller: Caller, **query: Any) -> list[str]:
    answer = await bench.call(caller, "cmdb.tree.children", query)
    return [f"{node['kind'][0]}:{node['name']}{'+' if node['has_child'] else ''}" for node in answer["nodes"]]


async def test_children_level_by_level(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await forest(bench, root)
    assert await names(bench, root) == ["p:bank+", "p:shop+", "p:(no product line)+"]
    assert await names(bench, root, kind="production", id=ids["bank"]) == ["a:core+"]
    assert await names(bench, root, kind="production", id=ids["shop"]) == ["a:edge"]
    assert await names(bench, root, kind="production", id=0) == ["a:free"]
    assert await names(bench, root, kind="application", id=ids["core"]) == ["a:db+", "a:edge"]
    assert await names(bench, root, kind="application", id=ids["db"]) == ["a:replica", "i:h1", "i:h2"]
    nodes = (await bench.call(root, "cmdb.tree.children", {"kind": "application", "id": ids["db"]}))["nodes"]
    assert (nodes[1]["status"], nodes[1]["host_state"], nodes[2]["host_state"]) == ("running", None, "unreachable")
    first = await bench.call(root, "cmdb.tree.children", {"kind": "application", "id": ids["core"], "size": 1})
    assert first["after"] == ["db", ids["db"]]
    assert await names(bench, root, kind="application", id=ids["core"], size=1, after=first["after"]) == ["a:edge"]
    with pytest.raises(ObjectNotFound):
        await names(bench, root, kind="application", id=999)
    with pytest.raises(InvalidParameter):
        await names(bench, root, kind="planet")


async def test_counts_and_states_are_rolled_up(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await forest(bench, root)
    items = [{"kind": "production", "id": ids["bank"]}, {"kind": "production", "id": 0}]
    items += [{"kind": "application", "id": ids[name]} for name in ("core", "db", "free")]
    found = {
        (one["kind"], one["id"]): (one["applications"], one["instances"])
        for one in await bench.call(root, "cmdb.tree.rollup", {"items": items})
    }
    both = {"running": 1, "unreachable": 1}
    assert found == {
        ("production", ids["bank"]): (3, both),
        ("production", 0): (1, {}),
        ("application", ids["core"]): (3, both),
        ("application", ids["db"]): (1, both),
        ("application", ids["free"]): (0, {}),
    }


async def test_what_is_found_comes_with_what_stands_over_it(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await forest(bench, root)
    answer = await bench.call(root, "cmdb.tree.search", {"needle": "REPL"})
    shown = {(node["kind"], node["full_name"]): node.get("match") for node in answer["nodes"]}
    assert shown == {
        ("production", "bank"): None,
        ("application", "core.db.replica"): True,
        ("application", "core.db"): False,
        ("application", "core"): False,
    }
    assert (answer["count"], answer["complete"]) == (1, True)
    cut = await bench.call(root, "cmdb.tree.search", {"needle": "core", "size": 1})
    assert (cut["count"], cut["complete"]) == (4, False)
    rows = (await bench.call(root, "cmdb.tree.below", {}))["rows"]
    assert [row[3] for row in rows] == ["core", "db", "replica", "edge", "free"]
    rows = (await bench.call(root, "cmdb.tree.below", {"id": rows[0][0]}))["rows"]
    assert [row[3] for row in rows] == ["db", "replica", "edge"]


async def test_he_sees_only_his_own_one_level_higher(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await forest(bench, root)
    eve = await bench.user("eve", "business.view_business")
    with pytest.raises(ModuleDisabled):
        await names(bench, eve)
    await bench.user("ann", "business.view_business", "application.enable_app_mgmt")
    await grant(bench, "ann", ids["replica"], "view_app")
    ann = await bench.caller("ann")
    assert await names(bench, ann) == ["p:bank+", "p:shop+"]
    assert await names(bench, ann, kind="production", id=ids["bank"]) == ["a:replica"]
    assert await names(bench, ann, kind="production", id=ids["shop"]) == []
    found = await bench.call(ann, "cmdb.tree.search", {"needle": "core"})
    assert [node["name"] for node in found["nodes"]] == ["bank", "replica"]
    assert len((await bench.call(ann, "cmdb.tree.below", {}))["rows"]) == 1
    counted = await bench.call(ann, "cmdb.tree.rollup", {"items": [{"kind": "production", "id": ids["bank"]}]})
    assert (counted[0]["applications"], counted[0]["instances"]) == (1, {})


async def test_what_goes_down_with_it(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = await landscape(bench, root)
    answer = await bench.call(root, "cmdb.applications.impact", {"id": "web"})
    assert [(one["full_name"], one["through"]) for one in answer["requires"]] == [
        ("portal", "web"),
        ("report", "portal"),
    ]
    assert answer["complete"] is True
    assert "product line bank" in answer["lines"]
    host = await bench.call(root, "hosts.impact", {"id": ids["h1"]})
    assert [(one["full_name"], one["instances"], one["of"]) for one in host["hit"]] == [("db", 1, 2)]
    assert host["lines"][0] == "application db: 1 of 2 instances"
    eve = await bench.user("eve", hosts={ids["h1"]: "view_host"})
    assert (await bench.call(eve, "hosts.impact", {"id": "h1"}))["hidden"] == 4
    with pytest.raises(ModuleDisabled):
        await bench.call(eve, "cmdb.applications.impact", {"id": "web"})
