"""One headless request: what was asked for and how it was agreed to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Request:
    """`token` replaces the login as the identity; `secrets` are the texts that must not reach the error log."""

    operation: str
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    as_user: str | None = None
    plan: bool = False
    confirm: str | None = None
    reason: str | None = None
    wait: bool = False
    request_approval: bool = False
    break_glass: bool = False
    task: bool = False
    attached: bool = False
    waves: str | None = None
    at_once: str | None = None
    stop_after: str | None = None
    readonly: bool = False
    token: str | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any] | None:
        """How a worker is to perform it, None when nothing was said about that. Raises InvalidParameter."""
        from opsconsole.engine.errors import InvalidParameter

        found: dict[str, Any] = {"waves": self.waves} if self.waves else {}
        for name, text in (("limit", self.at_once), ("stop_after", self.stop_after)):
            if text is not None:
                if not (text.isascii() and text.isdigit()):
                    raise InvalidParameter(field=name, reason=f"{text!r} is not a whole number")
                found[name] = int(text)
        if self.attached:
            found["attached"] = True
        return found if found or self.task else None

    def secrets(self) -> Iterator[str]:
        """Every text given in a field that may hold a secret, and the token."""
        from opsconsole import index

        operations = {self.operation, str(self.data.get("operation"))}  # a request for approval holds another's input
        options = [option for name in operations for option in index.OPTIONS.get(name, ())]
        named = {option[0] for option in options if option[3]} | _SECRET_NAMES
        if self.token:
            yield self.token
        stack: list[tuple[bool, Any]] = [(False, self.data)]
        while stack:
            inside, value = stack.pop()
            if isinstance(value, dict):
                stack += [(inside or name in named, item) for name, item in value.items()]
            elif isinstance(value, list):
                stack += [(inside, item) for item in value]
            elif inside and isinstance(value, str):
                yield value


_SECRET_NAMES = frozenset(
    {"password", "passphrase", "private_key", "secret", "token", "original_password", "new_password", "community"}
)
