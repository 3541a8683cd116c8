"""hosts.list, get, create, update, delete, and the switches on a host."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

import opsconsole.hosts.changes
import opsconsole.hosts.environments
import opsconsole.hosts.guards
import opsconsole.hosts.reads
from data.models import AppInstance, Application, Host
from opsconsole.engine.errors import (
    ConfirmationRequired,
    ConsoleError,
    FieldImmutable,
    InvalidParameter,
    LeaseHeld,
    NameNotUnique,
    ObjectInUse,
    ObjectNotFound,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
)
from tests.opsconsole.houses import Bench


async def test_life_of_a_host(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await bench.call(
        root,
        "hosts.create",
        {
            "name": "web-1",
            "host_type": "TECENT_CVM",
            "cpu": 4,
            "memory": 8192,
            "ip_address": ["127.0.0.9"],
            "tags": ["web", "blue", "web"],
        },
    )
    assert (made["host_type"], made["status"], made["address"]) == ("TENCENT_CVM", "raw", "127.0.0.9")
    assert made["ip_address"] == ["127.0.0.9"]
    assert made["tags"] == ["blue", "web"]
    assert made["environment"] == "default"
    assert made["available_actions"]["edit_host"] is True
    assert await bench.call(root, "hosts.get", {"id": "web-1"}) == made
    assert await bench.call(root, "hosts.get", {"host": made["id"]}) == made

    changed = await bench.call(
        root, "hosts.update", {"id": "web-1", "cpu": None, "description": "front", "ssh_user": "ops", "tags": []}
    )
    assert (changed["cpu"], changed["memory"], changed["description"], changed["tags"]) == (None, 8192, "front", [])
    assert changed["version"] == made["version"] + 1
    cleared = await bench.call(root, "hosts.update", {"id": made["id"], "description": "", "name": "web-2"})
    assert (cleared["description"], cleared["name"]) == (None, "web-2")

    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(root, "hosts.delete", {"id": "web-2"})
    assert asked.value.data["rung"] == 3
    assert asked.value.data["expect"] == "web-2"
    answer = await bench.call(root, "hosts.delete", {"id": "web-2"}, confirm="web-2", reason="sold")
    assert answer == {"message": "success"}
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "hosts.get", {"id": made["id"]})

    rows = [(row.kind, row.operation, row.detail["op_type"], row.target_id) for row in await bench.journal()]
    assert rows == [
        ("host", "hosts.create", "add", str(made["id"])),
        ("host", "hosts.update", "update", str(made["id"])),
        ("host", "hosts.update", "update", str(made["id"])),
        ("host", "hosts.delete", "delete", str(made["id"])),
    ]
    first_change = (await bench.journal())[1]
    assert (first_change.before["cpu"], first_change.after["cpu"]) == (4, None)
    assert (await bench.journal())[3].reason == "sold"


@pytest.mark.parametrize(
    ("data", "error", "field"),
    [
        ({"host_type": "PHY_HOST"}, RequiredFieldMissing, "name"),
        ({"name": "a"}, RequiredFieldMissing, "host_type"),
        ({"name": "a", "host_type": "TOASTER"}, InvalidParameter, "host_type"),
        ({"name": "-oProxyCommand=x", "host_type": "PHY_HOST"}, InvalidParameter, "name"),
        ({"name": "a\x1b[31m", "host_type": "PHY_HOST"}, InvalidParameter, "name"),
        ({"name": "17", "host_type": "PHY_HOST"}, InvalidParameter, "name"),
        ({"name": "a" * 300, "host_type": "PHY_HOST"}, InvalidParameter, "name"),
        ({"name": "a", "host_type": "PHY_HOST", "cpu": 0}, InvalidParameter, "cpu"),
        ({"name": "a", "host_type": "PHY_HOST", "ssh_port": 70000}, InvalidParameter, "ssh_port"),
        ({"name": "a", "host_type": "PHY_HOST", "address": "x y"}, InvalidParameter, "address"),
        ({"name": "a", "host_type": "PHY_HOST", "nmae": "b"}, InvalidParameter, "nmae"),
        ({"name": "a", "host_type": "PHY_HOST", "environment": "moon"}, ObjectNotFound, "environment"),
        ({"name": "local", "host_type": "PHY_HOST"}, NameNotUnique, "name"),
    ],
)
async def test_bad_input_changes_nothing(
    small_bench: Bench, data: dict[str, object], error: type[ConsoleError], field: str
) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(error) as refused:
        await small_bench.call(root, "hosts.create", data)
    assert refused.value.field == field
    assert (await small_bench.call(root, "hosts.list"))["count"] == 1
    assert await small_bench.journal() == []


async def test_list_filters_and_pages(bench: Bench) -> None:
    await bench.environment("live", "prod")
    ids = [
        await bench.host(f"Web-{n:02}", environment="live" if n % 2 else "default", tags=("web",)) for n in range(12)
    ]
    await bench.host("db_1", tags=("db", "web"), host_type="ALI_ECS", description="Ünïcode")
    root = await bench.user("root", admin=True)

    async def names(**query: object) -> list[str]:
        answer = await bench.call(root, "hosts.list", {"page_size": 200, **query})
        assert answer["count"] == len(answer["results"])
        return [row["name"] for row in answer["results"]]

    assert len(await names()) == 14
    assert len(await names(name="web-")) == 12
    assert await names(name="B_1") == ["db_1"]
    assert await names(name="1", host_type="ALI_ECS") == ["db_1"]
    assert await names(tag=["web", "db"]) == ["db_1"]
    assert len(await names(environment="live")) == 6
    assert await names(name="%") == []
    page = await bench.call(root, "hosts.list", {"name": "web", "page": 2, "page_size": 5})
    assert (page["prev"], page["next"], page["count"]) == (1, 3, 12)
    assert [row["id"] for row in page["results"]] == ids[5:10]
    assert page["results"][0]["level"] == "prod"
    beyond = await bench.call(root, "hosts.list", {"page_number": 9})
    assert (beyond["results"], beyond["count"], beyond["next"]) == ([], 14, None)
    with pytest.raises(InvalidParameter):
        await bench.call(root, "hosts.list", {"page_size": 201})


async def test_only_what_he_may_see(bench: Bench) -> None:
    seen, hidden = await bench.host("seen"), await bench.host("hidden")
    eve = await bench.user("eve", hosts={seen: "view_host edit_host"})
    listed = await bench.call(eve, "hosts.list")
    assert [row["name"] for row in listed["results"]] == ["seen"]
    actions = listed["results"][0]["available_actions"]
    assert {flag for flag, may in actions.items() if may} == {"view_host", "edit_host"}
    for ref in (hidden, "hidden"):
        with pytest.raises(ObjectNotFound) as error:
            await bench.call(eve, "hosts.get", {"id": ref})
        assert "hidden" not in error.value.message.replace("no host hidden", "")
        with pytest.raises(ObjectNotFound):
            await bench.call(eve, "hosts.update", {"id": ref, "cpu": 2})
    with pytest.raises(ObjectNotFound) as near:
        await bench.call(eve, "hosts.get", {"id": "sen"})
    assert "did you mean seen?" in near.value.message


async def test_refusal_says_what_is_missing_and_who_could(bench: Bench) -> None:
    host = await bench.host("web")
    await bench.user("root", admin=True)
    eve = await bench.user("eve", hosts={host: "view_host edit_host"})
    await bench.user("ann", hosts={host: "delete_host"})
    for operation, data, missing in (
        ("hosts.create", {"name": "x", "host_type": "PHY_HOST"}, "module.host.add_host"),
        ("hosts.delete", {"id": "web"}, "host.delete_host"),
    ):
        with pytest.raises(PermissionDenied) as refused:
            await bench.call(eve, operation, data, confirm="web", reason="x")
        assert refused.value.exit_status == 3
        assert refused.value.data["missing"] == missing
        assert "root" in refused.value.data["who_could"]
    assert "ann" in refused.value.data["who_could"]
    rows = await bench.journal()
    assert [(row.result, row.operation, row.actor, row.error_code) for row in rows] == [
        ("refused", "hosts.create", "eve", "permission_denied"),
        ("refused", "hosts.delete", "eve", "permission_denied"),
    ]


async def test_host_in_use_and_local_stay(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("app-1")

    def install(tx: Session) -> None:
        application = Application(name="shop", full_name="shop")
        tx.add(application)
        tx.flush()
        tx.add(AppInstance(application_id=application.id, host_id=host))

    await bench.database.write(install)
    with pytest.raises(ObjectInUse) as used:
        await bench.call(root, "hosts.delete", {"id": host}, confirm="app-1", reason="x")
    assert "shop" in used.value.message
    with pytest.raises(StateConflict):
        await bench.call(root, "hosts.delete", {"id": "local"}, confirm="local", reason="x")
    with pytest.raises(FieldImmutable):
        await bench.call(root, "hosts.update", {"id": "local", "name": "other"})


async def test_several_hosts_are_deleted_by_one_plan_or_not_at_all(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = [await bench.host(name) for name in ("a", "b", "c")]
    with pytest.raises(RequiredFieldMissing):
        await bench.plan(root, "hosts.delete", {})
    with pytest.raises(InvalidParameter) as both:
        await bench.plan(root, "hosts.delete", {"id": "a", "hosts": ["b"]})
    assert both.value.field == "hosts"
    plan = await bench.plan(root, "hosts.delete", {"hosts": ["a", ids[1], "b"]})
    assert [target["name"] for target in plan["targets"]] == ["a", "b"]
    with pytest.raises(StateConflict):
        await bench.call(root, "hosts.delete", {"hosts": ["a", "local"]}, confirm="2 default", reason="x")
    eve = await bench.user("eve")
    with pytest.raises(ConsoleError) as refused:
        await bench.call(eve, "hosts.delete", {"hosts": ["a", "b"]}, confirm="2 default", reason="x")
    assert refused.value.exit_status == 3
    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(root, "hosts.delete", {"hosts": ["a", "b"]})
    assert (asked.value.data["rung"], asked.value.data["expect"]) == (3, "2 default")
    await bench.call(root, "hosts.delete", {"hosts": ["a", "b"]}, confirm="2 default", reason="sold")
    left = await bench.call(root, "hosts.list", {})
    assert [host["name"] for host in left["results"]] == ["local", "c"]
    gone = [row.target_name for row in await bench.journal() if row.operation == "hosts.delete" and row.kind == "host"]
    assert sorted(str(name) for name in gone) == ["a", "b"]


async def test_the_slower_of_two_writers_is_told_what_changed(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("web", cpu=2)
    seen = await bench.call(root, "hosts.get", {"id": "web"})
    await bench.call(root, "hosts.update", {"id": "web", "cpu": 4})
    with pytest.raises(StateConflict) as late:
        await bench.call(root, "hosts.update", {"id": "web", "cpu": 8, "version": seen["version"]})
    assert late.value.exit_status == 5

    results = await asyncio.gather(
        *(bench.call(root, "hosts.update", {"id": "web", "cpu": n}) for n in (5, 6, 7, 8)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, dict)]
    lost = [result for result in results if not isinstance(result, dict)]
    assert won
    assert all(isinstance(error, LeaseHeld) or "cpu is" in str(error) for error in lost)
    assert (await bench.call(root, "hosts.get", {"id": "web"}))["cpu"] in {result["cpu"] for result in won}


async def test_what_changed_between_plan_and_record_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("web", cpu=2, location="hall 1")

    async def meanwhile(self: object, target: object) -> None:
        def work(tx: Session) -> None:
            row = tx.get(Host, host)
            assert row is not None
            row.cpu, row.location = 99, "hall 2"
            tx.add(row)

        await bench.database.write(work)

    monkeypatch.setattr(opsconsole.hosts.changes.Update, "execute", meanwhile)
    with pytest.raises(StateConflict) as late:
        await bench.call(root, "hosts.update", {"id": "web", "cpu": 8})
    assert "cpu is 99 now, it was 2" in late.value.message
    assert [row.result for row in await bench.journal()] == ["failed"]
    await bench.call(root, "hosts.update", {"id": "web", "description": "no field of theirs"})
    assert (await bench.call(root, "hosts.get", {"id": "web"}))["cpu"] == 99


async def test_protection_and_maintenance_stand_in_the_way(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    other = await bench.user("other", admin=True)
    await bench.host("web")
    assert (await bench.call(root, "hosts.protect", {"id": "web"}))["protected"] is True
    with pytest.raises(ReadOnly) as frozen:
        await bench.call(root, "hosts.delete", {"id": "web"}, confirm="web", reason="x")
    assert "protected" in frozen.value.message
    await bench.call(root, "hosts.unprotect", {"id": "web"})

    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = await bench.call(root, "hosts.maintenance.begin", {"id": "web", "reason": "disks", "until": until})
    assert answer["maintenance"]["by"] == "root"
    assert answer["available_actions"]["edit_host"] is True
    assert (await bench.call(other, "hosts.get", {"id": "web"}))["available_actions"]["edit_host"] is False
    with pytest.raises(ReadOnly) as held:
        await bench.call(other, "hosts.update", {"id": "web", "cpu": 3})
    assert "root: disks" in held.value.message
    with pytest.raises(ConfirmationRequired):
        await bench.call(other, "hosts.maintenance.end", {"id": "web"})
    assert (await bench.call(other, "hosts.maintenance.end", {"id": "web"}, confirm="yes"))["maintenance"] is None
    with pytest.raises(StateConflict):
        await bench.call(root, "hosts.maintenance.end", {"id": "web"})
    for until in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00"):
        with pytest.raises(InvalidParameter) as bad:
            await bench.call(root, "hosts.maintenance.begin", {"id": "web", "reason": "x", "until": until})
        assert bad.value.field == "until"


async def test_environments(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await bench.call(root, "environments.create", {"name": "live", "level": "prod"})
    await bench.host("web", environment="live")
    listed = await bench.call(root, "environments.list")
    assert [(row["name"], row["hosts"]) for row in listed] == [("default", 1), ("live", 1)]
    with pytest.raises(NameNotUnique):
        await bench.call(root, "environments.create", {"name": "live"})
    with pytest.raises(ObjectInUse):
        await bench.call(root, "environments.delete", {"id": "live"}, confirm="live", reason="x")
    assert (await bench.call(root, "environments.update", {"id": made["id"], "read_only": True}))["read_only"] is True
    with pytest.raises(ReadOnly):
        await bench.call(root, "hosts.update", {"id": "web", "cpu": 2})
    assert (await bench.call(root, "environments.update", {"id": "live", "read_only": False}))["read_only"] is False
    await bench.call(root, "hosts.update", {"id": "web", "environment": "default"})
    await bench.call(root, "environments.delete", {"id": "live"}, confirm="live", reason="x")
    with pytest.raises(StateConflict):
        await bench.call(root, "environments.delete", {"id": "default"}, confirm="default", reason="x")
