from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import SecretsBroken, SecretsLocked, WrongPassphrase
from data.keyring import KeyRing, fingerprint, unwrap, wrap
from data.secrets import open_sealed, seal

KEY = bytes(range(32))
SECRET = b"correct horse \x00 battery"


@given(st.binary(max_size=2000), st.text(max_size=50))
def test_what_was_sealed_opens(plaintext: bytes, context: str) -> None:
    assert open_sealed(KEY, seal(KEY, plaintext, context=context), context=context) == plaintext


def test_two_seals_differ_and_hide_the_text() -> None:
    first, second = seal(KEY, SECRET, context="a"), seal(KEY, SECRET, context="a")
    assert first != second
    assert SECRET not in first


@pytest.mark.parametrize("position", [0, 1, 12, 13, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    sealed = bytearray(seal(KEY, SECRET, context="a"))
    sealed[position] ^= 1
    with pytest.raises(SecretsBroken):
        open_sealed(KEY, bytes(sealed), context="a")


def test_another_place_key_or_length_does_not_open() -> None:
    sealed = seal(KEY, SECRET, context="credential:1")
    for key, value, context in (
        (KEY, sealed, "credential:2"),
        (bytes(32), sealed, "credential:1"),
        (KEY, sealed[:20], "credential:1"),
        (KEY, b"", "credential:1"),
    ):
        with pytest.raises(SecretsBroken) as caught:
            open_sealed(key, value, context=context)
        assert caught.value.remedy
        assert "horse" not in repr(caught.value)


def test_the_first_use_makes_a_private_key_that_stays(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    assert ring.mode == "none"
    with pytest.raises(SecretsLocked):
        ring.data_key(create=False)
    key = ring.data_key()
    assert len(key) == 32
    assert KeyRing(tmp_path).data_key() == key
    assert KeyRing(tmp_path).mode == "file"
    assert stat.S_IMODE(ring.key_path.stat().st_mode) == 0o600
    assert ring.audit_key() != key
    assert ring.audit_key() == ring.audit_key()
    assert stat.S_IMODE(ring.audit_path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.key", "key"]


def test_processes_that_make_the_key_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from data.keyring import KeyRing; sys.stdin.read();"
        "print(KeyRing(Path(sys.argv[1])).data_key().hex())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    keys = {child.communicate(b"go")[0] for child in children}
    assert keys == {KeyRing(tmp_path).data_key().hex().encode() + b"\n"}


def _loosen(path: Path) -> None:
    path.chmod(0o640)


def _shorten(path: Path) -> None:
    path.write_bytes(b"x" * 31)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_loosen, _shorten, _link, _directory])
def test_a_doubtful_key_file_is_refused(tmp_path: Path, damage: object) -> None:
    ring = KeyRing(tmp_path)
    key = ring.data_key()
    assert callable(damage)
    damage(ring.key_path)
    with pytest.raises(SecretsBroken) as caught:
        ring.data_key()
    assert str(ring.key_path) in caught.value.message
    assert caught.value.remedy
    assert key.hex() not in repr(caught.value) + repr(ring)


def test_a_key_file_of_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(tmp_path)
    ring.data_key()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(SecretsBroken, match="belongs to"):
        ring.data_key()


def test_from_key_file_to_passphrase_and_back(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    key = ring.data_key()
    ring.to_passphrase("пароль é")
    assert (ring.mode, ring.half_converted) == ("passphrase", False)
    assert not any(key in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(SecretsLocked, match="locked") as locked:
        ring.data_key()
    assert "unlock" in locked.value.remedy
    with pytest.raises(WrongPassphrase):
        ring.unlock("пароль e")
    assert ring.unlock("пароль e\u0301") == key  # typed on a keyboard that composes differently
    ring.change_passphrase("пароль é", "new")
    with pytest.raises(WrongPassphrase):
        ring.change_passphrase("пароль é", "x")
    with pytest.raises(WrongPassphrase):
        ring.to_key_file("пароль é")
    ring.to_key_file("new")
    assert ring.mode == "file"
    assert ring.data_key() == key
    assert not ring.sealed_path.exists()


def test_a_conversion_that_was_cut_off_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(tmp_path)
    key = ring.data_key()

    def power_cut(_: Path) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("data.keyring.remove_private", power_cut)
        with pytest.raises(OSError, match="power cut"):
            ring.to_passphrase("one")
    assert ring.half_converted
    assert ring.data_key() == key
    ring.to_passphrase("two")
    assert ring.unlock("two") == key
    assert not ring.half_converted


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    key = ring.data_key()
    with pytest.raises(ValueError, match="empty"):
        ring.to_passphrase("")
    assert ring.data_key() == key


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"version":1,"kdf":"scrypt","n":1099511627776,"r":8,"p":1,"salt":"","sealed":""}',
        b'{"version":1,"kdf":"scrypt","n":3,"r":8,"p":1,"salt":"","sealed":""}',
        b'{"version":2,"kdf":"scrypt","n":32768,"r":8,"p":1,"salt":"","sealed":""}',
        b'{"version":1,"kdf":"none","n":32768,"r":8,"p":1,"salt":"","sealed":"??"}',
    ],
)
def test_a_damaged_wrapping_is_told_from_a_wrong_passphrase(text: bytes) -> None:
    with pytest.raises(SecretsBroken) as caught:
        unwrap(text, "x")
    assert not isinstance(caught.value, WrongPassphrase)


def test_fingerprints_tell_keys_apart_and_nothing_else() -> None:
    assert fingerprint(KEY) != fingerprint(bytes(32))
    assert len(fingerprint(KEY)) == 16
    assert unwrap(wrap(KEY, "x"), "x") == KEY
