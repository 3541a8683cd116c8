"""Applications: their fields, their tree, what they require, and two people who change them at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlmodel import Session, select

import opsconsole.cmdb.changes
import opsconsole.cmdb.links
from data.models import Application, ApplicationGrant, ModuleGrant, User
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import (
    ConfirmationRequired,
    InvalidParameter,
    LeaseHeld,
    LinkCycle,
    NameNotUnique,
    ObjectInUse,
    ObjectNotFound,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
)
from tests.opsconsole.houses import Bench


async def app(bench: Bench, root: Caller, name: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    data = {"name": name, **more} | ({"parent_app": parent} if parent else {})
    made: dict[str, Any] = await bench.call(root, "cmdb.applications.create", data)
    return made


async def path(bench: Bench, root: Caller, ref: int | str) -> str:
    return str((await bench.call(root, "cmdb.applications.get", {"id": ref}))["full_name"])


async def grant(bench: Bench, user: str, application: int, flags: str) -> None:
    def work(tx: Session) -> None:
        row = tx.exec(select(User).where(User.username == user)).one()
        switch: dict[str, Any] = {"subject_type": "user", "subject_id": row.id, "granted_by": "test"}
        known = tx.exec(select(ModuleGrant.id).where(ModuleGrant.subject_id == row.id)).first()
        if known is None:
            tx.add(ModuleGrant(module_name="application", flag="enable_app_mgmt", **switch))
        tx.add_all([ApplicationGrant(application_id=application, flag=flag, **switch) for flag in flags.split()])

    await bench.database.write(work)


async def test_life_of_an_application(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    shop = await app(bench, root, "shop", description="[/x] of 商店", run_user="www", stdout_path="/var/log/shop.out")
    web = await app(bench, root, "web", "shop", application_type=1, required_apps=[])
    assert (web["full_name"], web["parent_app"], web["application_type"]) == ("shop.web", shop["id"], "1")
    assert (shop["has_child"], shop["description"], shop["version"]) == (False, "[/x] of 商店", 1)
    shop = await bench.call(root, "cmdb.applications.get", {"id": "shop"})
    assert (shop["has_child"], shop["child_apps"], shop["response_person"]) == (True, [web["id"]], [])
    assert shop["available_actions"]["edit_app"] is True

    answer = await bench.call(
        root, "cmdb.applications.update", {"id": shop["id"], "description": "", "directory": "/srv/shop"}
    )
    assert answer == {"message": "success"}
    shop = await bench.call(root, "cmdb.applications.get", {"id": "shop"})
    assert (shop["description"], shop["directory"], shop["run_user"]) == (None, "/srv/shop", "www")

    with pytest.raises(ObjectInUse) as used:
        await bench.call(root, "cmdb.applications.delete", {"id": "shop"}, confirm="shop", reason="x")
    assert "web" in used.value.message
    with pytest.raises(ConfirmationRequired) as asked:
        await bench.call(root, "cmdb.applications.delete", {"id": "shop.web"})
    assert asked.value.data["expect"] == "shop.web"
    await bench.call(root, "cmdb.applications.delete", {"id": "shop.web"}, confirm="shop.web", reason="old")
    with pytest.raises(ObjectNotFound) as gone:
        await bench.call(root, "cmdb.applications.get", {"id": "shop.web"})
    assert "did you mean shop?" in gone.value.message
    rows = [(row.kind, row.target_name, row.detail["op_type"]) for row in await bench.journal()]
    assert rows == [
        ("application", "shop", "add"),
        ("application", "shop.web", "add"),
        ("application", "shop", "update"),
        ("application", "shop.web", "delete"),
    ]
    changed = (await bench.journal())[2]
    assert (changed.before["directory"], changed.after["directory"]) == (None, "/srv/shop")


async def test_renaming_and_moving_shows_and_changes_every_full_name(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await app(bench, root, "a")
    b = await app(bench, root, "b", "a")
    c = await app(bench, root, "c", "a.b")
    await app(bench, root, "b2", "a")
    await app(bench, root, "home")
    plan = await bench.plan(root, "cmdb.applications.update", {"id": "a.b", "name": "x%_", "parent_app": "home"})
    after = plan["targets"][0]["after"]
    assert after["full_names"] == [
        {"name": "a.b", "becomes": "home.x%_"},
        {"name": "a.b.c", "becomes": "home.x%_.c"},
    ]
    assert (plan["targets"][0]["before"]["parent_app"], after["parent_app"]) == ("a", "home")
    assert plan["warnings"] == ["2 full names change"]
    assert await path(bench, root, b["id"]) == "a.b"
    await bench.call(root, "cmdb.applications.update", {"id": "a.b", "name": "x%_", "parent_app": "home"})
    assert await path(bench, root, b["id"]) == "home.x%_"
    assert await path(bench, root, c["id"]) == "home.x%_.c"
    assert (await bench.call(root, "cmdb.applications.get", {"id": c["id"]}))["version"] == 2
    found = await bench.call(root, "cmdb.applications.list", {"full_path": "X%_.c"})
    assert [row["id"] for row in found["results"]] == [c["id"]]
    assert (await bench.call(root, "cmdb.applications.list", {"full_path": "a.b."}))["count"] == 0

    await bench.call(root, "cmdb.applications.update", {"id": "home.x%_", "parent_app": None})
    assert await path(bench, root, c["id"]) == "x%_.c"
    with pytest.raises(NameNotUnique):
        await bench.call(root, "cmdb.applications.update", {"id": "a.b2", "name": "home", "parent_app": 0})


async def test_circles_and_self_links_are_refused_with_their_path(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await app(bench, root, "a")
    await app(bench, root, "b", "a")
    await app(bench, root, "c", "a.b")
    for data in ({"id": "a", "parent_app": "a.b.c"}, {"id": "a", "parent_app": "a"}):
        with pytest.raises(LinkCycle) as circle:
            await bench.call(root, "cmdb.applications.update", data)
        assert circle.value.exit_status == 5
    assert "a → a" in circle.value.message
    with pytest.raises(LinkCycle) as circle:
        await bench.call(root, "cmdb.child_apps.add", {"id": "a.b.c", "items": [{"id": "a"}]})
    assert "a → a.b → a.b.c → a" in circle.value.message
    with pytest.raises(LinkCycle):
        await bench.call(root, "cmdb.applications.update", {"id": "a.b", "child_apps": ["a.b.c", "a"]})

    for name in ("x", "y", "z"):
        await app(bench, root, name)
    await bench.call(root, "cmdb.required_apps.add", {"id": "x", "items": [{"id": "y"}]})
    await bench.call(root, "cmdb.required_apps.add", {"id": "y", "items": [{"id": "z"}]})
    with pytest.raises(LinkCycle) as circle:
        await bench.call(root, "cmdb.required_apps.add", {"id": "z", "items": [{"id": "a"}, {"id": "x"}]})
    assert "z requiring x" in circle.value.message
    assert "z → x → y → z" in circle.value.message
    with pytest.raises(LinkCycle) as circle:
        await bench.call(root, "cmdb.applications.update", {"id": "z", "required_apps": ["z"]})
    assert "z → z" in circle.value.message
    assert (await bench.call(root, "cmdb.required_apps.list", {"id": "z"}))["count"] == 0


async def test_links_make_and_unmake_nothing_but_links(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ids = [(await app(bench, root, name))["id"] for name in ("top", "one", "two", "three")]
    added = await bench.call(
        root, "cmdb.child_apps.add", {"id": "top", "items": [{"id": "one"}, {"id": ids[2]}, {"id": "one"}]}, confirm="2"
    )
    assert [row["full_name"] for row in added] == ["top.one", "top.two"]
    listed = await bench.call(root, "cmdb.child_apps.list", {"id": "top", "name": "one"})
    assert [row["name"] for row in listed["results"]] == ["one"]
    with pytest.raises(ConfirmationRequired):
        await bench.call(root, "cmdb.child_apps.remove", {"id": "top", "items": [{"id": ids[1]}, {"id": ids[2]}]})
    with pytest.raises(StateConflict) as foreign:
        await bench.call(root, "cmdb.child_apps.remove", {"id": "top", "items": [{"id": ids[1]}, {"id": "three"}]})
    assert "three" in foreign.value.message
    await bench.call(root, "cmdb.child_apps.add", {"id": "three", "items": [{"id": ids[1]}]})
    assert await path(bench, root, ids[1]) == "three.one"
    assert await bench.call(root, "cmdb.child_apps.remove", {"id": "three", "items": [{"id": ids[1]}]}) == {
        "message": "success"
    }
    assert await path(bench, root, ids[1]) == "one"

    data = {"id": "top", "items": [{"id": "one"}, {"id": "three"}]}
    assert [row["name"] for row in await bench.call(root, "cmdb.required_apps.add", data)] == ["one", "three"]
    required = await bench.call(root, "cmdb.required_apps.list", {"id": "top"})
    assert [row["name"] for row in required["results"]] == ["one", "three"]
    by = await bench.call(root, "cmdb.required_by_apps.list", {"id": "one", "full_path": "to"})
    assert [row["full_name"] for row in by["results"]] == ["top"]
    await bench.call(root, "cmdb.required_apps.remove", {"id": "top", "items": [{"id": "one"}]})
    with pytest.raises(StateConflict):
        await bench.call(root, "cmdb.required_apps.remove", data)
    assert (await bench.call(root, "cmdb.required_apps.list", {"id": "top"}))["count"] == 1
    assert (await bench.call(root, "cmdb.applications.list"))["count"] == 4


async def test_lists_in_an_update_replace_the_whole_list(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann, eve = await bench.user("ann"), await bench.user("eve")
    for name in ("p", "q", "r", "s"):
        await app(bench, root, name)
    await bench.call(
        root, "cmdb.applications.update", {"id": "p", "child_apps": ["q", "r"], "response_person": [ann.user_id]}
    )
    await bench.call(
        root,
        "cmdb.response_persons.add",
        {"id": "p", "items": [{"id": "ann", "type": "pm"}, {"id": "eve", "type": "qa"}]},
    )
    plan = await bench.plan(root, "cmdb.applications.update", {"id": "p", "name": "P", "child_apps": ["p.r", "s"]})
    assert plan["targets"][0]["before"]["child_apps"] == ["q", "r"]
    assert plan["targets"][0]["after"]["child_apps"] == ["r", "s"]
    await bench.call(
        root,
        "cmdb.applications.update",
        {"id": "p", "name": "P", "child_apps": ["p.r", "s"], "required_apps": ["s"], "response_person": ["ann"]},
    )
    row = await bench.call(root, "cmdb.applications.get", {"id": "P"})
    assert len(row["child_apps"]) == 2
    assert row["response_person"] == [ann.user_id]
    listed = await bench.call(root, "cmdb.applications.list", {"page_size": 50})
    assert sorted(one["full_name"] for one in listed["results"]) == ["P", "P.r", "P.s", "q"]
    persons = await bench.call(root, "cmdb.response_persons.list", {"id": "P"})
    assert {(one["username"], one["type"]) for one in persons["results"]} == {("ann", "ops"), ("ann", "pm")}
    found = await bench.call(root, "cmdb.applications.list", {"response_persons": [ann.user_id, eve.user_id]})
    assert [one["full_name"] for one in found["results"]] == ["P"]


async def test_filters(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann")
    web = await app(bench, root, "Web")
    api = await app(bench, root, "api", "Web")
    await app(bench, root, "db")
    await grant(bench, "ann", api["id"], "view_app view_app_log")

    async def names(caller: Caller, **query: Any) -> list[str]:
        answer = await bench.call(caller, "cmdb.applications.list", query)
        assert answer["count"] == len(answer["results"])
        return [row["full_name"] for row in answer["results"]]

    assert await names(root) == ["Web", "Web.api", "db"]
    assert await names(root, has_parent=0) == ["Web", "db"]
    assert await names(root, has_parent=1) == ["Web.api"]
    assert await names(root, name="we") == ["Web"]
    assert await names(root, name="API") == ["Web.api"]
    assert await names(root, full_path="eb.a") == ["Web.api"]
    assert await names(root, full_path="d") == ["db"]
    assert await names(root, user="ann") == ["Web.api"]
    assert await names(root, role="@admin") == ["Web", "Web.api", "db"]
    assert await names(root, role="@user") == []
    assert await names(ann) == ["Web.api"]
    with pytest.raises(ObjectNotFound):
        await names(root, user="anna")
    listed = await bench.call(root, "cmdb.applications.list_by_users", {"items": [{"id": "ann"}, {"id": ann.user_id}]})
    assert [(one["user_id"], one["count"], one["applications"][0]["id"]) for one in listed] == [
        (ann.user_id, 1, api["id"])
    ]
    actions = listed[0]["applications"][0]["available_actions"]
    assert {flag for flag, may in actions.items() if may} == {"view_app", "view_app_log"}
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "cmdb.applications.list_by_users", {"items": [{"id": "ann"}, {"id": 999}]})
    with pytest.raises(PermissionDenied):
        await bench.call(ann, "cmdb.applications.list_by_users", {"items": [{"id": "ann"}]})
    assert (await bench.call(root, "cmdb.applications.list", {"page_number": 2, "page_size": 2}))["prev"] == 1
    assert web["has_child"] is False


HOSTILE = [
    ({"name": "a.b"}, "name"),
    ({"name": "a\x1b[31m"}, "name"),
    ({"name": "a\u202eb"}, "name"),
    ({"name": " a"}, "name"),
    ({"name": "a" * 201}, "name"),
    ({"name": "a", "description": "x" * 1_000_001}, "description"),
    ({"name": "a", "stdout_path": "log.txt"}, "stdout_path"),
    ({"name": "a", "run_user": "-u root"}, "run_user"),
    ({"name": "a", "startup_cmd": "run\x07"}, "startup_cmd"),
    ({"name": "a", "nmae": "b"}, "nmae"),
]


@pytest.mark.parametrize(("data", "field"), HOSTILE)
async def test_bad_input_changes_nothing(small_bench: Bench, data: dict[str, Any], field: str) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(InvalidParameter) as refused:
        await small_bench.call(root, "cmdb.applications.create", data)
    assert refused.value.field == field
    assert (await small_bench.call(root, "cmdb.applications.list"))["count"] == 0
    assert await small_bench.journal() == []


async def test_half_wrong_lists_and_missing_things_change_nothing(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    await app(small_bench, root, "a")
    await app(small_bench, root, "b")
    before = len(await small_bench.journal())
    for operation, data, error in (
        ("cmdb.child_apps.add", {"id": "a", "items": [{"id": "b"}, {"id": 99}]}, ObjectNotFound),
        ("cmdb.required_apps.add", {"id": "a", "items": [{"id": "b"}, {"id": "nope"}]}, ObjectNotFound),
        ("cmdb.required_apps.add", {"id": "a"}, RequiredFieldMissing),
        ("cmdb.response_persons.add", {"id": "a", "items": [{"id": "root", "type": "boss"}]}, InvalidParameter),
        ("cmdb.response_persons.add", {"id": "a", "items": [{"id": "nobody", "type": "ops"}]}, ObjectNotFound),
        ("cmdb.response_persons.remove", {"id": "a", "items": [{"id": "root"}]}, StateConflict),
        ("cmdb.applications.update", {"id": "a", "child_apps": ["b", "zz"]}, ObjectNotFound),
        ("cmdb.applications.update", {"id": "a", "response_person": ["nobody"]}, ObjectNotFound),
        ("cmdb.applications.update", {"id": "a", "name": None}, InvalidParameter),
        ("cmdb.applications.create", {"name": "c", "parent_app": "zz"}, ObjectNotFound),
        ("cmdb.applications.create", {"name": "c", "production": "zz"}, ObjectNotFound),
        ("cmdb.applications.create", {"name": "a"}, NameNotUnique),
        ("cmdb.applications.create", {}, RequiredFieldMissing),
    ):
        with pytest.raises(error):
            await small_bench.call(root, operation, data, confirm="2")
    assert len(await small_bench.journal()) == before
    rows = (await small_bench.call(root, "cmdb.applications.list"))["results"]
    assert [(row["full_name"], row["version"]) for row in rows] == [("a", 1), ("b", 1)]


async def test_a_megabyte_of_description_and_wide_names_are_kept(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await app(bench, root, "[/x] 商店 📦", description="ж" * 1_000_000)
    await app(bench, root, "支払い", made["full_name"])
    row = await bench.call(root, "cmdb.applications.get", {"id": "[/x] 商店 📦.支払い"})
    assert row["name"] == "支払い"
    assert len((await bench.call(root, "cmdb.applications.get", {"id": made["id"]}))["description"]) == 1_000_000


async def test_a_full_name_that_grows_too_long_is_refused_before_anything_moves(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    deep = ""
    for number in range(9):
        await app(bench, root, f"{number}" * 199, deep or None)
        deep = f"{deep}.{str(number) * 199}".lstrip(".")
    await app(bench, root, "x" * 200)
    await app(bench, root, "y" * 150, "x" * 200)
    with pytest.raises(InvalidParameter) as long:
        await bench.call(root, "cmdb.child_apps.add", {"id": deep, "items": [{"id": "x" * 200}]})
    assert "2000 are the most" in long.value.message


async def test_rights_on_every_application_that_changes(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    eve = await bench.user("eve")
    ids = {name: (await app(bench, root, name))["id"] for name in ("mine", "seen", "hidden")}
    await grant(bench, "eve", ids["mine"], "view_app edit_app")
    await grant(bench, "eve", ids["seen"], "view_app")
    await bench.call(eve, "cmdb.applications.update", {"id": "mine", "description": "d"})
    await bench.call(eve, "cmdb.required_apps.add", {"id": "mine", "items": [{"id": "seen"}]})
    for operation, data in (
        ("cmdb.applications.update", {"id": "seen", "description": "d"}),
        ("cmdb.child_apps.add", {"id": "mine", "items": [{"id": "seen"}]}),
        ("cmdb.child_apps.add", {"id": "seen", "items": [{"id": "mine"}]}),
        ("cmdb.applications.update", {"id": "mine", "parent_app": "seen"}),
        ("cmdb.applications.update", {"id": "mine", "child_apps": ["seen"]}),
        ("cmdb.applications.create", {"name": "new"}),
        ("cmdb.applications.delete", {"id": "mine"}),
    ):
        with pytest.raises(PermissionDenied) as refused:
            await bench.call(eve, operation, data, confirm="mine", reason="x")
        assert "root" in refused.value.data["who_could"]
    for operation, data in (
        ("cmdb.applications.get", {"id": "hidden"}),
        ("cmdb.applications.update", {"id": ids["hidden"], "description": "d"}),
        ("cmdb.required_apps.add", {"id": "mine", "items": [{"id": "hidden"}]}),
    ):
        with pytest.raises(ObjectNotFound) as unseen:
            await bench.call(eve, operation, data)
        assert "mean hidden" not in unseen.value.message
    assert await path(bench, root, ids["seen"]) == "seen"


async def test_two_operators_move_the_same_application_at_once(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann", admin=True)
    ann = await bench.caller("ann")
    for name in ("left", "right", "moved"):
        await app(bench, root, name)
    await app(bench, root, "under", "moved")
    results = await asyncio.gather(
        bench.call(root, "cmdb.applications.update", {"id": "moved", "parent_app": "left"}),
        bench.call(ann, "cmdb.child_apps.add", {"id": "right", "items": [{"id": "moved"}]}),
        return_exceptions=True,
    )
    lost = [result for result in results if isinstance(result, BaseException)]
    assert len(lost) == 1
    # Either the other one was still at it, or it had been done when ours was planned or written.
    assert isinstance(lost[0], (LeaseHeld, StateConflict, ObjectNotFound))
    where = await bench.call(root, "cmdb.applications.list", {"name": "under"})
    assert where["results"][0]["full_name"] in {"left.moved.under", "right.moved.under"}


async def test_what_changed_between_plan_and_record_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    ids = {name: (await app(bench, root, name))["id"] for name in ("left", "right", "moved")}

    async def meanwhile(self: object, target: object) -> None:
        def work(tx: Session) -> None:
            row = tx.get(Application, ids["moved"])
            assert row is not None
            row.parent_id, row.full_name = ids["right"], "right.moved"
            tx.add(row)

        await bench.database.write(work)

    monkeypatch.setattr(opsconsole.cmdb.changes.Update, "execute", meanwhile)
    with pytest.raises(StateConflict) as late:
        await bench.call(root, "cmdb.applications.update", {"id": "moved", "parent_app": "left"})
    assert "parent_app is 'right' now, it was None" in late.value.message
    assert await path(bench, root, ids["moved"]) == "right.moved"
    monkeypatch.undo()

    async def grow(self: object, target: object) -> None:
        if (await bench.call(root, "cmdb.applications.list", {"name": "born"}))["count"] == 0:
            await app(bench, root, "born", "right.moved")

    monkeypatch.setattr(opsconsole.cmdb.links.AddChildren, "execute", grow)
    with pytest.raises(StateConflict) as grown:
        await bench.call(root, "cmdb.child_apps.add", {"id": "left", "items": [{"id": ids["moved"]}]})
    assert "other full names would change" in grown.value.message
    assert await path(bench, root, "right.moved.born") == "right.moved.born"
    with pytest.raises(StateConflict) as old:
        await bench.call(root, "cmdb.applications.update", {"id": "left", "description": "x", "version": 7})
    assert "has version 1 now, you saw 7" in old.value.message


async def test_two_moves_that_would_close_a_circle_together(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    for _ in range(3):
        names = [f"n{number}" for number in range(4)]
        for name in names:
            await app(bench, root, name)
        await asyncio.gather(
            *(
                bench.call(root, "cmdb.applications.update", {"id": name, "parent_app": other})
                for name, other in zip(names, [*names[1:], names[0]], strict=True)
            ),
            return_exceptions=True,
        )
        rows = await bench.database.read(lambda tx: tx.exec(select(Application)).all())
        by_id = {row.id: row for row in rows}
        for row in rows:
            above, steps = row, 0
            full = [row.name]
            while above.parent_id is not None and steps < 10:
                above, steps = by_id[above.parent_id], steps + 1
                full.insert(0, above.name)
            assert steps < 10
            assert row.full_name == ".".join(full)

        def clear(tx: Session) -> None:
            for one in tx.exec(select(Application)).all():
                one.parent_id = None
                tx.add(one)
            tx.flush()
            for one in tx.exec(select(Application)).all():
                tx.delete(one)

        await bench.database.write(clear)


async def test_a_frozen_application_is_not_changed(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await app(bench, root, "a")
    await bench.environment("sealed", "prod", read_only=True)
    host = await bench.host("h1", environment="default")
    await bench.call(root, "cmdb.instances.add", {"id": "a", "items": [{"hostid": host}]})
    await bench.call(root, "hosts.update", {"id": "h1", "environment": "sealed"})
    shown = await bench.call(root, "cmdb.applications.get", {"id": made["id"]})
    assert (shown["environment"], shown["level"]) == ("sealed", "prod")
    assert shown["available_actions"]["edit_app"] is False
    with pytest.raises(ReadOnly):
        await bench.call(root, "cmdb.applications.update", {"id": "a", "description": "x"})
