"""Mail against a real server: what arrives, who is refused, and what can be smuggled in (nothing)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AuthRefused, DriverError, ProtocolError, Refused, TimedOut, Unreachable
from drivers.mail import Mail, MailServer, check_address, greet, message, send
from tests.lab.smtp import PASSWORD, USER, Post, serve

MAIL = Mail("console@example.com", ["ann@example.com"], "a subject", "The text.\nTwo lines, ä and 漢.")


def server(post: Post, **more: object) -> MailServer:
    base = MailServer("localhost", post.port, "starttls", str(post.ca), USER, PASSWORD, timeout=5)
    return replace(base, **more)  # type: ignore[arg-type]


async def test_each_gets_a_message_of_his_own(post: Post) -> None:
    sent = await send(server(post), replace(MAIL, to=["ann@example.com", "bob@example.com", "ann@example.com"]))
    assert sent.accepted == ("ann@example.com", "bob@example.com")
    assert [message["To"] for message in post.received] == ["ann@example.com", "bob@example.com"]
    assert post.envelopes == [
        ("console@example.com", ["ann@example.com"]),
        ("console@example.com", ["bob@example.com"]),
    ]
    payload = post.received[0].get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n") == MAIL.text + "\n"
    assert post.received[0]["Auto-Submitted"] == "auto-generated"
    assert post.logins == 1


async def test_an_unknown_address_does_not_keep_the_others_from_theirs(post: Post) -> None:
    people = ["nobody@example.com", "ann@example.com", "later@example.com"]
    sent = await send(server(post), replace(MAIL, to=people))
    assert sent.accepted == ("ann@example.com",)
    assert dict(sent.refused) == {
        "nobody@example.com": "550 5.1.1 no such user here",
        "later@example.com": "451 4.3.0 try again later",
    }


async def test_a_greeting_sends_nothing(post: Post) -> None:
    await greet(server(post))
    assert (post.received, post.logins) == ([], 1)


async def test_who_is_not_trusted_gets_no_mail(post: Post) -> None:
    for wrong in ({"ca_file": ""}, {"host": "127.0.0.1"}, {"password": "another"}):
        with pytest.raises(AuthRefused) as refused:
            await send(server(post, **wrong), MAIL)
        assert PASSWORD not in str(refused.value)
    with pytest.raises(Refused, match="STARTTLS"):
        await send(server(post, security="none", username=""), MAIL)
    assert post.received == []


async def test_tls_from_the_first_byte_and_none_at_all(tmp_path: Path) -> None:
    with contextlib.closing(_generator(tmp_path, tls=True)) as servers:
        post = next(servers)
        assert (await send(server(post, security="tls", username=""), MAIL)).accepted
    with contextlib.closing(_generator(tmp_path)) as servers:
        post = next(servers)
        with pytest.raises(AuthRefused, match="no STARTTLS"):
            await send(server(post, username=""), MAIL)
        assert post.received == []
        assert (await send(server(post, username="", security="none"), MAIL)).accepted


def _generator(place: Path, *, tls: bool = False) -> Generator[Post]:
    return serve(place, tls=tls)


@contextlib.contextmanager
def peer(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something on a port that is no proper mail server; it serves one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    talk(connection)
                    done.wait(10)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            done.set()
            thread.join(10)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", TimedOut),
        (b"554 go away\r\n", Refused),
        (b"421 too busy\r\n", Refused),
        (b"\x00\xff nonsense\r\n" * 3, DriverError),
        (b"220-" + b"x" * 100_000, DriverError),
    ],
)
async def test_a_peer_that_is_none(said: bytes, error: type[DriverError]) -> None:
    with peer(lambda connection: connection.sendall(said)) as port:
        with pytest.raises(error) as refused:
            await send(MailServer("127.0.0.1", port, "none", timeout=0.5), MAIL)
        assert f"127.0.0.1:{port}" in str(refused.value)


async def test_a_peer_that_hangs_up(refused_port: tuple[str, int]) -> None:
    with (
        peer(lambda connection: connection.shutdown(socket.SHUT_RDWR)) as port,
        pytest.raises((Unreachable, ProtocolError)),
    ):
        await send(MailServer("127.0.0.1", port, "none", timeout=2), MAIL)
    with pytest.raises(Unreachable):
        await send(MailServer(*refused_port, "none", timeout=2), MAIL)
    with pytest.raises(Unreachable):
        await send(MailServer("does-not-resolve.invalid", 25, "none", timeout=2), MAIL)


@pytest.mark.parametrize(
    "address",
    ["", "ann", "@example.com", "ann@", "a b@example.com", "ann@example.com\r\nBcc: eve@example.com", "a@b, c@d",
     "<ann@example.com>", "ann@example.com>\r\nRCPT TO:<eve@example.com", 'a"b@example.com', "ä@example.com"],
)  # fmt: skip
async def test_what_is_no_address_is_refused_before_anything_is_sent(post: Post, address: str) -> None:
    with pytest.raises(ValueError, match="not one mail address"):
        await send(server(post), replace(MAIL, to=["ann@example.com", address]))
    with pytest.raises(ValueError, match="not one mail address"):
        await send(server(post), replace(MAIL, sender=address))
    assert post.sessions == 0


@given(st.text(), st.text())
def test_nothing_becomes_a_header(subject: str, text: str) -> None:
    made = message(replace(MAIL, subject=f"x\r\nBcc: eve@example.com\n\n{subject}", text=text), "ann@example.com")
    raw = made.as_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    expected = {b"from", b"to", b"subject", b"date", b"message-id", b"auto-submitted", b"mime-version"}
    assert set(names) <= expected | {b"content-type", b"content-transfer-encoding"}
    assert len(names) == len(set(names))
    assert b"\x1b" not in raw
    assert body is not None


def test_an_address_that_is_one() -> None:
    assert check_address("first.last+tag@sub.example.com") == "first.last+tag@sub.example.com"


def test_a_key_makes_the_message_id_and_nothing_else() -> None:
    made = message(replace(MAIL, key="01a2-ff"), "ann@example.com")
    assert made["Message-ID"] == f"<01a2-ff@{MAIL.sender.rpartition('@')[2]}>"
    for bad in ("a>\r\nBcc: eve@example.com", "é", "a b", "<"):
        with pytest.raises(ValueError, match="is no key of a message"):
            message(replace(MAIL, key=bad), "ann@example.com")
