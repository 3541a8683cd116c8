"""cmdb.child_apps.add | remove and cmdb.required_apps.add | remove: only links, never an application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, delete

from data.feed import announce
from data.models import Application, ApplicationRequirement
from opsconsole.cmdb import graph, wanted
from opsconsole.cmdb.fields import OneOfMany, applications_json
from opsconsole.cmdb.graph import Place
from opsconsole.cmdb.lookup import (
    AppFacts,
    facts_of,
    find_application,
    find_applications,
    highest_level,
    lock_tree,
    several,
)
from opsconsole.cmdb.lookup import reload as reload_application
from opsconsole.engine import authorise
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed, success
from opsconsole.engine.registry import Change, Json, Outcome, change, find

EDIT = "app.edit_app"
Moves = list[tuple[Application, Place]]


class _Children(Change[OneOfMany]):
    """Each child is a target, since its full name changes; the parent must be editable as well."""

    audit_kind = "application"
    op_type = "update"
    operation = ""

    def summary(self, parent: Application, count: int) -> str:
        raise NotImplementedError

    def moves(self, tx: Session, parent: Application, children: Sequence[Application]) -> Moves:
        raise NotImplementedError

    async def plan(self) -> Plan:
        parent, targets, facts = await self.ctx.database.read(self._look)
        await authorise.subjects(self.ctx, find("cmdb.applications.update"), [parent.subject()])
        paths = sum(len(target.after.get("full_names", ())) for target in targets)
        return record_plan(
            self.operation,
            self._said,
            targets,
            self.input,
            undo="cmdb.applications.update with the parent before",
            level=highest_level([parent, *facts]),
            warnings=[f"{paths} full names change"] if paths > len(targets) else [],
        )

    def _look(self, tx: Session) -> tuple[AppFacts, list[Target], list[AppFacts]]:
        caller, given = self.ctx.caller, self.input
        parent = find_application(tx, caller, given.id, permission=EDIT)
        children = find_applications(tx, caller, [item.id for item in given.items])
        moves = self.moves(tx, parent, children)
        facts = facts_of(tx, children)
        self._said = self.summary(parent, len(children))
        targets = [fact.target(*_shown(tx, *move)) for fact, move in zip(facts, moves, strict=True)]
        return facts_of(tx, [parent])[0], targets, facts

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        caller, given = self.ctx.caller, self.input
        children = [reload_application(tx, outcome.target) for outcome in outcomes]
        for child, outcome in zip(children, outcomes, strict=True):
            refuse_if_changed(f"the application {outcome.target.name}", outcome.target.before, _now(tx, child))
        parent = find_application(tx, caller, given.id, permission=EDIT)
        for (child, place), outcome in zip(self.moves(tx, parent, children), outcomes, strict=True):
            _, after = _shown(tx, child, place)
            wanted.refuse_moved(outcome.target.name, dict(outcome.target.after), after)
        for child in children:
            place = self.moves(tx, parent, [child])[0][1]
            graph.move(tx, child, place)
            announce(tx, "application", child.id, "updated")
        announce(tx, "application", parent.id, "updated")
        return self.answer(tx, children)

    def answer(self, tx: Session, children: Sequence[Application]) -> Any:
        raise NotImplementedError


def _now(tx: Session, row: Application) -> Json:
    parent = tx.get(Application, row.parent_id) if row.parent_id is not None else None
    return {"full_name": row.full_name, "parent_app": parent.full_name if parent is not None else None}


def _shown(tx: Session, row: Application, place: Place) -> tuple[Json, Json]:
    parent = tx.get(Application, place.parent_id) if place.parent_id is not None else None
    after: Json = {"full_name": place.full_name, "parent_app": parent.full_name if parent is not None else None}
    before, after = difference(_now(tx, row), after)
    paths = wanted.paths_of(tx, [(row, place)])
    return before, after | ({"full_names": paths} if len(paths) > 1 else {})


@change(
    "cmdb.child_apps.add",
    summary="Link existing applications as children",
    permission=EDIT,
    input=OneOfMany,
    objects=("application",),
    bulk=True,
)
class AddChildren(_Children):
    operation = "cmdb.child_apps.add"

    def summary(self, parent: Application, count: int) -> str:
        return f"hang {several(count)} under {parent.full_name}; one that has another parent leaves it"

    def moves(self, tx: Session, parent: Application, children: Sequence[Application]) -> Moves:
        chain = [*graph.ancestors(tx, parent), parent]
        moves = [(child, graph.place_under(tx, child, parent, chain=chain)) for child in children]
        wanted.refuse_namesakes([place for _, place in moves])
        return moves

    def answer(self, tx: Session, children: Sequence[Application]) -> Any:
        return applications_json(tx, children, self.ctx.caller, self.ctx.now())


@change(
    "cmdb.child_apps.remove",
    summary="Unlink child applications",
    permission=EDIT,
    input=OneOfMany,
    objects=("application",),
    bulk=True,
)
class RemoveChildren(_Children):
    operation = "cmdb.child_apps.remove"

    def summary(self, parent: Application, count: int) -> str:
        return f"take {several(count)} from under {parent.full_name}; they become roots and none is deleted"

    def moves(self, tx: Session, parent: Application, children: Sequence[Application]) -> Moves:
        foreign = [child.full_name for child in children if child.parent_id != parent.id]
        if foreign:
            raise StateConflict(f"no children of {parent.full_name}: {', '.join(foreign[:5])}; nothing was changed")
        moves = [(child, graph.place_under(tx, child, None)) for child in children]
        wanted.refuse_namesakes([place for _, place in moves])
        return moves

    def answer(self, tx: Session, children: Sequence[Application]) -> Any:
        return success()


class _Required(Change[OneOfMany]):
    """The application that requires is the one target; what it requires is not touched."""

    audit_kind = "application"
    op_type = "update"
    operation = ""

    def after(self, tx: Session, row: Application, others: Sequence[Application], now: list[str]) -> list[str]:
        raise NotImplementedError

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        row, _, now, after = self._look(tx)
        facts = facts_of(tx, [row])[0]
        target = facts.target(*difference({"required_apps": now}, {"required_apps": after}))
        return record_plan(
            self.operation,
            f"{row.full_name} will require {several(len(after))}, {len(now)} now",
            [target],
            self.input,
            undo="cmdb.applications.update with required_apps as it was",
            level=facts.level,
        )

    def _look(self, tx: Session) -> tuple[Application, list[Application], list[str], list[str]]:
        caller, given = self.ctx.caller, self.input
        row = find_application(tx, caller, given.id, permission=EDIT)
        others = find_applications(tx, caller, [item.id for item in given.items])
        now = wanted.required_names(tx, row.id)
        return row, others, now, self.after(tx, row, others, now)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        lock_tree(tx)
        target = outcomes[0].target
        row, others, now, _ = self._look(tx)
        refuse_if_changed(f"the application {row.full_name}", target.before, {"required_apps": now})
        self.write(tx, row, others)
        row.updated_at = self.ctx.now()
        tx.add(row)
        tx.flush()
        announce(tx, "application", row.id, "updated")
        return self.answer(tx, others)

    def write(self, tx: Session, row: Application, others: Sequence[Application]) -> None:
        raise NotImplementedError

    def answer(self, tx: Session, others: Sequence[Application]) -> Any:
        return success()


@change(
    "cmdb.required_apps.add",
    summary="Link applications this one depends on",
    permission=EDIT,
    input=OneOfMany,
    objects=("application",),
    bulk=True,
)
class AddRequired(_Required):
    operation = "cmdb.required_apps.add"

    def after(self, tx: Session, row: Application, others: Sequence[Application], now: list[str]) -> list[str]:
        graph.refuse_required_circle(tx, row, others)
        return sorted({*now, *(other.full_name for other in others)})

    def write(self, tx: Session, row: Application, others: Sequence[Application]) -> None:
        have = {other for _, other in graph.required_of(tx, [row.id])}
        tx.add_all(
            [
                ApplicationRequirement(application_id=row.id, required_id=other.id)
                for other in others
                if other.id not in have
            ]
        )

    def answer(self, tx: Session, others: Sequence[Application]) -> Any:
        return applications_json(tx, others, self.ctx.caller, self.ctx.now())


@change(
    "cmdb.required_apps.remove",
    summary="Unlink applications this one depends on",
    permission=EDIT,
    input=OneOfMany,
    objects=("application",),
    bulk=True,
)
class RemoveRequired(_Required):
    operation = "cmdb.required_apps.remove"

    def after(self, tx: Session, row: Application, others: Sequence[Application], now: list[str]) -> list[str]:
        foreign = [other.full_name for other in others if other.full_name not in now]
        if foreign:
            raise StateConflict(f"{row.full_name} does not require {', '.join(foreign[:5])}; nothing was changed")
        return sorted(set(now) - {other.full_name for other in others})

    def write(self, tx: Session, row: Application, others: Sequence[Application]) -> None:
        mine, required = ApplicationRequirement.application_id, ApplicationRequirement.required_id
        tx.exec(
            delete(ApplicationRequirement).where(col(mine) == row.id, col(required).in_([other.id for other in others]))
        )
