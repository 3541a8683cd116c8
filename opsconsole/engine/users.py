"""Callers from the database: their roles and rights in one go, and who could do what another may not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import CompoundSelect, bindparam, case, literal_column, true, union_all
from sqlmodel import Session, col, or_, select

from data.models import ApplicationGrant, BusinessGrant, HostGrant, ModuleGrant, Role, User, UserRole
from opsconsole.engine.caller import Caller, Rights
from opsconsole.engine.decide import Needs, Subject, decide
from opsconsole.engine.permissions import OBJECT_KINDS, alternatives

ADMINISTRATORS = "@admin"
_MANY = 5
_LOOKED_AT = 500


def load_caller(tx: Session, username: str, **more: Any) -> Caller | None:
    """The caller with the union of his own and his roles' grants; None when there is no such user."""
    user = tx.exec(select(User).where(User.username == username)).one_or_none()
    return None if user is None else caller_of(tx, user, **more)


def _held(table: Any) -> Any:
    """Grants of one user, and of his roles."""
    return or_(
        (col(table.subject_type) == "user") & (col(table.subject_id) == bindparam("user_id")),
        (col(table.subject_type) == "role") & col(table.subject_id).in_(bindparam("role_ids", expanding=True)),
    )


# Asked with every call, and before every target of a task: putting them together costs more than asking.
_ROLES = (
    select(Role.id, Role.name)
    .join(UserRole, col(UserRole.role_id) == col(Role.id))
    .where(UserRole.user_id == bindparam("user_id"))
)
_MODULES = select(ModuleGrant.module_name, ModuleGrant.flag).where(_held(ModuleGrant))
_OBJECTS: CompoundSelect[Any] = union_all(
    select(literal_column("'host'"), col(HostGrant.host_id), col(HostGrant.flag)).where(_held(HostGrant)),
    select(literal_column("'app'"), col(ApplicationGrant.application_id), col(ApplicationGrant.flag)).where(
        _held(ApplicationGrant)
    ),
    select(literal_column("'business'"), col(BusinessGrant.production_id), col(BusinessGrant.flag)).where(
        _held(BusinessGrant)
    ),
)


def caller_of(tx: Session, user: User, **more: Any) -> Caller:
    roles = tx.execute(_ROLES, {"user_id": user.id}).all()
    role_ids = frozenset(role_id for role_id, _ in roles)
    return Caller(
        user_id=user.id,
        username=user.username,
        roles=frozenset(name for _, name in roles),
        role_ids=role_ids,
        enabled=user.status == "enabled",
        rights=rights_of(tx, user.id, role_ids),
        **{name: value for name, value in more.items() if value is not None},
    )


def rights_of(tx: Session, user_id: int, role_ids: frozenset[int]) -> Rights:
    whose = {"user_id": user_id, "role_ids": list(role_ids)}
    modules = frozenset((module, flag) for module, flag in tx.execute(_MODULES, whose))
    objects: dict[str, dict[int, set[str]]] = {"host": {}, "app": {}, "business": {}}
    for kind, object_id, flag in tx.execute(_OBJECTS, whose):
        objects[kind].setdefault(object_id, set()).add(flag)
    return Rights(
        modules=modules,
        objects={kind: {key: frozenset(flags) for key, flags in found.items()} for kind, found in objects.items()},
    )


def unfrozen(needs: Needs) -> Needs:
    """The same rights without the freezes: those come and go, and hold whoever acts."""
    return replace(needs, kind="read")


def administrators(tx: Session) -> list[str]:
    """Names of up to five enabled administrators: whom to ask."""
    wanted = (
        select(User.username)
        .join(UserRole, col(UserRole.user_id) == col(User.id))
        .join(Role, col(Role.id) == col(UserRole.role_id))
        .where(Role.name == ADMINISTRATORS, User.status == "enabled")
    )
    return list(tx.exec(wanted.order_by(col(User.id)).limit(_MANY)).all())


def who_could(tx: Session, needs: Needs, subject: Subject | None) -> list[str]:
    """Names of up to five enabled users who may do this to the subject, freezes aside."""
    return who_could_all(tx, needs, [subject])


def who_could_all(
    tx: Session, needs: Needs, subjects: Sequence[Subject | None], *, without: Collection[str] = ()
) -> list[str]:
    """Names of up to five enabled users who may do this to every one of the subjects, freezes aside. Only those are
    looked at who hold something that bears on it, administrators first."""
    names: list[str] = []
    wanted, asked = unfrozen(needs), list(dict.fromkeys(subjects))
    for user in tx.exec(_candidates(wanted, list(without))):
        if _may(tx, user, wanted, asked):
            names.append(user.username)
        if len(names) == _MANY:
            break
    return names


def nobody_could(
    tx: Session, needs: Needs, subjects: Sequence[Subject | None], *, without: Collection[str] = ()
) -> bool:
    """Whether it is certain that no enabled user but those `without` may do this to every subject, freezes aside. With
    more candidates than are looked at nothing is certain: False."""
    wanted, asked = unfrozen(needs), list(dict.fromkeys(subjects))
    query = _candidates(wanted, list(without))
    for most in (_MANY, _LOOKED_AT):  # mostly one of the first is enough
        candidates = tx.exec(query.limit(most)).all()
        if any(_may(tx, user, wanted, asked) for user in candidates):
            return False
        if len(candidates) < most:
            return True
    return False


def _may(tx: Session, user: User, wanted: Needs, subjects: Sequence[Subject | None]) -> bool:
    caller = caller_of(tx, user)
    return all(decide(caller, wanted, subject).allowed for subject in subjects)


def _candidates(needs: Needs, without: list[str]) -> Any:
    """Enabled users with at least one grant, of their own or of a role, of what the permission asks for."""
    has_role = select(col(UserRole.user_id)).join(Role, col(Role.id) == col(UserRole.role_id))
    administrators = has_role.where(Role.name == ADMINISTRATORS)
    found: list[Any] = [col(User.id).in_(administrators)]
    for way in alternatives(needs.permission):
        found += [true()] if way in {"self", "public"} else [_holding(*grant) for grant in _grants_of(way)]
    is_administrator = case((col(User.id).in_(administrators), 0), else_=1)
    return (
        select(User)
        .where(User.status == "enabled", col(User.username).not_in(without), or_(*found))
        .order_by(is_administrator, col(User.id))
        .limit(_LOOKED_AT)
    )


def _grants_of(way: str) -> list[tuple[Any, Any]]:
    """The grant tables with the condition under which a row of them may satisfy one permission."""
    prefix, _, rest = way.partition(".")
    if prefix == "module":
        module, _, flag = rest.partition(".")
        return [(ModuleGrant, (col(ModuleGrant.module_name) == module) & (col(ModuleGrant.flag) == flag))]
    module, _, for_all = OBJECT_KINDS[prefix]
    tables: dict[str, Any] = {"host": HostGrant, "app": ApplicationGrant, "business": BusinessGrant}
    table = tables[prefix]
    grants: list[tuple[Any, Any]] = [(table, col(table.flag) == rest)]
    if rest in for_all:
        general = (col(ModuleGrant.module_name) == module) & (col(ModuleGrant.flag) == for_all[rest])
        grants.append((ModuleGrant, general))
    return grants


def _holding(table: Any, condition: Any) -> Any:
    of_user = select(table.subject_id).where(table.subject_type == "user", condition)
    of_role = select(table.subject_id).where(table.subject_type == "role", condition)
    with_role = select(col(UserRole.user_id)).where(col(UserRole.role_id).in_(of_role))
    return or_(col(User.id).in_(of_user), col(User.id).in_(with_role))
