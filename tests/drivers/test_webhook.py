"""The webhook against a real HTTP server, plain and with TLS."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers import webhook
from drivers.errors import DriverError, ProtocolError, Refused, TimedOut, Unreachable, Unsupported


class Receiver:
    """A server that keeps what it is told. `status` answers; `hang` answers nothing; `garbage` no HTTP."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        self.status = 204
        self.where: str | None = None
        self.hang = threading.Event()
        self.hang.set()
        self.garbage = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.told.append((self.path, json.loads(body)))
                outer.keys.append(self.headers.get("Idempotency-Key"))
                outer.hang.wait(30)
                if outer.garbage:
                    self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
                    return
                self.send_response(outer.status)
                if outer.where is not None:
                    self.send_header("Location", outer.where)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if context else "http"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.server.server_port}/hook/s3cret?x=1"

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


async def test_one_object_arrives(receiver: Receiver) -> None:
    await webhook.post(receiver.url, {"event": "approval_requested", "name": "hé"})
    assert receiver.told == [("/hook/s3cret?x=1", {"event": "approval_requested", "name": "hé"})]


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
async def test_what_is_not_taken_is_refused(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.where = status, "http://localhost:1/elsewhere"
    with pytest.raises(Refused, match=f"it answered {status}") as refused:
        await webhook.post(receiver.url, {})
    assert "s3cret" not in str(refused.value)
    assert len(receiver.told) == 1


async def test_silence_has_an_end(receiver: Receiver) -> None:
    receiver.hang.clear()
    with pytest.raises(TimedOut) as late:
        await webhook.post(receiver.url, {}, timeout=0.3)
    assert "s3cret" not in str(late.value)


async def test_garbage_and_nobody_there(receiver: Receiver) -> None:
    receiver.garbage = True
    with pytest.raises(ProtocolError):
        await webhook.post(receiver.url, {})
    url = receiver.url
    receiver.close()
    with pytest.raises(Unreachable) as nobody:
        await webhook.post(url, {})
    assert "s3cret" not in str(nobody.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "http://example.org/x",
        "https://",
        "https://u:p@example.org/",
        "https://h:99999/",
        "",
        "https://h:0/",
    ],
)
async def test_addresses_that_are_none(url: str) -> None:
    assert webhook.problem(url)
    with pytest.raises(Unsupported):
        await webhook.post(url, {})


async def test_signs_that_no_address_has(receiver: Receiver) -> None:
    for wrong in (receiver.url + "/ü", receiver.url + "/a b", receiver.url.replace("localhost", "h" * 70)):
        with pytest.raises(DriverError):
            await webhook.post(wrong, {})
    assert receiver.told == []


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A TLS server with a certificate of its own for localhost, and the file that makes it trusted."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca, keys = tmp_path / "ca.pem", tmp_path / "key.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    keys.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, keys)
    made = Receiver(context)
    yield made, ca
    made.close()


async def test_tls_is_verified(trusted: tuple[Receiver, Path]) -> None:
    receiver, ca = trusted
    with pytest.raises(DriverError, match="not trusted"):
        await webhook.post(receiver.url, {"event": "x"})
    with pytest.raises(DriverError, match="not trusted"):
        await webhook.post(receiver.url.replace("localhost", "127.0.0.1"), {"event": "x"}, ca_file=str(ca))
    assert receiver.told == []
    await webhook.post(receiver.url, {"event": "x"}, ca_file=str(ca))
    assert [body for _, body in receiver.told] == [{"event": "x"}]
    with pytest.raises(DriverError):
        await webhook.post(receiver.url, {}, ca_file=str(ca.with_name("missing.pem")))
