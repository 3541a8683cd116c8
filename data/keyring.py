"""Where the data key is: a 0600 file by default, or wrapped by a passphrase.

Both forms hold the same key, so going from one to the other changes no sealed value. The audit key is a file of its
own, for it signs what must be verifiable while secrets are locked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import unicodedata
from pathlib import Path
from typing import Any, Literal

from data.errors import SecretsBroken, SecretsLocked, WrongPassphrase
from data.keyfiles import create_private, locked, read_private, remove_private, replace_private
from data.secrets import KEY_BYTES, open_sealed, seal

Mode = Literal["none", "file", "passphrase"]

_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_SCRYPT_LARGEST = {"n": 2**20, "r": 32, "p": 16}
_WRAP_CONTEXT = "data key"
_RESTORE = "restore the file from a backup of the home directory; without it the sealed secrets cannot be opened"


class KeyRing:
    """The keys of one home directory. Reads the files on every call, keeps no key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.key_path = home / "key"
        self.sealed_path = home / "key.sealed"
        self.audit_path = home / "audit.key"

    def __repr__(self) -> str:
        return f"KeyRing({str(self.home)!r})"

    @property
    def mode(self) -> Mode:
        """How the data key is kept now."""
        if self.key_path.exists():
            return "file"
        return "passphrase" if self.sealed_path.exists() else "none"

    @property
    def half_converted(self) -> bool:
        """True when a change of mode was cut off: the key lies there in both forms, so it is not protected."""
        return self.key_path.exists() and self.sealed_path.exists()

    def data_key(self, *, create: bool = True) -> bytes:
        """The 32-byte data key; made on first use unless `create` is false.

        In passphrase mode it comes from the key agent. Raises SecretsLocked when nobody has unlocked it (or none was
        made yet), SecretsBroken when the file is damaged or open to others.
        """
        mode = self.mode
        if mode == "passphrase":
            from data.keyagent import fetch_key

            key = fetch_key(self.home)
            if key is None:
                raise SecretsLocked(
                    "the secrets are locked by a passphrase", remedy="run `opsconsole unlock` and enter the passphrase"
                )
            return key
        if mode == "none" and not create:
            raise SecretsLocked("there is no data key yet", remedy="store a first secret, which makes the key")
        return self._file_key(self.key_path, create=create)

    def audit_key(self) -> bytes:
        """The 32-byte key of the audit chain, made on first use. Raises SecretsBroken."""
        return self._file_key(self.audit_path, create=True)

    def unlock(self, passphrase: str) -> bytes:
        """The data key out of its wrapping. Raises WrongPassphrase, SecretsBroken."""
        wrapped = read_private(self.sealed_path)
        if wrapped is None:
            raise SecretsBroken(
                f"there is no {self.sealed_path}", remedy="no passphrase is set here; nothing to unlock"
            )
        return unwrap(wrapped, passphrase, self.sealed_path)

    def to_passphrase(self, passphrase: str) -> None:
        """Wrap the data key; the clear file goes only after the wrapped one is on disk and opens."""
        with locked(self.home / "key.lock"):
            key = self._file_key(self.key_path, create=not self.sealed_path.exists())
            replace_private(self.sealed_path, wrap(key, passphrase))
            if not hmac.compare_digest(self.unlock(passphrase), key):
                raise SecretsBroken(
                    f"{self.sealed_path} does not hold the data key", remedy="try again; the key is kept"
                )
            remove_private(self.key_path)

    def to_key_file(self, passphrase: str) -> None:
        """Write the data key to a 0600 file; the wrapped one goes only after that is on disk."""
        with locked(self.home / "key.lock"):
            key = self.unlock(passphrase)
            if not create_private(self.key_path, key) and read_private(self.key_path) != key:
                raise SecretsBroken(f"{self.key_path} holds another key", remedy="find out which one is in use first")
            remove_private(self.sealed_path)

    def change_passphrase(self, old: str, new: str) -> None:
        """Wrap the same data key anew."""
        with locked(self.home / "key.lock"):
            replace_private(self.sealed_path, wrap(self.unlock(old), new))

    @staticmethod
    def _file_key(path: Path, *, create: bool) -> bytes:
        key = read_private(path)
        if key is None and create:
            create_private(path, os.urandom(KEY_BYTES))
            key = read_private(path)
        if key is None:
            raise SecretsBroken(f"there is no {path}", remedy=_RESTORE)
        if len(key) != KEY_BYTES:
            raise SecretsBroken(f"{path} is damaged: {len(key)} bytes instead of {KEY_BYTES}", remedy=_RESTORE)
        return key


def fingerprint(key: bytes) -> str:
    """Sixteen hex digits that tell keys apart and say nothing of the key; safe to store and to show."""
    return hmac.new(key, b"opsconsole key fingerprint", hashlib.sha256).hexdigest()[:16]


def wrap(key: bytes, passphrase: str) -> bytes:
    """`key` under scrypt and AES-GCM, as JSON text. Raises ValueError for an empty passphrase."""
    if not passphrase:
        raise ValueError("the passphrase is empty")
    salt = os.urandom(16)
    sealed = seal(_derive(passphrase, salt, _SCRYPT), key, context=_WRAP_CONTEXT)
    fields = {"version": 1, "kdf": "scrypt", **_SCRYPT, "salt": _text(salt), "sealed": _text(sealed)}
    return json.dumps(fields).encode()


def unwrap(wrapped: bytes, passphrase: str, path: Path | str = "the wrapped key") -> bytes:
    """The key `wrap` was given. Raises WrongPassphrase, or SecretsBroken when the text is not one of ours."""
    try:
        fields: dict[str, Any] = json.loads(wrapped)
        cost = {name: int(fields[name]) for name in _SCRYPT}
        salt = base64.b64decode(fields["salt"], validate=True)
        sealed = base64.b64decode(fields["sealed"], validate=True)
        known = fields["version"] == 1 and fields["kdf"] == "scrypt"
    except (ValueError, TypeError, KeyError, binascii.Error):
        known, cost, salt, sealed = False, {}, b"", b""
    if not known or any(not 1 <= cost[name] <= _SCRYPT_LARGEST[name] for name in _SCRYPT):
        raise SecretsBroken(f"{path} is damaged or of another version", remedy=_RESTORE)
    derived = _derive(passphrase, salt, cost)
    try:
        return open_sealed(derived, sealed, context=_WRAP_CONTEXT)
    except SecretsBroken:
        raise WrongPassphrase(
            "the passphrase does not open the data key", remedy="enter it again; mind keyboard layout and caps lock"
        ) from None


def _derive(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    text = unicodedata.normalize("NFC", passphrase).encode()
    memory = 128 * cost["r"] * (cost["n"] + cost["p"] + 2)
    try:
        return hashlib.scrypt(text, salt=salt, **cost, maxmem=memory + 2**20, dklen=KEY_BYTES)
    except ValueError:
        raise SecretsBroken("the wrapped key names costs scrypt does not accept", remedy=_RESTORE) from None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
