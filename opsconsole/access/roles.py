"""Roles: list, get, create, rename, delete, and who has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from sqlmodel import Session, col, delete, select

from data.feed import announce
from data.models import ApplicationGrant, BusinessGrant, HostGrant, ModuleGrant, Role, User, UserRole
from opsconsole.access.holdings import refuse_role_beyond_own
from opsconsole.access.lookup import (
    ADMIN,
    Items,
    OneRole,
    OneUser,
    Ref,
    find_role,
    find_user,
    role_json,
    role_target,
    roles_of,
    user_target,
    users_json,
)
from opsconsole.access.users import refuse_last_administrator, reload_user, touch
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import FieldImmutable, NameNotUnique, ObjectNotFound
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.fields import Text

_GRANTS: tuple[Any, ...] = (ModuleGrant, HostGrant, ApplicationGrant, BusinessGrant)


def _name(value: str) -> str:
    if value.startswith("@"):
        raise ValueError("@ begins the names of the built-in roles")
    if value.strip() != value or not value.isprintable() or value.isdigit():
        raise ValueError("printable, no blanks around it, not digits alone")
    return value


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_name)]


class ListRoles(Paged):
    name: Text | None = None


@read(
    "access.roles.list",
    summary="List roles with filter name",
    permission="module.access.view_role",
    input=ListRoles,
    objects=("role",),
)
async def list_roles(ctx: Context, query: ListRoles) -> Json:
    def work(tx: Session) -> Json:
        where = [contains(tx, Role.name, query.name)] if query.name else []
        return page_of(tx, Role, where, [col(Role.id)], query, lambda rows: [role_json(row) for row in rows])

    return await ctx.database.read(work)


@read("access.roles.get", summary="Show a role", permission="module.access.view_role", input=OneRole, objects=("role",))
async def get_role(ctx: Context, query: OneRole) -> Json:
    return await ctx.database.read(lambda tx: role_json(find_role(tx, query.id)))


@read(
    "access.roles.users.list",
    summary="List the users of a role",
    permission="module.access.view_role",
    input=OneRole,
    objects=("role",),
)
async def list_role_users(ctx: Context, query: OneRole) -> list[Json]:
    def work(tx: Session) -> list[Json]:
        role = find_role(tx, query.id)
        wanted = select(User).join(UserRole, col(UserRole.user_id) == col(User.id)).where(UserRole.role_id == role.id)
        return users_json(tx, tx.exec(wanted.order_by(col(User.id))).all())

    return await ctx.database.read(work)


@read(
    "access.users.roles.list",
    summary="List the roles of a user",
    permission="module.access.view_user",
    input=OneUser,
    objects=("user",),
)
async def list_user_roles(ctx: Context, query: OneUser) -> list[Json]:
    def work(tx: Session) -> list[Json]:
        user = find_user(tx, query.id)
        return [role_json(role) for role in roles_of(tx, [user.id])[user.id]]

    return await ctx.database.read(work)


class CreateRole(Input):
    name: Name


class RenameRole(Input):
    id: Ref
    name: Name


def _refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(Role.id).where(Role.name == name)).first() is not None:
        raise NameNotUnique(entity="role", name=name, field="name")


def _refuse_builtin(role: Role) -> None:
    if role.builtin:
        raise FieldImmutable(f"id: the built-in role {role.name} can be neither renamed nor deleted", field="id")


def _reload(tx: Session, target: Target) -> Role:
    role = tx.get(Role, int(target.id))
    if role is None:
        raise ObjectNotFound(entity="role", id=target.name, hint="; it was deleted in the meantime")
    return role


@change(
    "access.roles.create",
    summary="Create a role",
    permission="module.access.manage_role",
    input=CreateRole,
    objects=("role",),
)
class Create(Change[CreateRole]):
    async def plan(self) -> Plan:
        name = self.input.name
        await self.ctx.database.read(lambda tx: _refuse_taken(tx, name))
        target = Target("role", "", name, f"role-name:{name}", Subject("role", name), after={"name": name})
        return record_plan(
            "access.roles.create", f"create the role {name}", [target], self.input, undo="access.roles.delete"
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        _refuse_taken(tx, self.input.name)
        role = Role(name=self.input.name, creator=self.ctx.caller.username)
        tx.add(role)
        tx.flush()
        announce(tx, "role", role.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(role.id))
        return role_json(role)


@change(
    "access.roles.update",
    summary="Rename a role",
    permission="module.access.manage_role",
    input=RenameRole,
    objects=("role",),
)
class Rename(Change[RenameRole]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            role = find_role(tx, self.input.id)
            _refuse_builtin(role)
            before, after = difference({"name": role.name}, {"name": self.input.name})
            if after:
                _refuse_taken(tx, self.input.name)
            return record_plan(
                "access.roles.update",
                f"rename the role {role.name} to {self.input.name}",
                [role_target(role, before, after)],
                self.input,
                undo="access.roles.update with the name before",
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        role = _reload(tx, outcomes[0].target)
        refuse_if_changed(f"the role {role.name}", outcomes[0].target.before, {"name": role.name})
        role.name = self.input.name
        tx.add(role)
        tx.flush()
        announce(tx, "role", role.id, "updated")
        return role_json(role)


@change(
    "access.roles.delete",
    summary="Delete a role; its users lose what it gave them",
    permission="module.access.manage_role",
    input=OneRole,
    danger="high",
    reversible=False,
    objects=("role",),
)
class Delete(Change[OneRole]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            role = find_role(tx, self.input.id)
            _refuse_builtin(role)
            refuse_role_beyond_own(tx, self.ctx.caller, role)
            users = tx.exec(
                select(User.username)
                .join(UserRole, col(UserRole.user_id) == col(User.id))
                .where(UserRole.role_id == role.id)
                .order_by(col(User.id))
            ).all()
            return record_plan(
                "access.roles.delete",
                f"delete the role {role.name} of {len(users)} users",
                [role_target(role, role_json(role) | {"users": list(users)}, {"deleted": True})],
                self.input,
                undo=None,
                dependents=list(users)[:20],
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        role = _reload(tx, outcomes[0].target)
        for table in _GRANTS:
            tx.exec(delete(table).where(table.subject_type == "role", table.subject_id == role.id))
        tx.delete(role)
        tx.flush()
        announce(tx, "role", outcomes[0].target.id, "deleted")
        return dict(success())


class _Membership(Change[Any]):
    """Users in and out of roles: one target per user, whichever side was named."""

    operation: ClassVar[str]
    undo: ClassVar[str]
    adds: ClassVar[bool]

    def pairs(self, tx: Session) -> tuple[list[User], list[Role]]:
        """Whose membership in what."""
        raise NotImplementedError

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        users, roles = self.pairs(tx)
        users, roles = list({u.id: u for u in users}.values()), list({r.id: r for r in roles}.values())
        for role in roles:
            refuse_role_beyond_own(tx, self.ctx.caller, role)
        if not self.adds and any(role.name == ADMIN for role in roles):
            refuse_last_administrator(tx, {user.id for user in users})
        names = {role.name for role in roles}
        held = roles_of(tx, [user.id for user in users])
        targets = []
        for user in users:
            before = {role.name for role in held[user.id]}
            after = before | names if self.adds else before - names
            target = user_target(user, {"roles": sorted(before)}, {"roles": sorted(after)})
            targets.append(replace(target, work={"role_ids": [role.id for role in roles]}))
        verb = "give" if self.adds else "take"
        summary = (
            f"{verb} {', '.join(sorted(names))} {'to' if self.adds else 'from'} {_few([u.username for u in users])}"
        )
        return record_plan(self.operation, summary, targets, self.input, undo=self.undo)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        for outcome in outcomes:
            user = reload_user(tx, outcome.target)
            wanted = list(outcome.target.work["role_ids"])
            present = {role.id for role in roles_of(tx, [user.id])[user.id]}
            for role_id in wanted:
                if self.adds and role_id not in present:
                    tx.add(UserRole(user_id=user.id, role_id=role_id))
            if not self.adds:
                tx.exec(delete(UserRole).where(col(UserRole.user_id) == user.id, col(UserRole.role_id).in_(wanted)))
            touch(tx, user)
        if not self.adds:
            refuse_last_administrator(tx, set())
        return dict(success())


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


class RoleItems(Input):
    """A user, and the roles."""

    id: Ref
    items: Items


class UserItems(Input):
    """A role, and the users."""

    id: Ref
    items: Items


class _OfUser(_Membership):
    def pairs(self, tx: Session) -> tuple[list[User], list[Role]]:
        return [find_user(tx, self.input.id)], [find_role(tx, item.id, "items") for item in self.input.items]


class _OfRole(_Membership):
    def pairs(self, tx: Session) -> tuple[list[User], list[Role]]:
        return [find_user(tx, item.id, "items") for item in self.input.items], [find_role(tx, self.input.id)]


@change(
    "access.users.assign_roles",
    summary="Give roles to a user",
    permission="module.access.grant_permission",
    input=RoleItems,
    bulk=True,
    objects=("user",),
)
class AssignRoles(_OfUser):
    operation, undo, adds = "access.users.assign_roles", "access.users.remove_roles", True


@change(
    "access.users.remove_roles",
    summary="Take roles from a user",
    permission="module.access.grant_permission",
    input=RoleItems,
    bulk=True,
    objects=("user",),
)
class RemoveRoles(_OfUser):
    operation, undo, adds = "access.users.remove_roles", "access.users.assign_roles", False


@change(
    "access.roles.users.add",
    summary="Add users to a role",
    permission="module.access.grant_permission",
    input=UserItems,
    bulk=True,
    objects=("role",),
)
class AddUsers(_OfRole):
    operation, undo, adds = "access.roles.users.add", "access.roles.users.remove", True


@change(
    "access.roles.users.remove",
    summary="Remove users from a role",
    permission="module.access.grant_permission",
    input=UserItems,
    bulk=True,
    objects=("role",),
)
class RemoveUsers(_OfRole):
    operation, undo, adds = "access.roles.users.remove", "access.roles.users.add", False
