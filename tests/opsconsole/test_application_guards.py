"""Protection and maintenance of applications stand in the way, and can be taken away again."""

from __future__ import annotations

import pytest

from opsconsole.engine.errors import (
    ConfirmationRequired,
    InvalidParameter,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_applications import app, grant


async def test_a_protected_application_is_not_deleted_nor_stopped(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.host("h1")
    await app(bench, root, "pay", startup_cmd="a", stop_cmd="b", pid_path="/run/p.pid")
    made = await bench.call(root, "cmdb.instances.add", {"id": "pay", "items": [{"hostid": "h1"}]})
    assert (await bench.call(root, "cmdb.applications.protect", {"id": "pay"}))["protected"] is True
    with pytest.raises(ReadOnly) as frozen:
        await bench.plan(root, "cmdb.instances.stop", {"id": "pay", "instance_id": made[0]["id"]})
    assert "protected" in frozen.value.message
    with pytest.raises(ReadOnly):
        await bench.plan(root, "cmdb.instances.remove", {"id": "pay", "items": [{"id": made[0]["id"]}]})
    assert (await bench.call(root, "cmdb.applications.unprotect", {"id": "pay"}))["protected"] is False
    await bench.plan(root, "cmdb.instances.stop", {"id": "pay", "instance_id": made[0]["id"]})


async def test_maintenance_is_for_one(bench: Bench) -> None:
    root, other = await bench.user("root", admin=True), await bench.user("other", admin=True)
    made = await app(bench, root, "pay")
    answer = await bench.call(root, "cmdb.applications.maintenance.begin", {"id": "pay", "reason": "new schema"})
    assert (answer["maintenance"]["by"], answer["maintenance"]["until"]) == ("root", None)
    await bench.call(root, "cmdb.applications.update", {"id": "pay", "description": "mine"})
    with pytest.raises(ReadOnly) as held:
        await bench.call(other, "cmdb.applications.update", {"id": "pay", "description": "yours"})
    assert "root: new schema" in held.value.message
    with pytest.raises(ConfirmationRequired):
        await bench.call(other, "cmdb.applications.maintenance.end", {"id": "pay"})
    ended = await bench.call(other, "cmdb.applications.maintenance.end", {"id": "pay"}, confirm="yes")
    assert ended["maintenance"] is None
    with pytest.raises(StateConflict):
        await bench.call(root, "cmdb.applications.maintenance.end", {"id": "pay"})
    past = {"id": "pay", "reason": "x", "until": "2001-01-01T00:00:00Z"}
    with pytest.raises(InvalidParameter):
        await bench.call(root, "cmdb.applications.maintenance.begin", past)
    with pytest.raises(RequiredFieldMissing):
        await bench.call(root, "cmdb.applications.maintenance.begin", {"id": "pay"})
    await bench.user("eve")
    await grant(bench, "eve", made["id"], "view_app delete_app")
    eve = await bench.caller("eve")
    for operation in ("protect", "unprotect", "maintenance.begin", "maintenance.end"):
        given = {"id": "pay", **({"reason": "x"} if operation.endswith("begin") else {})}
        with pytest.raises((PermissionDenied, StateConflict)):
            await bench.call(eve, f"cmdb.applications.{operation}", given)
    rows = [row.kind for row in await bench.journal() if row.result == "done"]
    assert set(rows) == {"application"}
