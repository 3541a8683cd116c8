"""What the VPN will refuse or let in soon: lists, authorities, servers, and clients whose certificate ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, select

from data.models import CertificateAuthority, VpnClient, VpnServer
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.registry import Json, find
from opsconsole.home.parts import MOST_SHOWN, Section, counted, item
from opsconsole.vpn.due import due_lists
from opsconsole.vpn.servers import shown
from opsconsole.vpn.servers_lookup import server_facts

ENDING: Final = timedelta(days=30)
OVER_FOR: Final = timedelta(days=14)
"""How long a client whose certificate has ended is shown: after that nobody misses it."""
AUTHORITY_ENDING: Final = timedelta(days=180)
_LISTS: Final = {
    "expired": ("red", "its revocation list is over: every client is refused"),
    "missing": ("red", "it has no revocation list: revoked clients are let in"),
    "soon": ("red", "its revocation list ends soon, and then every client is refused"),
    "due": ("amber", "its revocation list is due to be signed anew"),
}
_MOST_SERVERS = 200


def vpn(tx: Session, ctx: Context) -> Section:
    section = Section("vpn")
    if decide(ctx.caller, find("vpn.crls.due").needs).allowed:
        now = ctx.now()
        section.add(_lists(tx, now))
        section.add(_authorities(tx, now))
        _servers(tx, ctx, section)
        _clients(tx, now, section)
    return section


def _lists(tx: Session, now: datetime) -> list[Json]:
    found = []
    for one in due_lists(tx, now):
        level, what = _LISTS[one["alarm"]]
        if one["alarm"] == "due" and one["by_itself"]:
            continue
        ends = datetime.fromisoformat(one["next_update"]) if one.get("next_update") else None
        state, what = f"CRL {one['alarm']}", f"{one['ca']}: {what}"
        found.append(item(level, "vpn_crl", one["ca_id"], one["ca"], state, what, why=one["remedy"], due=ends))
    return found


def _authorities(tx: Session, now: datetime) -> list[Json]:
    query: Any = select(CertificateAuthority.id, CertificateAuthority.name, CertificateAuthority.not_after)
    ending = query.where(CertificateAuthority.not_after < now + AUTHORITY_ENDING).limit(MOST_SHOWN)
    found = []
    for key, name, ends in tx.exec(ending):
        over = ends <= now
        what = f"the authority {name} {'is over' if over else 'ends'}: every certificate it signed is refused then"
        level, state = ("red", "CA over") if over else ("amber", "CA ends")
        found.append(item(level, "certificate_authority", key, name, state, what, due=ends))
    return found


def _servers(tx: Session, ctx: Context, section: Section) -> None:
    """Alarms of what was last seen of each server; one that was never looked at is unknown."""
    rows = tx.exec(select(VpnServer).order_by(col(VpnServer.name)).limit(_MOST_SERVERS)).all()
    for one in shown(tx, ctx, server_facts(tx, rows)):
        sight = one["sight"]
        seen = None if sight is None else sight["seen_at"] or sight["observed_at"]
        about: Any = {
            "host": one["host"],
            "environment": one["environment"],
            "environment_level": one["level"],
            "observed_at": datetime.fromisoformat(seen) if seen else None,
        }
        if sight is None:
            what = f"{one['name']}: nobody has looked at it yet"
            section.add([item("unknown", "vpn_server", one["id"], one["name"], "never seen", what, **about)])
        section.add(
            [
                item(
                    alarm["level"],
                    "vpn_server",
                    one["id"],
                    one["name"],
                    alarm["code"].replace("_", " "),
                    f"{one['name']}: {alarm['message']}",
                    why=alarm["remedy"],
                    **about,
                )
                for alarm in one["alarms"]
            ]
        )


def _clients(tx: Session, now: datetime, section: Section) -> None:
    columns = (VpnClient.id, VpnClient.name, VpnClient.email, VpnClient.expiry_date)
    good = col(VpnClient.revoked).is_not(True)  # not "= false", for which the planner takes an index that sorts nothing
    over: list[Any] = [good, VpnClient.expiry_date <= now, VpnClient.expiry_date > now - OVER_FOR]
    soon: list[Any] = [good, VpnClient.expiry_date > now, VpnClient.expiry_date <= now + ENDING]
    for level, state, where in (("red", "ended", over), ("amber", "ends", soon)):
        query: Any = select(*columns).where(*where).order_by(col(VpnClient.expiry_date))
        rows = tx.exec(query.limit(MOST_SHOWN)).all()
        found = [
            item(level, "vpn_client", key, name, state, f"the certificate of {name} {state}", who=email, due=ends)
            for key, name, email, ends in rows
        ]
        section.add(found, counted(tx, select(VpnClient.id).where(*where)) if len(rows) == MOST_SHOWN else None)
