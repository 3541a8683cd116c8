"""Lists that have to be signed anew before they end: an expired list locks every client out.

`resign` is what a timer calls: safe to call at any time, by anybody, twice at once; it signs only what is due when it
looks inside its transaction. What it cannot sign (a passphrase, an offline key, locked secrets) is named, not hidden.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from data.errors import DataError
from data.models import CertificateAuthority
from drivers.pki import Authority
from drivers.pki_crl import alarm
from opsconsole.engine import audit
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.registry import Json, Nothing, read
from opsconsole.house import House, translate
from opsconsole.vpn.fields import crl_json
from opsconsole.vpn.lookup import CaFacts, ca_facts, newest_crl
from opsconsole.vpn.signing import sign_list

_REMEDY = {
    "passphrase": "its key has a passphrase of its own: vpn.crls.sign",
    "offline": "its key is elsewhere: sign there, then vpn.crls.import",
}


@read(
    "vpn.crls.due",
    summary="List the revocation lists that need attention: due to be signed anew, ending soon, expired or missing",
    permission="module.vpn.view_vpn_client",
    input=Nothing,
    objects=("certificate_authority",),
)
async def list_due(ctx: Context, query: Nothing) -> Json:
    """`alarm` is due, soon, expired or missing; `by_itself` says whether the timer can sign it."""
    return await ctx.database.read(lambda tx: {"due": due_lists(tx, ctx.now())})


def due_lists(tx: Session, now: datetime) -> list[Json]:
    """Every list that is not ok, in the order of the authorities; the lists' bytes stay where they are."""
    found: list[Json] = []
    for row in tx.exec(select(CertificateAuthority).order_by(col(CertificateAuthority.id))):
        crl = crl_json(newest_crl(tx, row.id, whole=False), now)
        if crl["alarm"] != "ok":
            by_itself = row.key_state == "sealed"
            remedy = "the timer signs it" if by_itself else _REMEDY[row.key_state]
            found.append({"ca_id": row.id, "ca": row.name, **crl, "by_itself": by_itself, "remedy": remedy})
    return found


async def resign(house: House, now: datetime | None = None) -> Json:
    """Sign every list that is due and whose key is at hand; answers what was signed and what could not be.

    Raises a ConsoleError after the rest is done when a list that is due could not be signed, so that a timer's record
    says so until it is.
    """
    at = now or datetime.now(UTC)
    due = await house.database.read(lambda tx: due_lists(tx, at))
    signed: list[Json] = []
    waiting = [f"{one['ca']}: {one['alarm']}, {one['remedy']}" for one in due if not one["by_itself"]]
    for one in due:
        if one["by_itself"]:
            try:
                signed += await _resign_one(house, int(one["ca_id"]), at)
            except (ConsoleError, DataError) as error:
                known = translate(error) if isinstance(error, DataError) else error
                waiting.append(f"{one['ca']}: {one['alarm']}, {known.message}")
    if any(": soon" in line or ": expired" in line for line in waiting):
        raise ConsoleError("; ".join(waiting))
    return {"signed": signed, "waiting": waiting}


async def _resign_one(house: House, ca_id: int, now: datetime) -> list[Json]:
    from opsconsole.vpn.keys import open_authority

    ca = await house.database.read(lambda tx: ca_facts(tx, tx.get_one(CertificateAuthority, ca_id)))
    authority = await open_authority(house, ca, "")
    answer, head = await house.database.write(lambda tx: _sign(tx, house, ca, authority, now))
    if head is not None:
        note_at_home(house.home, **head)
    return answer


def _sign(
    tx: Session, house: House, ca: CaFacts, authority: Authority, now: datetime
) -> tuple[list[Json], dict[str, Any] | None]:
    """Look again with the authority's row locked: somebody else may have been faster."""
    tx.exec(select(CertificateAuthority.id).where(CertificateAuthority.id == ca.id).with_for_update()).one()
    before = newest_crl(tx, ca.id)
    if before is not None and alarm(before.this_update, before.next_update, now) == "ok":
        return [], None
    made = sign_list(tx, ca, authority, now=now, why="half of the life of the one before is over")
    shown = crl_json(made, now)
    entry = audit.Entry(
        operation="vpn.crls.sign",
        actor="timer",
        result="done",
        target_kind="certificate_authority",
        target_id=str(ca.id),
        target_name=ca.name,
        environment=ca.environment,
        reason="half of the life of the list before is over",
        before={"crl_number": before.number if before else None},
        after={"crl_number": made.number, "next_update": shown["next_update"]},
    )
    head = audit.append(tx, house.audit_key, [entry], at=now)
    found = {"step": head.step, "last_seq": head.last_seq, "mac": head.mac} if head else None
    return [{"ca_id": ca.id, "ca": ca.name, "number": made.number, "next_update": shown["next_update"]}], found
