"""Mail to people: one function for every area. What is said goes to the addresses of the settings, or to those given.

A mail that could not be sent is said in the answer and never an error: what it tells of has happened all the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import Session, select

from data.errors import DataError
from data.models import Credential
from drivers import mail
from drivers.errors import DriverError
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, NotSupported, ObjectNotFound

if TYPE_CHECKING:
    from opsconsole.house import House


@dataclass(frozen=True, slots=True)
class Notified:
    """`sent` are the addresses a server has taken it for, `problem` why it has not, or not for all; empty: all well."""

    sent: tuple[str, ...] = ()
    problem: str = ""


async def notify(house: House, subject: str, text: str, *, to: Sequence[str] = ()) -> Notified:
    """Send `text` to `to`, or without it to `notify_to` of the settings. Nobody to tell is no problem; a missing or
    broken mail server is, and is said in `problem`."""
    people = tuple(to) or house.settings.notify_to
    if not people:
        return Notified()
    try:
        sent = await deliver(house, subject, text, people)
    except ConsoleError as error:
        return Notified(problem=error.message)
    refused = "; ".join(f"{address}: {said}" for address, said in sent.refused)
    return Notified(sent.accepted, refused)


async def deliver(house: House, subject: str, text: str, to: Sequence[str], *, key: str = "") -> mail.Sent:
    """The same, with every failure raised as a ConsoleError; NotSupported when no mail server is set. `key` names the
    message for whoever gets it twice."""
    server = await server_of(house)
    try:
        return await mail.send(server, mail.Mail(sender_of(house), to, f"[opsconsole] {subject}", text, key))
    except DriverError as error:
        raise translate(error) from error
    except ValueError as error:
        raise NotSupported(what="this mail", reason=str(error)) from error


async def greet(house: House) -> None:
    """Everything of a delivery but the message: it takes as long and fails in the same way."""
    try:
        await mail.greet(await server_of(house))
    except DriverError as error:
        raise translate(error) from error


def is_set(house: House) -> bool:
    """Whether the settings name a mail server."""
    return bool(house.settings.mail_host)


def sender_of(house: House) -> str:
    return house.settings.mail_sender or f"opsconsole@{house.settings.mail_host}"


async def server_of(house: House) -> mail.MailServer:
    """The server of the settings with its opened credential. NotSupported, ObjectNotFound, SecretsLocked."""
    s = house.settings
    if not is_set(house):
        raise NotSupported(what="mail", reason="settings.toml names no mail_host")
    username = password = ""
    if s.mail_credential:
        username, password = await _credential(house, s.mail_credential)
    return mail.MailServer(
        host=s.mail_host,
        port=s.mail_port,
        security=mail.SECURITY[s.mail_security],
        ca_file=s.mail_ca,
        username=username,
        password=password,
        timeout=s.mail_timeout,
    )


async def _credential(house: House, name: str) -> tuple[str, str]:
    from opsconsole.house import translate as translate_data

    def find(tx: Session) -> Credential | None:
        row = tx.exec(select(Credential).where(Credential.name == name, Credential.kind == "password")).one_or_none()
        if row is not None:
            tx.expunge(row)
        return row

    row = await house.database.read(find)
    if row is None:
        hint = "; mail_credential of the settings names it; access.credentials.create stores one"
        raise ObjectNotFound(entity="password credential", id=name, hint=hint)
    try:
        opened = json.loads(await house.unseal(row.sealed, context=f"credential:{row.id}"))
    except DataError as error:
        raise translate_data(error) from error
    return row.username or "", str(opened["password"])
