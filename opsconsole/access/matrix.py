"""access.matrix and access.rights: who may do what on one object and why, and all that one user or role may and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session, col, or_, select

from data.models import ModuleGrant, Role, User, UserRole
from opsconsole.access.grants import find_person
from opsconsole.access.lookup import ADMIN, Ref
from opsconsole.access.objects import BUSINESSES, KINDS, Kind, find_object
from opsconsole.engine.context import Context
from opsconsole.engine.errors import InvalidParameter
from opsconsole.engine.pages import Paged, envelope
from opsconsole.engine.permissions import ENABLE_FLAG, MODULE_FLAGS, OBJECT_KINDS
from opsconsole.engine.registry import Input, Json, read
from opsconsole.hosts.fields import Text

Key = tuple[str, int]
Reasons = dict[str, list[str]]
_OWN = "granted to him"


class Matrix(Paged):
    """`kind` is host, application or business, `id` the object by id or name. Without `all` only those are listed who
    may something there; `flag` narrows to those who hold it."""

    kind: Text
    id: Ref
    flag: Text | None = None
    all: bool = False


@read(
    "access.matrix",
    summary="Show who may do what on one object, and why",
    permission="module.access.view_user",
    input=Matrix,
    objects=("host", "application", "business"),
)
async def matrix(ctx: Context, query: Matrix) -> Json:
    kind = KINDS.get(query.kind)
    if kind is None:
        raise InvalidParameter(field="kind", reason=f"{query.kind} is not one of {', '.join(KINDS)}")
    if query.flag is not None and query.flag not in kind.flags:
        raise InvalidParameter(field="flag", reason=f"{query.flag} is not one of {', '.join(kind.flags)}")

    def work(tx: Session) -> Json:
        key, name = find_object(tx, ctx.caller, kind, query.id, "id")
        rows = list(_people(tx, kind, _held(tx, kind, key), all_of_them=query.all))
        if query.flag is not None:
            rows = [row for row in rows if row["flags"][query.flag]]
        start = (query.page - 1) * query.page_size
        page = envelope(rows[start : start + query.page_size], len(rows), query)
        return {"object": {"kind": query.kind, "id": key, "name": name}, "flags": list(kind.flags), **page}

    return await ctx.database.read(work)


def _held(tx: Session, kind: Kind, key: int) -> dict[Key, set[tuple[str, str]]]:
    """What every user and role has been given that counts here: (flag, why), and the switch of the module."""
    module, _, for_all = OBJECT_KINDS[kind.prefix]
    found: dict[Key, set[tuple[str, str]]] = {}
    for word, number, flag in tx.exec(
        select(kind.grants.subject_type, kind.grants.subject_id, kind.grants.flag).where(kind.reference() == key)
    ):
        found.setdefault((word, number), set()).add((flag, ""))
    wanted = {*for_all.values(), ENABLE_FLAG[module]}
    rows = tx.exec(
        select(ModuleGrant.subject_type, ModuleGrant.subject_id, ModuleGrant.flag).where(
            ModuleGrant.module_name == module, col(ModuleGrant.flag).in_(wanted)
        )
    )
    for word, number, general in rows:
        held = found.setdefault((word, number), set())
        held |= {(flag, f"{general} of the module {module}") for flag, same in for_all.items() if same == general}
        if general == ENABLE_FLAG[module]:
            held.add((general, ""))
    return found


def _people(tx: Session, kind: Kind, held: dict[Key, set[tuple[str, str]]], *, all_of_them: bool) -> Iterable[Json]:
    roles = {role.id: role.name for role in tx.exec(select(Role))}
    counting = [number for number, name in roles.items() if ("role", number) in held or name == ADMIN]
    members: dict[int, list[int]] = {}
    for user_id, role_id in tx.exec(
        select(UserRole.user_id, UserRole.role_id).where(col(UserRole.role_id).in_(counting))
    ):
        members.setdefault(user_id, []).append(role_id)
    wanted = select(User).where(User.status == "enabled").order_by(col(User.id))
    if not all_of_them:
        ids = {number for word, number in held if word == "user"} | members.keys()
        wanted = wanted.where(col(User.id).in_(sorted(ids)))
    switch = ENABLE_FLAG[OBJECT_KINDS[kind.prefix][0]]
    for user in tx.exec(wanted):
        mine = sorted(members.get(user.id, ()))
        administrator = any(roles[role] == ADMIN for role in mine)
        why: Reasons = {flag: ["administrator"] if administrator else [] for flag in (*kind.flags, switch)}
        _add(why, held.get(("user", user.id), set()), _OWN)
        for role in mine:
            _add(why, held.get(("role", role), set()), f"role {roles[role]}")
        on = bool(why.pop(switch))
        if all_of_them or any(why.values()):
            yield {"user": user.username, "id": user.id, "administrator": administrator, "module_on": on, "flags": why}


def _add(why: Reasons, held: set[tuple[str, str]], through: str) -> None:
    for flag, general in sorted(held):
        why[flag].append(f"{through}: {general}" if general else through)


class Rights(Input):
    """One of `user` and `role`, by id or name."""

    user: Ref | None = None
    role: Ref | None = None
    flag: Annotated[str | None, Field(max_length=100)] = None


@read(
    "access.rights",
    summary="Show all that a user or a role may, where, and by what",
    permission="module.access.view_user",
    input=Rights,
    objects=("user", "role"),
)
async def rights(ctx: Context, query: Rights) -> Json:
    if (query.user is None) == (query.role is None):
        raise InvalidParameter(field="user", reason="give either a user or a role")

    def work(tx: Session) -> Json:
        word = "user" if query.user is not None else "role"
        person: Any = find_person(tx, word, query.user if query.user is not None else query.role or "", word)
        through = {(word, person.id): "" if word == "role" else _OWN}
        roles = [person.name] if word == "role" else []
        if word == "user":
            mine = select(Role).join(UserRole, col(UserRole.role_id) == col(Role.id))
            for role in tx.exec(mine.where(UserRole.user_id == person.id).order_by(col(Role.id))):
                through["role", role.id] = f"role {role.name}"
                roles.append(role.name)
        found = [*_module_rights(tx, through), *_object_rights(tx, through)]
        return {
            word: person.username if word == "user" else person.name,
            "roles": roles,
            "administrator": ADMIN in roles,
            "rights": [row for row in found if query.flag is None or row["flag"] == query.flag],
        }

    return await ctx.database.read(work)


def _mine(table: Any, through: dict[Key, str]) -> Any:
    return or_(*((table.subject_type == word) & (table.subject_id == number) for word, number in through))


def _module_rights(tx: Session, through: dict[Key, str]) -> list[Json]:
    order = {(module, flag): n for n, (module, flag) in enumerate((m, f) for m, fs in MODULE_FLAGS.items() for f in fs)}
    found: dict[tuple[str, str], Json] = {}
    for row in tx.exec(select(ModuleGrant).where(_mine(ModuleGrant, through))):
        _note(
            found, (row.module_name, row.flag), row, through, {"scope": "module", "id": None, "name": row.module_name}
        )
    return [found[key] for key in sorted(found, key=lambda key: order.get(key, len(order)))]


def _object_rights(tx: Session, through: dict[Key, str]) -> list[Json]:
    found: dict[tuple[Any, ...], Json] = {}
    for kind in KINDS.values():
        wanted = select(kind.grants, kind.names()).join(kind.table, kind.table.id == kind.reference())
        for row, name in tx.exec(wanted.where(_mine(kind.grants, through)).order_by(kind.names(), kind.grants.id)):
            scope = "product line" if kind is BUSINESSES else kind.word
            at = getattr(row, kind.of)
            _note(found, (kind.word, at, row.flag), row, through, {"scope": scope, "id": at, "name": name})
    return list(found.values())


def _note(found: dict[Any, Json], key: Any, row: Any, through: dict[Key, str], where: Json) -> None:
    entry = found.setdefault(key, {**where, "flag": row.flag, "by": [], "granted_by": []})
    entry["by"].append(through[row.subject_type, row.subject_id])
    if row.granted_by not in entry["granted_by"]:
        entry["granted_by"].append(row.granted_by)
