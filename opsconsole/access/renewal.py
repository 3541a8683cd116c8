"""A new password: by the old one, by a code that came by mail, or by a code an administrator hands over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr
from sqlmodel import Session, col, delete, select

from data.feed import announce
from data.models import LoginSession, PasswordReset, User
from opsconsole import notify
from opsconsole.access import attempts, passwords
from opsconsole.access.holdings import refuse_person_beyond_own
from opsconsole.access.lookup import OneUser, Ref, find_user, user_target
from opsconsole.access.sessions import GRACE_LOGINS, Known, end_sessions, prove
from opsconsole.access.users import Email, Password, reload_user, touch
from opsconsole.engine import authorise, tokens
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import (
    InvalidParameter,
    NotSupported,
    ObjectNotFound,
    OriginalPasswordWrong,
    StateConflict,
    TokenInvalid,
)
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find

GOOD_FOR: Final = timedelta(minutes=30)
_SECRET: Any = {"secret": True}
_MAIL = """Somebody, probably you, asked for a new password of {username} in the opsconsole on {host}.

This code sets one, once, within 30 minutes:

    {code}

    opsconsole access users reset-password

asks for it. If it was not you: nothing happens without the code; tell an administrator.
"""


class ChangePassword(Input):
    """`id` is oneself."""

    id: Ref
    original_password: Annotated[SecretStr, Field(max_length=1024, json_schema_extra=_SECRET)]
    new_password: Password


def refuse_weak(user: User, new: str) -> None:
    """Not what everybody would try first."""
    for known in (user.username, user.email):
        if known and new.casefold() == known.casefold():
            raise InvalidParameter(field="new_password", reason="not one's own name or address")


def give_password(tx: Session, user: User, hashed: str, now: datetime, days: int) -> None:
    """Store a new password: codes and sessions of before are gone, failed tries forgotten."""
    user.password_hash = hashed
    user.password_expires_at = now + timedelta(days=days) if days else None
    user.grace_logins = GRACE_LOGINS if days else None
    tx.exec(delete(PasswordReset).where(col(PasswordReset.user_id) == user.id))
    end_sessions(tx, col(LoginSession.user_id) == user.id)
    attempts.forgive(tx, "password", user.username)
    touch(tx, user)


class _NewPassword(Change[Any]):
    """Hashes the new password outside of the transaction."""

    _hash = ""

    async def hash_new(self) -> None:
        self._hash = await asyncio.to_thread(passwords.hashed, self.input.new_password.get_secret_value())

    def give(self, tx: Session, user: User) -> None:
        refuse_weak(user, self.input.new_password.get_secret_value())
        give_password(tx, user, self._hash, self.ctx.now(), self.ctx.house.settings.password_days)


@change(
    "access.users.change_password",
    summary="Change the password, original password needed",
    permission="self",
    input=ChangePassword,
    kind="action",
    objects=("user",),
)
class ChangeOwn(_NewPassword):
    _user: Known

    async def plan(self) -> Plan:
        def read(tx: Session) -> User:
            user = find_user(tx, self.input.id)
            self._user = Known(user.id, user.username, user.password_hash, user.status == "enabled")
            tx.expunge(user)
            return user

        given = self.input
        user = await self.ctx.database.read(read)
        await authorise.subjects(self.ctx, find("access.users.change_password"), [user_target(user).subject])
        refuse_weak(user, given.new_password.get_secret_value())
        if user.password_hash is None:
            raise StateConflict("you have no password yet; access.users.forget_password or an administrator gives one")
        if given.new_password.get_secret_value() == given.original_password.get_secret_value():
            raise InvalidParameter(field="new_password", reason="it is the one you have; it must be another")
        target = user_target(user, {}, {"password": "changed"})
        summary = f"change the password of {user.username}; sessions end, tokens stay"
        return record_plan("access.users.change_password", summary, [target], given, undo=None)

    async def execute(self, target: Target) -> None:
        if not await prove(self.ctx, self._user, "", self.input.original_password.get_secret_value()):
            raise OriginalPasswordWrong(field="original_password")
        await self.hash_new()

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        user = reload_user(tx, outcomes[0].target)
        if user.password_hash != self._user.password_hash:
            raise StateConflict("the password was changed by somebody else in the meantime")
        self.give(tx, user)
        return success()


def issue(tx: Session, user: User, now: datetime, issued_by: str) -> str:
    """A new code, the only one of this user; only its hash is kept."""
    tx.exec(delete(PasswordReset).where(col(PasswordReset.user_id) == user.id))
    code = tokens.made()
    tx.add(
        PasswordReset(
            user_id=user.id,
            code_hash=tokens.hash_of(code),
            issued_by=issued_by,
            created_at=now,
            expires_at=now + GOOD_FOR,
        )
    )
    tx.flush()
    return code


class Forget(Input):
    """`id` is the user by id or name, `email` his address; both must fit, and nobody is told whether they do."""

    id: Ref
    email: Annotated[Email, Field(min_length=1)]


@change(
    "access.users.forget_password",
    summary="Start a password reset through the company email",
    permission="public",
    input=Forget,
    kind="action",
)
class ForgetPassword(Change[Forget]):
    async def plan(self) -> Plan:
        if not notify.is_set(self.ctx.house):
            raise NotSupported(
                what="a reset by mail",
                reason="settings.toml names no mail_host; an administrator can help: access.users.issue_code",
            )
        name = str(self.input.id)
        target = Target("user", "", name, f"forget:{uuid7()}", Subject("user", name))
        summary = f"send {name} a code for a new password, if the address is the known one"
        return record_plan("access.users.forget_password", summary, [target], self.input, undo=None)

    async def execute(self, target: Target) -> None:
        ctx, given = self.ctx, self.input

        def take(tx: Session) -> tuple[str, str] | None:
            now = ctx.now()
            attempts.take(tx, "forget_by", f"{ctx.caller.username}@{ctx.caller.source}", now)
            attempts.take(tx, "forget", f"{given.id}", now)
            try:
                user = find_user(tx, given.id)
            except ObjectNotFound:
                return None
            if user.status != "enabled" or (user.email or "").casefold() != given.email.casefold():
                return None
            return user.username, issue(tx, user, now, "")

        made = await ctx.database.write(take)
        if made is None:
            await notify.greet(ctx.house)
            return
        import socket

        text = _MAIL.format(username=made[0], host=socket.gethostname(), code=made[1])
        await notify.deliver(ctx.house, "a code for a new password", text, [given.email])

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return success()


class Redeem(Input):
    code: Annotated[SecretStr, Field(min_length=1, max_length=200, json_schema_extra=_SECRET)]
    new_password: Password


@change(
    "access.users.reset_password",
    summary="Set a new password with a code, which is good once",
    permission="public",
    input=Redeem,
    kind="action",
)
class ResetPassword(_NewPassword):
    async def plan(self) -> Plan:
        name = "the owner of the code"
        target = Target("user", "", name, f"reset:{uuid7()}", Subject("user", name), after={"password": "changed"})
        summary = "set a new password with a code; sessions end, tokens stay"
        return record_plan("access.users.reset_password", summary, [target], self.input, undo=None)

    async def execute(self, target: Target) -> None:
        caller = self.ctx.caller
        subject = f"{caller.username}@{caller.source}"
        await self.ctx.database.write(lambda tx: attempts.take(tx, "code", subject, self.ctx.now()))
        if await self.ctx.database.read(self._reset) is None:
            raise TokenInvalid(field="code")
        await self.hash_new()

    def _reset(self, tx: Session, *, lock: bool = False) -> PasswordReset | None:
        """The row the code belongs to; `lock` keeps a second taker waiting."""
        hashed = tokens.hash_of(self.input.code.get_secret_value().strip())
        wanted = select(PasswordReset).where(
            PasswordReset.code_hash == hashed, col(PasswordReset.expires_at) > self.ctx.now()
        )
        return tx.exec(wanted.with_for_update() if lock else wanted).one_or_none()

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        reset = self._reset(tx, lock=True)
        user = tx.get(User, reset.user_id) if reset is not None else None
        if user is None or user.status != "enabled":
            raise TokenInvalid(field="code")
        self.give(tx, user)
        outcomes[0].target = replace(outcomes[0].target, id=str(user.id), name=user.username)
        return success()


@change(
    "access.users.issue_code",
    summary="Make a code with which a user sets a new password, to be handed over; it is shown this once",
    permission="module.access.manage_user",
    input=OneUser,
    kind="action",
    danger="high",
    objects=("user",),
)
class IssueCode(Change[OneUser]):
    """For where there is no mail. Whoever has the code can become that user, so only who holds all his rights may."""

    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            user = find_user(tx, self.input.id)
            refuse_person_beyond_own(tx, self.ctx.caller, user.id)
            if user.status != "enabled":
                raise StateConflict(f"{user.username} is disabled; enable him first")
            target = user_target(user, {}, {"code": "good for 30 minutes, once"})
            summary = f"make a code for a new password of {user.username}"
            return record_plan("access.users.issue_code", summary, [target], self.input, undo=None)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now, user = self.ctx.now(), reload_user(tx, outcomes[0].target)
        code = issue(tx, user, now, self.ctx.caller.username)
        announce(tx, "user", user.id, "updated")
        return {"reset_code": code, "user": user.username, "expires_at": utc_text(now + GOOD_FOR)}
