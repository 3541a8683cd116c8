"""Finding applications and knowing them: only those the caller may see exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, text
from sqlmodel import Session, col, or_, select

from data.models import AppInstance, Application, Environment, Host
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.plan import Target
from opsconsole.engine.registry import Json
from opsconsole.engine.visible import visible
from opsconsole.hosts.lookup import LEVELS

Ref = int | str
CHUNK = 500
_NAMES_COMPARED = 2000
_TREE_LOCK = 0x6F707374


@dataclass(frozen=True, slots=True)
class AppFacts:
    """An application as plans need it. It has no environment of its own: the highest one among the hosts of its
    instances counts, and one of them that is read-only freezes it."""

    id: int
    full_name: str
    environment: str | None = None
    level: str = "dev"
    environment_read_only: bool = False
    protected: bool = False
    maintenance_by: str | None = None
    maintenance_reason: str | None = None
    maintenance_until: datetime | None = None

    @property
    def resource(self) -> str:
        """What a lease on the application is taken on."""
        return f"application:{self.id}"

    def subject(self) -> Subject:
        return Subject(
            kind="application",
            name=self.full_name,
            ids=(("app", self.id),),
            environment=self.environment,
            environment_read_only=self.environment_read_only,
            protected=self.protected,
            maintenance_by=self.maintenance_by,
            maintenance_reason=self.maintenance_reason,
            maintenance_until=self.maintenance_until,
        )

    def target(self, before: Json | None = None, after: Json | None = None, warnings: Sequence[str] = ()) -> Target:
        """This application as the target of a change of its record."""
        return Target(
            kind="application",
            id=str(self.id),
            name=self.full_name,
            resource=self.resource,
            subject=self.subject(),
            before=before or {},
            after=after or {},
            warnings=tuple(warnings),
        )


def highest_level(facts: Iterable[AppFacts]) -> str:
    return max((fact.level for fact in facts), key=LEVELS.__getitem__, default="dev")


def seen_by(caller: Caller, permission: str = "app.view_app") -> ColumnElement[bool]:
    """WHERE clause on `Application`: those he may view, and those he holds `permission` on."""
    clause = visible(caller, "app.view_app")
    return clause if permission == "app.view_app" else or_(clause, visible(caller, permission))


def as_id(ref: Ref) -> int:
    """The id a reference may mean; 0 for what fits no id column."""
    if isinstance(ref, str):
        return int(ref) if ref.isascii() and ref.isdigit() and len(ref) < 10 else 0
    return ref if 0 < ref < 2**31 else 0


def find_application(
    tx: Session, caller: Caller, ref: Ref, *, permission: str = "app.view_app", field: str = "id"
) -> Application:
    """The application with this full name or id; ObjectNotFound names the nearest visible ones."""
    return find_applications(tx, caller, [ref], permission=permission, field=field)[0]


def find_applications(
    tx: Session, caller: Caller, refs: Sequence[Ref], *, permission: str = "app.view_app", field: str = "items"
) -> list[Application]:
    """The applications meant by `refs`, each once, in that order. One that does not exist refuses the whole list."""
    found: dict[int, Application] = {}
    for start in range(0, len(refs), CHUNK):
        part = refs[start : start + CHUNK]
        names = [ref for ref in part if isinstance(ref, str)]
        ids = [number for ref in part if (number := as_id(ref))]
        asked = or_(col(Application.full_name).in_(names), col(Application.id).in_(ids))
        rows = tx.exec(select(Application).where(asked, seen_by(caller, permission))).all()
        by_name, by_id = {row.full_name: row for row in rows}, {row.id: row for row in rows}
        for ref in part:
            row = (by_name.get(ref) if isinstance(ref, str) else None) or by_id.get(as_id(ref))
            if row is None:
                hint = _nearest(tx, caller, str(ref), permission)
                raise ObjectNotFound(entity="application", id=ref, hint=hint, field=field)
            found.setdefault(row.id, row)
    return list(found.values())


def _nearest(tx: Session, caller: Caller, wrong: str, permission: str) -> str:
    seen = seen_by(caller, permission)
    query = select(Application.full_name).where(seen).order_by(col(Application.full_name)).limit(_NAMES_COMPARED)
    close = difflib.get_close_matches(wrong[:200], tx.exec(query).all(), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else "; see: cmdb applications list"


def facts_of(tx: Session, applications: Sequence[Application]) -> list[AppFacts]:
    """Facts of loaded rows; the environments of their hosts take one statement per 500 of them."""
    environments = {row.id: row for row in tx.exec(select(Environment)).all()}
    seeded = next((row for row in environments.values() if row.name == "default"), None)
    rings: dict[int, list[Environment | None]] = {}
    for start in range(0, len(applications), CHUNK):
        ids = [row.id for row in applications[start : start + CHUNK]]
        rows = tx.exec(
            select(AppInstance.application_id, Host.environment_id)
            .join(Host, col(Host.id) == col(AppInstance.host_id))
            .where(col(AppInstance.application_id).in_(ids))
            .distinct()
        )
        for application_id, environment_id in rows:
            rings.setdefault(application_id, []).append(environments.get(environment_id or 0, seeded))
    return [_facts(row, rings.get(row.id, [])) for row in applications]


def _facts(row: Application, rings: Sequence[Environment | None]) -> AppFacts:
    highest = max(rings, key=lambda ring: LEVELS[ring.level] if ring else LEVELS["prod"], default=None)
    level = highest.level if highest else ("prod" if rings else "dev")
    return AppFacts(
        id=row.id,
        full_name=row.full_name,
        environment=highest.name if highest else None,
        level=level,
        environment_read_only=any(ring is not None and ring.read_only for ring in rings),
        protected=row.protected,
        maintenance_by=row.maintenance_by,
        maintenance_reason=row.maintenance_reason,
        maintenance_until=row.maintenance_until,
    )


def lock_tree(tx: Session) -> None:
    """From here to the commit nobody else changes links or names: two moves that each look harmless may close a circle
    together. SQLite has one writer anyway."""
    if tx.get_bind().dialect.name == "postgresql":
        tx.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TREE_LOCK})


def reload(tx: Session, target: Target) -> Application:
    """The row of a planned application inside the recording transaction."""
    row = tx.get(Application, int(target.id))
    if row is None:
        raise ObjectNotFound(entity="application", id=target.name, hint="; it was deleted in the meantime", field="id")
    return row


def several(count: int, noun: str = "application") -> str:
    """`1 application`, `2 applications`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
