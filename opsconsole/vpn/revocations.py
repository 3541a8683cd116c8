"""vpn.revocations.list | get | enforce: how far revocations are, and bringing them to their end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session, col, select

from data.models import CertificateAuthority, VpnCertificate
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.vpn.publishing import highest, list_to_publish
from opsconsole.vpn.revocation import Revoked, any_evidence, chains, enforce, revoked_certificates, unfinished
from opsconsole.vpn.servers_lookup import VIEW, ServerFacts, ServerRef, servers_of

REVOKE = "module.vpn.revoke_vpn_client"
MOST = 1000
Id = Annotated[int, Field(ge=1, lt=2**31)]


class ListRevocations(Input):
    """Those that are not effective yet; with `client_id` every one of that client."""

    ca_id: Id | None = None
    client_id: Annotated[Id | None, Field(description="all revocations of one client, effective or not")] = None


class OneCertificate(Input):
    certificate_id: Id


class Enforce(Input):
    """Which revocations: of certificates, of one client, or every one that is not effective. On which servers: those
    of their authorities, or only `servers`."""

    certificate_ids: Annotated[list[Id] | None, Field(max_length=100_000)] = None
    client_id: Id | None = None
    ca_id: Id | None = None
    servers: Annotated[list[ServerRef] | None, Field(max_length=1000)] = None


def _row(row: VpnCertificate, chain: Json) -> Json:
    return chain | {
        "ca_id": row.ca_id,
        "client_id": row.client_id,
        "common_name": row.common_name,
        "revoke_reason": row.revoke_reason,
    }


@read(
    "vpn.revocations.list",
    summary="List the revocations that are not effective yet, and why not",
    permission=VIEW,
    input=ListRevocations,
    objects=("revocation",),
)
async def list_revocations(ctx: Context, query: ListRevocations) -> Json:
    """At most a thousand; `more` says that there are others."""

    def work(tx: Session) -> Json:
        if query.client_id is not None:
            wanted = select(VpnCertificate).where(VpnCertificate.client_id == query.client_id)
            rows = list(tx.exec(wanted.where(VpnCertificate.state == "revoked").limit(MOST + 1)).all())
        else:
            ids = unfinished(tx, ctx.now(), ca_id=query.ca_id, limit=MOST + 1)
            found = {row.id: row for row in _by_ids(tx, ids)}
            rows = [found[number] for number in ids]
        chain = chains(tx, rows[:MOST])
        return {"revocations": [_row(row, chain[row.id]) for row in rows[:MOST]], "more": len(rows) > MOST}

    return await ctx.database.read(work)


def _by_ids(tx: Session, ids: Sequence[int]) -> list[VpnCertificate]:
    rows: list[VpnCertificate] = []
    for start in range(0, len(ids), 500):
        rows += tx.exec(select(VpnCertificate).where(col(VpnCertificate.id).in_(ids[start : start + 500]))).all()
    return rows


@read(
    "vpn.revocations.get",
    summary="Show how far one revocation is, with the evidence of every server",
    permission=VIEW,
    input=OneCertificate,
    objects=("revocation",),
)
async def get_revocation(ctx: Context, query: OneCertificate) -> Json:
    def work(tx: Session) -> Json:
        row = tx.get(VpnCertificate, query.certificate_id)
        if row is None:
            raise ObjectNotFound(entity="certificate", id=query.certificate_id, hint="", field="certificate_id")
        if row.state != "revoked":
            raise StateConflict(f"the certificate {row.serial} of {row.common_name} is not revoked")
        return _row(row, chains(tx, [row])[row.id])

    return await ctx.database.read(work)


@change(
    "vpn.revocations.enforce",
    summary="Make revocations true: publish the list, see it loaded, end the sessions, see them gone",
    permission=REVOKE,
    input=Enforce,
    kind="action",
    danger="none",
    objects=("revocation", "vpn_client"),
    bulk=True,
    key="F",
)
class EnforceRevocations(Change[Enforce]):
    """One target per server. No danger of its own: only what was revoked, and confirmed then, is locked out."""

    audit_kind = "vpn_server"
    op_type = "enforce_revocation"

    async def plan(self) -> Plan:
        self._revoked, servers = await self.ctx.database.read(self._meant)
        authorities = {one.ca_id: one.ca_name for one in servers}
        self._lists = {ca: await list_to_publish(self.ctx, ca, name) for ca, name in authorities.items()}
        targets = [self._target(one) for one in servers]
        names = sorted({one.common_name for one in self._revoked})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        plan = record_plan(
            "vpn.revocations.enforce",
            f"lock {', '.join(names[:3])}{more} out of {len(servers)} servers",
            targets,
            self.input,
            undo=None,
            level=highest(servers),
        )
        said = "the daemon sees the list as its own user, and no session of a revoked certificate is left"
        return replace(plan, verification=said)

    def _meant(self, tx: Session) -> tuple[list[Revoked], list[ServerFacts]]:
        given = self.input
        if given.certificate_ids is not None:
            ids = given.certificate_ids
        elif given.client_id is not None:
            query = select(VpnCertificate.id).where(VpnCertificate.client_id == given.client_id)
            ids = list(tx.exec(query.where(VpnCertificate.state == "revoked")).all())
        else:
            ids = unfinished(tx, self.ctx.now(), ca_id=given.ca_id, limit=100_000)
        revoked = revoked_certificates(tx, ids, self.ctx.now())
        if not revoked:
            raise StateConflict("there is no revocation to enforce")
        authorities = {one.ca_id for one in revoked}
        servers = [one for one in servers_of(tx, refs=given.servers) if one.ca_id in authorities]
        if not servers:
            raise StateConflict(
                "no OpenVPN server of their authority is known, so nothing can lock them out; make one known: "
                "vpn.servers.create"
            )
        return revoked, servers

    def _target(self, server: ServerFacts) -> Target:
        mine = [one for one in self._revoked if one.ca_id == server.ca_id]
        after = {"crl_number": self._lists[server.ca_id].number, "revocations": len(mine)}
        return server.target(after=after, work={"server": server, "revoked": mine})

    async def execute(self, target: Target) -> Json | None:
        server: ServerFacts = target.work["server"]
        progress = await enforce(self.ctx, server, target.work["revoked"], self._lists[server.ca_id])
        if progress.error is not None:
            raise _at(progress.stopped_at or "", progress.error)
        return any_evidence(progress)

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        """The evidence was read back step by step; here it must be in the records for every certificate."""
        server, ids = target.work["server"], [one.id for one in target.work["revoked"]]

        def work(tx: Session) -> int:
            rows = _by_ids(tx, ids[:MOST])
            found = chains(tx, rows).values()
            return sum(
                not any(
                    s["server"] == server.name and s["step"] == "session_gone" and s["state"] == "ok" for s in steps
                )
                for steps in (chain["servers"] for chain in found)
            )

        lacking = await self.ctx.database.read(work)
        if lacking:
            raise StateConflict(f"{server.name}: {lacking} revocations are not recorded as enforced; run it again")
        return effect

    def record(self, tx: Any, outcomes: list[Outcome]) -> Json:
        return {"servers": [{"name": one.target.name, **(one.after or {})} for one in outcomes]}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return given | {"servers": [int(target["id"]) for target in targets]}


def _at(step: str, error: ConsoleError) -> ConsoleError:
    """The error with the step it stopped at; code and exit status stay those of its cause."""
    error.message = f"{step}: {error.message}"
    return error


FOLLOWED = "one transaction with its journal row; then on every server: the list loaded, the sessions ended and gone"
"""How a revocation is verified, as its plan says it."""


def unproven(tx: Session, ca_ids: Iterable[int]) -> list[str]:
    """What is to be said about authorities without a known server."""
    return [
        f"no OpenVPN server of {ca.name} is known: the list reaches none, and nothing proves that they are locked out"
        for ca in (tx.get_one(CertificateAuthority, number) for number in sorted(ca_ids))
        if not servers_of(tx, ca_id=ca.id)
    ]


async def follow_up(ctx: Context, certificate_ids: Sequence[int]) -> Json:
    """After a revocation is recorded: bring it to the servers in a run of its own. Raises nothing, for the revocation
    stands; `not_effective` says what is still open and why, and the timer goes on with it.

    Empty when all of it is effective, and where no server is known that could prove it.
    """
    from opsconsole.engine.dispatch import call

    def open_ones(tx: Session) -> tuple[int, list[Json]]:
        rows = [row for row in _by_ids(tx, list(certificate_ids)[:MOST]) if row.crl_number is not None]
        known = sum(len(servers_of(tx, ca_id=ca)) for ca in {row.ca_id for row in rows})
        found = chains(tx, rows).values()
        return known, [
            {"certificate_id": one["certificate_id"], "state": one["state"], "why_not": one["why_not"]}
            for one in found
            if not one["effective"]
        ]

    known, left = await ctx.database.read(open_ones)
    if not known or not left:
        return {}
    error: str | None = None
    try:
        await call(ctx, "vpn.revocations.enforce", {"certificate_ids": list(certificate_ids)})
    except ConsoleError as problem:
        error = problem.message
    _, left = await ctx.database.read(open_ones)
    return {} if error is None and not left else {"not_effective": left, "error": error}
