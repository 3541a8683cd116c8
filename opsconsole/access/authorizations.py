"""The same permissions seen from the host or application they are on: who has what, and changing it there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from sqlmodel import Session, col, select

from data.models import Role, User
from opsconsole.access.flips import GrantChange, Wish, held
from opsconsole.access.grants import Asked, Flags, find_person, flags_by
from opsconsole.access.lookup import Ref, role_json, users_json
from opsconsole.access.objects import APPLICATIONS, HOSTS, Kind, check_flags, find_object
from opsconsole.engine.context import Context
from opsconsole.engine.errors import RequiredFieldMissing
from opsconsole.engine.pages import page_of
from opsconsole.engine.registry import Input, Json, change, read


class _Entry(Input):
    """`update` needs `permission` and merges it; `delete` takes everything and ignores it."""

    permission: Annotated[Flags | None, Field(validation_alias=AliasChoices("permission", "permissions"))] = None
    action: Literal["update", "delete"] = "update"


class UserEntry(_Entry):
    user: Ref


class RoleEntry(_Entry):
    role: Ref


class UserEntries(Input):
    id: Ref
    items: Annotated[list[UserEntry], Field(min_length=1, max_length=1000)]


class RoleEntries(Input):
    id: Ref
    items: Annotated[list[RoleEntry], Field(min_length=1, max_length=1000)]


def _list(kind: Kind, word: str) -> None:
    people: Any = User if word == "user" else Role

    @read(
        f"access.{kind.word}s.{word}s.list",
        summary=f"List the {word}s with permissions on {_a(kind)}",
        permission=f"module.access.view_{word}",
        input=Asked,
        objects=(kind.word,),
    )
    async def list_people(ctx: Context, query: Asked) -> Json:
        def work(tx: Session) -> Json:
            key, _ = find_object(tx, ctx.caller, kind, query.id, "id")
            on = (kind.grants.subject_type == word, kind.reference() == key)

            def shape(rows: list[Any]) -> list[Json]:
                given = flags_by(tx, kind, "subject_id", [*on, kind.grants.subject_id.in_([row.id for row in rows])])
                shown = users_json(tx, rows) if word == "user" else [role_json(row) for row in rows]
                return [
                    {word: who, "permission": {flag: flag in given.get(row.id, ()) for flag in kind.flags}}
                    for row, who in zip(rows, shown, strict=True)
                ]

            where = [col(people.id).in_(select(kind.grants.subject_id).where(*on))]
            return page_of(tx, people, where, [col(people.id)], query, shape)

        return await ctx.database.read(work)


def _update(kind: Kind, word: str) -> None:
    operation = f"access.{kind.word}s.{word}s.update"

    @change(
        operation,
        summary=f"Update or delete {word} permissions on {_a(kind)}",
        permission="module.access.grant_permission",
        input=UserEntries if word == "user" else RoleEntries,
        bulk=True,
        objects=(kind.word,),
    )
    class UpdatePeople(GrantChange):
        def wishes(self, tx: Session) -> list[Wish]:
            key, name = find_object(tx, self.ctx.caller, kind, self.input.id, "id")
            found = []
            for entry in self.input.items:
                person = find_person(tx, word, getattr(entry, word), "items")
                wish = Wish(person, kind, key, name, entry.permission or {})
                if entry.action == "delete":
                    wish = Wish(person, kind, key, name, dict.fromkeys(sorted(held(tx, wish)), False))
                elif entry.permission is None:
                    raise RequiredFieldMissing(field="permission")
                check_flags(wish.flags, kind.flags, "permission")
                found.append(wish)
            return found

    UpdatePeople.operation = operation


def _a(kind: Kind) -> str:
    return "an application" if kind is APPLICATIONS else "a host"


for _kind in (HOSTS, APPLICATIONS):
    for _word in ("user", "role"):
        _list(_kind, _word)
        _update(_kind, _word)
