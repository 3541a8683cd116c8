"""access.tokens.*: what programs identify themselves by. The value is shown once; later only its last four digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, SecretStr
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import AuthToken, User
from opsconsole.access.holdings import refuse_person_beyond_own
from opsconsole.access.lookup import Ref
from opsconsole.engine import tokens
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import InvalidParameter, NameNotUnique, ObjectNotFound
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.fields import Text

_PERMISSION = "module.access.manage_auth_token"
Name = Annotated[Text, Field(min_length=1)]
Description = Annotated[str, Field(max_length=2000)]


class ListTokens(Paged):
    """`value` is compared whole, by its hash."""

    name: Text | None = None
    value: Annotated[SecretStr | None, Field(max_length=200, json_schema_extra={"secret": True})] = None
    description: Text | None = None
    user: Text | None = None


class CreateToken(Input):
    """A token of one's own: it may what its owner may. Without `expires_at` it is good until it is deleted."""

    name: Name
    description: Description | None = None
    expires_at: AwareDatetime | None = None


class UpdateToken(Input):
    id: Ref
    name: Name | None = None
    description: Description | None = None


class OneToken(Input):
    """A token by id or name."""

    id: Ref


def tokens_json(tx: Session, rows: list[AuthToken]) -> list[Json]:
    """Token objects; `value` is no more than stars and the last four digits."""
    owners = dict(tx.exec(select(User.id, User.username).where(col(User.id).in_([row.user_id for row in rows]))).all())
    return [
        {
            "id": row.id,
            "name": row.name,
            "value": f"****{row.last_four}",
            "description": row.description,
            "creator": row.creator,
            "user": owners.get(row.user_id),
            "created_at": utc_text(row.created_at),
            "expires_at": utc_text(row.expires_at) if row.expires_at else None,
            "last_used_at": utc_text(row.last_used_at) if row.last_used_at else None,
        }
        for row in rows
    ]


def find_token(tx: Session, ref: int | str) -> AuthToken:
    row = tx.exec(select(AuthToken).where(AuthToken.name == ref)).one_or_none() if isinstance(ref, str) else None
    if row is None and (isinstance(ref, int) or (ref.isascii() and ref.isdigit())) and 0 < int(ref) < 2**31:
        row = tx.get(AuthToken, int(ref))
    if row is None:
        raise ObjectNotFound(entity="token", id=ref, hint="; see: access tokens list", field="id")
    return row


@read(
    "access.tokens.list",
    summary="List auth tokens with filters name, value, description",
    permission=_PERMISSION,
    input=ListTokens,
    objects=("token",),
)
async def list_tokens(ctx: Context, query: ListTokens) -> Json:
    def work(tx: Session) -> Json:
        where = [
            contains(tx, column, needle)
            for column, needle in ((AuthToken.name, query.name), (AuthToken.description, query.description))
            if needle
        ]
        if query.value is not None:
            where.append(col(AuthToken.value_hash) == tokens.hash_of(query.value.get_secret_value()))
        if query.user:
            where.append(col(AuthToken.user_id).in_(select(User.id).where(User.username == query.user)))
        return page_of(tx, AuthToken, where, [col(AuthToken.id)], query, lambda rows: tokens_json(tx, rows))

    return await ctx.database.read(work)


@read("access.tokens.get", summary="Show an auth token", permission=_PERMISSION, input=OneToken, objects=("token",))
async def get_token(ctx: Context, query: OneToken) -> Json:
    return await ctx.database.read(lambda tx: tokens_json(tx, [find_token(tx, query.id)])[0])


def _refuse_taken(tx: Session, name: str) -> None:
    if name.isdigit():
        raise InvalidParameter(field="name", reason="a name of digits alone would be taken for an id")
    if tx.exec(select(AuthToken.id).where(AuthToken.name == name)).first() is not None:
        raise NameNotUnique(entity="token", name=name, field="name")


@change(
    "access.tokens.create",
    summary="Create an auth token; its value is shown this once",
    permission=_PERMISSION,
    input=CreateToken,
    objects=("token",),
)
class Create(Change[CreateToken]):
    async def plan(self) -> Plan:
        given, caller = self.input, self.ctx.caller
        if given.expires_at is not None and given.expires_at <= self.ctx.now():
            raise InvalidParameter(field="expires_at", reason="it is over already")
        await self.ctx.database.read(lambda tx: _refuse_taken(tx, given.name))
        end = utc_text(given.expires_at) if given.expires_at else None
        after = {"name": given.name, "user": caller.username, "expires_at": end}
        target = Target(
            kind="token",
            id="",
            name=given.name,
            resource=f"token-name:{given.name}",
            subject=Subject("token", given.name),
            after=after,
            warnings=() if end else ("it does not expire by itself",),
        )
        summary = f"create the token {given.name}, which may all that {caller.username} may"
        return record_plan("access.tokens.create", summary, [target], given, undo="access.tokens.delete")

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        given, caller = self.input, self.ctx.caller
        _refuse_taken(tx, given.name)
        value = tokens.made()
        row = AuthToken(
            name=given.name,
            value_hash=tokens.hash_of(value),
            last_four=value[-4:],
            description=given.description or None,
            creator=caller.on_behalf or caller.username,
            user_id=caller.user_id,
            created_at=self.ctx.now(),
            expires_at=given.expires_at,
        )
        tx.add(row)
        tx.flush()
        announce(tx, "token", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        return tokens_json(tx, [row])[0] | {"value": value}


def _target(row: AuthToken, before: Json | None = None, after: Json | None = None) -> Target:
    return Target(
        "token", str(row.id), row.name, f"token:{row.id}", Subject("token", row.name), before=before or {},
        after=after or {},
    )  # fmt: skip


def _reload(tx: Session, target: Target) -> AuthToken:
    row = tx.get(AuthToken, int(target.id))
    if row is None:
        raise ObjectNotFound(entity="token", id=target.name, hint="; it was deleted in the meantime")
    return row


def _fields(row: AuthToken) -> Json:
    return {"name": row.name, "description": row.description}


@change(
    "access.tokens.update",
    summary="Change name and description of an auth token",
    permission=_PERMISSION,
    input=UpdateToken,
    objects=("token",),
)
class Update(Change[UpdateToken]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            given = self.input
            row = find_token(tx, given.id)
            refuse_person_beyond_own(tx, self.ctx.caller, row.user_id)
            wanted: Json = {name: getattr(given, name) or None for name in given.model_fields_set - {"id"}}
            if "name" in wanted and wanted["name"] is None:
                raise InvalidParameter(field="name", reason="a token must have one")
            before, after = difference(_fields(row), wanted)
            if "name" in after:
                _refuse_taken(tx, after["name"])
            return record_plan(
                "access.tokens.update",
                f"change the token {row.name}: {', '.join(after) or 'nothing differs'}",
                [_target(row, before, after)],
                given,
                undo="access.tokens.update with the values before",
            )

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        row = _reload(tx, target)
        refuse_if_changed(f"the token {row.name}", target.before, _fields(row))
        for name, value in target.after.items():
            setattr(row, name, value)
        tx.add(row)
        tx.flush()
        announce(tx, "token", row.id, "updated")
        return tokens_json(tx, [row])[0]


@change(
    "access.tokens.delete",
    summary="Delete an auth token; it opens nothing from then on",
    permission=_PERMISSION,
    input=OneToken,
    danger="high",
    reversible=False,
    objects=("token",),
)
class Delete(Change[OneToken]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_token(tx, self.input.id)
            refuse_person_beyond_own(tx, self.ctx.caller, row.user_id)
            shown = tokens_json(tx, [row])[0]
            used = shown["last_used_at"]
            warning = f"it was last used at {used}" if used else "it was never used"
            target = replace(_target(row, {"user": shown["user"]}, {"user": None}), warnings=(warning,))
            return record_plan("access.tokens.delete", f"delete the token {row.name}", [target], self.input, undo=None)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        row = _reload(tx, outcomes[0].target)
        announce(tx, "token", row.id, "deleted")
        tx.delete(row)
        tx.flush()
        return success()
