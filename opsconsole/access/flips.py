"""Flags given and taken: what really changes, the plan of it, the rows written, and one journal row per flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sqlmodel import Session, delete, select

from data.feed import announce
from data.models import ModuleGrant, Role, User
from opsconsole.access.holdings import refuse_beyond_own, refuse_beyond_own_on
from opsconsole.access.lookup import role_target, user_target
from opsconsole.access.objects import Kind
from opsconsole.engine.audit import Entry
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.plan import Plan
from opsconsole.engine.records import record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Json, Outcome

Person = User | Role


@dataclass(frozen=True, slots=True)
class Wish:
    """Flags of one module (`kind` None, `key` its name) or one object (`key` its id) for one user or role."""

    person: Person
    kind: Kind | None
    key: int | str
    name: str
    flags: Mapping[str, bool]

    @property
    def table(self) -> Any:
        return ModuleGrant if self.kind is None else self.kind.grants

    @property
    def of(self) -> str:
        return "module_name" if self.kind is None else self.kind.of

    def where(self) -> tuple[Any, ...]:
        return (
            self.table.subject_type == subject_type(self.person),
            self.table.subject_id == self.person.id,
            getattr(self.table, self.of) == self.key,
        )


@dataclass(frozen=True, slots=True)
class Flip:
    """One flag that really changes."""

    wish: Wish
    flag: str
    on: bool

    def label(self) -> str:
        word = "module" if self.wish.kind is None else self.wish.kind.word
        return f"{word} {self.wish.name}: {self.flag}"


def subject_type(person: Person) -> str:
    return "user" if isinstance(person, User) else "role"


def person_name(person: Person) -> str:
    return person.username if isinstance(person, User) else person.name


def held(tx: Session, wish: Wish) -> frozenset[str]:
    """The flags this person has been given there directly."""
    return frozenset(tx.exec(select(wish.table.flag).where(*wish.where())).all())


def flips_of(tx: Session, wishes: Iterable[Wish]) -> list[Flip]:
    """What differs from what is there, each flag once; the later of two wishes for one flag counts."""
    flips: dict[tuple[Any, ...], Flip] = {}
    for wish in wishes:
        present = held(tx, wish)
        for flag, on in wish.flags.items():
            key = (subject_type(wish.person), wish.person.id, wish.table, wish.key, flag)
            flips.pop(key, None)
            if on != (flag in present):
                flips[key] = Flip(wish, flag, on)
    return list(flips.values())


class GrantChange(Change[Any]):
    """Subclasses say what is wished; one target per user or role concerned."""

    operation: ClassVar[str]

    def wishes(self, tx: Session) -> list[Wish]:
        raise NotImplementedError

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        wishes = self.wishes(tx)
        for wish in wishes:
            given = [flag for flag, on in wish.flags.items() if on]
            if wish.kind is None:
                refuse_beyond_own(self.ctx.caller, ((str(wish.key), flag) for flag in given))
            else:
                refuse_beyond_own_on(self.ctx.caller, wish.kind.prefix, int(wish.key), wish.name, given)
        flips = flips_of(tx, wishes)
        people = {(subject_type(wish.person), wish.person.id): wish.person for wish in wishes}
        targets = []
        for person in people.values():
            own = [flip for flip in flips if flip.wish.person is person]
            make = user_target(person) if isinstance(person, User) else role_target(person)
            targets.append(_with_flags(make, own))
        names = ", ".join(person_name(person) for person in list(people.values())[:3])
        summary = f"change {len(flips)} permission{'s' if len(flips) != 1 else ''} of {names}"
        return record_plan(self.operation, summary, targets, self.input, undo="the same with the values before")

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        flips = flips_of(tx, self.wishes(tx))
        planned = {label: value for outcome in outcomes for label, value in outcome.target.after.items()}
        refuse_if_changed("what would be granted", planned, {flip.label(): flip.on for flip in flips})
        for flip in flips:
            _apply(tx, flip, self.ctx.caller.username)
        for word, key in sorted({(subject_type(flip.wish.person), flip.wish.person.id) for flip in flips}):
            announce(tx, word, key, "updated")
        self._flips: Sequence[Flip] = flips
        return dict(success())

    def audit_entries(self, outcomes: list[Outcome]) -> list[Entry]:
        return [_entry(self.operation, self.ctx.caller.username, flip) for flip in self._flips]


def _with_flags(target: Any, flips: list[Flip]) -> Any:
    return replace(
        target,
        before={flip.label(): not flip.on for flip in flips},
        after={flip.label(): flip.on for flip in flips},
    )


def _apply(tx: Session, flip: Flip, granted_by: str) -> None:
    wish = flip.wish
    if not flip.on:
        tx.exec(delete(wish.table).where(*wish.where(), wish.table.flag == flip.flag))
        return
    if wish.kind is not None and tx.get(wish.kind.table, wish.key) is None:
        raise ObjectNotFound(entity=wish.kind.word, id=wish.name, hint="; it was deleted in the meantime")
    row = wish.table(
        subject_type=subject_type(wish.person),
        subject_id=wish.person.id,
        flag=flip.flag,
        granted_by=granted_by,
        **{wish.of: wish.key},
    )
    tx.add(row)
    tx.flush()


def _entry(operation: str, actor: str, flip: Flip) -> Entry:
    wish, person = flip.wish, flip.wish.person
    detail: Json = {
        "perm_name": flip.flag,
        "action": "enable" if flip.on else "disable",
        "authorized_target_type": subject_type(person),
        "authorized_target_name": person_name(person),
    }
    if wish.kind is None:
        detail["module_name"] = wish.name
    else:
        detail |= {"resource_type": wish.kind.word, "resource_id": wish.key, "resource_name": wish.name}
    return Entry(
        operation=operation,
        actor=actor,
        result="done",
        kind="module_grant" if wish.kind is None else "resource_grant",
        target_kind="module" if wish.kind is None else wish.kind.word,
        target_id=str(wish.key),
        target_name=wish.name,
        detail=detail,
        before={flip.flag: not flip.on},
        after={flip.flag: flip.on},
    )
