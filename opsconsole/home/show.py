"""home.show and home.count: what needs attention here and now, and what the header must never lose sight of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlmodel import Session

from opsconsole.approvals.reads import waiting_counts
from opsconsole.engine import anchors, outbox
from opsconsole.engine.audit_verify import Anchor
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json, Nothing, read
from opsconsole.home import access, fleet, notices, people, vpn, work
from opsconsole.home.parts import NEEDING, Section
from opsconsole.tasks.timers import timekeeping


@read(
    "home.show",
    summary="Show what needs your attention, worst first, and the pulse of the installation",
    permission="self",
)
async def show(ctx: Context, query: Nothing) -> Json:
    """`sections`, each `{id, level, count, more, items}`; empty ones are left out. `needing` counts the items that are
    red, amber or unknown. Nothing is asked of any host: states are those last seen, with the time they were."""
    await ctx.house.sweep()
    await ctx.house.look_after_tasks()
    kept = await asyncio.to_thread(anchors.read_home, ctx.house.home)  # before the table, which only grows
    sections = await ctx.database.read(lambda tx: _sections(tx, ctx, kept))
    found = [section.as_json() for section in sections if section.items]
    needing = [one for section in found for one in section["items"] if one["level"] in NEEDING]
    return {
        "at": utc_text(ctx.now()),
        "needing": {level: sum(one["level"] == level for one in needing) for level in NEEDING},
        "sections": found,
    }


def _sections(tx: Session, ctx: Context, kept: Sequence[Anchor]) -> list[Section]:
    return [
        people.reviews(tx, ctx),
        people.approvals(tx, ctx),
        work.unknown_runs(tx, ctx),
        work.tasks(tx, ctx),
        work.timers(tx, ctx),
        notices.notices(tx, ctx),
        fleet.services(tx, ctx),
        fleet.hosts(tx, ctx),
        vpn.vpn(tx, ctx),
        work.leases(tx, ctx),
        access.access(tx, ctx),
        access.journal(tx, ctx, kept),
    ]


@read(
    "home.count",
    summary="Count what the header shows: what waits, open reviews, and whether anybody keeps time",
    permission="self",
)
async def count(ctx: Context, query: Nothing) -> Json:
    """That of `approvals.count`, with `timekeeper` (true, false) and `overdue`. Every open console asks this once a
    minute, so it also gets going what waits in the outbox."""

    def work(tx: Session) -> tuple[Json, bool]:
        known = timekeeping(tx, ctx.now())
        more = {"timekeeper": known["timekeeper"] is not None, "overdue": len(known["overdue"])}
        return waiting_counts(tx, ctx) | more, outbox.any_due(tx)

    answer, due = await ctx.database.read(work)
    if due:
        outbox.send_soon(ctx.house)
    return answer
