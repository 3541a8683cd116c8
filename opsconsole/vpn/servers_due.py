"""Keeping servers current without anybody at a console.

The timer looks at every server, publishes what is newer, and goes on with revocations that are not effective yet.

A list that was signed anew and never reaches its servers locks everybody out as surely as one that was not signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from data.errors import DataError
from drivers.errors import DriverError
from opsconsole.engine import audit
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.registry import Json
from opsconsole.house import House
from opsconsole.vpn.publishing import list_to_publish, loaded, publish
from opsconsole.vpn.revocation import enforce, revoked_certificates, unfinished
from opsconsole.vpn.servers import look_at_all, shown
from opsconsole.vpn.servers_alarms import alarms_of
from opsconsole.vpn.servers_look import Sight, keep, look_at, newest_number, reach
from opsconsole.vpn.servers_lookup import ServerFacts, servers_of

_PUBLISH_FOR = {"crl_behind", "crl_missing", "crl_expired", "crl_expires_soon"}
_ENFORCED_AT_ONCE = 10_000


async def keep_current(house: House) -> Json:
    """Look at every server; publish where the newest list is not; enforce what is open. Safe at any time and twice at
    once. Raises a ConsoleError, after the rest is done, that names what is still red."""
    ctx = Context(house, Caller(user_id=0, username="timer", via="task"))
    servers = await house.database.read(servers_of)
    sights = await look_at_all(ctx, servers)
    done: list[Json] = []
    for sight in sights:
        if sight.facts is not None:
            done += await _publish_one(ctx, sight)
    done += await _enforce_open(ctx, [sight.server for sight in sights if sight.facts is not None])
    red = await _still_red(ctx, servers)
    if red:
        raise ConsoleError("; ".join(red[:10]))
    return {"servers": len(servers), "done": done}


async def _publish_one(ctx: Context, sight: Sight) -> list[Json]:
    server = sight.server
    newest = await ctx.database.read(lambda tx: newest_number(tx, server.ca_id))
    codes = {one["code"] for one in alarms_of(sight.facts, None, ctx.now(), newest)}
    published = ((sight.facts or {}).get("crl") or {}).get("number")
    if not codes & _PUBLISH_FOR or newest is None or (published == newest and "crl_missing" not in codes):
        return []
    try:
        wanted = await list_to_publish(ctx, server.ca_id, server.ca_name)
        evidence = await publish(await reach(ctx, server), wanted)
        seen, _ = await loaded(await reach(ctx, server), evidence)
    except (ConsoleError, DriverError, DataError):
        # Its alarm stays red, which is what the timer's record will say; a journal row every few minutes says no more.
        return []
    after = {"published": evidence, "loaded": seen}
    await _note(ctx, server, "vpn.servers.publish_crl", "done", after, published)
    again = await _look_again(ctx, server)
    await keep(ctx, [again])
    return [{"server": server.name, "published": wanted.number}]


async def _look_again(ctx: Context, server: ServerFacts) -> Sight:
    try:
        return await look_at(ctx, server)
    except DriverError as error:
        return Sight(server, error=translate(error).as_json(), problem=error)


async def _enforce_open(ctx: Context, servers: Sequence[ServerFacts]) -> list[Json]:
    def work(tx: Session) -> Any:
        return revoked_certificates(tx, unfinished(tx, ctx.now(), limit=_ENFORCED_AT_ONCE), ctx.now())

    open_ones = [one for one in await ctx.database.read(work) if one.crl_number is not None]
    done: list[Json] = []
    for server in servers:
        mine = [one for one in open_ones if one.ca_id == server.ca_id]
        if not mine:
            continue
        try:
            progress = await enforce(ctx, server, mine, await list_to_publish(ctx, server.ca_id, server.ca_name))
        except (ConsoleError, DataError):
            # No list that could be published: the alarm of the authority says so.
            continue
        ended = sum(len(numbers) for numbers in progress.ended.values())
        if progress.error is None or ended:
            after = {"revocations": len(mine), "ended": progress.ended, "stopped_at": progress.stopped_at}
            state = "done" if progress.error is None else "failed"
            await _note(ctx, server, "vpn.revocations.enforce", state, after, None)
        if progress.error is None:
            done.append({"server": server.name, "enforced": len(mine), "ended": ended})
    return done


async def _still_red(ctx: Context, servers: Sequence[ServerFacts]) -> list[str]:
    rows = await ctx.database.read(lambda tx: shown(tx, ctx, servers))
    return [f"{row['name']}: {one['message']}" for row in rows for one in row["alarms"] if one["level"] == "red"]


async def _note(
    ctx: Context, server: ServerFacts, operation: str, result: str, after: Json, published: int | None
) -> None:
    """One journal row for what the timer did."""
    entry = audit.Entry(
        kind="vpn_server",
        operation=operation,
        actor="timer",
        result=result,
        target_kind="vpn_server",
        target_id=str(server.id),
        target_name=server.name,
        environment=server.environment,
        reason="servers are kept current",
        before={"crl_number": published},
        after=after,
    )

    def work(tx: Session) -> dict[str, Any] | None:
        head = audit.append(tx, ctx.house.audit_key, [entry], at=datetime.now(UTC))
        return {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None

    head = await ctx.database.write(work)
    if head is not None:
        note_at_home(ctx.house.home, **head)
