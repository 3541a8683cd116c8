"""Revoking: the certificates, and in the same transaction the list that says so.

Without the authority's key (offline, or its passphrase not at hand) a revocation can still be written down as
requested; it is in force only when a list that names it is signed and on the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from data.feed import announce, announce_all
from data.models import VpnCertificate, VpnClient
from drivers.pki import Authority
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ObjectNotFound, StateConflict, VpnClientAlreadyRevoked
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.lookup import LEVELS
from opsconsole.vpn import keys
from opsconsole.vpn.clients import client_target
from opsconsole.vpn.fields import Id, Passphrase, certificate_json, plain
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, find_client
from opsconsole.vpn.revocations import FOLLOWED, follow_up, unproven
from opsconsole.vpn.signing import mark_revoked, sign_list

Why = Annotated[
    Literal[
        "unspecified",
        "key_compromise",
        "affiliation_changed",
        "superseded",
        "cessation_of_operation",
        "privilege_withdrawn",
    ],
    Field(description="stands in the list"),
]
SignLater = Annotated[
    bool, Field(description="write the revocation down now and sign the list later, when the key is at hand")
]


class Revocation(Input):
    """What every revocation may say."""

    crl_reason: Why = "unspecified"
    ca_passphrase: Passphrase | None = None
    sign_later: SignLater = False


class RevokeClient(Revocation):
    id: Id


class RevokeMany(Revocation):
    items: Annotated[list[Id], Field(min_length=1, max_length=100_000, description="ids of clients")]


class RevokeCertificate(Revocation):
    id: Annotated[Id, Field(description="of the certificate, as vpn.certificates.list answers it")]


@dataclass(frozen=True, slots=True)
class Signing:
    """The authorities a revocation needs, and which of them can sign now."""

    cas: dict[int, CaFacts]
    signs: frozenset[int]

    @property
    def level(self) -> str:
        return max((ca.level for ca in self.cas.values()), key=LEVELS.__getitem__, default="dev")

    def warnings(self) -> list[str]:
        return [
            f"the key of {ca.name} is not used: the revocation is requested, and in force only when a list is signed"
            for ca in self.cas.values()
            if ca.id not in self.signs
        ]


def who_signs(cas: dict[int, CaFacts], given: Revocation) -> Signing:
    """Refuses when a key is needed and not at hand; with `sign_later` nothing is signed, and an offline authority
    never signs here."""
    signs: set[int] = set()
    for ca in cas.values():
        if given.sign_later or ca.key_state == "offline":
            continue
        keys.check_at_hand(ca, plain(given.ca_passphrase))
        signs.add(ca.id)
    return Signing(cas, frozenset(signs))


async def authorities(ctx: Context, signing: Signing, given: Revocation) -> dict[int, Authority]:
    """The keys of all that sign; wrong passphrases are found before anything is written."""
    return {
        ca_id: await keys.open_authority(ctx.house, signing.cas[ca_id], plain(given.ca_passphrase))
        for ca_id in sorted(signing.signs)
    }


def sign_lists(tx: Session, signing: Signing, opened: dict[int, Authority], now: datetime, why: str) -> dict[int, int]:
    """One new list per authority that signs; answers their numbers."""
    return {
        ca_id: sign_list(tx, signing.cas[ca_id], authority, now=now, why=why).number
        for ca_id, authority in opened.items()
    }


def standing_certificates(tx: Session, client_ids: Sequence[int]) -> list[VpnCertificate]:
    """Everything that was issued to these clients and is not revoked, expired ones too."""
    found: list[VpnCertificate] = []
    for start in range(0, len(client_ids), 500):
        chunk = client_ids[start : start + 500]
        query = select(VpnCertificate).where(col(VpnCertificate.client_id).in_(chunk), VpnCertificate.state == "issued")
        found += tx.exec(query.order_by(col(VpnCertificate.id))).all()
    return found


class _RevokeClients(Change[Revocation]):
    """Shared by one and many: `ids` are the clients."""

    operation = ""
    _signing: Signing
    _opened: dict[int, Authority]
    _certificates: list[int]

    def ids(self) -> list[int]:
        raise TypeError("no clients")

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        rows = [_standing(tx, number) for number in dict.fromkeys(self.ids())]
        cas = {ca_id: ca_facts(tx, find_ca(tx, ca_id)) for ca_id in sorted({row.ca_id for row in rows})}
        self._signing = who_signs(cas, self.input)
        serials: dict[int, list[str]] = {}
        for one in standing_certificates(tx, [row.id for row in rows]):
            serials.setdefault(one.client_id or 0, []).append(one.serial)
        targets = [self._target(cas[row.ca_id], row, serials.get(row.id, [])) for row in rows]
        many = f"{len(rows)} VPN clients" if len(rows) > 1 else f"the VPN client {rows[0].name}"
        names = ", ".join(ca.name for ca in cas.values())
        plan = record_plan(
            self.operation,
            f"revoke {many} and sign a new list of {names}",
            targets,
            self.input,
            undo=None,
            level=self._signing.level,
            warnings=self._signing.warnings() + unproven(tx, self._signing.signs),
        )
        return replace(plan, verification=FOLLOWED)

    def _target(self, ca: CaFacts, row: VpnClient, serials: list[str]) -> Target:
        before: Json = {"revoked": False, "expiry_date": utc_text(row.expiry_date)}
        after: Json = {"revoked": True, "serials": serials, "crl_reason": self.input.crl_reason}
        after["list"] = "signed at once" if ca.id in self._signing.signs else "not signed"
        over = ("it has expired already",) if row.expiry_date <= self.ctx.now() else ()
        return client_target(ca, row, before, after, over)

    async def execute(self, target: Target) -> None:
        """Only the keys; everything is written in one transaction."""
        if not hasattr(self, "_opened"):
            self._opened = await authorities(self.ctx, self._signing, self.input)

    concurrency = 1

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now, done = self.ctx.now(), [outcome for outcome in outcomes if outcome.state == "done"]
        rows = [_standing(tx, int(outcome.target.id)) for outcome in done]
        by, reason = self.ctx.caller.username, self.input.crl_reason
        certificates = standing_certificates(tx, [row.id for row in rows])
        mark_revoked(tx, certificates, at=now, by=by, reason=reason)
        self._certificates = [one.id for one in certificates]
        for row in rows:
            row.revoked, row.revoked_date, row.updated_at = True, now, now
            tx.add(row)
        tx.flush()
        why = f"revoked {rows[0].name}" if len(rows) == 1 else f"revoked {len(rows)} clients"
        numbers = sign_lists(tx, self._signing, self._opened, now, why)
        announce_all(tx, "vpn_client", [row.id for row in rows], "updated")
        for outcome, row in zip(done, rows, strict=True):
            outcome.after = {
                **outcome.target.after,
                "revoked_date": utc_text(now),
                "crl_number": numbers.get(row.ca_id),
            }
        return {}

    async def told(self, answer: Any) -> None:
        """On to the servers; what is not effective there yet is named in the answer."""
        answer |= await follow_up(self.ctx, self._certificates)


def _standing(tx: Session, client_id: int) -> VpnClient:
    row = find_client(tx, client_id)
    if row.revoked:
        when = utc_text(row.revoked_date) if row.revoked_date else "an unknown time"
        raise VpnClientAlreadyRevoked(name=row.name, revoked_date=when, field="id")
    return row


@change(
    "vpn.clients.revoke",
    summary="Revoke the certificate of a VPN client and publish a new CRL",
    permission="module.vpn.revoke_vpn_client",
    input=RevokeClient,
    kind="action",
    danger="high",
    reversible=False,
    objects=("vpn_client",),
)
class Revoke(_RevokeClients):
    operation = "vpn.clients.revoke"
    input: RevokeClient

    def ids(self) -> list[int]:
        return [self.input.id]


@change(
    "vpn.clients.revoke_many",
    summary="Revoke several VPN clients; each authority signs one new list for all of them",
    permission="module.vpn.revoke_vpn_client",
    input=RevokeMany,
    kind="action",
    danger="high",
    reversible=False,
    bulk=True,
    objects=("vpn_client",),
)
class RevokeSeveral(_RevokeClients):
    operation = "vpn.clients.revoke_many"
    input: RevokeMany

    def ids(self) -> list[int]:
        return self.input.items


def find_certificate(tx: Session, number: int) -> VpnCertificate:
    row = tx.get(VpnCertificate, number)
    if row is None:
        raise ObjectNotFound(entity="certificate", id=number, hint="; see: vpn certificates list", field="id")
    return row


@change(
    "vpn.certificates.revoke",
    summary="Revoke one certificate: an older one of a client, or one without a client record",
    permission="module.vpn.revoke_vpn_client",
    input=RevokeCertificate,
    kind="action",
    danger="high",
    reversible=False,
    objects=("vpn_certificate",),
)
class RevokeOne(Change[RevokeCertificate]):
    _signing: Signing
    _opened: dict[int, Authority]

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        row = self._find(tx)
        ca = ca_facts(tx, find_ca(tx, row.ca_id))
        self._signing = who_signs({ca.id: ca}, self.input)
        after = {"status": "revoked", "crl_reason": self.input.crl_reason}
        last = self._last_of(tx, row)
        dependents = [f"the VPN client {last.name}: it is its only certificate"] if last else []
        target = Target(
            "vpn_certificate",
            str(row.id),
            row.serial,
            f"vpn-certificate:{row.id}",
            ca.subject("vpn_certificate", row.serial),
            before={"status": "issued", "common_name": row.common_name},
            after=after,
        )
        plan = record_plan(
            "vpn.certificates.revoke",
            f"revoke the certificate {row.serial} of {row.common_name} and sign a new list of {ca.name}",
            [target],
            self.input,
            undo=None,
            level=ca.level,
            dependents=dependents,
            warnings=self._signing.warnings() + unproven(tx, self._signing.signs),
        )
        return replace(plan, verification=FOLLOWED)

    def _find(self, tx: Session) -> VpnCertificate:
        row = find_certificate(tx, self.input.id)
        if row.state == "revoked":
            when = utc_text(row.revoked_at) if row.revoked_at else "an unknown time"
            raise VpnClientAlreadyRevoked(name=f"the certificate {row.serial}", revoked_date=when, field="id")
        if row.state != "issued":
            raise StateConflict(f"the serial {row.serial} was reserved and nothing was signed under it", field="id")
        return row

    def _last_of(self, tx: Session, row: VpnCertificate) -> VpnClient | None:
        """Its client, when it has no other certificate that is not revoked."""
        if row.client_id is None or len(standing_certificates(tx, [row.client_id])) > 1:
            return None
        return tx.get(VpnClient, row.client_id)

    async def execute(self, target: Target) -> None:
        self._opened = await authorities(self.ctx, self._signing, self.input)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        now, row = self.ctx.now(), self._find(tx)
        last = self._last_of(tx, row)
        mark_revoked(tx, [row], at=now, by=self.ctx.caller.username, reason=self.input.crl_reason)
        if last is not None:
            last.revoked, last.revoked_date, last.updated_at = True, now, now
            tx.add(last)
            announce(tx, "vpn_client", last.id, "updated")
        sign_lists(tx, self._signing, self._opened, now, f"revoked the certificate {row.serial}")
        tx.refresh(row)
        return certificate_json(row, now)

    async def told(self, answer: Any) -> None:
        answer |= await follow_up(self.ctx, [self.input.id])
