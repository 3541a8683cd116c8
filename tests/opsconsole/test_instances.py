"""Where applications run, who answers for them, and which product line they belong to."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import AppInstance, Host
from opsconsole.engine.errors import (
    ConfirmationRequired,
    EmptyList,
    HostOffline,
    InstanceBusy,
    InvalidParameter,
    ModuleDisabled,
    NameNotUnique,
    ObjectInUse,
    ObjectNotFound,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_applications import app, grant


async def set_status(bench: Bench, instance: int, status: str) -> None:
    def work(tx: Session) -> None:
        row = tx.exec(select(AppInstance).where(AppInstance.id == instance)).one()
        row.status = status
        tx.add(row)

    await bench.database.write(work)


async def test_life_of_instances(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.environment("live", "prod")
    first = await bench.host("h1", status="inited")
    await bench.host("h2", environment="live")
    shop, other = await app(bench, root, "shop"), await app(bench, root, "other")
    data = {"id": "shop", "items": [{"hostid": first}, {"host_id": "h2", "hostname": "h2"}, {"hostid": "h1"}]}
    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(root, "cmdb.instances.add", data)
    assert (asked.value.data["rung"], asked.value.data["expect"]) == (3, "2 shop")
    added = await bench.call(root, "cmdb.instances.add", data, confirm="2 shop", reason="new line")
    assert [(one["hostname"], one["status"], one["version"]) for one in added] == [
        ("h1", "stopped", ""),
        ("h2", "stopped", ""),
    ]
    listed = await bench.call(root, "cmdb.instances.list", {"id": shop["id"]})
    assert (listed["count"], listed["results"]) == (2, added)
    assert (await bench.call(root, "hosts.get", {"id": "h1"}))["status"] == "attached"
    assert (await bench.call(root, "cmdb.applications.get", {"id": "shop"}))["level"] == "prod"
    with pytest.raises(StateConflict) as doubled:
        await bench.call(root, "cmdb.instances.add", {"id": "shop", "items": [{"hostid": first}]})
    assert "already on h1" in doubled.value.message

    journal = [(row.kind, row.target_kind, row.target_name, row.detail["op_type"]) for row in await bench.journal()][2:]
    assert sorted(journal) == [
        ("application", "application", "shop", "attach_host"),
        ("application", "application", "shop", "attach_host"),
        ("host", "host", "h1", "attach_app"),
        ("host", "host", "h2", "attach_app"),
    ]
    one = {"id": "shop", "items": [{"id": added[0]["id"]}]}
    await set_status(bench, added[0]["id"], "running")
    with pytest.raises(StateConflict) as running:
        await bench.call(root, "cmdb.instances.remove", one, confirm="yes")
    assert "stop it first" in running.value.message
    await set_status(bench, added[0]["id"], "updating")
    with pytest.raises(InstanceBusy):
        await bench.call(root, "cmdb.instances.remove", one, confirm="yes")
    await set_status(bench, added[0]["id"], "stopped")
    with pytest.raises(ObjectNotFound) as foreign:
        await bench.call(root, "cmdb.instances.remove", {**one, "id": "other"}, confirm="yes")
    assert "of other" in foreign.value.message
    assert await bench.call(root, "cmdb.instances.remove", one, confirm="yes") == {"message": "success"}
    assert (await bench.call(root, "hosts.get", {"id": "h1"}))["status"] == "inited"
    assert [(row.kind, row.detail["op_type"]) for row in (await bench.journal())[-2:]] == [
        ("application", "detach_host"),
        ("host", "detach_app"),
    ]
    with pytest.raises(ObjectInUse) as used:
        await bench.call(root, "cmdb.applications.delete", {"id": "shop"}, confirm="shop", reason="x")
    assert "h2" in used.value.message
    assert other["has_child"] is False


async def test_bad_lists_of_hosts_change_nothing(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("h1", status="raw")
    await bench.host("gone", status="offline")
    await bench.environment("sealed", "dev", read_only=True)
    await bench.host("frozen", environment="sealed")
    await app(bench, root, "shop")
    items: list[tuple[list[dict[str, Any]], type[Exception]]] = [
        ([{"hostid": host}, {"hostid": 999}], ObjectNotFound),
        ([{"hostid": host}, {"hostid": "gone"}], HostOffline),
        ([{"hostid": host, "hostname": "h2"}], InvalidParameter),
        ([{"hostname": "h1"}], RequiredFieldMissing),
        ([], EmptyList),
        ([{"hostid": "frozen"}], ReadOnly),
    ]
    for wrong, error in items:
        with pytest.raises(error):
            await bench.call(root, "cmdb.instances.add", {"id": "shop", "items": wrong}, confirm="2")
    assert (await bench.call(root, "cmdb.instances.list", {"id": "shop"}))["count"] == 0
    assert await bench.database.read(lambda tx: tx.exec(select(Host.status).where(Host.id == host)).one()) == "raw"


async def test_instances_need_the_right_on_the_application(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("h1")
    await bench.user("eve", hosts={host: "view_host"})
    made = await app(bench, root, "shop")
    await grant(bench, "eve", made["id"], "view_app")
    eve = await bench.caller("eve")
    with pytest.raises(ModuleDisabled):
        await bench.call(eve, "cmdb.instances.add", {"id": "shop", "items": [{"hostid": host}]})
    await grant(bench, "eve", made["id"], "edit_app")
    await bench.user("ann", "application.view_app")
    ann = await bench.caller("ann")
    added = await bench.call(root, "cmdb.instances.add", {"id": "shop", "items": [{"hostid": host}]})
    assert (await bench.call(ann, "cmdb.instances.list", {"id": "shop"}))["count"] == 1
    for operation, items in (
        ("cmdb.instances.add", [{"hostid": host}]),
        ("cmdb.instances.remove", [{"id": added[0]["id"]}]),
        ("cmdb.response_persons.add", [{"id": "ann", "type": "ops"}]),
        ("cmdb.response_persons.remove", [{"id": "ann"}]),
        ("cmdb.child_apps.remove", [{"id": "shop"}]),
        ("cmdb.required_apps.add", [{"id": "shop"}]),
        ("cmdb.required_apps.remove", [{"id": "shop"}]),
    ):
        with pytest.raises(PermissionDenied):
            await bench.call(ann, operation, {"id": "shop", "items": items}, confirm="yes")
    stranger = await bench.user("stranger")
    for operation, data in (
        ("cmdb.instances.list", {"id": "shop"}),
        ("cmdb.response_persons.list", {"id": "shop"}),
        ("cmdb.child_apps.list", {"id": "shop"}),
        ("cmdb.required_apps.list", {"id": "shop"}),
        ("cmdb.required_by_apps.list", {"id": "shop"}),
        ("cmdb.applications.list", {}),
    ):
        with pytest.raises(ModuleDisabled):
            await bench.call(stranger, operation, data)


async def test_responsible_persons(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann")
    await app(bench, root, "shop")
    items = [{"id": ann.user_id, "type": "dev"}, {"id": "ann", "type": "ops"}, {"id": "root", "type": "pm"}]
    added = await bench.call(root, "cmdb.response_persons.add", {"id": "shop", "items": items})
    assert {(one["id"], one["type"]) for one in added} == {
        (ann.user_id, "dev"),
        (ann.user_id, "ops"),
        (root.user_id, "pm"),
    }
    page = await bench.call(root, "cmdb.response_persons.list", {"id": "shop", "page_size": 2, "page": 2})
    assert (page["count"], page["prev"], len(page["results"])) == (3, 1, 1)
    plan = await bench.plan(root, "cmdb.response_persons.remove", {"id": "shop", "items": [{"id": "ann"}]})
    assert plan["targets"][0]["after"] == {"response_persons": ["root (pm)"]}
    await bench.call(root, "cmdb.response_persons.remove", {"id": "shop", "items": [{"id": "ann"}]})
    left = await bench.call(root, "cmdb.response_persons.list", {"id": "shop"})
    assert [(one["username"], one["type"]) for one in left["results"]] == [("root", "pm")]


async def test_product_lines(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await bench.call(root, "cmdb.productions.create", {"name": "商店 [/x]", "description": "sells"})
    assert made["available_actions"] == {"view": True, "edit": True, "delete": True}
    bank = await bench.call(root, "cmdb.productions.create", {"name": "bank"})
    with pytest.raises(NameNotUnique):
        await bench.call(root, "cmdb.productions.create", {"name": "bank"})
    shop = await app(bench, root, "shop", production="商店 [/x]")
    await app(bench, root, "web", "shop")
    listed = await bench.call(root, "cmdb.productions.list", {"name": "BAN"})
    assert [row["id"] for row in listed["results"]] == [bank["id"]]
    items = [{"id": "shop.web"}, {"id": shop["id"]}]
    plan = await bench.plan(root, "cmdb.productions.applications.add", {"id": "bank", "items": items})
    assert [target["before"] for target in plan["targets"]] == [{"production": None}, {"production": "商店 [/x]"}]
    await bench.call(root, "cmdb.productions.applications.add", {"id": bank["id"], "items": items}, confirm="2")
    rows = await bench.call(root, "cmdb.productions.applications.list", {"id": "bank", "name": "web"})
    assert [row["full_name"] for row in rows["results"]] == ["shop.web"]
    assert (await bench.call(root, "cmdb.productions.get", {"id": "bank"}))["application_count"] == 2
    for data in (
        {"id": made["id"], "items": [{"id": "shop"}]},
        {"id": "bank", "items": [{"id": "shop"}, {"id": "no"}]},
    ):
        with pytest.raises((StateConflict, ObjectNotFound)):
            await bench.call(root, "cmdb.productions.applications.remove", data, confirm="2")
    with pytest.raises(ObjectInUse):
        await bench.call(root, "cmdb.productions.delete", {"id": "bank"}, confirm="bank", reason="x")
    await bench.call(root, "cmdb.productions.applications.remove", {"id": "bank", "items": items}, confirm="2")
    changed = await bench.call(root, "cmdb.productions.update", {"id": "bank", "name": "Bank", "description": "b"})
    assert (changed["name"], changed["description"]) == ("Bank", "b")
    with pytest.raises(InvalidParameter):
        await bench.call(root, "cmdb.productions.update", {"id": "Bank", "name": "a\x1b]0;x"})
    await bench.call(root, "cmdb.productions.delete", {"id": "Bank"}, confirm="Bank", reason="sold")
    assert (await bench.call(root, "cmdb.productions.list"))["count"] == 1


async def test_product_lines_need_their_own_rights(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.call(root, "cmdb.productions.create", {"name": "bank"})
    await app(bench, root, "shop")
    eve = await bench.user("eve", "business.view_business", "application.edit_app", "application.view_app")
    assert (await bench.call(eve, "cmdb.productions.list"))["results"][0]["available_actions"]["edit"] is False
    for operation, data in (
        ("cmdb.productions.create", {"name": "x"}),
        ("cmdb.productions.update", {"id": "bank", "name": "x"}),
        ("cmdb.productions.delete", {"id": "bank"}),
        ("cmdb.productions.applications.add", {"id": "bank", "items": [{"id": "shop"}]}),
        ("cmdb.productions.applications.remove", {"id": "bank", "items": [{"id": "shop"}]}),
    ):
        with pytest.raises(PermissionDenied):
            await bench.call(eve, operation, data, confirm="bank", reason="x")
    stranger = await bench.user("stranger")
    for operation in ("cmdb.productions.get", "cmdb.productions.applications.list"):
        with pytest.raises(ModuleDisabled):
            await bench.call(stranger, operation, {"id": "bank"})
