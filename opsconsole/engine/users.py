"""Callers from the database: their roles and rights in one go, and who could do what another may not."""

from __future__ import annotations

from sqlmodel import Session, col, or_, select

from data.models import ApplicationGrant, BusinessGrant, HostGrant, ModuleGrant, Role, User, UserRole
from opsconsole.engine.caller import Caller, Rights
from opsconsole.engine.decide import Needs, Subject, decide

_MANY = 5


def load_caller(tx: Session, username: str, **more: str | None) -> Caller | None:
    """The caller with the union of his own and his roles' grants; None when there is no such user."""
    user = tx.exec(select(User).where(User.username == username)).one_or_none()
    return None if user is None else caller_of(tx, user, **more)


def caller_of(tx: Session, user: User, **more: str | None) -> Caller:
    roles = tx.exec(
        select(Role).join(UserRole, col(UserRole.role_id) == col(Role.id)).where(UserRole.user_id == user.id)
    ).all()
    role_ids = frozenset(role.id for role in roles)
    return Caller(
        user_id=user.id,
        username=user.username,
        roles=frozenset(role.name for role in roles),
        role_ids=role_ids,
        enabled=user.status == "enabled",
        rights=rights_of(tx, user.id, role_ids),
        **{name: value for name, value in more.items() if value is not None},
    )


def rights_of(tx: Session, user_id: int, role_ids: frozenset[int]) -> Rights:
    modules = {
        (row.module_name, row.flag)
        for row in tx.exec(
            select(ModuleGrant).where(
                or_(
                    (col(ModuleGrant.subject_type) == "user") & (col(ModuleGrant.subject_id) == user_id),
                    (col(ModuleGrant.subject_type) == "role") & col(ModuleGrant.subject_id).in_(role_ids),
                )
            )
        )
    }
    objects: dict[str, dict[int, set[str]]] = {"host": {}, "app": {}, "business": {}}
    tables = (
        ("host", HostGrant, HostGrant.host_id),
        ("app", ApplicationGrant, ApplicationGrant.application_id),
        ("business", BusinessGrant, BusinessGrant.production_id),
    )
    for kind, table, of in tables:
        rows = tx.exec(
            select(of, table.flag).where(
                or_(
                    (col(table.subject_type) == "user") & (col(table.subject_id) == user_id),
                    (col(table.subject_type) == "role") & col(table.subject_id).in_(role_ids),
                )
            )
        )
        for object_id, flag in rows:
            objects[kind].setdefault(object_id, set()).add(flag)
    return Rights(
        modules=frozenset(modules),
        objects={kind: {key: frozenset(flags) for key, flags in found.items()} for kind, found in objects.items()},
    )


def who_could(tx: Session, needs: Needs, subject: Subject | None) -> list[str]:
    """Names of up to five enabled users who may do this to the subject, freezes aside."""
    names: list[str] = []
    unfrozen = Needs(needs.operation, needs.permission, "read", needs.danger, needs.module, needs.target_permission)
    for user in tx.exec(select(User).where(User.status == "enabled").order_by(col(User.id)).limit(500)):
        if decide(caller_of(tx, user), unfrozen, subject).allowed:
            names.append(user.username)
        if len(names) == _MANY:
            break
    return names
