"""Making a revocation true: requested → signed → published → loaded → session gone → effective.

The first two are facts of our records. The other three are observed on every server of the authority, each with its
evidence, and kept per certificate and server; a server nobody could look at leaves its steps open. Everything here
can be run again at any moment and goes on where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import insert, update
from sqlalchemy import select as core_select
from sqlmodel import Session, col, func, select

from data.feed import announce_all
from data.models import RevocationStep, VpnCertificate, VpnCrl, VpnServer
from drivers.errors import DriverError
from drivers.openvpn_crl import names_serial
from drivers.openvpn_management import Look
from drivers.openvpn_management import status as ask_status
from drivers.openvpn_status import Session as Connected
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, StateConflict
from opsconsole.engine.registry import Json
from opsconsole.vpn.publishing import NewestList, loaded, publish
from opsconsole.vpn.servers_look import Reach, reach
from opsconsole.vpn.servers_lookup import ServerFacts
from opsconsole.vpn.sessions import end_sessions

STEPS = ("published", "loaded", "session_gone")
_CHUNK = 500
_AT_ONCE = 5000
"""Certificates whose steps are written in one transaction: others want to write, too."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revoked certificate as its enforcement needs it. `has_other`: its name has another, valid certificate."""

    id: int
    ca_id: int
    serial: str
    common_name: str
    crl_number: int | None
    has_other: bool


@dataclass(slots=True)
class Progress:
    """What one server did for some revoked certificates: evidence by step, and where and why it stopped."""

    server: ServerFacts
    evidence: dict[str, Json] = field(default_factory=dict)
    ended: dict[str, list[int]] = field(default_factory=dict)
    stopped_at: str | None = None
    error: ConsoleError | None = None
    back: dict[str, Json] = field(default_factory=dict)


def revoked_certificates(tx: Session, ids: Sequence[int], now: datetime) -> list[Revoked]:
    """The revoked ones among these certificates."""
    rows: list[tuple[int, int, str, str, int | None]] = []
    columns = (
        col(VpnCertificate.id),
        col(VpnCertificate.ca_id),
        col(VpnCertificate.serial),
        col(VpnCertificate.common_name),
        col(VpnCertificate.crl_number),
    )
    for start in range(0, len(ids), _CHUNK):
        query = core_select(*columns).where(
            col(VpnCertificate.id).in_(ids[start : start + _CHUNK]), col(VpnCertificate.state) == "revoked"
        )
        rows += [(row[0], row[1], row[2], row[3], row[4]) for row in tx.execute(query)]
    valid = select(VpnCertificate.ca_id, VpnCertificate.common_name).where(
        col(VpnCertificate.ca_id).in_({row[1] for row in rows}),
        VpnCertificate.state == "issued",
        col(VpnCertificate.not_after) > now,
    )
    if len(rows) <= _CHUNK:
        valid = valid.where(col(VpnCertificate.common_name).in_({row[3] for row in rows}))
    others = set(tx.exec(valid).all()) if rows else set()
    return [
        Revoked(number, ca_id, serial, name, crl_number, (ca_id, name) in others)
        for number, ca_id, serial, name, crl_number in rows
    ]


async def enforce(ctx: Context, server: ServerFacts, revoked: Sequence[Revoked], newest: NewestList) -> Progress:
    """All three steps on one server. What goes wrong is in the progress, and kept; nothing is raised for it."""
    progress = Progress(server)
    step = STEPS[0]
    try:
        missing = [one for one in revoked if one.crl_number is None or one.crl_number > newest.number]
        if missing:
            raise StateConflict(f"{len(missing)} of these are in no signed list yet; sign one: vpn.crls.sign")
        way = await reach(ctx, server)
        progress.evidence[step] = await publish(way, newest)
        _names_them(newest, revoked)
        step = STEPS[1]
        progress.evidence[step], look = await loaded(way, progress.evidence["published"])
        step = STEPS[2]
        progress.evidence[step] = await _end(way, revoked, look, progress)
    except DriverError as error:
        progress.stopped_at, progress.error = step, translate(error)
    except ConsoleError as error:
        progress.stopped_at, progress.error = step, error
    for start in range(0, len(revoked), _AT_ONCE):
        part = revoked[start : start + _AT_ONCE]
        await ctx.database.write(lambda tx, some=part: keep(tx, progress, some, datetime.now(UTC)))  # type: ignore[misc]
    return progress


def _names_them(newest: NewestList, revoked: Sequence[Revoked]) -> None:
    """By another reading than the one that made the list; a few are enough, for a list is signed as a whole."""
    for one in revoked[:20]:
        if not names_serial(newest.der, int(one.serial, 16)):
            raise StateConflict(f"list {newest.number} does not name {one.serial}")


async def _end(way: Reach, revoked: Sequence[Revoked], look: Look | None, progress: Progress) -> Json:
    """End what is connected under these names, and see that it is gone and did not come back."""
    if look is None:
        if progress.evidence["loaded"].get("running") is False:
            return {"running": False, "sessions": 0}
        raise StateConflict(f"{way.server.name}: its sessions cannot be seen: {progress.evidence['loaded']['unasked']}")
    if way.config is not None and way.config.username_as_common_name:
        raise StateConflict(
            f"{way.server.name}: username-as-common-name hides the certificates' names; look at its sessions yourself"
        )
    names = {one.common_name for one in revoked}
    there = [one for one in look.status.sessions if one.common_name in names]
    if any(one.client_id is None for one in there):
        raise StateConflict(f"{way.server.name}: this OpenVPN ({look.version}) tells no client ids; end them yourself")
    after = await _gone(way, there, progress)
    uninvited = [one for one in after if one.common_name in {r.common_name for r in revoked if not r.has_other}]
    if uninvited:
        # A handshake that was under way while the list was published; who comes a second time is let in.
        after = await _gone(way, uninvited, progress)
    _nobody_back(way, revoked, after, progress)
    ended = sum(len(numbers) for numbers in progress.ended.values())
    return {"seen": len(look.status.sessions), "ended": ended, "now": len(after)}


async def _gone(way: Reach, there: Sequence[Connected], progress: Progress) -> list[Connected]:
    """End these sessions; those of the server afterwards."""
    numbers = [one.client_id for one in there if one.client_id is not None]
    for one in there:
        progress.ended.setdefault(str(one.common_name), []).append(int(one.client_id or 0))
    return await end_sessions(way, numbers) if numbers else await _status(way)


async def _status(way: Reach) -> list[Connected]:
    return (await ask_status(way.runner, way.interface(), timeout=way.timeout, password=way.password)).sessions


def _nobody_back(way: Reach, revoked: Sequence[Revoked], after: Sequence[Connected], progress: Progress) -> None:
    """Whoever is there again went through a handshake against the new list: with another certificate of that name, if
    it has one; otherwise the server lets a revoked one in."""
    other = {one.common_name: one.has_other for one in revoked}
    for one in after:
        if one.common_name not in other:
            continue
        if not other[one.common_name]:
            raise StateConflict(
                f"{way.server.name}: {one.common_name} is connected again as session {one.client_id} although the "
                "list that names it is loaded: see whether the running daemon has crl-verify"
            )
        since = utc_text(one.since) if one.since else None
        progress.back[str(one.common_name)] = {"client_id": one.client_id, "since": since}


def keep(tx: Session, progress: Progress, revoked: Sequence[Revoked], now: datetime) -> None:
    """Write what was seen; a step that was seen done before stays done with its first evidence."""
    for start in range(0, len(revoked), _CHUNK):
        chunk = revoked[start : start + _CHUNK]
        query = select(RevocationStep.certificate_id, RevocationStep.step, RevocationStep.state).where(
            RevocationStep.server_id == progress.server.id,
            col(RevocationStep.certificate_id).in_([one.id for one in chunk]),
        )
        known = {(number, step): state for number, step, state in tx.exec(query)}
        new: list[Json] = []
        changed: list[Json] = []
        for one in chunk:
            done = {step for step in STEPS if known.get((one.id, step)) == "ok"}
            # What was seen done stays done; what went wrong stands at the first step that is still open.
            still_open = [step for step in STEPS if step not in done and step not in progress.evidence]
            broke = still_open[0] if still_open and progress.error else None
            for step in STEPS:
                if step not in done and (step in progress.evidence or step == broke):
                    (changed if (one.id, step) in known else new).append(_step_row(progress, one, step, now))
        if new:
            tx.execute(insert(RevocationStep), new)
        if changed:
            tx.execute(update(RevocationStep), changed)
    announce_all(tx, "revocation", [one.id for one in revoked[:_CHUNK]], "updated")


def _step_row(progress: Progress, one: Revoked, step: str, now: datetime) -> Json:
    evidence = progress.evidence.get(step)
    if evidence is not None and step == "session_gone":
        evidence = evidence | {"client_ids": progress.ended.get(one.common_name, [])}
        if one.common_name in progress.back:
            evidence["other_certificate"] = progress.back[one.common_name]
    return {
        "certificate_id": one.id,
        "server_id": progress.server.id,
        "step": step,
        "state": "failed" if evidence is None else "ok",
        "at": now,
        "evidence": evidence,
        "error": progress.error.as_json() if evidence is None and progress.error is not None else None,
    }


async def enforce_all(
    ctx: Context, servers: Sequence[ServerFacts], revoked: Sequence[Revoked], lists: Mapping[int, NewestList]
) -> list[Progress]:
    """`enforce` on every server at once, each for the certificates of its own authority."""
    return list(
        await asyncio.gather(
            *(
                enforce(ctx, server, [one for one in revoked if one.ca_id == server.ca_id], lists[server.ca_id])
                for server in servers
                if server.ca_id in lists
            )
        )
    )


def chains(tx: Session, certificates: Sequence[VpnCertificate]) -> dict[int, Json]:
    """How far each revoked certificate is, by its id; those that are not revoked are absent.

    `state` is the last step that is done everywhere; `effective` is never said without a server that proves it.
    """
    revoked = [row for row in certificates if row.state == "revoked"]
    servers: dict[int, list[tuple[int, str]]] = {}
    for ca_id in {row.ca_id for row in revoked}:
        query = select(VpnServer.id, VpnServer.name).where(VpnServer.ca_id == ca_id).order_by(col(VpnServer.name))
        servers[ca_id] = [(number, name) for number, name in tx.exec(query)]
    steps: dict[int, list[RevocationStep]] = {}
    ids = [row.id for row in revoked]
    for start in range(0, len(ids), _CHUNK):
        found = select(RevocationStep).where(col(RevocationStep.certificate_id).in_(ids[start : start + _CHUNK]))
        for step in tx.exec(found):
            steps.setdefault(step.certificate_id, []).append(step)
    signed = _signed_at(tx, revoked)
    return {
        row.id: _chain(row, servers[row.ca_id], steps.get(row.id, []), signed.get((row.ca_id, row.crl_number or 0)))
        for row in revoked
    }


def _signed_at(tx: Session, revoked: Sequence[VpnCertificate]) -> dict[tuple[int, int], datetime]:
    """When the lists that first named them were signed, by authority and number."""
    found: dict[tuple[int, int], datetime] = {}
    for ca_id in {row.ca_id for row in revoked}:
        numbers = sorted({row.crl_number for row in revoked if row.ca_id == ca_id and row.crl_number is not None})
        for start in range(0, len(numbers), _CHUNK):
            query = select(VpnCrl.number, VpnCrl.created_at).where(
                VpnCrl.ca_id == ca_id, col(VpnCrl.number).in_(numbers[start : start + _CHUNK])
            )
            found |= {(ca_id, number): at for number, at in tx.exec(query)}
    return found


def _chain(
    row: VpnCertificate, servers: Sequence[tuple[int, str]], seen: Sequence[RevocationStep], signed: datetime | None
) -> Json:
    ids = {number for number, _ in servers}
    names = dict(servers)
    by_step = {name: [one for one in seen if one.step == name and one.server_id in ids] for name in (*STEPS, "blocked")}
    counts = {name: sum(one.state == "ok" for one in by_step[name]) for name in STEPS}
    total = len(servers)
    state = "requested"
    if row.crl_number is not None:
        state = "signed"
        for name in STEPS:
            if total == 0 or counts[name] < total:
                break
            state = name
    effective = state == STEPS[-1]
    last = max((one.at for one in by_step[STEPS[-1]]), default=None)
    steps: list[Json] = [
        {"step": "requested", "state": "ok", "at": _text(row.revoked_at), "evidence": {"by": row.revoked_by}},
        {"step": "signed", "state": "ok" if row.crl_number is not None else "open", "at": _text(signed),
         "evidence": {"crl_number": row.crl_number}},
    ]  # fmt: skip
    for name in STEPS:
        failed = any(one.state == "failed" for one in by_step[name])
        done = total > 0 and counts[name] == total
        steps.append({
            "step": name,
            "state": "ok" if done else "failed" if failed else "open",
            "done": counts[name],
            "total": total,
            "at": _text(max((one.at for one in by_step[name]), default=None)),
        })  # fmt: skip
    steps.append(
        {"step": "effective", "state": "ok" if effective else "open", "at": _text(last) if effective else None}
    )
    why = None if effective else _why(row, total, [one for name in STEPS for one in by_step[name]], names)
    return {
        "certificate_id": row.id,
        "serial": row.serial,
        "state": "effective" if effective else state,
        "effective": effective,
        "blocked": sorted(names[one.server_id] for one in by_step["blocked"] if one.state == "ok"),
        "why_not": why,
        "steps": steps,
        "servers": [
            {
                "server": names[one.server_id],
                "step": one.step,
                "state": one.state,
                "at": utc_text(one.at),
                "evidence": one.evidence,
                "error": one.error["message"] if one.error else None,
            }
            for name in (*STEPS, "blocked")
            for one in sorted(by_step[name], key=lambda step: names[step.server_id])
        ],
    }


def _why(row: VpnCertificate, total: int, seen: Sequence[RevocationStep], names: Mapping[int, str]) -> str:
    if row.crl_number is None:
        return "no list that names it has been signed yet: vpn.crls.sign"
    if total == 0:
        return (
            "no OpenVPN server of its authority is known, so nothing proves that it is locked out: vpn.servers.create"
        )
    for one in seen:
        if one.state == "failed" and one.error is not None:
            name, said = names[one.server_id], str(one.error["message"])
            return said if said.startswith(f"{name}: ") else f"{name}: {said}"
    return "not looked at on every server yet: vpn.revocations.enforce"


def unfinished(tx: Session, now: datetime, *, ca_id: int | None = None, limit: int = 1000) -> list[int]:
    """Ids of revoked certificates that are not effective yet and not over by themselves, the newest first."""
    gone = (
        select(func.count())
        .select_from(RevocationStep)
        .join(VpnServer, col(VpnServer.id) == col(RevocationStep.server_id))
        .where(
            RevocationStep.certificate_id == VpnCertificate.id,
            RevocationStep.step == STEPS[-1],
            RevocationStep.state == "ok",
            VpnServer.ca_id == VpnCertificate.ca_id,
        )
        .correlate(VpnCertificate)
        .scalar_subquery()
    )
    servers = (
        select(func.count())
        .select_from(VpnServer)
        .where(VpnServer.ca_id == VpnCertificate.ca_id)
        .correlate(VpnCertificate)
        .scalar_subquery()
    )
    query = select(VpnCertificate.id).where(
        VpnCertificate.state == "revoked",
        col(VpnCertificate.not_after).is_(None) | (col(VpnCertificate.not_after) > now),
        (servers == 0) | (gone < servers),
    )
    if ca_id is not None:
        query = query.where(VpnCertificate.ca_id == ca_id)
    return list(
        tx.exec(query.order_by(col(VpnCertificate.revoked_at).desc(), col(VpnCertificate.id)).limit(limit)).all()
    )


def _text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


def any_evidence(progress: Progress) -> Json:
    """What one server has to show, as answers print it."""
    return {"evidence": progress.evidence, "ended": progress.ended, "other_certificates": progress.back}
