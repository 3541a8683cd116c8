"""Who may be the second person: the short ways to an answer agree with `decide()` asked about everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from data.models import HostGrant, ModuleGrant, Role, User, UserRole
from opsconsole.engine.approvals import DEPENDS, general_objection, objection
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Needs, Subject, decide, holds, holds_everywhere
from opsconsole.engine.permissions import OBJECT_KINDS
from opsconsole.engine.users import caller_of, unfrozen, who_could_all
from tests.opsconsole.houses import Bench
from tests.opsconsole.test_decide import CALLERS, NEEDS, NOW, PERMISSIONS, SUBJECTS

THING = st.builds(
    lambda kind, key, owner: Subject(kind, "it", ids=((kind, key),), owner_id=owner),
    st.sampled_from(list(OBJECT_KINDS)),
    st.integers(min_value=1, max_value=3),
    st.sampled_from([None, 1, 2]),
)
THINGS = st.lists(THING, min_size=1, max_size=4)


def as_kept(subjects: list[Subject]) -> list[list[object]]:
    return [[s.kind, s.name, dict(s.ids), s.owner_id, s.environment] for s in subjects]


@given(CALLERS, NEEDS, THINGS, st.sampled_from([(), ("cid",), ("ann",)]))
def test_an_objection_is_what_decide_says(
    caller: Caller, needs: Needs, subjects: list[Subject], persons: tuple[str, ...]
) -> None:
    allowed = all(decide(caller, unfrozen(needs), subject, now=NOW).allowed for subject in subjects)
    said = objection(caller, needs, as_kept(subjects), persons)
    assert (said is None) == (allowed and "ann" not in persons)
    general = general_objection(caller, needs, persons)
    assert general is DEPENDS or general == said or (isinstance(general, str) and said is not None)


@given(CALLERS, NEEDS, st.sampled_from([(), ("cid",)]))
def test_no_target_is_an_objection(caller: Caller, needs: Needs, persons: tuple[str, ...]) -> None:
    assert objection(caller, needs, [], persons) is not None


@given(CALLERS, PERMISSIONS, SUBJECTS)
def test_what_holds_everywhere_holds_here(caller: Caller, permission: str, subject: Subject | None) -> None:
    if holds_everywhere(caller, permission):
        assert any(holds(caller, way.strip(), subject) for way in permission.split("|"))


PERMISSIONS_ASKED = (
    "module.service.manage_service", "host.delete_host", "host.view_host", "host.login_host", "self",
    "module.access.manage_user | self", "host.delete_host | module.audit.view_audit", "app.deploy_app", "public",
)  # fmt: skip


async def test_who_could_is_everybody_who_could(bench: Bench) -> None:
    """Nobody is left out because only those who hold something that bears on it are looked at."""
    one, two = await bench.host("h1"), await bench.host("h2")
    await bench.user("nobody")
    await bench.user("admin", admin=True)
    await bench.user("gone", admin=True, enabled=False)
    await bench.user("manager", "host.manage_host", "host.delete_host")
    await bench.user("both", hosts=dict.fromkeys((one, two), "view_host delete_host login_host"))
    await bench.user("half", hosts={one: "view_host delete_host"})
    await bench.user("services", "service.manage_service", "audit.view_audit")
    await bench.user("by_role")
    await bench.database.write(lambda tx: _role(tx, [one, two]))
    subjects = [Subject("host", f"h{key}", ids=(("host", key),), owner_id=3) for key in (one, two)]

    def everybody(tx: Session, needs: Needs, without: str) -> set[str]:
        callers = [caller_of(tx, user) for user in tx.exec(select(User))]
        able = [c for c in callers if all(decide(c, unfrozen(needs), s).allowed for s in subjects)]
        return {c.username for c in able} - {without}

    for permission in PERMISSIONS_ASKED:
        for module in (None, "host", "service"):
            for second in (None, "host.login_host"):
                needs = Needs("x.y", permission, "action", "high", module, second)
                for without in ("", "both", "admin"):
                    wanted = await bench.database.read(lambda tx, n=needs, w=without: everybody(tx, n, w))  # type: ignore[misc]
                    found = await bench.database.read(
                        lambda tx, n=needs, w=without: who_could_all(tx, n, subjects, without=[w])  # type: ignore[misc]
                    )
                    assert set(found) <= wanted
                    assert len(found) == min(len(wanted), 5)


def _role(tx: Session, hosts: list[int]) -> None:
    role = Role(name="wipers")
    tx.add(role)
    tx.flush()
    user = tx.exec(select(User).where(User.username == "by_role")).one()
    tx.add(UserRole(user_id=user.id, role_id=role.id))
    by = {"subject_type": "role", "subject_id": role.id, "granted_by": "test"}
    tx.add(ModuleGrant.model_validate({**by, "module_name": "host", "flag": "enable_host_mgmt"}))
    for host in hosts:
        for flag in ("delete_host", "login_host"):
            tx.add(HostGrant.model_validate({**by, "host_id": host, "flag": flag}))
