"""Permissions given to users and roles, seen from the one who gets them: grant_*, *_permissions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field, StrictBool
from sqlmodel import Session, col, select

from data.models import ModuleGrant
from opsconsole.access.flips import GrantChange, Person, Wish, subject_type
from opsconsole.access.lookup import Ref, find_role, find_user
from opsconsole.access.objects import APPLICATIONS, BUSINESSES, HOSTS, Kind, check_flags, check_module, find_object
from opsconsole.engine.context import Context
from opsconsole.engine.errors import RequiredFieldMissing
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.permissions import MODULE_FLAGS
from opsconsole.engine.registry import Input, Json, change, read
from opsconsole.hosts.fields import Text

Flags = Annotated[dict[str, StrictBool], Field(min_length=1, max_length=100)]
_FLAGS_FIELD = Field(validation_alias=AliasChoices("permission", "permissions"))


class ModuleFlags(Input):
    module_name: str
    permissions: Annotated[Flags, Field(validation_alias=AliasChoices("permissions", "permission"))]


class GrantModules(Input):
    """True gives a flag, false takes it, one that is not named stays. One module may be given without a list."""

    id: Ref
    items: Annotated[list[ModuleFlags] | None, Field(min_length=1, max_length=100)] = None
    module_name: str | None = None
    permissions: Flags | None = None

    def entries(self) -> list[ModuleFlags]:
        found = list(self.items or ())
        if self.module_name is not None:
            if self.permissions is None:
                raise RequiredFieldMissing(field="permissions")
            found.append(ModuleFlags(module_name=self.module_name, permissions=self.permissions))
        if not found:
            raise RequiredFieldMissing(field="items")
        return found


class ObjectFlags(Input):
    id: Ref
    permission: Annotated[Flags, _FLAGS_FIELD]
    hostname: str | None = None
    app_name: str | None = None


class GrantObjects(Input):
    """True gives a flag, false takes it, one that is not named stays."""

    id: Ref
    authorizations: Annotated[
        list[ObjectFlags],
        Field(min_length=1, max_length=1000, validation_alias=AliasChoices("authorizations", "items")),
    ]


class Asked(Paged):
    id: Ref


class AskedHosts(Asked):
    hostname: Text | None = None


class AskedApplications(Asked):
    app_name: Text | None = None


class OnePerson(Input):
    id: Ref


def find_person(tx: Session, word: str, ref: int | str, field: str = "id") -> Person:
    return find_user(tx, ref, field) if word == "user" else find_role(tx, ref, field)


def _grant_modules(word: str) -> None:
    operation = f"access.{word}s.grant_module"

    @change(
        operation,
        summary=f"Set module permissions of a {word}",
        permission="module.access.grant_permission",
        input=GrantModules,
        bulk=True,
        objects=(word,),
    )
    class GrantModule(GrantChange):
        def wishes(self, tx: Session) -> list[Wish]:
            person = find_person(tx, word, self.input.id)
            found = []
            for entry in self.input.entries():
                check_module(entry.module_name, entry.permissions, "permissions")
                found.append(Wish(person, None, entry.module_name, entry.module_name, entry.permissions))
            return found

    GrantModule.operation = operation


def _grant_objects(word: str, kind: Kind) -> None:
    operation = f"access.{word}s.grant_{kind.word}"
    what = "product line" if kind is BUSINESSES else kind.word

    @change(
        operation,
        summary=f"Set {what} permissions of a {word}",
        permission="module.access.grant_permission",
        input=GrantObjects,
        bulk=True,
        objects=(word,),
    )
    class GrantObject(GrantChange):
        def wishes(self, tx: Session) -> list[Wish]:
            person = find_person(tx, word, self.input.id)
            found = []
            for entry in self.input.authorizations:
                check_flags(entry.permission, kind.flags, "permission")
                key, name = find_object(tx, self.ctx.caller, kind, entry.id, "authorizations")
                found.append(Wish(person, kind, key, name, entry.permission))
            return found

    GrantObject.operation = operation


def _list_modules(word: str) -> None:
    @read(
        f"access.{word}s.module_permissions",
        summary=f"List the module permissions of a {word}",
        permission=f"module.access.view_{word}",
        input=OnePerson,
        objects=(word,),
    )
    async def module_permissions(ctx: Context, query: OnePerson) -> list[Json]:
        def work(tx: Session) -> list[Json]:
            person = find_person(tx, word, query.id)
            rows = tx.exec(
                select(ModuleGrant).where(
                    ModuleGrant.subject_type == subject_type(person), ModuleGrant.subject_id == person.id
                )
            ).all()
            given: dict[str, set[str]] = {}
            for row in rows:
                given.setdefault(row.module_name, set()).add(row.flag)
            return [
                {"module_name": module, "permissions": {flag: flag in given[module] for flag in flags}}
                for module, flags in MODULE_FLAGS.items()
                if module in given
            ]

        return await ctx.database.read(work)


def _list_objects(word: str, kind: Kind, asked: type[Asked]) -> None:
    @read(
        f"access.{word}s.{kind.word}_permissions",
        summary=f"List the {kind.word} permissions of a {word}",
        permission=f"module.access.view_{word}",
        input=asked,
        objects=(word,),
    )
    async def object_permissions(ctx: Context, query: Any) -> Json:
        def work(tx: Session) -> Json:
            person = find_person(tx, word, query.id)
            mine = (kind.grants.subject_type == subject_type(person), kind.grants.subject_id == person.id)
            where: list[Any] = [col(kind.table.id).in_(select(kind.reference()).where(*mine))]
            needle = getattr(query, kind.label)
            if needle:
                where.append(contains(tx, kind.names(), needle))

            def shape(rows: list[Any]) -> list[Json]:
                given = flags_by(tx, kind, kind.of, [*mine, kind.reference().in_([row.id for row in rows])])
                return [
                    {
                        "id": row.id,
                        kind.label: getattr(row, kind.name),
                        "permission": {flag: flag in given.get(row.id, ()) for flag in kind.flags},
                    }
                    for row in rows
                ]

            return page_of(tx, kind.table, where, [col(kind.table.id)], query, shape)

        return await ctx.database.read(work)


def flags_by(tx: Session, kind: Kind, column: str, where: list[Any]) -> dict[int, set[str]]:
    """The granted flags of an object kind, by the value of `column` (the object, or `subject_id`)."""
    found: dict[int, set[str]] = {}
    for key, flag in tx.exec(select(getattr(kind.grants, column), kind.grants.flag).where(*where)):
        found.setdefault(key, set()).add(flag)
    return found


for _word in ("user", "role"):
    _grant_modules(_word)
    _list_modules(_word)
    for _kind in (HOSTS, APPLICATIONS, BUSINESSES):
        _grant_objects(_word, _kind)
    _list_objects(_word, HOSTS, AskedHosts)
    _list_objects(_word, APPLICATIONS, AskedApplications)
