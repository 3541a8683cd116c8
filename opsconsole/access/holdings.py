"""Nobody gives what he does not hold himself: the check before every grant and every role given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, select

from data.models import ApplicationGrant, BusinessGrant, HostGrant, ModuleGrant, Role, User
from opsconsole.access.lookup import ADMIN
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Subject, holds
from opsconsole.engine.errors import PermissionGrantDenied
from opsconsole.engine.users import caller_of

_TABLES: tuple[tuple[str, Any, str], ...] = (
    ("host", HostGrant, "host_id"),
    ("app", ApplicationGrant, "application_id"),
    ("business", BusinessGrant, "production_id"),
)


def refuse_beyond_own(caller: Caller, module_flags: Iterable[tuple[str, str]]) -> None:
    """PermissionGrantDenied for the first module flag the caller does not hold."""
    for module, flag in module_flags:
        if not holds(caller, f"module.{module}.{flag}", None):
            raise PermissionGrantDenied(user=caller.username, permission=f"module.{module}.{flag}")


def refuse_beyond_own_on(caller: Caller, kind: str, object_id: int, name: str, flags: Iterable[str]) -> None:
    """The same for flags on one object (`host`, `app`, `business`)."""
    subject = Subject(kind, name, ids=((kind, object_id),))
    for flag in flags:
        if not holds(caller, f"{kind}.{flag}", subject):
            raise PermissionGrantDenied(user=caller.username, permission=f"{kind}.{flag} on {name}")


def refuse_role_beyond_own(tx: Session, caller: Caller, role: Role) -> None:
    """A role may be given (or taken) only by somebody who holds every right in it; `@admin` only by administrators."""
    if caller.administrator:
        return
    if role.name == ADMIN:
        raise PermissionGrantDenied(user=caller.username, permission=f"the role {ADMIN}")
    modules = tx.exec(
        select(ModuleGrant).where(ModuleGrant.subject_type == "role", ModuleGrant.subject_id == role.id)
    ).all()
    refuse_beyond_own(caller, ((row.module_name, row.flag) for row in modules))
    for kind, table, of in _TABLES:
        rows = tx.exec(select(table).where(col(table.subject_type) == "role", col(table.subject_id) == role.id)).all()
        for row in rows:
            object_id = getattr(row, of)
            refuse_beyond_own_on(caller, kind, object_id, f"{kind} {object_id}", [row.flag])


def refuse_person_beyond_own(tx: Session, caller: Caller, user_id: int) -> None:
    """Whoever can act as somebody (his password, his e-mail, his tokens) has his rights: so he must hold them all."""
    if caller.administrator or caller.user_id == user_id:
        return
    user = tx.get(User, user_id)
    if user is None:
        return
    other = caller_of(tx, user)
    if other.administrator:
        raise PermissionGrantDenied(user=caller.username, permission=f"what the administrator {other.username} may")
    refuse_beyond_own(caller, sorted(other.rights.modules))
    for kind, by_id in other.rights.objects.items():
        for object_id, flags in by_id.items():
            refuse_beyond_own_on(caller, kind, object_id, f"{kind} {object_id}", sorted(flags))
