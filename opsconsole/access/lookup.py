"""Users and roles by id or name, and how they are answered."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr
from sqlmodel import Session, SQLModel, col, select

from data.models import Role, User, UserRole
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.plan import Target
from opsconsole.engine.registry import Input, Json

Ref = StrictInt | Annotated[StrictStr, Field(min_length=1, max_length=255)]
ADMIN = "@admin"


class OneUser(Input):
    """A user by id or user name."""

    id: Ref


class OneRole(Input):
    """A role by id or name."""

    id: Ref


class Item(Input):
    id: Ref


Items = Annotated[list[Item], Field(min_length=1, max_length=1000)]


def find_user(tx: Session, ref: int | str, field: str = "id") -> User:
    user: User = _find(tx, User, User.username, ref, "user", field)
    return user


def find_role(tx: Session, ref: int | str, field: str = "id") -> Role:
    role: Role = _find(tx, Role, Role.name, ref, "role", field)
    return role


def _find(tx: Session, table: Any, name: Any, ref: int | str, entity: str, field: str) -> Any:
    """By name, else by id (a text of digits may be one); ObjectNotFound names the nearest."""
    row: SQLModel | None = None
    if isinstance(ref, str):
        row = tx.exec(select(table).where(name == ref)).one_or_none()
    if row is None and (isinstance(ref, int) or (ref.isascii() and ref.isdigit())) and 0 < int(ref) < 2**31:
        row = tx.get(table, int(ref))
    if row is None:
        names = list(tx.exec(select(name).order_by(name).limit(5000)).all())
        close = difflib.get_close_matches(str(ref), names, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(close)}?" if close else f"; see: access.{entity}s.list"
        raise ObjectNotFound(entity=entity, id=ref, hint=hint, field=field)
    return row


def roles_of(tx: Session, user_ids: Sequence[int]) -> dict[int, list[Role]]:
    """The roles of each user, by id of the role."""
    found: dict[int, list[Role]] = {user_id: [] for user_id in user_ids}
    rows = tx.exec(
        select(UserRole.user_id, Role)
        .join(Role, col(Role.id) == col(UserRole.role_id))
        .where(col(UserRole.user_id).in_(user_ids))
        .order_by(col(Role.id))
    )
    for user_id, role in rows:
        found[user_id].append(role)
    return found


def users_json(tx: Session, users: Sequence[User]) -> list[Json]:
    """User objects; never a hash."""
    roles = roles_of(tx, [user.id for user in users])
    return [
        {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "phone": user.phone,
            "full_name": user.full_name,
            "status": user.status,
            "roles": [role_json(role) for role in roles[user.id]],
            "vlans_per_user": user.vlans_per_user,
            "external_id": user.external_id,
            "domain_name": user.domain_name,
            "created_at": utc_text(user.created_at),
            "updated_at": utc_text(user.updated_at),
        }
        for user in users
    ]


def role_json(role: Role) -> Json:
    return {"id": role.id, "name": role.name, "creator": role.creator}


def user_target(user: User, before: Json | None = None, after: Json | None = None) -> Target:
    """A user as target; he is his own owner, for permissions that name `self`."""
    return Target(
        kind="user",
        id=str(user.id),
        name=user.username,
        resource=f"user:{user.id}",
        subject=Subject("user", user.username, owner_id=user.id),
        before=before or {},
        after=after or {},
    )


def role_target(role: Role, before: Json | None = None, after: Json | None = None) -> Target:
    return Target(
        kind="role",
        id=str(role.id),
        name=role.name,
        resource=f"role:{role.id}",
        subject=Subject("role", role.name),
        before=before or {},
        after=after or {},
    )
