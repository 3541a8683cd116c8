"""access.sessions.*: signing in with a password for a token that lasts some hours, signing out, and who is in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr
from sqlmodel import Session, col, or_, select

from data.feed import announce
from data.models import LoginSession, User
from opsconsole.access import attempts, passwords
from opsconsole.access.lookup import Ref, find_user
from opsconsole.engine import tokens
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Needs, Subject, decide
from opsconsole.engine.errors import (
    AuthenticationFailed,
    NotSupported,
    ObjectNotFound,
    PasswordExpired,
    PermissionDenied,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.ids import uuid7
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.engine.users import administrators, who_could
from opsconsole.hosts.fields import Text

_SECRET: Any = {"secret": True}
_OTHERS = Needs("access.sessions.list", "module.access.view_user", module="access")
SOON = timedelta(days=7)
GRACE_LOGINS = 3


class Login(Input):
    """`username` may be the e-mail address. The answer's `token` goes into `--token-file`."""

    username: Annotated[Text, Field(min_length=1, validation_alias=AliasChoices("username", "email"))]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024, json_schema_extra=_SECRET)]
    otp: Annotated[SecretStr | None, Field(max_length=64, json_schema_extra=_SECRET)] = None


@dataclass(frozen=True, slots=True)
class Known:
    """What of a user is needed to check his password, free of any session."""

    id: int
    username: str
    password_hash: str | None
    enabled: bool


def known(tx: Session, name: str) -> Known | None:
    """The user of this name or e-mail address."""
    rows = tx.exec(select(User).where(or_(User.username == name, User.email == name))).all()
    row = next((row for row in rows if row.username == name), None) or next(iter(rows), None)
    return Known(row.id, row.username, row.password_hash, row.status == "enabled") if row is not None else None


async def prove(ctx: Context, user: Known | None, name: str, password: str) -> bool:
    """Whether this is his password. Tries are counted per user (TooManyAttempts), and one for somebody unknown takes
    as long as any other."""
    subject = user.username if user is not None else name
    await ctx.database.write(lambda tx: attempts.take(tx, "password", subject, ctx.now()))
    stored = user.password_hash if user is not None else None
    right = await asyncio.to_thread(passwords.matches, password, stored or passwords.NOBODYS)
    if not right or stored is None:
        return False
    await ctx.database.write(lambda tx: attempts.forgive(tx, "password", subject))
    return True


def expiry(user: User, now: datetime) -> list[Json]:
    """Warnings about a password that ends soon; spends a grace login when it has ended. PasswordExpired without one."""
    end = user.password_expires_at
    if end is None or end - now > SOON:
        return []
    if end > now:
        days = (end - now).days
        return [{"code": "password_expiring", "message": f"the password expires in {days} days", "days": days}]
    left = user.grace_logins or 0
    if left <= 0:
        raise PasswordExpired()
    user.grace_logins = left - 1
    message = f"the password has expired; {left - 1} more logins are possible"
    return [{"code": "password_grace_logins", "message": message, "grace_logins": left - 1}]


@change(
    "access.sessions.login",
    summary="Sign in to the console",
    permission="public",
    input=Login,
    kind="action",
    danger="none",
)
class SignIn(Change[Login]):
    _user: Known

    async def plan(self) -> Plan:
        given = self.input
        if given.otp is not None:
            raise NotSupported(what="a second factor", reason="users of this console have none", field="otp")
        subject = Subject("user", given.username)
        target = Target("user", "", given.username, f"login:{uuid7()}", subject)
        summary = f"sign in as {given.username}"
        return record_plan("access.sessions.login", summary, [target], given, undo="access.sessions.logout")

    async def execute(self, target: Target) -> None:
        given = self.input
        user = await self.ctx.database.read(lambda tx: known(tx, given.username))
        if not await prove(self.ctx, user, given.username, given.password.get_secret_value()) or user is None:
            raise AuthenticationFailed()
        if not user.enabled:
            ask = await self.ctx.database.read(administrators)
            raise UserDisabled(user=user.username, administrators=", ".join(ask) or "nobody")
        self._user = user

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now, user = self.ctx.now(), tx.get(User, self._user.id)
        if user is None or user.status != "enabled":
            raise AuthenticationFailed()
        warnings = expiry(user, now)
        value, end = tokens.made(), now + timedelta(hours=self.ctx.house.settings.session_hours)
        row = LoginSession(
            user_id=user.id, token_hash=tokens.hash_of(value), created_at=now, expires_at=end, client_ip=self._source
        )
        tx.add_all([user, row])
        tx.flush()
        announce(tx, "session", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(user.id), name=user.username)
        return {"token": value, "expires_at": utc_text(end), "user": user.username, "warnings": warnings}

    @property
    def _source(self) -> str | None:
        source = self.ctx.caller.source
        return None if source == "local" else source


class ListSessions(Input):
    """One's own; those of `user`, or of everybody with `all`, need view_user."""

    user: Ref | None = None
    all: bool = False


@read(
    "access.sessions.list",
    summary="List who is signed in by a password, and until when",
    permission="self | module.access.view_user",
    input=ListSessions,
    objects=("session",),
)
async def list_sessions(ctx: Context, query: ListSessions) -> list[Json]:
    def work(tx: Session) -> list[Json]:
        where: list[Any] = [LoginSession.expires_at > ctx.now()]
        if not query.all:
            where.append(LoginSession.user_id == _whose(tx, ctx, query.user))
        elif not decide(ctx.caller, _OTHERS, now=ctx.now()).allowed:
            raise _denied(tx, ctx)
        rows = tx.exec(
            select(LoginSession, User.username)
            .join(User, col(User.id) == col(LoginSession.user_id))
            .where(*where)
            .order_by(col(LoginSession.id))
            .limit(1000)
        )
        return [
            {
                "id": row.id,
                "user": username,
                "created_at": utc_text(row.created_at),
                "expires_at": utc_text(row.expires_at),
                "client_ip": row.client_ip,
                "current": row.token_hash == ctx.caller.token,
            }
            for row, username in rows
        ]

    return await ctx.database.read(work)


def _whose(tx: Session, ctx: Context, ref: int | str | None) -> int:
    if ref is None or ref in {ctx.caller.username, ctx.caller.user_id}:
        return ctx.caller.user_id
    if not decide(ctx.caller, _OTHERS, now=ctx.now()).allowed:
        raise _denied(tx, ctx)
    return find_user(tx, ref, "user").id


def _denied(tx: Session, ctx: Context) -> PermissionDenied:
    who = ", ".join(who_could(tx, _OTHERS, None)) or "nobody"
    return PermissionDenied(
        user=ctx.caller.username,
        operation=_OTHERS.operation,
        on=" for somebody else",
        missing=_OTHERS.permission,
        who_could=who,
    )


class Logout(Input):
    """The session of this call; with `id` another one of one's own, with `everywhere` all of them."""

    id: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    everywhere: bool = False


@change(
    "access.sessions.logout",
    summary="Sign out of the console",
    permission="self",
    input=Logout,
    kind="action",
    danger="none",
    objects=("session",),
)
class SignOut(Change[Logout]):
    async def plan(self) -> Plan:
        given, caller = self.input, self.ctx.caller

        def work(tx: Session) -> list[LoginSession]:
            mine = select(LoginSession).where(LoginSession.user_id == caller.user_id).order_by(col(LoginSession.id))
            rows = list(tx.exec(mine).all())
            if given.everywhere:
                return rows
            if given.id is not None:
                return [row for row in rows if row.id == given.id]
            return [row for row in rows if row.token_hash == caller.token]

        rows = await self.ctx.database.read(work)
        if not rows and given.id is not None:
            raise ObjectNotFound(entity="session", id=given.id, hint="; see: access sessions list", field="id")
        if not rows:
            raise StateConflict("you came in by your login and not by a session; there is nothing to sign out of")
        targets = [
            Target(
                kind="session",
                id=str(row.id),
                name=f"session {row.id}",
                resource=f"session:{row.id}",
                subject=Subject("session", f"session {row.id}", owner_id=row.user_id),
                before={"expires_at": utc_text(row.expires_at)},
                after={"expires_at": None},
            )
            for row in rows
        ]
        return record_plan("access.sessions.logout", f"sign {caller.username} out", targets, given, undo=None)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        ids = [int(outcome.target.id) for outcome in outcomes if outcome.state == "done"]
        end_sessions(tx, col(LoginSession.id).in_(ids))
        return success()


def end_sessions(tx: Session, where: Any) -> None:
    """Delete sessions; their tokens open nothing from then on."""
    for row in tx.exec(select(LoginSession).where(where)):
        announce(tx, "session", row.id, "deleted")
        tx.delete(row)
    tx.flush()
