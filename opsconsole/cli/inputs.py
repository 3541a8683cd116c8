"""What a caller hands over: JSON documents, passwords and tokens, from files, standard input or a prompt."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from opsconsole.engine.errors import InvalidParameter, InvalidRequest, RequiredFieldMissing

MAX_INPUT = 64 << 20
MAX_SECRET = 1 << 20


class Stdin:
    """Standard input can be read once; the second taker is told who was first."""

    def __init__(self) -> None:
        self._taken_by: str | None = None

    def take(self, option: str, limit: int) -> bytes:
        if self._taken_by is not None:
            raise InvalidParameter(
                field=_field(option), reason=f"standard input is already read by {self._taken_by}; use a file for one"
            )
        self._taken_by = option
        return _bounded(sys.stdin.buffer.read(limit + 1), limit, option)


def document(where: str, stdin: Stdin) -> dict[str, Any]:
    """The JSON object in a file or, for `-`, on standard input. InvalidRequest names line and column of a fault."""
    raw = stdin.take("--input", MAX_INPUT) if where == "-" else _file(where, MAX_INPUT, "--input")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(reason=f"not UTF-8 at byte {error.start}") from None
    value = parse(text, "--input")
    if not isinstance(value, dict):
        raise InvalidRequest(reason=f"it is a {_kind(value)}; a list goes into the field items")
    return value


def parse(text: str, option: str) -> Any:
    """JSON as programs mean it: no NaN, no name twice, nothing that no database can hold."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            reason=f"{error.msg} at line {error.lineno} column {error.colno}", field=_field(option)
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(reason=reason, field=_field(option)) from None
    check_text(value, _field(option))
    return value


def check_text(value: Any, field: str) -> None:
    """Refuse text that is no text: half a surrogate pair, or a NUL. Names the field."""
    stack = [(value, field)]
    while stack:
        item, where = stack.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise InvalidParameter(field=where, reason="holds a NUL character")
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise InvalidParameter(field=where, reason="is not valid Unicode text") from None
        elif isinstance(item, dict):
            stack += [(inner, str(name)) for name, inner in item.items()]
            stack += [(name, where) for name in item]
        elif isinstance(item, list):
            stack += [(inner, where) for inner in item]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)} stands there twice")
    return found


def secret_from(where: str, option: str, stdin: Stdin) -> str:
    """A secret from a file, or from standard input for `-`; one line end at its end is not part of it."""
    raw = stdin.take(option, MAX_SECRET) if where == "-" else _file(where, MAX_SECRET, option)
    return _secret_text(raw, option)


def secret_from_descriptor(descriptor: int, option: str) -> str:
    """A secret from an open file descriptor, read to its end."""
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = _bounded(file.read(MAX_SECRET + 1), MAX_SECRET, option)
    except OSError as error:
        raise InvalidParameter(
            field=_field(option), reason=f"descriptor {descriptor} cannot be read: {error.strerror}"
        ) from None
    return _secret_text(raw, option)


def ask_secret(prompt: str, field: str, remedy: str) -> str:
    """Ask at the terminal without echo. Without a terminal RequiredFieldMissing says how else to hand it over."""
    import getpass

    if not sys.stdin.isatty():
        raise RequiredFieldMissing(f"{field} is required; there is no terminal to ask at: {remedy}", field=field)
    value = getpass.getpass(f"{prompt}: ", stream=sys.stderr)
    if not value:
        raise RequiredFieldMissing(field=field)
    return value


def _secret_text(raw: bytes, option: str) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParameter(field=_field(option), reason="is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidParameter(field=_field(option), reason="is empty")
    return text


def _file(where: str, limit: int, option: str) -> bytes:
    if _captive():
        raise InvalidParameter(
            field=_field(option), reason="no file of the service account is read here; give - instead"
        )
    try:
        with Path(where).open("rb") as file:
            return _bounded(file.read(limit + 1), limit, option)
    except OSError as error:
        raise InvalidParameter(field=_field(option), reason=f"{where} cannot be read: {error.strerror}") from None


def _captive() -> bool:
    """Captive mode: many people run as an account whose files are not theirs."""
    from opsconsole.engine import locations, settings

    return settings.load(locations.home() / "settings.toml").captive


def _bounded(raw: bytes, limit: int, option: str) -> bytes:
    if len(raw) > limit:
        raise InvalidParameter(field=_field(option), reason=f"is longer than {limit} bytes")
    return raw


def _field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _kind(value: Any) -> str:
    return {list: "list", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
