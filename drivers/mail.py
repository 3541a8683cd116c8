"""Mail by SMTP, with the standard library in a thread: one message, one connection, deadlines on every step."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Final, Literal, TypeVar

from drivers.errors import AuthRefused, ProtocolError, Refused, TimedOut, Unreachable

Security = Literal["starttls", "tls", "none"]
SECURITY: Final[dict[str, Security]] = {"starttls": "starttls", "tls": "tls", "none": "none"}
T = TypeVar("T")
_TRIED = "send mail"
_TEMPORARY = 400
_PERMANENT = 500
_MAX_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class MailServer:
    """`security`: `starttls` (refused when the server has none), `tls` from the first byte, or `none`. `ca_file` holds
    the authorities to trust instead of the system's. `timeout` are seconds for each step."""

    host: str
    port: int = 587
    security: Security = "starttls"
    ca_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class Mail:
    """One text to one or several people, who do not see each other: each gets a message of his own. `key` makes the
    Message-ID: the same one says that it is the same message again."""

    sender: str
    to: Sequence[str]
    subject: str
    text: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """`refused` says of an address what the server said to it."""

    accepted: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def check_address(address: str) -> str:
    """The address itself. Raises ValueError for anything that could be more than one, or a command, or a header."""
    local, at, domain = address.rpartition("@")
    good = address.isascii() and address.isprintable() and len(address) <= 254
    if not (good and at and local and domain) or any(sign in ' \t<>,;:"()[]\\' for sign in address):
        raise ValueError(f"{address!r} is not one mail address")
    return address


def check_key(key: str) -> str:
    """The key itself; ValueError for what could end a header or the name in it."""
    if not key.isascii() or not key.replace("-", "").isalnum():
        raise ValueError(f"{key!r} is no key of a message")
    return key


def message(mail: Mail, to: str) -> EmailMessage:
    """The message as it is sent. Nothing in subject or text can become a header: line ends in a subject are blanks,
    and an address is checked."""
    made = EmailMessage(policy=SMTP)
    made["From"] = check_address(mail.sender)
    made["To"] = check_address(to)
    made["Subject"] = "".join(sign if sign.isprintable() else " " for sign in mail.subject)[:_MAX_SUBJECT]
    made["Date"] = formatdate(localtime=False)
    domain = mail.sender.rpartition("@")[2]
    made["Message-ID"] = f"<{check_key(mail.key)}@{domain}>" if mail.key else make_msgid(domain=domain)
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in mail.text) + "\n")
    return made


async def send(server: MailServer, mail: Mail) -> Sent:
    """Send to everybody. An address the server refuses is in the answer; raises Unreachable, TimedOut, AuthRefused,
    Refused (the server takes no mail from us at all) and ProtocolError, and ValueError for what is no address."""
    messages = [(to, message(mail, to)) for to in dict.fromkeys(mail.to)]

    def work(client: smtplib.SMTP) -> Sent:
        accepted: list[str] = []
        refused: list[tuple[str, str]] = []
        for to, text in messages:
            try:
                client.send_message(text, from_addr=mail.sender, to_addrs=[to])
                accepted.append(to)
            except smtplib.SMTPRecipientsRefused as error:
                refused.append((to, _said(error.recipients[to])))
        return Sent(tuple(accepted), tuple(refused))

    return await asyncio.to_thread(_with_client, server, work)


async def greet(server: MailServer) -> None:
    """Connect, prove who we are and leave, as if something were to be sent; raises what `send` raises."""
    await asyncio.to_thread(_with_client, server, lambda client: client.noop())


def _with_client(server: MailServer, work: Callable[[smtplib.SMTP], T]) -> T:
    name = f"{server.host}:{server.port}"
    try:
        client = _connected(server, name)
        try:
            return work(client)
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()
    except TimeoutError as error:
        raise TimedOut(name, _TRIED, f"no answer within {server.timeout:g} s") from error
    except ssl.SSLError as error:
        remedy = "name the authority that signed its certificate in mail_ca"
        raise AuthRefused(name, _TRIED, f"its TLS is not to be trusted: {error.reason}", remedy=remedy) from error
    except smtplib.SMTPAuthenticationError as error:
        raise AuthRefused(name, _TRIED, _said((error.smtp_code, error.smtp_error)), remedy=_CREDENTIAL) from error
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(name, _TRIED, str(error), code="limit") from error
    except smtplib.SMTPServerDisconnected as error:
        if isinstance(error.__context__, TimeoutError):
            raise TimedOut(name, _TRIED, f"no answer within {server.timeout:g} s") from error
        raise Unreachable(name, _TRIED, f"the connection broke: {error}") from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(name, error.smtp_code, error.smtp_error) from error
    except smtplib.SMTPException as error:
        raise ProtocolError(name, _TRIED, f"an answer that is none: {type(error).__name__}") from error
    except (socket.gaierror, OSError) as error:
        raise Unreachable(name, _TRIED, str(error.strerror or error)) from error


_CREDENTIAL = "mail_credential names the stored password that is used"


def _connected(server: MailServer, name: str) -> smtplib.SMTP:
    trust = ssl.create_default_context(cafile=server.ca_file or None)
    client: smtplib.SMTP
    if server.security == "tls":
        client = smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=trust)
    else:
        client = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
    try:
        client.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            if not client.has_extn("starttls"):
                remedy = 'mail_security = "tls" or "none" if that is meant'
                raise AuthRefused(name, _TRIED, "the server offers no STARTTLS, nothing was sent", remedy=remedy)
            client.starttls(context=trust)
            client.ehlo()
        if server.username:
            client.login(server.username, server.password)
    except BaseException:
        client.close()
        raise
    return client


def _refusal(name: str, code: int, said: bytes | str) -> Refused | ProtocolError:
    text = _said((code, said))
    if _TEMPORARY <= code < _PERMANENT:
        return Refused(name, _TRIED, text, code="busy", remedy="it is only for now; try again later")
    return Refused(name, _TRIED, text) if code >= _PERMANENT else ProtocolError(name, _TRIED, text)


def _said(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(plain.split())}"[:300]
