"""Users, roles, grants, credentials, explain."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlmodel import Session, select

import opsconsole.access.authorizations
import opsconsole.access.credentials
import opsconsole.access.explain
import opsconsole.access.grants
import opsconsole.access.roles
import opsconsole.access.users
import opsconsole.hosts.changes
import opsconsole.hosts.guards
import opsconsole.hosts.reads
import opsconsole.journal.audit
import opsconsole.journal.runs  # noqa: F401
from data.models import Credential, User
from opsconsole.access import passwords
from opsconsole.engine.errors import (
    ConsoleError,
    EmptyList,
    FieldImmutable,
    InvalidParameter,
    ModuleDisabled,
    NameNotUnique,
    ObjectInUse,
    ObjectNotFound,
    PermissionDenied,
    PermissionGrantDenied,
    PermissionUndefined,
    RequiredFieldMissing,
    StateConflict,
    UserDisabled,
)
from tests.opsconsole.houses import Bench


def all_bytes(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


REFUSED = (PermissionDenied, ModuleDisabled)


async def test_create_user_hashes_his_password(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    secret = "correct horse battery"
    made = await bench.call(
        root,
        "dci.users.create",
        {"email": "ann@example.com", "password": secret, "role": "@user", "phone_number": "+1 22"},
    )
    assert list(made) == ["id"]
    user = await bench.call(root, "access.users.get", {"id": made["id"]})
    assert (user["username"], user["phone"], [role["name"] for role in user["roles"]]) == (
        "ann@example.com",
        "+1 22",
        ["@user"],
    )
    assert "password" not in str(user)

    def hash_of(tx: Session) -> str | None:
        return tx.exec(select(User.password_hash).where(User.id == made["id"])).one()

    stored = await bench.database.read(hash_of)
    assert stored is not None
    assert passwords.matches(secret, stored)
    assert not passwords.matches("wrong", stored)
    n, r, p = (int(part) for part in stored.split("$")[1:4])
    assert n * r >= 2**18
    assert p == 1
    assert hashlib.sha256(secret.encode()).hexdigest() not in stored

    runs = await bench.call(root, "runs.list")
    shown = await bench.call(root, "runs.get", {"id": runs["results"][0]["id"]})
    assert shown["input"]["password"] == "***"
    assert secret not in str(await bench.call(root, "audit.records.list"))
    everything = all_bytes(tmp_path)
    assert secret.encode() not in everything

    for data, error in (
        ({"email": "ann@example.com", "username": "ann"}, NameNotUnique),
        ({"email": "other@example.com", "username": "root"}, NameNotUnique),
        ({"email": "no address"}, InvalidParameter),
        ({"email": "x@example.com", "password": "short"}, InvalidParameter),
        ({"email": "x@example.com", "role": "@nobody"}, ObjectNotFound),
        ({}, RequiredFieldMissing),
    ):
        with pytest.raises(error):
            await bench.call(root, "dci.users.create", data)


async def test_change_disable_enable(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann")
    await bench.call(ann, "access.users.update", {"id": "ann", "email": "ann@example.com", "phone": "123"})
    with pytest.raises(PermissionDenied):
        await bench.call(ann, "access.users.update", {"id": "root", "email": "mine@example.com"})
    cleared = await bench.call(root, "access.users.update", {"id": "ann", "phone": ""})
    assert (cleared["email"], cleared["phone"]) == ("ann@example.com", None)
    with pytest.raises(InvalidParameter):
        await bench.call(root, "access.users.disable", {"id": "root"}, confirm="yes")
    await bench.call(root, "access.users.disable", {"id": "ann"}, confirm="yes")
    with pytest.raises(UserDisabled):
        await bench.call(ann, "hosts.list")
    await bench.call(root, "access.users.enable", {"id": "ann"})
    listed = await bench.call(root, "access.users.list", {"status": "enabled", "email": "ANN@"})
    assert [row["username"] for row in listed["results"]] == ["ann"]


async def test_own_email_needs_the_password(small_bench: Bench) -> None:
    await small_bench.user("root", admin=True)
    ann = await small_bench.user("ann")

    def give_password(tx: Session) -> None:
        row = tx.exec(select(User).where(User.username == "ann")).one()
        row.password_hash = passwords.hashed("her password")
        tx.add(row)

    await small_bench.database.write(give_password)
    for given in ({}, {"password": "wrong"}):
        with pytest.raises(ConsoleError) as refused:
            await small_bench.call(ann, "access.users.update", {"id": "ann", "email": "a@example.com", **given})
        assert (refused.value.as_json()["code"], refused.value.field) == ("invalid_parameter", "password")
    changed = await small_bench.call(
        ann, "access.users.update", {"id": "ann", "email": "a@example.com", "password": "her password"}
    )
    assert changed["email"] == "a@example.com"
    manager = await small_bench.user("manager", "access.manage_user")
    with pytest.raises(PermissionGrantDenied):
        await small_bench.call(manager, "access.users.update", {"id": "root", "email": "m@example.com"})


async def test_roles(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann, bob = await bench.user("ann"), await bench.user("bob")
    made = await bench.call(root, "access.roles.create", {"name": "web team"})
    assert made["creator"] == "root"
    with pytest.raises(NameNotUnique):
        await bench.call(root, "access.roles.create", {"name": "web team"})
    with pytest.raises(InvalidParameter):
        await bench.call(root, "access.roles.create", {"name": "@super"})
    host = await bench.host("web")
    await bench.call(
        root,
        "access.roles.grant_module",
        {"id": made["id"], "module_name": "host", "permissions": {"enable_host_mgmt": True}},
    )
    await bench.call(
        root,
        "access.roles.grant_host",
        {"id": "web team", "authorizations": [{"id": host, "permission": {"view_host": True}}]},
    )
    with pytest.raises(REFUSED):
        await bench.call(ann, "hosts.get", {"id": "web"})
    both = [{"id": ann.user_id}, {"id": "bob"}, {"id": "ann"}]
    with pytest.raises(ObjectNotFound):
        await bench.call(
            root, "access.roles.users.add", {"id": "web team", "items": [{"id": "ann"}, {"id": "nobody"}]}, confirm="2"
        )
    assert await bench.call(root, "access.roles.users.list", {"id": "web team"}) == []
    await bench.call(root, "access.roles.users.add", {"id": "web team", "items": both}, confirm="2")
    assert [row["username"] for row in await bench.call(root, "access.roles.users.list", {"id": "web team"})] == [
        "ann",
        "bob",
    ]
    assert (await bench.call(ann, "hosts.get", {"id": "web"}))["id"] == host
    await bench.call(root, "access.roles.users.remove", {"id": "web team", "items": [{"id": bob.user_id}]})
    with pytest.raises(REFUSED):
        await bench.call(bob, "hosts.get", {"id": "web"})
    renamed = await bench.call(root, "access.roles.update", {"id": made["id"], "name": "web"})
    assert renamed["name"] == "web"
    for operation, data in (
        ("access.roles.update", {"id": "@user", "name": "x"}),
        ("access.roles.delete", {"id": "@admin"}),
    ):
        with pytest.raises(FieldImmutable):
            await bench.call(root, operation, data, confirm="@admin", reason="x")
    await bench.call(root, "access.roles.delete", {"id": "web"}, confirm="web", reason="gone")
    with pytest.raises(REFUSED):
        await bench.call(ann, "hosts.get", {"id": "web"})
    with pytest.raises(EmptyList):
        await bench.call(root, "access.users.assign_roles", {"id": "ann", "items": []})


async def test_somebody_keeps_admin(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann")
    with pytest.raises(StateConflict):
        await bench.call(root, "access.users.remove_roles", {"id": "root", "items": [{"id": "@admin"}]})
    await bench.call(root, "access.users.assign_roles", {"id": "ann", "items": [{"id": "@admin"}]})
    await bench.call(root, "access.users.remove_roles", {"id": "root", "items": [{"id": "@admin"}]})
    with pytest.raises(REFUSED):
        await bench.call(root, "access.users.list")


async def test_each_flag_that_changes_is_one_record(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann")
    host = await bench.host("web")
    await bench.call(
        root,
        "access.users.grant_module",
        {
            "id": "ann",
            "items": [
                {"module_name": "host", "permissions": {"enable_host_mgmt": True, "add_host": False}},
                {"module_name": "dns", "permissions": {"enable_dns_mgmt": True}},
            ],
        },
    )
    grant = {"id": "ann", "authorizations": [{"id": "web", "permission": {"view_host": True, "edit_host": True}}]}
    assert await bench.call(root, "access.users.grant_host", grant) == {"message": "success"}
    await bench.call(root, "access.users.grant_host", grant)
    await bench.call(
        root, "access.hosts.users.update", {"id": host, "items": [{"user": "ann", "permission": {"edit_host": False}}]}
    )
    rows = [row for row in await bench.journal() if row.kind in {"module_grant", "resource_grant"}]
    assert [(row.kind, row.target_name, row.detail["perm_name"], row.detail["action"]) for row in rows] == [
        ("module_grant", "host", "enable_host_mgmt", "enable"),
        ("module_grant", "dns", "enable_dns_mgmt", "enable"),
        ("resource_grant", "web", "view_host", "enable"),
        ("resource_grant", "web", "edit_host", "enable"),
        ("resource_grant", "web", "edit_host", "disable"),
    ]
    assert {row.detail["authorized_target_name"] for row in rows} == {"ann"}
    assert all(row.actor == "root" and row.run_id for row in rows)

    page = await bench.call(root, "access.users.host_permissions", {"id": "ann", "hostname": "WE"})
    assert page["count"] == 1
    assert page["results"][0]["hostname"] == "web"
    assert [flag for flag, on in page["results"][0]["permission"].items() if on] == ["view_host"]
    people = await bench.call(root, "access.hosts.users.list", {"id": "web"})
    assert [(row["user"]["username"], row["permission"]["view_host"]) for row in people["results"]] == [("ann", True)]
    modules = await bench.call(root, "access.users.module_permissions", {"id": "ann"})
    assert [(row["module_name"], [f for f, on in row["permissions"].items() if on]) for row in modules] == [
        ("dns", ["enable_dns_mgmt"]),
        ("host", ["enable_host_mgmt"]),
    ]
    await bench.call(root, "access.hosts.users.update", {"id": "web", "items": [{"user": "ann", "action": "delete"}]})
    assert (await bench.call(root, "access.users.host_permissions", {"id": "ann"}))["count"] == 0
    verdict = await bench.call(root, "audit.verify")
    assert verdict["verdict"] == "intact"


@pytest.mark.parametrize(
    ("operation", "data", "error"),
    [
        ("access.users.grant_module", {"module_name": "host", "permissions": {"add_hots": True}}, PermissionUndefined),
        (
            "access.users.grant_module",
            {"module_name": "kitchen", "permissions": {"add_host": True}},
            PermissionUndefined,
        ),
        ("access.users.grant_module", {"items": []}, EmptyList),
        ("access.users.grant_module", {}, RequiredFieldMissing),
        (
            "access.users.grant_host",
            {"authorizations": [{"id": "web", "permission": {"view": True}}]},
            PermissionUndefined,
        ),
        (
            "access.users.grant_host",
            {"authorizations": [{"id": "moon", "permission": {"view_host": True}}]},
            ObjectNotFound,
        ),
        (
            "access.users.grant_host",
            {"authorizations": [{"id": "web", "permission": {"view_host": "yes"}}]},
            InvalidParameter,
        ),
        (
            "access.users.grant_application",
            {"authorizations": [{"id": 1, "permission": {"view_app": True}}]},
            ObjectNotFound,
        ),
    ],
)
async def test_bad_grants(small_bench: Bench, operation: str, data: dict[str, Any], error: type[ConsoleError]) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.user("ann")
    await small_bench.host("web")
    with pytest.raises(error) as refused:
        await small_bench.call(root, operation, {"id": "ann", **data})
    assert refused.value.exit_status in {2, 4}
    assert await small_bench.journal() == []


async def test_nobody_gives_what_he_does_not_hold(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    web, db = await bench.host("web"), await bench.host("db")
    boss = await bench.user(
        "boss",
        "access.grant_permission",
        "access.view_user",
        "host.add_host",
        hosts={web: "view_host", db: "view_host edit_host"},
    )
    await bench.user("ann")
    await bench.call(
        boss, "access.users.grant_module", {"id": "ann", "module_name": "host", "permissions": {"add_host": True}}
    )
    await bench.call(
        boss,
        "access.users.grant_host",
        {"id": "ann", "authorizations": [{"id": "db", "permission": {"edit_host": True}}]},
    )
    for operation, data in (
        ("access.users.grant_module", {"module_name": "vpn", "permissions": {"manage_vpn_ca": True}}),
        ("access.users.grant_host", {"authorizations": [{"id": "web", "permission": {"edit_host": True}}]}),
        ("access.users.assign_roles", {"items": [{"id": "@admin"}]}),
    ):
        with pytest.raises(PermissionGrantDenied) as refused:
            await bench.call(boss, operation, {"id": "ann", **data})
        assert refused.value.exit_status == 3
    await bench.call(root, "access.roles.create", {"name": "vpn"})
    await bench.call(
        root, "access.roles.grant_module", {"id": "vpn", "module_name": "vpn", "permissions": {"manage_vpn_ca": True}}
    )
    with pytest.raises(PermissionGrantDenied):
        await bench.call(boss, "access.roles.users.add", {"id": "vpn", "items": [{"id": "ann"}]})
    refusals = [row for row in await bench.journal() if row.result == "refused"]
    assert [row.error_code for row in refusals] == ["permission_grant_denied"] * 4
    ann = await bench.caller("ann")
    assert not ann.administrator
    assert ("vpn", "manage_vpn_ca") not in ann.rights.modules


async def test_explain(bench: Bench) -> None:
    await bench.user("root", admin=True)
    web = await bench.host("web")
    eve = await bench.user("eve", hosts={web: "view_host"})
    told = await bench.call(eve, "access.explain", {"operation": "hosts.delete", "target": "web"})
    assert (told["allowed"], told["missing"], told["who_could"]) == (False, ["host.delete_host"], ["root"])
    assert (await bench.call(eve, "access.explain", {"operation": "hosts.get", "target": "host:web"}))[
        "allowed"
    ] is True
    with pytest.raises(PermissionDenied):
        await bench.call(eve, "access.explain", {"operation": "hosts.get", "user": "root"})
    with pytest.raises(InvalidParameter):
        await bench.call(eve, "access.explain", {"operation": "hosts.get", "target": "toaster:x"})


async def test_credentials_never_come_out(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    text = key.export_private_key("pkcs8-pem", passphrase="opens the key").decode()
    made = await bench.call(
        root,
        "access.credentials.create",
        {"name": "deploy", "kind": "ssh_key", "username": "ops", "private_key": text, "passphrase": "opens the key"},
    )
    assert made["public"]["fingerprint"] == key.get_fingerprint()
    word = await bench.call(
        root,
        "access.credentials.create",
        {"name": "word", "kind": "password", "username": "ops", "password": "hidden-word"},
    )
    await bench.call(root, "access.credentials.update", {"id": "word", "name": "word 2", "password": "hidden-other"})
    await bench.host("web")
    host = await bench.call(root, "hosts.set_credential", {"id": "web", "credential": "deploy"})
    assert host["ssh_credential_id"] == made["id"]
    with pytest.raises(ObjectInUse):
        await bench.call(root, "access.credentials.delete", {"id": "deploy"}, confirm="deploy", reason="x")

    def sealed(tx: Session) -> bytes:
        return tx.exec(select(Credential.sealed).where(Credential.id == word["id"])).one()

    opened = await bench.house.unseal(await bench.database.read(sealed), context=f"credential:{word['id']}")
    assert opened == b'{"password": "hidden-other"}'
    shown = str(await bench.call(root, "access.credentials.list"))
    runs = await bench.call(root, "runs.list", {"page_size": 100})
    for run in runs["results"]:
        shown += str(await bench.call(root, "runs.get", {"id": run["id"]}))
    shown += str(await bench.call(root, "audit.records.list", {"page_size": 100}))
    everything = all_bytes(tmp_path) + shown.encode()
    for secret in ("hidden-word", "hidden-other", "opens the key", text.splitlines()[1]):
        assert secret.encode() not in everything
    with pytest.raises(ConsoleError):
        await bench.call(root, "runs.retry", {"id": runs["results"][-1]["id"]})

    for data, field in (
        ({"name": "x", "kind": "password"}, "password"),
        ({"name": "x", "kind": "password", "password": "p", "private_key": "k"}, "private_key"),
        ({"name": "x", "kind": "ssh_key", "private_key": "nonsense"}, "private_key"),
        ({"name": "x", "kind": "ssh_key", "private_key": text}, "passphrase"),
        ({"name": "x", "kind": "ssh_key", "private_key": text, "passphrase": "wrong"}, "passphrase"),
        ({"name": "word 2", "kind": "password", "password": "p"}, "name"),
    ):
        with pytest.raises(ConsoleError) as bad:
            await bench.call(root, "access.credentials.create", data)
        assert bad.value.as_json()["field"] == field
