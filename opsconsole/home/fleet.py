"""The fleet as it was last seen: states per environment with the age of the sights, and services that had failed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, case, func
from sqlmodel import Session, col, select

from data.models import SERVICES_SEEN, Environment, Host, HostObservation
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.registry import Json, find
from opsconsole.engine.visible import visible
from opsconsole.home.parts import MOST_SHOWN, Section, item

OLD: Final = timedelta(minutes=15)
"""A sight older than this says what was, not what is: the state of such a host is unknown."""
_NAMED = 5
_NEVER = "never seen"
_LEVELS = {"prod": 0, "stage": 1, "dev": 2}
_SIGHT = and_(col(HostObservation.host_id) == col(Host.id), col(HostObservation.kind) == SERVICES_SEEN)


def hosts(tx: Session, ctx: Context) -> Section:
    """One line per environment and state; `number` is how many hosts, `observed_at` the oldest sight among them."""
    section = Section("hosts")
    if not decide(ctx.caller, find("hosts.list").needs).allowed:
        return section
    old = col(HostObservation.observed_at) < ctx.now() - OLD
    seen = case((old, "old"), else_=HostObservation.state)
    state = case((col(HostObservation.state).is_(None), _NEVER), (col(HostObservation.state) == "ok", seen),
                 else_=HostObservation.state)  # fmt: skip
    columns: Any = (
        Environment.name,
        Environment.level,
        state.label("as_seen"),
        func.count(),
        func.min(HostObservation.observed_at),
    )
    query = (
        select(*columns)
        .select_from(Host)
        .outerjoin(Environment, col(Environment.id) == col(Host.environment_id))
        .outerjoin(HostObservation, _SIGHT)
        .where(visible(ctx.caller, "host.view_host"), Host.status != "offline")
        .group_by(*columns[:2], "as_seen")
    )
    found = [_state(tx, ctx, *row) for row in tx.execute(query)]
    section.add(sorted(found, key=lambda one: (_LEVELS.get(one["environment_level"] or "", 0), one["name"])))
    section.count = sum(one["number"] for one in found)
    return section


def _state(
    tx: Session, ctx: Context, environment: str | None, level: str | None, state: str, number: int, oldest: Any
) -> Json:
    if state in ("old", _NEVER):
        kind, word = "unknown", "up when last seen" if state == "old" else state
    else:
        kind, word = ("ok", "up") if state == "ok" else ("red" if level in ("prod", None) else "amber", state)
    names = [] if kind == "ok" else _names(tx, ctx, environment, state)
    return item(
        kind,
        "host",
        "",
        environment or "no environment",
        word,
        f"{number} {'host' if number == 1 else 'hosts'} {word}",
        on=[*names, f"and {number - _NAMED} more"] if number > _NAMED and names else names,
        observed_at=_aware(oldest),
        environment=environment,
        environment_level=level,
        number=number,
    )


def _aware(moment: Any) -> datetime | None:
    """The database's own minimum comes back as the column type makes it."""
    return moment if isinstance(moment, datetime) else None


def _names(tx: Session, ctx: Context, environment: str | None, state: str) -> list[str]:
    old = ctx.now() - OLD
    query = (
        select(Host.name)
        .outerjoin(Environment, col(Environment.id) == col(Host.environment_id))
        .outerjoin(HostObservation, _SIGHT)
        .where(visible(ctx.caller, "host.view_host"), Host.status != "offline", Environment.name == environment)
    )
    if state == _NEVER:
        query = query.where(col(HostObservation.state).is_(None))
    elif state == "old":
        query = query.where(HostObservation.state == "ok", HostObservation.observed_at < old)
    else:
        query = query.where(HostObservation.state == state)
    return list(tx.exec(query.order_by(col(Host.name)).limit(_NAMED)).all())


def services(tx: Session, ctx: Context) -> Section:
    """Services that were an error when their host was last seen, and on how many hosts that is not known."""
    section = Section("services")
    if not decide(ctx.caller, find("services.list").needs).allowed:
        return section
    may_see: list[Any] = [visible(ctx.caller, "host.view_host"), Host.status != "offline"]
    columns = (
        Host.id, Host.name, Environment.name, Environment.level, HostObservation.failed, HostObservation.failing,
        HostObservation.observed_at,
    )  # fmt: skip
    query: Any = (
        select(*columns)  # type: ignore[call-overload]
        .join(Host, col(Host.id) == col(HostObservation.host_id))
        .outerjoin(Environment, col(Environment.id) == col(Host.environment_id))
        .where(HostObservation.kind == SERVICES_SEEN, col(HostObservation.failed) > 0, *may_see)
        .order_by(col(HostObservation.failed).desc(), col(Host.name))
        .limit(MOST_SHOWN)
    )
    for host_id, name, environment, level, count, failing, seen in tx.execute(query):
        section.add(
            [
                item(
                    "red" if level in ("prod", None) else "amber",
                    "service",
                    f"{host_id}/{one['unit']}",
                    one["name"],
                    "failed",
                    f"{one['name']} on {name}",
                    why=one.get("why"),
                    observed_at=seen,
                    host=name,
                    environment=environment,
                    environment_level=level,
                )
                for one in failing or ()
            ],
            count,
        )
    section.items = section.items[:MOST_SHOWN]
    uncounted = (
        select(func.count())
        .select_from(HostObservation)
        .join(Host, col(Host.id) == col(HostObservation.host_id))
        .where(HostObservation.kind == SERVICES_SEEN, col(HostObservation.failed).is_(None), *may_see)
        .where(col(HostObservation.duration_ms).is_not(None))
    )
    number = tx.execute(uncounted).scalar_one()
    if number:
        what = f"on {number} hosts failed services were not counted when they were last seen"
        section.add([item("unknown", "host", "", "hosts", "not counted", what, number=number)])
    return section
