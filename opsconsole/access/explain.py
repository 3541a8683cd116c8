"""access.explain: may he, why or why not, what is missing and who could."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlmodel import Session

from opsconsole.access.lookup import Ref, find_user
from opsconsole.access.objects import KINDS, find_object
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Needs, Subject, decide
from opsconsole.engine.errors import InvalidParameter, PermissionDenied
from opsconsole.engine.registry import Input, Json, find, read
from opsconsole.engine.users import caller_of, who_could
from opsconsole.hosts.fields import Text
from opsconsole.hosts.lookup import visible_hosts

_VIEW_USERS = Needs("access.explain", "module.access.view_user", module="access")


class Explain(Input):
    """`user` other than oneself needs view_user. `target` is a host, or `application:NAME`, `business:NAME`."""

    operation: Text
    user: Ref | None = None
    target: Annotated[str | None, Field(min_length=1, max_length=300)] = None


@read(
    "access.explain",
    summary="Explain whether a user may run an operation, why, what is missing and who could",
    permission="self",
    input=Explain,
)
async def explain(ctx: Context, query: Explain) -> Json:
    operation = find(query.operation)

    def work(tx: Session) -> Json:
        who = _person(tx, ctx, query)
        subject = _subject(tx, ctx.caller, query.target) if query.target else None
        decision = decide(who, operation.needs, subject, now=ctx.now())
        return {
            "user": who.username,
            "operation": operation.id,
            "target": subject.name if subject else None,
            "allowed": decision.allowed,
            "because": decision.because,
            "missing": list(decision.missing),
            "code": decision.code or None,
            "permission": operation.permission,
            "who_could": who_could(tx, operation.needs, subject),
        }

    return await ctx.database.read(work)


def _person(tx: Session, ctx: Context, query: Explain) -> Caller:
    if query.user is None or query.user in {ctx.caller.username, ctx.caller.user_id}:
        return ctx.caller
    if not decide(ctx.caller, _VIEW_USERS, now=ctx.now()).allowed:
        raise PermissionDenied(
            user=ctx.caller.username,
            operation="access.explain",
            on=" for somebody else",
            missing=_VIEW_USERS.permission,
            who_could=", ".join(who_could(tx, _VIEW_USERS, None)) or "nobody",
        )
    return caller_of(tx, find_user(tx, query.user, "user"))


def _subject(tx: Session, caller: Caller, target: str) -> Subject:
    word, colon, name = target.partition(":")
    if not colon or word == "host":
        return visible_hosts(tx, caller, [name if colon else target])[0].subject()
    kind = KINDS.get(word)
    if kind is None:
        raise InvalidParameter(field="target", reason=f"{word} is not one of {', '.join(KINDS)}")
    key, found = find_object(tx, caller, kind, name, "target")
    return Subject(word, found, ids=((kind.prefix, key),))
