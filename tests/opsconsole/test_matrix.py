"""Who may do what and why: the same as `decide()` says, with every reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, delete, select

from data.models import Application, ApplicationGrant, BusinessGrant, HostGrant, ModuleGrant, Production, Role, User
from data.models import UserRole as Member
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject, holds
from opsconsole.engine.errors import InvalidParameter, ObjectNotFound
from opsconsole.engine.permissions import OBJECT_KINDS
from tests.opsconsole.houses import Bench, object_flags
from tests.opsconsole.test_access import REFUSED
from tests.opsconsole.test_decide import GRANTS, MODULE_GRANTS

WORDS = {"host": "host", "app": "application", "business": "business"}


async def test_every_reason_is_named(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    web = await bench.host("web")
    await bench.user("ann", "host.manage_host", hosts={web: "view_host"})
    await bench.user("bob")
    await bench.user("off", "host.edit_host", enabled=False)
    await bench.call(root, "access.roles.create", {"name": "team"})
    given = {"id": "team", "authorizations": [{"id": "web", "permission": {"edit_host": True}}]}
    await bench.call(root, "access.roles.grant_host", given)
    await bench.call(root, "access.users.assign_roles", {"id": "bob", "items": [{"id": "team"}]})
    told = await bench.call(root, "access.matrix", {"kind": "host", "id": "web"})
    rows = {row["user"]: row for row in told["results"]}
    assert list(rows) == ["root", "ann", "bob"]
    assert rows["root"]["flags"]["delete_host"] == ["administrator"]
    assert rows["ann"]["flags"]["view_host"] == ["granted to him", "granted to him: manage_host of the module host"]
    assert rows["ann"]["flags"]["edit_host"] == []
    assert rows["bob"]["flags"]["edit_host"] == ["role team"]
    assert (rows["ann"]["module_on"], rows["bob"]["module_on"]) == (True, False)
    one = await bench.call(root, "access.matrix", {"kind": "host", "id": web, "flag": "edit_host", "page_size": 1})
    assert (one["count"], one["next"], one["results"][0]["user"]) == (2, 2, "root")
    everybody = await bench.call(root, "access.matrix", {"kind": "host", "id": web, "all": True})
    assert everybody["count"] == 3
    mine = await bench.call(root, "access.rights", {"user": "bob"})
    assert mine["rights"] == [
        {"scope": "host", "id": web, "name": "web", "flag": "edit_host", "by": ["role team"], "granted_by": ["root"]}
    ]
    assert (await bench.call(root, "access.rights", {"role": "team"}))["rights"][0]["by"] == [""]
    assert [r["flag"] for r in (await bench.call(root, "access.rights", {"user": "ann"}))["rights"]] == [
        "enable_host_mgmt",
        "manage_host",
        "view_host",
    ]
    only = await bench.call(root, "access.rights", {"user": "ann", "flag": "manage_host"})
    assert len(only["rights"]) == 1
    assert (await bench.call(root, "access.rights", {"user": "root"}))["administrator"] is True


async def test_bad_questions_and_strangers(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    eve = await bench.user("eve", "host.manage_host")
    await bench.host("web")
    wrong: list[tuple[str, dict[str, Any], type[Exception]]] = [
        ("access.matrix", {"kind": "toaster", "id": 1}, InvalidParameter),
        ("access.matrix", {"kind": "host", "id": "nothing"}, ObjectNotFound),
        ("access.matrix", {"kind": "host", "id": "web", "flag": "view_app"}, InvalidParameter),
        ("access.rights", {}, InvalidParameter),
        ("access.rights", {"user": "root", "role": "@admin"}, InvalidParameter),
        ("access.rights", {"user": "nobody"}, ObjectNotFound),
    ]
    for operation, data, error in wrong:
        with pytest.raises(error):
            await bench.call(root, operation, data)
    for operation, data in (("access.matrix", {"kind": "host", "id": "web"}), ("access.rights", {"user": "eve"})):
        with pytest.raises(REFUSED):
            await bench.call(eve, operation, data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    modules=st.sets(st.tuples(st.sampled_from(["u1", "u2", "r"]), MODULE_GRANTS), max_size=8),
    grants=st.sets(st.tuples(st.sampled_from(["u1", "u2", "r"]), st.sampled_from(object_flags())), max_size=10),
    members=st.sets(st.sampled_from(["u1", "u2"])),
    admin=st.booleans(),
)
async def test_the_matrix_says_what_decide_says(
    small_bench: Bench,
    modules: set[tuple[str, tuple[str, str]]],
    grants: set[tuple[str, tuple[str, str]]],
    members: set[str],
    admin: bool,
) -> None:
    bench = small_bench

    def work(tx: Session) -> dict[str, int]:
        for table in (ModuleGrant, HostGrant, ApplicationGrant, BusinessGrant, Member):
            tx.exec(delete(table))
        if tx.exec(select(User.id)).first() is None:
            tx.add_all([User(username="boss"), User(username="u1"), User(username="u2"), Role(name="r")])
            tx.add_all([Application(name="a", full_name="a"), Production(name="p")])
        tx.flush()
        users = dict(tx.exec(select(User.username, User.id)).all())
        role = tx.exec(select(Role.id).where(Role.name == "r")).one()
        administrators = tx.exec(select(Role.id).where(Role.name == "@admin")).one()
        tx.add(Member(user_id=users["boss"], role_id=administrators))
        if admin:
            tx.add(Member(user_id=users["u2"], role_id=administrators))
        tx.add_all([Member(user_id=users[name], role_id=role) for name in members])
        holder = {"u1": ("user", users["u1"]), "u2": ("user", users["u2"]), "r": ("role", role)}
        for who, (module, flag) in modules:
            word, key = holder[who]
            tx.add(ModuleGrant(subject_type=word, subject_id=key, module_name=module, flag=flag, granted_by="t"))
        for who, (prefix, flag) in grants:
            word, key = holder[who]
            table, of = GRANTS[prefix]
            tx.add(table(subject_type=word, subject_id=key, flag=flag, granted_by="t", **{of: 1}))
        return users

    await bench.database.write(work)
    boss = await bench.caller("boss")
    callers = {name: await bench.caller(name) for name in ("u1", "u2", "boss")}
    for prefix, word in WORDS.items():
        asked = {"kind": word, "id": 1, "all": True}
        told = await dispatch.call(Context(bench.house, boss), "access.matrix", asked)
        rows = {row["user"]: row["flags"] for row in told["results"]}
        subject = Subject(prefix, "it", ids=((prefix, 1),))
        for name, caller in callers.items():
            for flag in OBJECT_KINDS[prefix][1]:
                assert bool(rows[name][flag]) == holds(caller, f"{prefix}.{flag}", subject), (name, flag)
