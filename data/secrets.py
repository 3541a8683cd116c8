"""Secrets at rest: AES-256-GCM under one data key per installation.

A sealed value is a version byte, a random 96-bit nonce, and the ciphertext with its tag. `context` is authenticated and
not stored: a value moved to another row does not open.
"""

from __future__ import annotations

import os

from data.errors import SecretsBroken

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


def seal(key: bytes, plaintext: bytes, *, context: str) -> bytes:
    """Encrypt `plaintext` for the place named by `context`, for example `credential:router-admin:password`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plaintext, _bound(context))


def open_sealed(key: bytes, sealed: bytes, *, context: str) -> bytes:
    """Decrypt what `seal` made for the same context. Raises SecretsBroken for another key or place, or damage."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_BYTES + 16:
        raise SecretsBroken(f"the secret of {context} is not in a form this program knows", remedy=_AGAIN)
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, body, _bound(context))
    except InvalidTag:
        raise SecretsBroken(f"the secret of {context} does not open with this data key", remedy=_AGAIN) from None


_AGAIN = "use the key file that belongs to this database, or enter the secret again"


def _bound(context: str) -> bytes:
    return b"opsconsole\x00" + _VERSION + context.encode()
