"""vpn.clients.list, get, create, update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from sqlalchemy import ColumnElement
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import VpnCertificate, VpnClient, VpnClientSight, utc_now
from data.pages import CURSOR_SIZE, cursor_page
from data.secrets import seal
from data.textsearch import text_match
from drivers.pki import subject_name
from drivers.pki_files import describe
from drivers.pki_types import KeyType
from drivers.pki_types import Subject as Whom
from opsconsole.engine.context import Context
from opsconsole.engine.errors import FieldImmutable, InvalidParameter, NameNotUnique, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.vpn import keys
from opsconsole.vpn.fields import (
    CLIENT_FIELDS,
    SUBJECT_FIELDS,
    USUAL_DAYS,
    ClientName,
    Country,
    Days,
    Details,
    Email,
    Id,
    Long,
    OneClient,
    Passphrase,
    Password,
    Place,
    Short,
    certificate_json,
    client_json,
    plain,
)
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca, find_client, said
from opsconsole.vpn.revocation import chains
from opsconsole.vpn.seen import seen_json
from opsconsole.vpn.signing import Made, Wanted, issue_all, settle_certificate

LARGEST = 5000
_VIEW = "module.vpn.view_vpn_client"
_COLUMNS = (
    "id", "ca_id", "name", *CLIENT_FIELDS, "revoked", "revoked_date", "expiry_date", "serial", "created_at",
    "updated_at",
)  # fmt: skip


class ListClients(Input):
    """`name` is a case-insensitive substring; an empty status means all of them."""

    cursor: Annotated[int, Field(ge=0, lt=2**31, description="the `next` of the page before")] = 0
    size: Annotated[int, Field(ge=1, le=LARGEST)] = CURSOR_SIZE
    name: Annotated[str | None, Field(max_length=255)] = None
    ca_id: Annotated[Id | None, Field(validation_alias=AliasChoices("ca_id", "caId"))] = None
    status: Literal["", "valid", "expired", "revoked"] = ""


class CreateClient(Details):
    ca_id: Annotated[Id, Field(validation_alias=AliasChoices("ca_id", "caId"))]
    name: ClientName
    email: Email
    password: Password | None = None
    expiration: Days = USUAL_DAYS
    key_type: Annotated[KeyType, Field(description="ec-p256 unless somebody needs another")] = "ec-p256"
    ca_passphrase: Passphrase | None = None


class UpdateClient(Input):
    """Only what is given changes; an empty text clears a field. Name, authority and expiration may be repeated as they
    are, and not changed."""

    id: Id
    email: Email | None = None
    password: Password | None = None
    description: Long | None = None
    country: Country | None = None
    province: Place | None = None
    city: Place | None = None
    organization: Short | None = None
    sector: Short | None = None
    name: Annotated[str | None, Field(max_length=255, description="not editable")] = None
    ca_id: Annotated[int | None, Field(validation_alias=AliasChoices("ca_id", "caId"), description="not editable")] = (
        None
    )
    expiration: Annotated[int | None, Field(description="not editable")] = None


@read(
    "vpn.clients.list",
    summary="List site-to-site VPN clients, one cursor page at a time, with filters name, ca_id, status",
    permission=_VIEW,
    input=ListClients,
    objects=("vpn_client",),
)
async def list_clients(ctx: Context, query: ListClients) -> Json:
    """`last_seen` of a client says when (`at`) and on which `server` it was last seen connected; null: never seen."""
    now = ctx.now()

    def work(tx: Session) -> Json:
        client, sight = VpnClient.__table__, VpnClientSight.__table__  # type: ignore[attr-defined]
        joined = client.outerjoin(sight, sight.c.client_id == client.c.id)
        columns = [*(client.c[name] for name in _COLUMNS), sight.c.server, sight.c.seen_at]
        statement: Any = core_select(*columns).select_from(joined).where(*_filters(tx, ctx, query))
        page = cursor_page(tx, statement, client.c.id, cursor=query.cursor, size=query.size, largest=LARGEST)
        return page.document("clients", lambda row: _listed(row, now))

    return await ctx.database.read(work)


def _listed(row: Sequence[Any], now: datetime) -> Json:
    values = dict(zip(_COLUMNS, row, strict=False))
    server, seen_at = row[len(_COLUMNS) : len(_COLUMNS) + 2]
    found = client_json(values, now)
    found["last_seen"] = seen_json(server, seen_at)
    return found


def _filters(tx: Session, ctx: Context, query: ListClients) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.name:
        found.append(text_match(tx.get_bind().dialect.name, VpnClient, ("name",), query.name, short="scan"))
    if query.ca_id is not None:
        find_ca(tx, query.ca_id)
        found.append(col(VpnClient.ca_id) == query.ca_id)
    if query.status == "revoked":
        found.append(col(VpnClient.revoked).is_(True))
    elif query.status == "expired":
        found.append(col(VpnClient.expiry_date) <= ctx.now())
    elif query.status == "valid":
        found += [col(VpnClient.revoked).is_(False), col(VpnClient.expiry_date) > ctx.now()]
    return found


@read(
    "vpn.clients.get",
    summary="Show one site-to-site VPN client",
    permission=_VIEW,
    input=OneClient,
    objects=("vpn_client",),
)
async def get_client(ctx: Context, query: OneClient) -> Json:
    """The client with its authority's name, its certificates, newest first, and the newest one in words.

    `chain` of a revoked one says how far its revocation is on every server, as vpn.revocations.get does.
    """

    def work(tx: Session) -> Json:
        row = find_client(tx, query.id)
        mine = select(VpnCertificate).where(VpnCertificate.client_id == row.id).order_by(col(VpnCertificate.id).desc())
        certificates = tx.exec(mine.limit(100)).all()
        current = next((one for one in certificates if one.id == row.certificate_id), None)
        text = describe(current.cert) if current is not None and current.cert else []
        chain = chains(tx, certificates)
        sight = tx.get(VpnClientSight, row.id)
        return client_json(row, ctx.now()) | {
            "last_seen": seen_json(sight.server, sight.seen_at) if sight else None,
            "ca_name": find_ca(tx, row.ca_id).name,
            "has_password": row.sealed_password is not None,
            "certificates": [certificate_json(one, ctx.now()) | {"chain": chain.get(one.id)} for one in certificates],
            "certificate_text": [{"label": label, "value": value} for label, value in text],
        }

    return await ctx.database.read(work)


def refuse_taken(tx: Session, name: str) -> None:
    """Names are unique over all authorities, revoked clients included: what a name meant must stay traceable."""
    row = tx.exec(select(VpnClient).where(VpnClient.name == name)).first()
    if row is not None:
        revoked = " (revoked; vpn.clients.renew gives it a new certificate)" if row.revoked else ""
        raise NameNotUnique(
            f"there is a VPN client named {name} already{revoked}", field="name", entity="VPN client", name=name
        )


def whom(name: str, email: str, given: Any) -> Whom:
    """The subject of a client's certificate; raises InvalidParameter where a part cannot stand in one."""
    found = Whom(name, email=email, **{field: getattr(given, field) for field in SUBJECT_FIELDS})
    with said():
        subject_name(found)
    return found


def plan_of_new(ca: CaFacts, name: str, email: str, given: Any, days: int, now: Any) -> tuple[Json, list[str]]:
    """What a new client will be, and what is to be said about it. Raises when the authority is over."""
    if ca.not_after <= now:
        raise StateConflict(
            f"the certificate authority {ca.name} ended at {ca.not_after:%Y-%m-%d} and can issue nothing"
        )
    whom(name, email, given)
    after: Json = {"name": name, "ca": ca.name, "email": email, "expiration": days}
    warnings: list[str] = []
    left = (ca.not_after - now).days
    if days > left:
        after["expiry_date"] = f"{ca.not_after:%Y-%m-%d %H:%M:%S} UTC"
        warnings.append(f"{name} ends with its authority {ca.name}, after {left} days instead of {days}")
    country = getattr(given, "country", "")
    if country and len(country) != 2:
        warnings.append(
            f"{name}: the country {country} is no two-letter code; only the record says it, not the certificate"
        )
    return after, warnings


def new_target(ca: CaFacts, name: str, after: Json) -> Target:
    """A client to come; told apart by its name until it has an id."""
    subject = ca.subject("vpn_client", name)
    return Target("vpn_client", f"new:{name}", name, f"vpn-client-name:{name}", subject, after=after)


def new_client(ca: CaFacts, made: Made, values: Json) -> VpnClient:
    """The row of a client whose certificate was just made."""
    return VpnClient(
        ca_id=ca.id, serial=made.serial, certificate_id=made.row_id, expiry_date=made.issued.not_after, **values
    )


def write_client(
    tx: Session, ca: CaFacts, made: Made, wanted: Wanted, values: Json, sealed_password: bytes | None
) -> VpnClient:
    """A new client and its certificate, out of a reserved row."""
    refuse_taken(tx, values["name"])
    row = new_client(ca, made, values)
    row.sealed_password = sealed_password
    tx.add(row)
    tx.flush()
    settle_certificate(tx, made, wanted, row.id)
    tx.flush()
    announce(tx, "vpn_client", row.id, "created")
    return row


async def seal_password(ctx: Context, name: str, password: str) -> bytes | None:
    """The client's password as it is kept; None for none."""
    if not password:
        return None
    key = await keys.data_key(ctx.house, create=True)
    return seal(key, password.encode(), context=keys.password_context(name))


@change(
    "vpn.clients.create",
    summary="Create a site-to-site VPN client: key, certificate signed by the CA, client record",
    permission="module.vpn.create_vpn_client",
    input=CreateClient,
    objects=("vpn_client",),
)
class Create(Change[CreateClient]):
    _ca: CaFacts
    _made: Made
    _wanted: Wanted
    _password: bytes | None

    async def plan(self) -> Plan:
        given = self.input

        def work(tx: Session) -> CaFacts:
            ca = ca_facts(tx, find_ca(tx, given.ca_id))
            refuse_taken(tx, given.name)
            return ca

        self._ca = ca = await self.ctx.database.read(work)
        keys.check_at_hand(ca, plain(given.ca_passphrase))
        after, warnings = plan_of_new(ca, given.name, given.email, given, given.expiration, self.ctx.now())
        after |= {name: getattr(given, name) for name in CLIENT_FIELDS if getattr(given, name)}
        return record_plan(
            "vpn.clients.create",
            f"create the VPN client {given.name} under {ca.name}",
            [new_target(ca, given.name, after)],
            given,
            undo="vpn.clients.revoke",
            level=ca.level,
            warnings=warnings,
        )

    async def execute(self, target: Target) -> None:
        given = self.input
        self._wanted = Wanted(whom(given.name, given.email, given), given.expiration, given.key_type)
        self._password = await seal_password(self.ctx, given.name, plain(given.password))
        self._made = (await issue_all(self.ctx, self._ca, plain(given.ca_passphrase), [self._wanted]))[0]

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        values = {name: getattr(self.input, name) for name in ("name", *CLIENT_FIELDS)}
        row = write_client(tx, self._ca, self._made, self._wanted, values, self._password)
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        outcomes[0].after = dict(outcomes[0].target.after) | {"serial": row.serial}
        return client_json(row, self.ctx.now())


def client_target(ca: CaFacts, row: VpnClient, before: Json, after: Json, warnings: Sequence[str] = ()) -> Target:
    """A client there is."""
    subject = ca.subject("vpn_client", row.name)
    resource = f"vpn-client:{row.id}"
    return Target(
        "vpn_client", str(row.id), row.name, resource, subject, before=before, after=after, warnings=tuple(warnings)
    )


@change(
    "vpn.clients.update",
    summary="Edit the editable fields of a VPN client (not name, not expiration)",
    permission="module.vpn.edit_vpn_client",
    input=UpdateClient,
    objects=("vpn_client",),
)
class Update(Change[UpdateClient]):
    """The certificate stays as it is; a new password holds from the next export on."""

    _password: bytes | None = None

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        row = find_client(tx, given.id)
        ca = ca_facts(tx, find_ca(tx, row.ca_id))
        self._refuse_immutable(tx, row)
        wanted: Json = {}
        for name in given.model_fields_set & set(CLIENT_FIELDS):
            if name == "email" and given.email is None:
                raise InvalidParameter(field="email", reason="a client must have one")
            wanted[name] = getattr(given, name) or ""
        before, after = difference({name: getattr(row, name) for name in CLIENT_FIELDS}, wanted)
        if given.password is not None:
            after["password"] = "replaced" if plain(given.password) else "taken off"
        summary = f"change the VPN client {row.name}: {', '.join(sorted(after)) or 'nothing differs'}"
        undo = "vpn.clients.update with the values before"
        target = client_target(ca, row, before, after)
        return record_plan("vpn.clients.update", summary, [target], given, undo=undo, level=ca.level)

    def _refuse_immutable(self, tx: Session, row: VpnClient) -> None:
        given = self.input
        if given.name is not None and given.name != row.name:
            raise FieldImmutable(f"name cannot be changed; this client is {row.name}", field="name")
        if given.ca_id is not None and given.ca_id != row.ca_id:
            raise FieldImmutable(f"ca_id cannot be changed; it is {row.ca_id}", field="ca_id")
        certificate = tx.get(VpnCertificate, row.certificate_id) if given.expiration is not None else None
        if certificate is not None and certificate.not_before and certificate.not_after:
            days = round((certificate.not_after - certificate.not_before).total_seconds() / 86400)
            if days != given.expiration:
                reason = f"expiration cannot be changed; it is {days} days (vpn.clients.renew makes a new certificate)"
                raise FieldImmutable(reason, field="expiration")

    async def execute(self, target: Target) -> None:
        self._password = await seal_password(self.ctx, target.name, plain(self.input.password))

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        target = outcomes[0].target
        row = find_client(tx, self.input.id)
        refuse_if_changed(f"the client {row.name}", target.before, {n: getattr(row, n) for n in CLIENT_FIELDS})
        for name in target.after.keys() & set(CLIENT_FIELDS):
            setattr(row, name, target.after[name])
        if self.input.password is not None:
            row.sealed_password = self._password
        row.updated_at = utc_now()
        tx.add(row)
        tx.flush()
        announce(tx, "vpn_client", row.id, "updated")
        return client_json(row, self.ctx.now())
