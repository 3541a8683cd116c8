"""The life of a host, what runs on it, devices from NetBox, and hosts for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import (
    ConfirmationRequired,
    HostHasInstances,
    InvalidParameter,
    PermissionDenied,
    StateConflict,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.tasks.conftest import perform
from tests.opsconsole.test_applications import app, grant


async def change(bench: Bench, caller: Caller, operation: str, **data: Any) -> str:
    submitted = await bench.call(caller, operation, data, confirm="yes")
    assert await perform(bench, submitted["task_id"]) == "finished"
    return str((await bench.call(caller, "hosts.get", {"id": data["id"]}))["status"])


async def test_status_by_its_conditions(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("h1", status="raw")
    with pytest.raises(ConfirmationRequired):
        await bench.call(root, "hosts.change_status", {"id": "h1", "status": "inited"})
    assert await change(bench, root, "hosts.change_status", id="h1", status="inited") == "inited"
    assert await change(bench, root, "hosts.deactivate", id="h1") == "offline"
    assert await change(bench, root, "hosts.change_status", id="h1", status="raw") == "raw"
    with pytest.raises(StateConflict):
        await bench.plan(root, "hosts.change_status", {"id": "h1", "status": "attached"})
    with pytest.raises(InvalidParameter):
        await bench.plan(root, "hosts.change_status", {"id": "h1", "status": "broken"})
    with pytest.raises(StateConflict):
        await bench.plan(root, "hosts.deactivate", {"id": "local"})
    await app(bench, root, "shop")
    await bench.call(root, "cmdb.instances.add", {"id": "shop", "items": [{"hostid": host}]})
    for status in ("raw", "inited", "offline"):
        with pytest.raises(HostHasInstances) as used:
            await bench.plan(root, "hosts.change_status", {"id": "h1", "status": status})
        assert "shop" in used.value.message
    kept = [row for row in await bench.journal() if row.operation == "hosts.deactivate" and row.kind == "host"]
    assert [(row.before, row.after) for row in kept] == [({"status": "inited"}, {"status": "offline"})]


async def test_out_of_service_needs_its_own_right(bench: Bench) -> None:
    await bench.user("root", admin=True)
    host = await bench.host("h1")
    eve = await bench.user("eve", hosts={host: "view_host edit_host"})
    with pytest.raises(PermissionDenied) as refused:
        await bench.plan(eve, "hosts.change_status", {"id": "h1", "status": "offline"})
    assert refused.value.data["missing"] == "host.deactivate_host"
    with pytest.raises(PermissionDenied):
        await bench.plan(eve, "hosts.deactivate", {"id": "h1"})
    await bench.plan(eve, "hosts.change_status", {"id": "h1", "status": "inited"})


async def test_what_runs_on_a_host(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    host = await bench.host("h1")
    ids = [(await app(bench, root, name))["id"] for name in ("a", "b", "c")]
    for number in ids[:2]:
        await bench.call(root, "cmdb.instances.add", {"id": number, "items": [{"hostid": host}]})
    listed = await bench.call(root, "hosts.applications.list", {"id": "h1", "page_size": 1})
    assert (listed["count"], listed["next"], listed["results"][0]["full_name"]) == (2, 2, "a")
    await bench.user("eve", hosts={host: "view_host"})
    await grant(bench, "eve", ids[1], "view_app")
    eve = await bench.caller("eve")
    seen = await bench.call(eve, "hosts.applications.list", {"host": "h1"})
    assert [row["full_name"] for row in seen["results"]] == ["b"]


NETBOX = """\
Name,Status,Tenant,Site,Location,Rack,Position,Role,Platform,Primary IP,Tags,Description
web-1,Active,acme,Hall 1,Row A,R12,17.0,Web Server,debian-12,10.0.0.1/24,"blue, Édge","=HYPERLINK(""x"")"
db-1;x,Active,,,,,,,,,,
"""


async def test_devices_from_netbox_with_a_preview(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("old", address="10.0.0.9", tags=("kept",))
    text = NETBOX.replace("db-1;x", "old").replace("old,Active,,,,,,,,,,", "old,Active,,Hall 2,,,,,,10.0.0.2/24,,")
    text += "gone-1,Decommissioning,,,,,,,,,,\n"
    plan = await bench.plan(root, "hosts.import_netbox", {"content": text})
    assert plan["summary"].endswith("1 new, 1 changed, 0 as they are")
    assert plan["warnings"] == ["line 4: gone-1 is decommissioning and left out"]
    after = plan["targets"][0]["after"]
    assert after["create"][0]["location"] == "Hall 1 / Row A / R12 / U17"
    assert after["update"] == [{"name": "old", "address": "10.0.0.2", "location": "Hall 2", "tags": ["hall-2", "kept"]}]
    await bench.call(root, "hosts.import_netbox", {"content": text})
    made = await bench.call(root, "hosts.get", {"id": "web-1"})
    assert (made["address"], made["os_type"]) == ("10.0.0.1", "debian-12")
    assert made["tags"] == ["blue", "hall-1", "web-server", "édge"]
    again = await bench.plan(root, "hosts.import_netbox", {"content": "\ufeff" + text})
    assert again["summary"].endswith("0 new, 0 changed, 2 as they are")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NETBOX, "line 3"),
        ("", "line 1: the file is empty"),
        ("a,b\n1,2\n", "line 1: the first line must name the columns"),
        ("name,site\nx,1,2\n", "line 2: 3 cells"),
        ("name,site\n,1\n", "line 2: a device without a name"),
        ("name\nx\nx\n", "line 3: x was named before, in line 2"),
        ("name,primary ip\nx,500.1.1.1\n", "line 2: x: '500.1.1.1' is no address"),
        ('name\n"x\n', "not CSV"),
        ("name\nweb\x1b[31m\n", "line 2"),
    ],
)
async def test_a_wrong_file_changes_nothing(small_bench: Bench, text: str, said: str) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(InvalidParameter) as wrong:
        await small_bench.call(root, "hosts.import_netbox", {"content": text})
    assert said in wrong.value.message
    assert "nothing was changed" in wrong.value.message
    assert (await small_bench.call(root, "hosts.list"))["count"] == 1


async def test_latin_1_is_named(small_bench: Bench, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    file = tmp_path / "devices.csv"
    file.write_bytes("name,site\nweb,Zürich\n".encode("latin-1"))
    with pytest.raises(InvalidParameter) as wrong:
        await small_bench.call(root, "hosts.import_netbox", {"path": str(file)})
    assert "not UTF-8 text (byte 15); iconv -f latin1" in wrong.value.message
    eve = await small_bench.user("eve", "host.edit_host")
    with pytest.raises(PermissionDenied):
        await small_bench.call(eve, "hosts.import_netbox", {"content": "name\nx\n"})


async def test_export_for_spreadsheets_and_programs(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("web", description='=cmd|"/c calc"!A1', location="-1+1", cpu=4, tags=("b", "a"))
    seen = await bench.host("db", description='ünï, "quoted"\nline')
    answer = await bench.call(root, "hosts.export", {"name": "e", "page": 7})
    assert answer["count"] == 1
    row = next(csv.DictReader(io.StringIO(answer["content"])))
    assert (row["name"], row["description"], row["location"]) == ("web", '\'=cmd|"/c calc"!A1', "'-1+1")
    assert (row["cpu"], row["tags"], row["protected"]) == ("4", "a b", "false")
    found = json.loads((await bench.call(root, "hosts.export", {"format": "json"}))["content"])
    assert {one["name"] for one in found} == {"local", "web", "db"}
    assert next(one for one in found if one["name"] == "db")["description"] == 'ünï, "quoted"\nline'
    eve = await bench.user("eve", hosts={seen: "view_host"})
    assert (await bench.call(eve, "hosts.export"))["count"] == 1
    with pytest.raises(InvalidParameter):
        await bench.call(root, "hosts.export", {"format": "xls"})
