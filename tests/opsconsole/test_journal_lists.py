"""The lists of the journal: the documents' five, what happened to one object, and the export."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session

from data.models import Application, Audit, utc_now
from opsconsole.engine import audit, dispatch
from opsconsole.engine.audit import Entry, sentence
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.errors import InvalidParameter, PermissionDenied, RequiredFieldMissing
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_access import REFUSED

LISTS = ("dns", "hosts", "applications", "module_grants", "resource_grants")


async def written(bench: Bench, entries: list[Entry], ago: timedelta = timedelta()) -> None:
    at = utc_now() - ago
    await bench.database.write(lambda tx: audit.append(tx, bench.house.audit_key, entries, at=at))


async def busy(bench: Bench) -> Caller:
    """Two people who changed hosts and rights; the journal as the house itself writes it, but for DNS."""
    root = await bench.user("root", admin=True)
    boss = await bench.user("Boss", admin=True)
    await bench.user("ann")
    await bench.call(root, "access.roles.create", {"name": "web team"})
    await bench.call(root, "hosts.create", {"name": "web", "host_type": "PHY_HOST"})
    await bench.call(boss, "hosts.create", {"name": "db", "host_type": "PHY_HOST"})
    web = await bench.call(root, "hosts.get", {"id": "web"})
    update = {"id": "web", "version": web["version"], "description": "front [/x] \x1b", "address": "10.0.0.1"}
    await bench.call(root, "hosts.update", update)
    await bench.call(root, "hosts.delete", {"id": "db"}, confirm="db", reason="gone")
    grant = {"id": "web team", "authorizations": [{"id": "web", "permission": {"view_host": True, "login_host": True}}]}
    await bench.call(boss, "access.roles.grant_host", grant)
    modules = {"id": "ann", "module_name": "dns", "permissions": {"enable_dns_mgmt": True}}
    await bench.call(root, "access.users.grant_module", modules)
    await bench.call(root, "access.users.grant_module", modules | {"permissions": {"enable_dns_mgmt": False}})
    name = {"op_type": "add", "op_target": ["ns1", "example.com", "www"]}
    entry = Entry("dns.records.create", "ann", "done", kind="dns", target_kind="record", target_name="www", detail=name)
    await written(bench, [entry])
    return root


async def test_the_five_lists_say_what_the_documents_ask_for(bench: Bench) -> None:
    root = await busy(bench)
    hosts = await bench.call(root, "audit.hosts.list")
    assert [(row["op_type"], row["hostname"], row["operator"]) for row in hosts["results"]] == [
        ("delete", "db", "root"),
        ("update", "web", "root"),
        ("add", "db", "Boss"),
        ("add", "web", "root"),
    ]
    assert (hosts["count"], hosts["prev"], hosts["next"]) == (4, None, None)
    told = hosts["results"][1]
    assert set(told) == {"id", "hostname", "op_type", "op_detail", "op_time", "operator"}
    assert "address – → 10.0.0.1" in told["op_detail"]
    assert hosts["results"][0]["op_detail"] == "delete host db"
    modules = (await bench.call(root, "audit.module_grants.list"))["results"]
    assert [(row["module_name"], row["perm_name"], row["action"]) for row in modules] == [
        ("dns", "enable_dns_mgmt", "disable"),
        ("dns", "enable_dns_mgmt", "enable"),
    ]
    assert (modules[0]["authorized_target_type"], modules[0]["authorized_target_name"]) == ("user", "ann")
    grants = (await bench.call(root, "audit.resource_grants.list"))["results"]
    assert {row["perm_name"] for row in grants} == {"view_host", "login_host"}
    assert grants[0]["resource"]["host"] == "web"
    assert (grants[0]["resource_type"], grants[0]["authorized_target_name"]) == ("host", "web team")
    dns = (await bench.call(root, "audit.dns.list"))["results"]
    assert (dns[0]["op_target"], dns[0]["op_detail"]) == (["ns1", "example.com", "www"], "add record www")
    assert (await bench.call(root, "audit.applications.list"))["count"] == 0
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


async def test_every_filter_narrows(bench: Bench) -> None:
    root = await busy(bench)

    async def count(operation: str, **given: Any) -> int:
        answer = await bench.call(root, operation, given)
        assert len(answer["results"]) == min(answer["count"], given.get("page_size", 10))
        found: int = answer["count"]
        return found

    soon, past = (utc_now() + timedelta(hours=1)).isoformat(), (utc_now() - timedelta(hours=1)).isoformat()
    assert await count("audit.hosts.list", operator="bOS") == 1
    assert await count("audit.hosts.list", operator="nobody") == 0
    assert await count("audit.hosts.list", hostname="WE") == 2
    assert await count("audit.hosts.list", op_type="add") == 2
    assert await count("audit.hosts.list", op_detail="10.0.0.1") == 1
    assert await count("audit.hosts.list", op_detail="%") == 0
    assert await count("audit.hosts.list", op_time__gt=past, op_time__lt=soon) == 4
    assert await count("audit.hosts.list", op_time__gt=soon) == 0
    exact = (await bench.call(root, "audit.hosts.list"))["results"][0]["op_time"]
    assert await count("audit.hosts.list", op_time__gt=exact, op_time__lt=exact) == 1
    assert await count("audit.module_grants.list", module_name="dns", action="enable", perm_name="dns_m") == 1
    assert await count("audit.module_grants.list", module_name="vpn") == 0
    assert await count("audit.module_grants.list", authorized_target_type="role") == 0
    assert await count("audit.resource_grants.list", authorized_target_type="role", authorized_target_name="TEAM") == 2
    web = (await bench.call(root, "hosts.get", {"id": "web"}))["id"]
    assert await count("audit.resource_grants.list", resource_type="host", resource_id=web) == 2
    assert await count("audit.resource_grants.list", resource_type="business") == 0
    assert await count("audit.resource_grants.list", resource_id=web + 99) == 0
    assert await count("audit.dns.list", op_target="ww", op_type="add") == 1
    for operation in ("audit.hosts.list", "audit.records.list"):
        for wrong in ({"page": 0}, {"page_size": 201}, {"operater": "x"}, {"operator": "a\x1bb"}):
            with pytest.raises(InvalidParameter):
                await bench.call(root, operation, wrong)
    with pytest.raises(InvalidParameter):
        await bench.call(root, "audit.module_grants.list", {"action": "toggle"})


async def test_pages_of_numbers_are_the_pages_of_the_list(bench: Bench) -> None:
    """Counting by number and skipping through the rows must show the same, whatever is mixed in between."""
    root = await bench.user("root", admin=True)
    kinds = ("host", "operation", "dns", "host", "host", "module_grant")
    for batch in range(5):
        await written(bench, [Entry("x.y", "root", "done", kind=kinds[(batch + n) % 6]) for n in range(9)])
    for kind in ("host", "operation", "dns", None):
        seen: list[int] = []
        page: int | None = 1
        while page is not None:
            given = {"page": page, "page_size": 4} | ({"kind": kind} if kind else {})
            answer = await bench.call(root, "audit.records.list", given)
            seen += [row["id"] for row in answer["results"]]
            page = answer["next"]
        whole = [row.seq for row in await bench.journal() if kind is None or row.kind == kind]
        assert seen == whole[::-1]
        assert answer["count"] == len(whole)
    beyond = await bench.call(root, "audit.records.list", {"page": 1000})
    assert (beyond["results"], beyond["count"]) == ([], 45)


async def test_everything_that_happened_to_one_host(bench: Bench) -> None:
    root = await busy(bench)
    web = (await bench.call(root, "hosts.get", {"id": "web"}))["id"]
    unit: dict[str, Any] = {"target_kind": "service", "target_id": f"{web}/nginx.service", "target_name": "nginx"}
    await written(bench, [Entry("services.restart", "ann", "done", detail={"host": "web"}, **unit)])
    await bench.call(root, "hosts.update", {"id": "web", "name": "front"})
    await written(bench, [Entry("services.stop", "ann", "failed", detail={"host": "front"}, **unit)])
    await written(bench, [Entry("services.stop", "ann", "failed", detail={"host": "db"}, **unit)])
    found = await bench.call(root, "audit.history", {"kind": "host", "id": web, "page_size": 50})
    assert [row["operation_id"] for row in found["results"]] == [
        "services.stop",
        "hosts.update",
        "services.restart",
        *["access.roles.grant_host"] * 2,
        "hosts.update",
        "hosts.create",
    ]
    alone = await bench.call(root, "audit.history", {"kind": "host", "id": str(web), "parts": False})
    assert alone["count"] == found["count"] - 2
    service = await bench.call(root, "audit.history", {"kind": "service", "id": f"{web}/nginx.service"})
    assert service["count"] == 3
    gone = await bench.call(root, "audit.history", {"kind": "host", "name": "db"})
    assert [row["operation_id"] for row in gone["results"]] == ["services.stop", "hosts.delete", "hosts.create"]
    user = await bench.call(root, "audit.history", {"kind": "user", "id": (await bench.caller("ann")).user_id})
    assert user["count"] == 2
    first = await bench.call(root, "audit.history", {"kind": "host", "id": web, "page_size": 3, "before": 2**40})
    rest = await bench.call(root, "audit.history", {"kind": "host", "id": web, "before": first["next"]})
    assert [row["id"] for row in first["results"] + rest["results"]] == [row["id"] for row in found["results"]]
    with pytest.raises(RequiredFieldMissing):
        await bench.call(root, "audit.history", {"kind": "host"})


async def test_the_export_is_whole_and_on_record(bench: Bench) -> None:
    root = await busy(bench)
    clerk = await bench.user("clerk", "audit.export_audit")
    rows = await bench.journal()
    lines = [line async for line in dispatch.stream(Context(bench.house, clerk), "audit.export")]
    assert [line["id"] for line in lines] == [row.seq for row in rows]
    assert [line["mac"] for line in lines] == [row.mac for row in rows]
    assert json.loads(json.dumps(lines))
    last = (await bench.journal())[-1]
    assert (last.operation, last.actor, last.target_kind) == ("audit.export", "clerk", "journal")
    some = {"operation": "hosts", "operator": "root"}
    narrowed = [line async for line in dispatch.stream(Context(bench.house, clerk), "audit.export", some)]
    assert {line["operation_id"] for line in narrowed} == {"hosts.create", "hosts.update", "hosts.delete"}
    assert (await bench.journal())[-1].detail["filters"] == some
    source = dispatch.stream(Context(bench.house, clerk), "audit.export")
    await anext(source)
    await source.aclose()  # type: ignore[attr-defined]
    assert len([row for row in await bench.journal() if row.operation == "audit.export"]) == 3
    viewer = await bench.user("viewer", "audit.view_audit")
    with pytest.raises(PermissionDenied):
        [line async for line in dispatch.stream(Context(bench.house, viewer), "audit.export")]
    refused = (await bench.journal())[-1]
    assert (refused.operation, refused.result, refused.actor) == ("audit.export", "refused", "viewer")
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


async def test_who_may_not_look(bench: Bench) -> None:
    await bench.user("root", admin=True)
    eve = await bench.user("eve", "host.manage_host")
    half = await bench.user("half", "audit.export_audit")
    for caller in (eve, half):
        for name in LISTS:
            with pytest.raises(REFUSED):
                await bench.call(caller, f"audit.{name}.list")
        with pytest.raises(REFUSED):
            await bench.call(caller, "audit.history", {"kind": "host", "id": 1})


def test_a_sentence_is_bounded_and_says_what_differs() -> None:
    before, after = {"a": 1, "b": None, "c": "x"}, {"a": 2, "b": "new", "c": "x", "d": [1]}
    assert sentence("update", "host", "web", before, after) == "update host web: a 1 → 2; b – → new; d – → [1]"
    long = sentence("update", "host", "web", {}, {str(n): "y" * 10_000 for n in range(100)})
    assert len(long) == 2000
    assert sentence("add", "record", "www", None, "nonsense") == "add record www"


async def test_a_lost_table_of_applications_changes_nothing(bench: Bench) -> None:
    """The lists read the journal alone: an object that is gone is still named."""
    root = await bench.user("root", admin=True)

    def work(tx: Session) -> None:
        tx.add(Application(name="shop", full_name="shop"))

    await bench.database.write(work)
    entry = Entry(
        "cmdb.applications.update",
        "root",
        "done",
        kind="application",
        target_kind="application",
        target_id="1",
        target_name="shop.api",
        detail={"op_type": "change_deploy_setting"},
        before={"timeout": 1, "password": "old"},
        after={"timeout": 2, "password": "new"},
    )
    await written(bench, [entry])
    (row,) = (await bench.call(root, "audit.applications.list", {"app_name": "SHOP"}))["results"]
    assert row["op_detail"].startswith("change deploy setting application shop.api: timeout 1 → 2")
    assert "old" not in row["op_detail"]
    stored = (await bench.journal())[-1]
    assert isinstance(stored, Audit)
    assert stored.ordinal == 1
