"""access.credentials.*: secrets with a name. They go in and never come out again through an operation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Credential, Environment, Host, utc_now
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import (
    ConsoleError,
    FieldImmutable,
    InvalidParameter,
    NameNotUnique,
    NotSupported,
    ObjectInUse,
    ObjectNotFound,
    RequiredFieldMissing,
)
from opsconsole.engine.pages import Paged, contains, page_of
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan, success
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, read
from opsconsole.hosts.changes import find_environment
from opsconsole.hosts.fields import Login, Ref, Text
from opsconsole.hosts.guards import find_credential

_PERMISSION = "module.access.manage_credential"
_SECRET: Any = {"secret": True}
Secret = Annotated[SecretStr | None, Field(max_length=100_000, json_schema_extra=_SECRET)]


class Secrets(Input):
    """`password` for kind password; `private_key` (the text of a key file) and its `passphrase` for kind ssh_key."""

    password: Secret = None
    private_key: Secret = None
    passphrase: Secret = None


class CreateCredential(Secrets):
    name: Annotated[Text, Field(min_length=1)]
    kind: Literal["password", "ssh_key"]
    username: Login | None = None
    environment: Text | None = None


class UpdateCredential(Secrets):
    id: Ref
    name: Annotated[Text | None, Field(min_length=1)] = None
    username: Login | None = None
    environment: Text | None = None


class OneCredential(Input):
    id: Ref


class ListCredentials(Paged):
    name: Text | None = None
    kind: Text | None = None


def credential_json(tx: Session, row: Credential) -> Json:
    """What may be shown: never the secret, of a key its fingerprint."""
    environment = tx.get(Environment, row.environment_id) if row.environment_id is not None else None
    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "username": row.username,
        "environment": environment.name if environment else None,
        "public": dict(row.public),
        "created_at": utc_text(row.created_at),
        "updated_at": utc_text(row.updated_at),
    }


@read(
    "access.credentials.list",
    summary="List stored credentials, without their secrets",
    permission=_PERMISSION,
    input=ListCredentials,
    objects=("credential",),
)
async def list_credentials(ctx: Context, query: ListCredentials) -> Json:
    def work(tx: Session) -> Json:
        where = [contains(tx, Credential.name, query.name)] if query.name else []
        if query.kind:
            where.append(col(Credential.kind) == query.kind)
        return page_of(
            tx, Credential, where, [col(Credential.id)], query, lambda rows: [credential_json(tx, row) for row in rows]
        )

    return await ctx.database.read(work)


def _parts(kind: str, given: Secrets) -> dict[str, str]:
    """The secret as it is sealed; complete for its kind."""
    wanted = ("password",) if kind == "password" else ("private_key", "passphrase")
    foreign = {"password", "private_key", "passphrase"} - set(wanted)
    for name in sorted(foreign):
        if getattr(given, name) is not None:
            raise InvalidParameter(field=name, reason=f"does not belong to a credential of kind {kind}")
    values = {name: getattr(given, name) for name in wanted}
    if values[wanted[0]] is None or not values[wanted[0]].get_secret_value():
        raise RequiredFieldMissing(field=wanted[0])
    return {name: value.get_secret_value() for name, value in values.items() if value is not None}


def _public(kind: str, parts: dict[str, str]) -> Json:
    """Opens a private key once, to know that it can be used and by what it is recognised."""
    if kind != "ssh_key":
        return {}
    import asyncssh

    try:
        key = asyncssh.import_private_key(parts["private_key"], parts.get("passphrase"))
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise _key_error(str(error), parts) from error
    return {"fingerprint": key.get_fingerprint(), "key_type": key.get_algorithm()}


def _key_error(text: str, parts: dict[str, str]) -> ConsoleError:
    """The library has one error for all of it; only its words tell them apart."""
    if "bcrypt" in text:
        return NotSupported(what="this form of private key", reason=f"{text}; install bcrypt", field="private_key")
    if "passphrase" in parts and any(word in text.lower() for word in ("decrypt", "incorrect")):
        return InvalidParameter(field="passphrase", reason="it does not open the private key")
    if "passphrase" in text.lower():
        return InvalidParameter(field="passphrase", reason="the private key needs its passphrase")
    return InvalidParameter(field="private_key", reason="not a private key in a form ssh knows")


class _Sealing(Change[Any]):
    """Keeps the data key only from `execute` to the end of `record`: the context of a seal is the row's id, which is
    known inside the transaction only."""

    _key: bytes = b""
    _secret: dict[str, str] | None = None
    _shown: Json

    async def take(self, kind: str) -> None:
        import asyncio

        from data.keyring import KeyRing

        self._secret = _parts(kind, self.input)
        self._shown = await asyncio.to_thread(_public, kind, self._secret)
        self._key = await asyncio.to_thread(KeyRing(self.ctx.house.home).data_key)

    def seal(self, row: Credential) -> None:
        from data.secrets import seal

        if self._secret is not None:
            row.sealed = seal(self._key, json.dumps(self._secret).encode(), context=f"credential:{row.id}")
            row.public = self._shown


def _refuse_taken(tx: Session, name: str) -> None:
    if tx.exec(select(Credential.id).where(Credential.name == name)).first() is not None:
        raise NameNotUnique(entity="credential", name=name, field="name")


@change(
    "access.credentials.create",
    summary="Store a password or a private key under a name",
    permission=_PERMISSION,
    input=CreateCredential,
    objects=("credential",),
)
class Create(_Sealing):
    async def plan(self) -> Plan:
        given = self.input
        _parts(given.kind, given)

        def work(tx: Session) -> None:
            _refuse_taken(tx, given.name)
            if given.environment:
                find_environment(tx, given.environment)

        await self.ctx.database.read(work)
        after = {"name": given.name, "kind": given.kind, "username": given.username, "environment": given.environment}
        subject = Subject("credential", given.name, environment=given.environment)
        target = Target("credential", "", given.name, f"credential-name:{given.name}", subject, after=after)
        return record_plan(
            "access.credentials.create",
            f"store the credential {given.name} ({given.kind})",
            [target],
            given,
            undo="access.credentials.delete",
        )

    async def execute(self, target: Target) -> None:
        await self.take(self.input.kind)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        given = self.input
        _refuse_taken(tx, given.name)
        environment = find_environment(tx, given.environment).id if given.environment else None
        row = Credential(
            name=given.name, kind=given.kind, username=given.username or None, environment_id=environment, sealed=b""
        )
        tx.add(row)
        tx.flush()
        self.seal(row)
        tx.add(row)
        tx.flush()
        announce(tx, "credential", row.id, "created")
        outcomes[0].target = replace(outcomes[0].target, id=str(row.id))
        return credential_json(tx, row)


def _target(tx: Session, row: Credential, before: Json, after: Json) -> Target:
    environment = credential_json(tx, row)["environment"]
    subject = Subject("credential", row.name, environment=environment)
    return Target("credential", str(row.id), row.name, f"credential:{row.id}", subject, before=before, after=after)


def _reload(tx: Session, target: Target) -> Credential:
    row = tx.get(Credential, int(target.id))
    if row is None:
        raise ObjectNotFound(entity="credential", id=target.name, hint="; it was deleted in the meantime")
    return row


@change(
    "access.credentials.update",
    summary="Change a stored credential; a secret that is given replaces the old one",
    permission=_PERMISSION,
    input=UpdateCredential,
    objects=("credential",),
)
class Update(_Sealing):
    _kind = ""

    async def plan(self) -> Plan:
        return await self.ctx.database.read(self._plan)

    def _gives_secret(self) -> bool:
        return any(getattr(self.input, name) is not None for name in ("password", "private_key", "passphrase"))

    def _plan(self, tx: Session) -> Plan:
        given = self.input
        row = find_credential(tx, given.id)
        self._kind = row.kind
        if row.kind not in {"password", "ssh_key"}:
            raise FieldImmutable(f"id: a credential of kind {row.kind} is changed where it belongs to", field="id")
        if self._gives_secret():
            _parts(row.kind, given)
        after: Json = {name: getattr(given, name) or None for name in given.model_fields_set & {"name", "username"}}
        if "name" in after and after["name"] is None:
            raise InvalidParameter(field="name", reason="a credential must have one")
        if after.get("name", row.name) != row.name:
            _refuse_taken(tx, after["name"])
        if "environment" in given.model_fields_set:
            after["environment"] = find_environment(tx, given.environment).name if given.environment else None
        now = credential_json(tx, row)
        before = {name: now[name] for name in after}
        if self._gives_secret():
            after["sealed"] = "replaced"
        summary = f"change the credential {row.name}"
        undo = "access.credentials.update with the values before"
        target = _target(tx, row, before, after)
        return record_plan("access.credentials.update", summary, [target], given, undo=undo)

    async def execute(self, target: Target) -> None:
        if self._gives_secret():
            await self.take(self._kind)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row, after = _reload(tx, outcomes[0].target), outcomes[0].target.after
        if "environment" in after:
            row.environment_id = find_environment(tx, after["environment"]).id if after["environment"] else None
        for name in ("name", "username"):
            if name in after:
                setattr(row, name, after[name])
        self.seal(row)
        row.updated_at = utc_now()
        tx.add(row)
        tx.flush()
        announce(tx, "credential", row.id, "updated")
        return credential_json(tx, row)


@change(
    "access.credentials.delete",
    summary="Delete a stored credential; its secret is gone",
    permission=_PERMISSION,
    input=OneCredential,
    danger="high",
    reversible=False,
    objects=("credential",),
)
class Delete(Change[OneCredential]):
    async def plan(self) -> Plan:
        def work(tx: Session) -> Plan:
            row = find_credential(tx, self.input.id)
            _refuse_used(tx, row)
            target = _target(tx, row, credential_json(tx, row), {"deleted": True})
            summary = f"delete the credential {row.name}"
            return record_plan("access.credentials.delete", summary, [target], self.input, undo=None)

        return await self.ctx.database.read(work)

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        row = _reload(tx, outcomes[0].target)
        _refuse_used(tx, row)
        tx.delete(row)
        tx.flush()
        announce(tx, "credential", outcomes[0].target.id, "deleted")
        return dict(success())


def _refuse_used(tx: Session, row: Credential) -> None:
    hosts = tx.exec(select(Host.name).where(Host.ssh_credential_id == row.id).order_by(col(Host.name)).limit(6)).all()
    if hosts:
        users = ", ".join(hosts[:5]) + (" and more" if len(hosts) > 5 else "")
        raise ObjectInUse(entity="credential", name=row.name, users=users)
