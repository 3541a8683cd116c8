"""When each client was last seen connected, and where: kept from every look at the sessions of a server.

The change feed does not tell of it: everybody who is connected would be announced once a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session as Transaction
from sqlmodel import col

from data.models import VpnClient, VpnClientSight
from drivers.openvpn_status import Session
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.registry import Json
from opsconsole.vpn.servers_lookup import ServerFacts, moment_text

EVERY = timedelta(minutes=1)
"""A sight that is younger than this by no more says nothing new."""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Connected:
    """Who was connected to a server at one moment, as its daemon said."""

    server: ServerFacts
    sessions: Sequence[Session]
    at: datetime


async def keep_seen(ctx: Context, looks: Sequence[Connected]) -> int:
    """Store who was seen, one row a client, and answer how many rows were written.

    Clients are told by their authority and common name; names of no client are passed over. Leave out servers that
    name sessions by user: they prove no certificate. Nothing is written in a database opened for reading.
    """
    newest: dict[tuple[int, str], tuple[Connected, Session]] = {}
    for look in sorted(looks, key=lambda one: one.at):
        # On several servers at once the session that began last is the one to be named.
        for session in sorted(look.sessions, key=_began):
            key = (look.server.ca_id, session.common_name or "")
            before = newest.get(key)
            if session.common_name and (before is None or _began(session) >= _began(before[1])):
                newest[key] = (look, session)
    if ctx.house.database.read_only or not newest:
        return 0
    rows = await ctx.database.read(lambda tx: _news(tx, newest))
    for start in range(0, len(rows), _AT_ONCE):
        await ctx.database.write(lambda tx, batch=rows[start : start + _AT_ONCE]: _write(tx, batch))  # type: ignore[misc]
    return len(rows)


def _began(session: Session) -> float:
    return session.since.timestamp() if session.since else 0.0


def _news(tx: Transaction, newest: dict[tuple[int, str], tuple[Connected, Session]]) -> list[Json]:
    """Rows for what differs from the stored by more than a moment."""
    names = sorted({name for _, name in newest})
    columns: Any = (VpnClient.id, VpnClient.ca_id, VpnClient.name, VpnClientSight.seen_at, VpnClientSight.server)
    rows: list[Json] = []
    for start in range(0, len(names), _AT_ONCE):
        query: Any = (
            select(*map(col, columns))
            .outerjoin(VpnClientSight, col(VpnClientSight.client_id) == col(VpnClient.id))
            .where(col(VpnClient.name).in_(names[start : start + _AT_ONCE]))
        )
        for client, ca_id, name, seen_at, server in tx.connection().execute(query):
            found = newest.get((ca_id, name))
            if found is not None and _is_news(found[0], seen_at, server):
                rows.append(_row(client, *found))
    return rows


def _is_news(look: Connected, seen_at: datetime | None, server: str | None) -> bool:
    if seen_at is None or look.at - seen_at >= EVERY:
        return True
    return server != look.server.name and look.at > seen_at


def _row(client: int, look: Connected, session: Session) -> Json:
    evidence = {
        "server_id": look.server.id,
        "client_id": session.client_id,
        "real_address": session.real_address,
        "virtual_address": session.virtual_address,
        "connected_since": moment_text(session.since),
    }
    return {"client_id": client, "server": look.server.name, "seen_at": look.at, "evidence": evidence}


def _write(tx: Transaction, rows: Sequence[Json]) -> None:
    """A sight never goes back in time, whichever console writes last."""
    insert: Any = postgresql.insert if tx.get_bind().dialect.name == "postgresql" else sqlite.insert
    new = insert(VpnClientSight)
    values = {name: new.excluded[name] for name in ("server", "seen_at", "evidence")}
    later = new.excluded.seen_at > col(VpnClientSight.seen_at)
    tx.connection().execute(new.on_conflict_do_update(index_elements=["client_id"], set_=values, where=later), rows)


def seen_json(server: str | None, at: datetime | None) -> Json | None:
    """`last_seen` of a client; None when no server ever showed it to this console."""
    return None if at is None else {"at": utc_text(at), "server": server}
