"""A real mail server on loopback, with TLS of an authority of its own, a password, and people it does not know."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "console", "mail-Pass 1"


@dataclass
class Post:
    """What arrived: `received` the messages, `envelopes` the addresses they were really sent to."""

    port: int = 0
    ca: Path = Path()
    received: list[Message] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    logins: int = 0
    sessions: int = 0

    def text(self) -> str:
        """The text of the only message."""
        (only,) = self.received
        payload = only.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return payload.decode()


class _Handler:
    def __init__(self, post: Post) -> None:
        self.post = post

    async def handle_EHLO(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.post.sessions += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such user here"
        if address.startswith("later"):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.post.received.append(message_from_bytes(content))
        self.post.envelopes.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        return "250 OK"


class _AnyPort(Controller):
    """On a port the kernel chose, known before the library first knocks on it."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


def authority(place: Path) -> ssl.SSLContext:
    """A certificate for localhost that is its own authority, in `place`/ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab mail")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(place / "ca.pem", place / "key.pem")
    return context


def serve(place: Path, *, starttls: bool = False, tls: bool = False, password: bool = False) -> Generator[Post]:
    """A server until the generator is closed; without TLS of any kind it speaks in the clear."""
    post = Post(ca=place / "ca.pem")
    context = authority(place)

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        post.logins += right
        return AuthResult(success=right, handled=right)

    options: dict[str, Any] = {"tls_context": context, "require_starttls": True} if starttls else {}
    if password:
        options |= {"auth_required": True, "authenticator": authenticate, "auth_require_tls": starttls}
    controller = _AnyPort(_Handler(post), hostname="127.0.0.1", port=0, ssl_context=context if tls else None, **options)
    controller.start()
    try:
        post.port = controller.port
        yield post
    finally:
        controller.stop()


@pytest.fixture
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A mail server that wants STARTTLS and a password."""
    yield from serve(tmp_path_factory.mktemp("mail"), starttls=True, password=True)
