"""Files on a server, by the real scripts on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers import openvpn_files
from drivers.errors import ProtocolError, Refused
from drivers.local import LocalRunner
from drivers.openvpn_crl import NoCrl, joined, ours_in, read_lists
from drivers.openvpn_daemon import daemon_view
from drivers.openvpn_files import (
    block_serials,
    blocked_serials,
    client_path,
    read_client_files,
    read_file,
    remove_file,
    replace_file,
)

HERE = LocalRunner("here")


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _names(directory: Path) -> list[str]:
    return [one.name for one in directory.iterdir()]


async def test_a_file_is_replaced_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    assert await read_file(HERE, str(path), timeout=10) is None
    first = await replace_file(HERE, str(path), b"one", expect=None, timeout=10)
    assert (path.read_bytes(), first.mode, first.before) == (b"one", "644", None)
    seen = await read_file(HERE, str(path), timeout=10)
    assert seen is not None and (seen.data, seen.sha256, seen.mode) == (b"one", _sum(b"one"), "644")
    second = await replace_file(HERE, str(path), b"two", expect=seen.sha256, timeout=10)
    assert second.mtime > first.mtime, "the daemon looks at whole seconds"
    assert second.before == _sum(b"one") and path.read_bytes() == b"two"
    assert _names(tmp_path) == ["crl.pem"], "nothing is left beside it"


async def test_somebody_else_was_faster(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(b"theirs")
    for expect in (None, _sum(b"what was seen")):
        with pytest.raises(Refused, match="changed by somebody else") as caught:
            await replace_file(HERE, str(path), b"ours", expect=expect, timeout=10)
        assert caught.value.code == "busy"
    assert path.read_bytes() == b"theirs" and _names(tmp_path) == ["crl.pem"]


async def test_killed_in_the_middle_the_old_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(b"old")
    new = b"n" * 200_000
    argv = ["sh", "-c", openvpn_files._REPLACE, "opsconsole", str(path), _sum(new), _sum(b"old"), "0644"]
    for sent in (0, 1, 100_000, len(new)):
        child = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE, start_new_session=True)
        assert child.stdin is not None
        child.stdin.write(new[:sent])
        await child.stdin.drain()
        await asyncio.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        assert path.read_bytes() == b"old"
    for left in _names(tmp_path):
        if left.startswith(".opsconsole."):
            os.utime(tmp_path / left, (0, 0))
    await replace_file(HERE, str(path), new, expect=_sum(b"old"), timeout=10)
    assert path.read_bytes() == new and _names(tmp_path) == ["crl.pem"]


async def test_what_does_not_arrive_whole_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(b"old")
    args = [str(path), _sum(b"whole"), _sum(b"old"), "0644"]
    with pytest.raises(ProtocolError, match="did not arrive whole"):
        await openvpn_files.run_script(HERE, "replace", openvpn_files._REPLACE, args, stdin=b"who", timeout=10)
    assert path.read_bytes() == b"old" and _names(tmp_path) == ["crl.pem"]


async def test_a_link_keeps_leading_there(tmp_path: Path) -> None:
    real = tmp_path / "real dir"
    real.mkdir()
    (real / "crl.pem").write_bytes(b"old")
    (tmp_path / "crl.pem").symlink_to(real / "crl.pem")
    done = await replace_file(HERE, str(tmp_path / "crl.pem"), b"new", expect=_sum(b"old"), timeout=10)
    assert done.path == str(real / "crl.pem")
    assert (tmp_path / "crl.pem").is_symlink() and (real / "crl.pem").read_bytes() == b"new"


async def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(Refused, match="is no file"):
        await replace_file(HERE, str(tmp_path / "directory"), b"x", expect=None, timeout=10)
    with pytest.raises(Refused, match="there is no directory"):
        await replace_file(HERE, str(tmp_path / "none" / "crl.pem"), b"x", expect=None, timeout=10)
    with pytest.raises(Refused, match="is no file"):
        await read_file(HERE, str(tmp_path / "directory"), timeout=10)


async def test_names_that_look_like_options_or_code(tmp_path: Path) -> None:
    for name in ("-rf", "$(touch pwned)", "a b'c\"", "ü"):
        await replace_file(HERE, f"{tmp_path}/{name}", b"x", expect=None, timeout=10)
    assert set(_names(tmp_path)) == {"-rf", "$(touch pwned)", "a b'c\"", "ü"}


async def test_deleting_only_what_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "client"
    path.write_bytes(b"x")
    with pytest.raises(Refused, match="changed by somebody else"):
        await remove_file(HERE, str(path), expect=_sum(b"y"), timeout=10)
    await remove_file(HERE, str(path), expect=_sum(b"x"), timeout=10)
    assert not path.exists()


async def test_blocking_serials(tmp_path: Path) -> None:
    (tmp_path / "17").write_text("kept")
    big = 2**127 + 1
    assert await block_serials(HERE, str(tmp_path), [17, big], timeout=10) == {17, big}
    assert (tmp_path / "17").read_text() == "kept"
    assert (tmp_path / str(big)).stat().st_mode & 0o777 == 0o644
    assert await blocked_serials(HERE, str(tmp_path), timeout=10) == {17, big}
    with pytest.raises(ValueError, match="positive"):
        await block_serials(HERE, str(tmp_path), [0], timeout=10)
    with pytest.raises(Refused, match="there is no directory"):
        await block_serials(HERE, str(tmp_path / "none"), [1], timeout=10)


async def test_client_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("iroute 10.0.0.0 255.0.0.0\n")
    (tmp_path / "DEFAULT").write_text("")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "sub").mkdir()
    assert await read_client_files(HERE, str(tmp_path), timeout=10) == {
        "a": "iroute 10.0.0.0 255.0.0.0\n",
        "DEFAULT": "",
    }
    (tmp_path / "big").write_bytes(b"x" * 300_000)
    with pytest.raises(ProtocolError, match="300000 bytes"):
        await read_client_files(HERE, str(tmp_path), timeout=10)


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "-x", "a\nb", "x" * 65])
def test_names_that_are_no_client_file(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a client"):
        client_path("/etc/openvpn/ccd", name)


async def test_the_daemons_own_eyes(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(b"list")
    view = await daemon_view(HERE, os.getpid(), str(path), timeout=10)
    assert (view.sha256, view.uid, view.root) == (_sum(b"list"), os.geteuid(), "/")
    assert view.readable is True or os.geteuid() != 0
    assert (await daemon_view(HERE, os.getpid(), str(tmp_path), timeout=10)).sha256 == "dir"
    assert (await daemon_view(HERE, os.getpid(), str(tmp_path / "none"), timeout=10)).sha256 is None
    with pytest.raises(Refused):
        await daemon_view(HERE, 2**22 + 5, str(path), timeout=10)


def _crl(name: str, number: int, *, serials: tuple[int, ...] = ()) -> tuple[bytes, bytes]:
    """A list in PEM, and the encoded name of its issuer."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(now)
    builder = builder.next_update(now + timedelta(days=1)).add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM), issuer.public_bytes()


def test_lists_of_several_authorities_in_one_file() -> None:
    (one, our_name), (other, _) = _crl("ours", 1), _crl("theirs", 9, serials=(5,))
    newer, _ = _crl("ours", 2, serials=(1, 2))
    file = joined(b"a comment\n" + one + other, newer, our_name)
    assert [(found.issuer_text, found.number, found.entries) for found in read_lists(file)] == [
        ("CN=ours", 2, 2),
        ("CN=theirs", 9, 1),
    ]
    ours = ours_in(file, our_name)
    assert ours is not None and ours.number == 2
    assert ours_in(other, our_name) is None


@pytest.mark.parametrize("data", [b"root:x:0:0\n", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_what_is_no_list_is_not_overwritten(data: bytes) -> None:
    ours, name = _crl("ours", 1)
    with pytest.raises(NoCrl):
        joined(data, ours, name)


def test_the_configuration_a_daemon_was_started_with() -> None:
    from drivers.openvpn_daemon import _configuration

    assert _configuration(["openvpn", "--cd", "/etc/openvpn", "--config", "a.conf", "--daemon"]) == "a.conf"
    assert _configuration(["openvpn", "/etc/openvpn/b.conf"]) == "/etc/openvpn/b.conf"
    assert _configuration(["openvpn", "--version"]) is None
    assert _configuration(["openvpn", "--config"]) is None
    assert _configuration([]) is None
