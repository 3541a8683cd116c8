"""cmdb.applications.impact and hosts.impact: what goes down if this goes down."""

from __future__ import annotations

from sqlmodel import Session

from opsconsole.cmdb import blast
from opsconsole.cmdb.fields import OneApplication
from opsconsole.cmdb.lookup import facts_of, find_application
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json, read
from opsconsole.hosts.fields import OneHost
from opsconsole.hosts.lookup import find_host, subject_of


@read(
    "cmdb.applications.impact",
    summary="Show what goes down if an application goes down",
    permission="app.view_app",
    input=OneApplication,
    objects=("application",),
)
async def of_application(ctx: Context, query: OneApplication) -> Json:
    """`requires`: applications that need it, each with the one `through` which; `lines`: all of it in words."""

    def work(tx: Session) -> Json:
        row = find_application(tx, ctx.caller, query.id)
        found = blast.spread(tx, (), applications=[row.id])
        words = blast.words_of(tx, ctx.caller, [facts_of(tx, [row])[0].subject()])
        return {"full_name": row.full_name, **blast.as_json(tx, ctx.caller, found), "lines": list(words)}

    return await ctx.database.read(work)


@read(
    "hosts.impact",
    summary="Show what goes down if a host goes down",
    permission="host.view_host",
    input=OneHost,
    objects=("host",),
)
async def of_host(ctx: Context, query: OneHost) -> Json:
    """`hit`: applications with instances on it; `requires`: those that need them; `lines`: all of it in words."""

    def work(tx: Session) -> Json:
        host = find_host(tx, ctx.caller, query.id)
        found = blast.spread(tx, [host.id])
        words = blast.words_of(tx, ctx.caller, [subject_of(tx, host)])
        return {"host": host.name, **blast.as_json(tx, ctx.caller, found), "lines": list(words)}

    return await ctx.database.read(work)
