"""Users: list, get, create, change, disable, enable."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import LoginSession, Role, User, UserRole, utc_now
from opsconsole.access import attempts, passwords
from opsconsole.access.holdings import refuse_person_beyond_own, refuse_role_beyond_own
from opsconsole.access.lookup import ADMIN, OneUser, Ref, find_role, find_user, user_target, users_json
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, ObjectNotFound, StateConflict
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, read
from opsconsole.hosts.fields import Text


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if value and (not at or not local or "." not in domain.strip(".") or any(sign.isspace() for sign in value)):
        raise ValueError("not an e-mail address")
    return value


def _phone(value: str) -> str:
    if value and not (value.lstrip("+").replace("-", "").replace(" ", "").isdigit() and value.isascii()):
        raise ValueError("digits, with + - and blanks at most")
    return value


def _login(value: str) -> str:
    if value.startswith(("@", "-")) or any(sign.isspace() or not sign.isprintable() for sign in value):
        raise ValueError("no blanks, not beginning with @ or -")
    if value.isdigit():
        raise ValueError("a name of digits alone would be taken for an id")
    return value


Email = Annotated[str, Field(max_length=254), AfterValidator(_email)]
Phone = Annotated[str, Field(max_length=32), AfterValidator(_phone)]
Login = Annotated[str, Field(min_length=1, max_length=254), AfterValidator(_login)]
Password = Annotated[SecretStr, Field(min_length=8, max_length=1024, json_schema_extra={"secret": True})]


class ListUsers(Paged):
    username: Text | None = None
    email: Text | None = None
    phone: Text | None = None
    status: Literal["enabled", "disabled"] | None = None


@read(
    "access.users.list",
    summary="List users with filters username, email, phone, status",
    permission="module.access.view_user",
    input=ListUsers,
    objects=("user",),
)
async def list_users(ctx: Context, query: ListUsers) -> Json:
    def work(tx: Session) -> Json:
        where = [
            contains(tx, column, needle)
            for column, needle in (
                (User.username, query.username),
                (User.email, query.email),
                (User.phone, query.phone),
            )
            if needle
        ]
        if query.status is not None:
            where.append(col(User.status) == query.status)
        return page_of(tx, User, where, [col(User.id)], query, lambda rows: users_json(tx, rows))

    return await ctx.database.read(work)


@read(
    "access.users.get",
    summary="Show a user",
    permission="module.access.view_user",
    input=OneUser,
    objects=("user",),
)
async def get_user(ctx: Context, query: OneUser) -> Json:
    return await ctx.database.read(lambda tx: users_json(tx, [find_user(tx, query.id)])[0])


class CreateUser(Input):
    """`username` is the operating-system login; without it the user is named by his e-mail. Without a password he can
    come in by his login only."""

    email: Annotated[Email, Field(min_length=1)]
    username: Login | None = None
    full_name: Text | None = None
    password: Password | None = None
    phone_number: Annotated[Phone | None, Field(validation_alias=AliasChoices("phone_number", "phone"))] = None
    role: Text | None = None


@change(
    "dci.users.create",
    summary="Create a user",
    permission="module.access.manage_user",
    input=CreateUser,
    objects=("user",),
)
class Create(Change[CreateUser]):
    _hash: str | None = None

    @property
    def _username(self) -> str:
        return self.input.username or self.input.email

    async def plan(self) -> Plan:
        given = self.input

        def work(tx: Session) -> None:
            self._refuse_taken(tx)
            if given.role:
                refuse_role_beyond_own(tx, self.ctx.caller, find_role(tx, given.role, "role"))

        await self.ctx.database.read(work)
        after = {"username": self._username, "email": given.email, "full_name": given.full_name, "role": given.role}
        target = Target(
            kind="user",
            id="",
            name=self._username,
            resource=f"user-name:{self._username}",
            subject=Subject("user", self._username),
            after=after | {"phone": given.phone_number},
        )
        return record_plan(
            "dci.users.create", f"create the user {self._username}", [target], given, undo="access.users.disable"
        )

    async def execute(self, target: Target) -> None:
        if self.input.password is not None:
            self._hash = await asyncio.to_thread(passwords.hashed, self.input.password.get_secret_value())

    def _refuse_taken(self, tx: Session) -> None:
        if tx.exec(select(User.id).where(User.username == self._username)).first() is not None:
            raise NameNotUnique(entity="user", name=self._username, field="username")
        if tx.exec(select(User.id).where(User.email == self.input.email)).first() is not None:
            raise NameNotUnique(entity="user", name=self.input.email, field="email")

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        self._refuse_taken(tx)
        given = self.input
        user = User(
            username=self._username,
            email=given.email,
            full_name=given.full_name or None,
            phone=given.phone_number or None,
            password_hash=self._hash,
        )
        tx.add(user)
        tx.flush()
        if given.role:
            tx.add(UserRole(user_id=user.id, role_id=find_role(tx, given.role, "role").id))
        announce(tx, "user", user.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(user.id))
        return {"id": user.id}


_NEEDED = "your present password is needed to change your e-mail"


class UpdateUser(Input):
    """`password` is one's own present one, asked for when one changes one's own e-mail."""

    id: Ref
    email: Email | None = None
    phone: Phone | None = None
    password: Annotated[SecretStr | None, Field(json_schema_extra={"secret": True})] = None


@change(
    "access.users.update",
    summary="Change email and phone of a user",
    permission="module.access.manage_user | self",
    input=UpdateUser,
    objects=("user",),
)
class Update(Change[UpdateUser]):
    async def plan(self) -> Plan:
        user = await self.ctx.database.read(lambda tx: find_user(tx, self.input.id))
        await authorise.subjects(self.ctx, find("access.users.update"), [user_target(user).subject])
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        user = find_user(tx, given.id)
        wanted: Json = {
            name: getattr(given, name) or None for name in ("email", "phone") if name in given.model_fields_set
        }
        email = wanted.get("email")
        if "email" in wanted and email != user.email:
            self._prove(tx, user)
        if email and tx.exec(select(User.id).where(User.email == email, User.id != user.id)).first() is not None:
            raise NameNotUnique(entity="user", name=email, field="email")
        before, after = difference({"email": user.email, "phone": user.phone}, wanted)
        summary = f"change the user {user.username}: {', '.join(after) or 'nothing differs'}"
        undo = "access.users.update with the values before"
        return record_plan("access.users.update", summary, [user_target(user, before, after)], given, undo=undo)

    _proof: str | None = None

    def _prove(self, tx: Session, user: User) -> None:
        """An e-mail address is a way in: whoever changes his own shows his password, another's changes only who holds
        all that he holds."""
        if user.id != self.ctx.caller.user_id:
            refuse_person_beyond_own(tx, self.ctx.caller, user.id)
        elif user.password_hash is not None:
            if self.input.password is None:
                raise InvalidParameter(field="password", reason=_NEEDED)
            self._proof = user.password_hash

    async def execute(self, target: Target) -> None:
        if self._proof is None or self.input.password is None:
            return
        name, given = target.name, self.input.password.get_secret_value()
        await self.ctx.database.write(lambda tx: attempts.take(tx, "password", name, self.ctx.now()))
        if not await asyncio.to_thread(passwords.matches, given, self._proof):
            raise InvalidParameter(field="password", reason=_NEEDED)
        await self.ctx.database.write(lambda tx: attempts.forgive(tx, "password", name))

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        user = reload_user(tx, target)
        refuse_if_changed(f"the user {user.username}", target.before, {"email": user.email, "phone": user.phone})
        for name, value in target.after.items():
            setattr(user, name, value)
        touch(tx, user)
        return users_json(tx, [user])[0]


def reload_user(tx: Session, target: Target) -> User:
    user = tx.get(User, int(target.id))
    if user is None:
        raise ObjectNotFound(entity="user", id=target.name, hint="; he was deleted in the meantime")
    return user


def touch(tx: Session, user: User) -> None:
    user.updated_at = utc_now()
    tx.add(user)
    tx.flush()
    announce(tx, "user", user.id, "updated")


def refuse_last_administrator(tx: Session, losing: set[int]) -> None:
    """Somebody enabled must keep `@admin`, or nobody could ever give a right again."""
    keep = tx.exec(
        select(User.id)
        .join(UserRole, col(UserRole.user_id) == col(User.id))
        .join(Role, col(Role.id) == col(UserRole.role_id))
        .where(Role.name == ADMIN, User.status == "enabled", col(User.id).not_in(losing))
    ).first()
    if keep is None:
        raise StateConflict("no enabled administrator would be left")


class _Switch(Change[OneUser]):
    operation: ClassVar[str]
    undo: ClassVar[str]
    verb: ClassVar[str]
    wanted: ClassVar[str]

    def check(self, tx: Session, user: User) -> None:
        """What stands in the way."""

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            user = find_user(tx, self.input.id)
            self.check(tx, user)
            before, after = difference({"status": user.status}, {"status": self.wanted})
            target = user_target(user, before, after)
            return record_plan(
                self.operation, f"{self.verb} the user {user.username}", [target], self.input, undo=self.undo
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        user = reload_user(tx, outcomes[0].target)
        self.check(tx, user)
        user.status = self.wanted
        if self.wanted == "disabled":
            for row in tx.exec(select(LoginSession).where(LoginSession.user_id == user.id)):
                tx.delete(row)
        touch(tx, user)
        return success()


@change(
    "access.users.disable",
    summary="Disable a user: he cannot sign in, his sessions and tokens stop working at once",
    permission="module.access.manage_user",
    input=OneUser,
    kind="action",
    danger="high",
    objects=("user",),
)
class Disable(_Switch):
    operation, undo, verb, wanted = "access.users.disable", "access.users.enable", "disable", "disabled"

    def check(self, tx: Session, user: User) -> None:
        if user.id == self.ctx.caller.user_id:
            raise InvalidParameter(field="id", reason="nobody disables himself")
        _refuse_above(tx, self.ctx, user)
        refuse_last_administrator(tx, {user.id})


@change(
    "access.users.enable",
    summary="Enable a user",
    permission="module.access.manage_user",
    input=OneUser,
    kind="action",
    objects=("user",),
)
class Enable(_Switch):
    operation, undo, verb, wanted = "access.users.enable", "access.users.disable", "enable", "enabled"

    def check(self, tx: Session, user: User) -> None:
        _refuse_above(tx, self.ctx, user)


def _refuse_above(tx: Session, ctx: Context, user: User) -> None:
    """An administrator is switched only by administrators."""
    roles = tx.exec(
        select(Role).join(UserRole, col(UserRole.role_id) == col(Role.id)).where(UserRole.user_id == user.id)
    )
    for role in roles:
        if role.name == ADMIN:
            refuse_role_beyond_own(tx, ctx.caller, role)
