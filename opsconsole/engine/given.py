"""What was given to an operation, kept for later: the part that may be seen, the secrets apart, and a seal on both.

A secret is every `SecretStr` of the model and every field that the journal redacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretBytes, SecretStr

from opsconsole.engine.audit import SECRET_NAMES, mac_of
from opsconsole.engine.registry import Input, Json

HIDDEN = "***"
Path = list[str | int]


@dataclass(frozen=True, slots=True)
class Given:
    """`shown` is the input with `***` in place of secrets, `secrets` says what stands there instead."""

    shown: Json
    secrets: list[tuple[Path, str]]

    def packed(self) -> bytes:
        """The secrets as bytes, to be sealed."""
        return json.dumps(self.secrets).encode()


def split(given: Input) -> Given:
    """An input in two parts; only what was set is kept, so that a default stays a default."""
    secrets: list[tuple[Path, str]] = []
    plain = given.model_dump(mode="json", exclude_unset=True)
    shown = _walk(given.model_dump(mode="python", exclude_unset=True), plain, [], secrets, secret=False)
    return Given(shown, secrets)


def _walk(raw: Any, plain: Any, path: Path, secrets: list[tuple[Path, str]], *, secret: bool) -> Any:
    """`raw` holds the secrets as objects, `plain` the same as JSON: both are of one shape."""
    if isinstance(raw, (SecretStr, SecretBytes)):
        value = raw.get_secret_value()
        secrets.append((path, value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value))
        return HIDDEN
    if isinstance(plain, dict) and isinstance(raw, Mapping):
        return {
            name: _walk(inner, plain[name], [*path, name], secrets, secret=name in SECRET_NAMES)
            for name, inner in zip(plain, raw.values(), strict=True)
        }
    if isinstance(plain, list) and isinstance(raw, (list, tuple)):
        return [_walk(inner, plain[n], [*path, n], secrets, secret=secret) for n, inner in enumerate(raw)]
    if secret and isinstance(plain, str) and plain:
        secrets.append((path, plain))
        return HIDDEN
    return plain


def whole(shown: Json, packed: bytes | None) -> Json:
    """The input as it was given, from what may be seen and the opened secrets."""
    if packed is None:
        return shown
    found: Json = json.loads(json.dumps(shown))
    for path, value in json.loads(packed):
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    return found


def bound(key: bytes, operation: str, given: Input) -> str:
    """An HMAC over operation and whole input, secrets included: a plan's digest knows only that there is a secret."""
    parts = split(given)
    return mac_of(key, {"bound": operation, "input": parts.shown, "secrets": parts.secrets})
