"""What is hit when a host or an application goes down: instances, applications and all that require them, product
lines, and the people who answer for them. Bounded, and nothing is named that the caller may not see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func
from sqlmodel import Session, col, select

from data.models import AppInstance, Application, Production, ResponsePerson, User
from opsconsole.cmdb import graph
from opsconsole.cmdb.lookup import CHUNK, seen_by
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Subject
from opsconsole.engine.plan import Target
from opsconsole.engine.registry import Json, Operation

MOST = 5000
LISTED = 60


@dataclass(slots=True)
class Blast:
    """`hit` maps an application to (instances hit, all its instances); `through` an application that only requires
    others to the one through which it is hit; `cut` is set where more than `MOST` were found."""

    hit: dict[int, tuple[int, int]] = field(default_factory=dict)
    through: dict[int, int] = field(default_factory=dict)
    cut: bool = False


def counts(operation: Operation) -> bool:
    """Whether a plan of this operation says what is hit: it acts on a machine, or it is dangerous."""
    return operation.kind in {"action", "task"} or operation.danger == "high"


def dependents(tx: Session, caller: Caller, targets: Sequence[Target]) -> tuple[str, ...]:
    """One line per application, product line and group of people that hangs on what the targets stand on."""
    return words_of(tx, caller, [target.subject for target in targets])


def words_of(tx: Session, caller: Caller, subjects: Iterable[Subject]) -> tuple[str, ...]:
    """The same for hosts, applications and instances as `decide()` knows them."""
    hosts: set[int] = set()
    pairs: set[tuple[int, int]] = set()
    applications: set[int] = set()
    for subject in subjects:
        ids = dict(subject.ids)
        if "app" in ids and "host" in ids:
            pairs.add((ids["app"], ids["host"]))
        elif "host" in ids:
            hosts.add(ids["host"])
        elif "app" in ids:
            applications.add(ids["app"])
    if not hosts and not pairs and not applications:
        return ()
    return tuple(_lines(tx, caller, spread(tx, hosts, pairs, applications), but=applications))


def spread(
    tx: Session,
    hosts: Iterable[int],
    pairs: Iterable[tuple[int, int]] = (),
    applications: Iterable[int] = (),
) -> Blast:
    """Everything that hangs on these hosts, single instances (application, host) and applications."""
    blast = Blast()
    hit: dict[int, int] = {}
    whole = set(applications)
    wanted = sorted(set(hosts))
    for start in range(0, len(wanted), CHUNK):
        rows = tx.exec(
            select(AppInstance.application_id, func.count())
            .where(col(AppInstance.host_id).in_(wanted[start : start + CHUNK]))
            .group_by(col(AppInstance.application_id))
        )
        for application_id, count in rows:
            hit[application_id] = hit.get(application_id, 0) + count
    for application_id, host_id in set(pairs):
        if host_id not in set(wanted):
            hit[application_id] = hit.get(application_id, 0) + 1
    first = sorted({*hit, *whole})
    blast.cut = len(first) > MOST
    totals = _totals(tx, first[:MOST])
    for application_id in first[:MOST]:
        all_of_it = totals.get(application_id, 0)
        blast.hit[application_id] = (all_of_it if application_id in whole else hit[application_id], all_of_it)
    _require(tx, blast)
    return blast


def _totals(tx: Session, ids: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for start in range(0, len(ids), CHUNK):
        found |= dict(
            tx.exec(
                select(AppInstance.application_id, func.count())
                .where(col(AppInstance.application_id).in_(ids[start : start + CHUNK]))
                .group_by(col(AppInstance.application_id))
            ).all()
        )
    return found


def _require(tx: Session, blast: Blast) -> None:
    """Breadth first over what requires what was hit, so that the nearest reason is the one that is named."""
    frontier = list(blast.hit)
    while frontier:
        following: list[int] = []
        for one, other in graph.required_of(tx, frontier, reverse=True):
            if other in blast.hit or other in blast.through:
                continue
            if len(blast.through) >= MOST:
                blast.cut = True
                return
            blast.through[other] = one
            following.append(other)
        frontier = following


def _visible(tx: Session, caller: Caller, ids: Sequence[int]) -> dict[int, tuple[str, int | None]]:
    found: dict[int, tuple[str, int | None]] = {}
    for start in range(0, len(ids), CHUNK):
        rows = tx.exec(
            select(Application.id, Application.full_name, Application.production_id).where(
                col(Application.id).in_(ids[start : start + CHUNK]), seen_by(caller)
            )
        )
        found |= {key: (name, line) for key, name, line in rows}
    return found


def _lines(tx: Session, caller: Caller, blast: Blast, but: set[int]) -> list[str]:
    everything = [*blast.hit, *blast.through]
    seen = _visible(tx, caller, everything)
    named: list[str] = []
    # What would be gone altogether stands before what would only be fewer, and is never what the limit leaves out.
    for key, (count, total) in sorted(blast.hit.items(), key=lambda pair: pair[1][0] < pair[1][1]):
        if key in seen and key not in but:
            named.append(f"application {seen[key][0]}: {_share(count, total)}")
    for key, cause in blast.through.items():
        if key in seen:
            named.append(f"application {seen[key][0]} requires {seen[cause][0] if cause in seen else 'one of them'}")
    lines = named[:LISTED]
    if len(named) > LISTED:
        lines.append(f"and {len(named) - LISTED} more applications")
    hidden = len(set(everything) - set(seen) - but)
    if hidden:
        lines.append(f"and {hidden} applications that you may not see")
    if blast.cut:
        lines.append(f"and more: only the first {MOST} were looked at")
    lines += _product_lines(tx, [line for _, line in seen.values() if line is not None])
    lines += _people(tx, list(seen))
    return lines


def _share(count: int, total: int) -> str:
    if count >= total:
        return "its only instance" if total == 1 else f"all of its {total} instances"
    return f"{count} of {total} instances"


def _product_lines(tx: Session, ids: Sequence[int]) -> list[str]:
    wanted = sorted(set(ids))[:CHUNK]
    rows = tx.exec(select(Production.name).where(col(Production.id).in_(wanted)).order_by(col(Production.name))).all()
    return [f"product line {name}" for name in rows]


def _people(tx: Session, ids: Sequence[int]) -> list[str]:
    """Who answers for what is hit, with what as; the ones to call."""
    people: dict[str, set[str]] = {}
    for start in range(0, len(ids), CHUNK):
        rows = tx.exec(
            select(User.username, User.full_name, User.phone, ResponsePerson.type)
            .join(ResponsePerson, col(ResponsePerson.user_id) == col(User.id))
            .where(col(ResponsePerson.application_id).in_(ids[start : start + CHUNK]))
            .distinct()
        )
        for username, full_name, phone, kind in rows:
            shown = f"{full_name} ({username})" if full_name else username
            people.setdefault(f"{shown}, {phone}" if phone else shown, set()).add(kind)
    named = [f"responsible: {name}, {' '.join(sorted(kinds))}" for name, kinds in sorted(people.items())]
    more = [f"and {len(named) - LISTED // 3} more responsible people"] if len(named) > LISTED // 3 else []
    return named[: LISTED // 3] + more


def as_json(tx: Session, caller: Caller, blast: Blast) -> Json:
    """The same for programs and the dependency view."""
    seen = _visible(tx, caller, [*blast.hit, *blast.through])
    names: Mapping[int, str] = {key: name for key, (name, _) in seen.items()}
    return {
        "hit": [
            {"id": key, "full_name": names[key], "instances": count, "of": total}
            for key, (count, total) in blast.hit.items()
            if key in names
        ],
        "requires": [
            {"id": key, "full_name": names[key], "through": names.get(cause)}
            for key, cause in blast.through.items()
            if key in names
        ],
        "hidden": len(blast.hit) + len(blast.through) - len(seen),
        "complete": not blast.cut,
    }
