"""Passwords of console users: scrypt, with the cost in the hash so that it can be raised later."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

_N, _R, _P = 2**15, 8, 1
_MEMORY = 64 * 1024 * 1024


def hashed(password: str) -> str:
    """`scrypt$n$r$p$salt$hash`, base64. Takes about a tenth of a second, so call it outside of transactions."""
    salt = os.urandom(16)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), _text(salt), _text(_derive(password, salt, _N, _R, _P))])


def matches(password: str, stored: str) -> bool:
    """Compared in constant time; False for a form this program does not know."""
    parts = stored.split("$")
    if len(parts) != 6 or parts[0] != "scrypt":
        return False
    n, r, p = (int(part) for part in parts[1:4])
    salt, wanted = base64.b64decode(parts[4]), base64.b64decode(parts[5])
    return hmac.compare_digest(_derive(password, salt, n, r, p), wanted)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


NOBODYS = "$".join(["scrypt", str(_N), str(_R), str(_P), _text(bytes(16)), _text(bytes(32))])
"""A hash that no password has: comparing with it takes as long as with any other."""
