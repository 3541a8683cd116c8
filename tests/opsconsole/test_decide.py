"""Rights: grants only add, freezes only take away, the SQL twin agrees, a fresh user can do nothing."""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from data.models import (
    Application,
    ApplicationGrant,
    BusinessGrant,
    Host,
    HostGrant,
    ModuleGrant,
    Production,
    Role,
    User,
    UserRole,
)
from opsconsole.areas import AREAS
from opsconsole.engine.caller import Caller, Rights
from opsconsole.engine.decide import Needs, Subject, decide
from opsconsole.engine.permissions import ENABLE_FLAG, MODULE_FLAGS, OBJECT_KINDS, alternatives
from opsconsole.engine.registry import REGISTRY
from opsconsole.engine.users import load_caller
from opsconsole.engine.visible import visible
from tests.opsconsole.houses import Bench, object_flags

MINE = (
    "opsconsole.hosts.reads", "opsconsole.hosts.changes", "opsconsole.hosts.guards", "opsconsole.hosts.environments",
    "opsconsole.hosts.imports", "opsconsole.hosts.keys", "opsconsole.access.users", "opsconsole.access.roles",
    "opsconsole.access.grants", "opsconsole.access.authorizations", "opsconsole.access.credentials",
    "opsconsole.access.explain", "opsconsole.journal.audit", "opsconsole.journal.runs", "opsconsole.journal.leases",
)  # fmt: skip
for _module in dict.fromkeys((*AREAS, *MINE)):
    importlib.import_module(_module)

NOW = datetime(2024, 5, 6, tzinfo=UTC)
IDS = st.integers(min_value=1, max_value=3)
MODULE_GRANTS = st.sampled_from([(module, flag) for module, flags in MODULE_FLAGS.items() for flag in flags])
OBJECT_GRANTS = st.tuples(st.sampled_from(object_flags()), IDS)
PERMISSIONS = st.sampled_from(
    [f"{kind}.{flag}" for kind, flag in object_flags()]
    + [f"module.{module}.{flag}" for module, flags in MODULE_FLAGS.items() for flag in flags]
    + ["public", "self", "module.access.manage_user | self"]
)
NEEDS = st.builds(
    Needs,
    operation=st.just("x.y"),
    permission=PERMISSIONS,
    kind=st.sampled_from(["read", "write", "action", "task"]),
    danger=st.sampled_from(["none", "low", "high"]),
    module=st.sampled_from([None, *MODULE_FLAGS]),
    target_permission=st.sampled_from([None, "host.login_host"]),
)


def rights(modules: set[tuple[str, str]], objects: set[tuple[tuple[str, str], int]]) -> Rights:
    found: dict[str, dict[int, frozenset[str]]] = {kind: {} for kind in OBJECT_KINDS}
    for (kind, flag), key in objects:
        found[kind][key] = found[kind].get(key, frozenset()) | {flag}
    return Rights(frozenset(modules), found)


CALLERS = st.builds(
    lambda modules, objects, admin: Caller(
        1, "ann", roles=frozenset({"@admin"} if admin else ()), rights=rights(modules, objects)
    ),
    st.sets(MODULE_GRANTS, max_size=12),
    st.sets(OBJECT_GRANTS, max_size=6),
    st.booleans(),
)
SUBJECTS = st.none() | st.builds(
    lambda kind, key, owner: Subject(kind, "it", ids=((kind, key),), owner_id=owner),
    st.sampled_from(list(OBJECT_KINDS)),
    IDS,
    st.sampled_from([None, 1, 2]),
)


@given(CALLERS, NEEDS, SUBJECTS, MODULE_GRANTS, OBJECT_GRANTS)
def test_a_grant_never_removes_a_right(
    caller: Caller, needs: Needs, subject: Subject | None, module: tuple[str, str], extra: tuple[tuple[str, str], int]
) -> None:
    before = decide(caller, needs, subject, now=NOW).allowed
    objects = {
        ((kind, flag), key) for kind, by_id in caller.rights.objects.items() for key, fl in by_id.items() for flag in fl
    }
    more = replace(caller, rights=rights({*caller.rights.modules, module}, {*objects, extra}))
    assert decide(more, needs, subject, now=NOW).allowed >= before


@given(CALLERS, NEEDS, SUBJECTS, st.data())
def test_a_freeze_never_adds_a_right(
    caller: Caller, needs: Needs, subject: Subject | None, data: st.DataObject
) -> None:
    before = decide(caller, needs, subject, now=NOW).allowed
    frozen = caller.with_read_only("drill") if data.draw(st.booleans()) else caller
    thing = subject
    if subject is not None:
        thing = replace(
            subject,
            environment="live",
            environment_read_only=data.draw(st.booleans()),
            protected=data.draw(st.booleans()),
            maintenance_by=data.draw(st.sampled_from([None, "ann", "bob"])),
            maintenance_until=data.draw(st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)])),
        )
    after = decide(frozen, needs, thing, now=NOW)
    assert after.allowed <= before
    if needs.kind == "read":
        assert after.allowed == before


@given(NEEDS, SUBJECTS, st.sets(MODULE_GRANTS), st.sets(OBJECT_GRANTS, max_size=6))
def test_a_disabled_user_can_do_nothing(
    needs: Needs, subject: Subject | None, modules: set[tuple[str, str]], objects: set[tuple[tuple[str, str], int]]
) -> None:
    caller = Caller(1, "ann", roles=frozenset({"@admin"}), enabled=False, rights=rights(modules, objects))
    decision = decide(caller, needs, subject, now=NOW)
    assert (decision.allowed, decision.code) == (False, "user_disabled")


@given(NEEDS, SUBJECTS, CALLERS)
def test_no_says_why(needs: Needs, subject: Subject | None, caller: Caller) -> None:
    decision = decide(caller, needs, subject, now=NOW)
    assert decision.because
    if not decision.allowed and decision.code != "read_only":
        assert decision.missing


@pytest.mark.parametrize("operation", sorted(REGISTRY))
def test_every_operation_is_denied_to_a_fresh_user(operation: str) -> None:
    needs = REGISTRY[operation].needs
    fresh = Caller(7, "fresh")
    others = Subject("thing", "another's", ids=(("host", 1), ("app", 1), ("business", 1)), owner_id=1)
    assert decide(fresh, needs, others, now=NOW).allowed is (needs.permission == "public")
    ways = alternatives(needs.permission)
    if "self" not in ways and "public" not in ways:
        refused = decide(fresh, needs, None, now=NOW)
        assert not refused.allowed
        assert refused.missing


@pytest.mark.parametrize("operation", sorted(REGISTRY))
def test_every_operation_names_flags_that_exist(operation: str) -> None:
    declared = REGISTRY[operation]
    for way in [*alternatives(declared.permission), *alternatives(declared.target_permission or "public")]:
        if way in {"public", "self"}:
            continue
        prefix, _, rest = way.partition(".")
        if prefix == "module":
            module, _, flag = rest.partition(".")
            assert flag in MODULE_FLAGS[module]
        else:
            assert rest in OBJECT_KINDS[prefix][1]


TABLES: dict[str, Any] = {"host": Host, "app": Application, "business": Production}
GRANTS: dict[str, tuple[Any, str]] = {
    "host": (HostGrant, "host_id"),
    "app": (ApplicationGrant, "application_id"),
    "business": (BusinessGrant, "production_id"),
}


def _objects(tx: Session) -> dict[str, list[int]]:
    """Three of each kind, made once per database."""
    if tx.exec(select(Production.id)).first() is None:
        for n in range(3):
            tx.add(Host(name=f"h{n}", host_type="PHY_HOST"))
            tx.add(Application(name=f"a{n}", full_name=f"a{n}"))
            tx.add(Production(name=f"p{n}"))
        tx.flush()
    return {kind: list(tx.exec(select(table.id).order_by(table.id)).all()) for kind, table in TABLES.items()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    enabled=st.booleans(),
    admin=st.sampled_from([False, False, False, True]),
    modules=st.sets(st.tuples(st.sampled_from(["user", "role"]), MODULE_GRANTS), max_size=6),
    grants=st.sets(st.tuples(st.sampled_from(["user", "role", "stranger", "lookalike"]), OBJECT_GRANTS), max_size=10),
)
def test_visible_says_what_decide_says(
    bench: Bench,
    enabled: bool,
    admin: bool,
    modules: set[tuple[str, tuple[str, str]]],
    grants: set[tuple[str, tuple[tuple[str, str], int]]],
) -> None:
    def work(tx: Session) -> None:
        ids = _objects(tx)
        number = len(tx.exec(select(User.id)).all())
        user = User(username=f"u{number}", status="enabled" if enabled else "disabled")
        role, stranger = Role(name=f"r{number}"), User(username=f"s{number}")
        tx.add_all([user, role, stranger])
        tx.flush()
        tx.add(UserRole(user_id=user.id, role_id=role.id))
        if admin:
            tx.add(UserRole(user_id=user.id, role_id=tx.exec(select(Role.id).where(Role.name == "@admin")).one()))
        # A role that happens to have the number of the user gives him nothing.
        holder = {"user": ("user", user.id), "role": ("role", role.id), "stranger": ("user", stranger.id)}
        holder["lookalike"] = ("role", user.id)
        switches = {("user", (module, flag)) for module, flag in ENABLE_FLAG.items()}
        for who, (module, flag) in modules | switches:
            kind, key = holder[who]
            tx.add(ModuleGrant(subject_type=kind, subject_id=key, module_name=module, flag=flag, granted_by="t"))
        for who, ((prefix, flag), position) in grants:
            kind, key = holder[who]
            table, of = GRANTS[prefix]
            row = {of: ids[prefix][position - 1]}
            tx.add(table(subject_type=kind, subject_id=key, flag=flag, granted_by="t", **row))
        tx.flush()
        caller = load_caller(tx, user.username)
        assert caller is not None
        for prefix, flag in object_flags():
            module = OBJECT_KINDS[prefix][0]
            needs = Needs("x.y", f"{prefix}.{flag}", module=module)
            seen = set(tx.exec(select(TABLES[prefix].id).where(visible(caller, needs.permission))).all())
            allowed = {
                key
                for key in ids[prefix]
                if decide(caller, needs, Subject(prefix, "it", ids=((prefix, key),)), now=NOW).allowed
            }
            assert seen == allowed, (prefix, flag)
        tx.rollback()

    bench.database.write_sync(work)


async def test_a_false_flag_on_the_user_takes_nothing_from_his_role(bench: Bench) -> None:
    """Only true flags are rows, so there is nothing that could take away."""
    host = await bench.host("web")
    await bench.user("ann", "host.add_host")

    def work(tx: Session) -> None:
        role = Role(name="viewers")
        tx.add(role)
        tx.flush()
        user = tx.exec(select(User).where(col(User.username) == "ann")).one()
        tx.add(UserRole(user_id=user.id, role_id=role.id))
        tx.add(HostGrant(subject_type="role", subject_id=role.id, host_id=host, flag="view_host", granted_by="t"))

    await bench.database.write(work)
    ann = await bench.caller("ann")
    assert (await bench.call(ann, "hosts.get", {"id": "web"}))["id"] == host
