"""cmdb.response_persons.*: who answers for an application, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Application, ResponsePerson, User
from opsconsole.access.lookup import find_user
from opsconsole.cmdb.fields import OneApplication, PersonType, Ref
from opsconsole.cmdb.lookup import facts_of, find_application, reload
from opsconsole.engine.context import Context
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.pages import Paged, envelope
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read

EDIT = "app.edit_app"
Pair = tuple[int, str]


class ListPersons(Paged, OneApplication):
    pass


class PersonItem(Input):
    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "user"), description="user id or name")]
    type: PersonType


class UserItem(Input):
    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "user"), description="user id or name")]


class AddPersons(OneApplication):
    items: Annotated[list[PersonItem], Field(min_length=1, max_length=1000)]


class RemovePersons(OneApplication):
    items: Annotated[list[UserItem], Field(min_length=1, max_length=1000)]


def person_json(user: User, kind: str) -> Json:
    return {
        "id": user.id,
        "username": user.username,
        "name": user.full_name,
        "email": user.email,
        "mobile": user.phone,
        "type": kind,
    }


def persons_of(tx: Session, application_id: int) -> list[tuple[User, str]]:
    """Who answers for it, by user and type."""
    rows = tx.exec(
        select(User, ResponsePerson.type)
        .join(ResponsePerson, col(ResponsePerson.user_id) == col(User.id))
        .where(ResponsePerson.application_id == application_id)
        .order_by(col(User.id), col(ResponsePerson.type))
    )
    return list(rows.all())


@read(
    "cmdb.response_persons.list",
    summary="List the responsible persons of an application",
    permission="app.view_app",
    input=ListPersons,
    objects=("application",),
)
async def list_persons(ctx: Context, query: ListPersons) -> Json:
    def work(tx: Session) -> Json:
        row = find_application(tx, ctx.caller, query.id)
        found = persons_of(tx, row.id)
        start = (query.page - 1) * query.page_size
        shown = [person_json(user, kind) for user, kind in found[start : start + query.page_size]]
        return envelope(shown, len(found), query)

    return await ctx.database.read(work)


def _words(pairs: Sequence[tuple[User, str]]) -> list[str]:
    return sorted(f"{user.username} ({kind})" for user, kind in pairs)


class _Persons(Change[Any]):
    audit_kind = "application"
    op_type = "update"
    operation = ""

    def wanted(self, tx: Session, row: Application, now: list[tuple[User, str]]) -> list[tuple[User, str]]:
        raise NotImplementedError

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        row = find_application(tx, self.ctx.caller, self.input.id, permission=EDIT)
        now = persons_of(tx, row.id)
        after = self.wanted(tx, row, now)
        facts = facts_of(tx, [row])[0]
        target = facts.target(*difference({"response_persons": _words(now)}, {"response_persons": _words(after)}))
        return record_plan(
            self.operation,
            f"{row.full_name}: {len(after)} responsible persons, {len(now)} now",
            [target],
            self.input,
            undo="cmdb.response_persons.add and cmdb.response_persons.remove",
            level=facts.level,
        )

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        target = outcomes[0].target
        row = reload(tx, target)
        now = persons_of(tx, row.id)
        refuse_if_changed(f"the application {row.full_name}", target.before, {"response_persons": _words(now)})
        after = self.wanted(tx, row, now)
        have = {(user.id, kind) for user, kind in now}
        keep = {(user.id, kind) for user, kind in after}
        for user_id, kind in sorted(have - keep):
            gone = tx.get(ResponsePerson, (row.id, user_id, kind))
            if gone is not None:
                tx.delete(gone)
        tx.add_all([ResponsePerson(application_id=row.id, user_id=u, type=k) for u, k in sorted(keep - have)])
        tx.flush()
        announce(tx, "application", row.id, "updated")
        return self.answer(after)

    def answer(self, after: Sequence[tuple[User, str]]) -> Any:
        return success()


@change(
    "cmdb.response_persons.add",
    summary="Add responsible persons with a type (dev, ops, qa, pm)",
    permission=EDIT,
    input=AddPersons,
    objects=("application",),
    bulk=True,
)
class Add(_Persons):
    operation = "cmdb.response_persons.add"

    def wanted(self, tx: Session, row: Application, now: list[tuple[User, str]]) -> list[tuple[User, str]]:
        added = {(user.id, item.type): (user, item.type) for user, item in self._given(tx)}
        return list(({(user.id, kind): (user, kind) for user, kind in now} | added).values())

    def _given(self, tx: Session) -> list[tuple[User, PersonItem]]:
        return [(find_user(tx, item.id, "items"), item) for item in self.input.items]

    def answer(self, after: Sequence[tuple[User, str]]) -> Any:
        given: AddPersons = self.input
        named = {(item.id, item.type) for item in given.items}
        return [
            person_json(user, kind)
            for user, kind in after
            if {(user.id, kind), (user.username, kind), (str(user.id), kind)} & named
        ]


@change(
    "cmdb.response_persons.remove",
    summary="Remove responsible persons",
    permission=EDIT,
    input=RemovePersons,
    objects=("application",),
    bulk=True,
)
class Remove(_Persons):
    """All types of a person go."""

    operation = "cmdb.response_persons.remove"

    def wanted(self, tx: Session, row: Application, now: list[tuple[User, str]]) -> list[tuple[User, str]]:
        users = [find_user(tx, item.id, "items") for item in self.input.items]
        have = {user.id for user, _ in now}
        foreign = [user.username for user in users if user.id not in have]
        if foreign:
            raise StateConflict(f"not responsible for {row.full_name}: {', '.join(foreign[:5])}; nothing was changed")
        gone = {user.id for user in users}
        return [(user, kind) for user, kind in now if user.id not in gone]
