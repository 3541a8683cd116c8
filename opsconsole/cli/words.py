"""Words and options of one operation made into a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opsconsole.cli import inputs
from opsconsole.cli.options import COMMON, Field, by_flag, fields_of, positional, secret_flags
from opsconsole.cli.request import Request
from opsconsole.engine.errors import InvalidParameter, InvalidRequest

_FALSE, _TRUE = {"false", "no", "0"}, {"true", "yes", "1"}


@dataclass(slots=True)
class _Reading:
    request: Request
    fields: list[Field]
    given: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    document: str | None = None
    token: str | None = None
    secrets: list[tuple[Field, str, str]] = field(default_factory=list)


def read_call(arguments: list[str], stdin: inputs.Stdin) -> Request:
    """`call ID [options]`: everything beside the common options is a mistake."""
    reading = _Reading(Request(""), [])
    _read_options(reading, arguments)
    if len(reading.words) != 1:
        found = "no operation named" if not reading.words else f"more than one: {' '.join(reading.words[:5])}"
        raise InvalidRequest(f"call takes one operation id; {found}", field="operation")
    reading.request.operation = reading.words[0]
    return _finish(reading, stdin)


def read_words(operation: str, arguments: list[str], stdin: inputs.Stdin) -> Request:
    """The request behind the options and words that follow an operation's name."""
    reading = _Reading(Request(operation), fields_of(operation))
    _read_options(reading, arguments)
    places = [place for place in positional(reading.fields) if place.name not in reading.given]
    if len(reading.words) > len(places):
        extra = reading.words[len(places)]
        known = " ".join(place.name.upper() for place in positional(reading.fields)) or "no words"
        raise InvalidRequest(f"{extra!r} is one word too many; {operation} takes {known} and options", field=None)
    for place, word in zip(places, reading.words, strict=False):
        reading.given[place.name] = _value(place, word, place.name)
    return _finish(reading, stdin, ask=True)


def _read_options(reading: _Reading, arguments: list[str]) -> None:
    flags = by_flag(reading.fields)
    secret = {flag: place for place in reading.fields if place.secret for flag in secret_flags(place)}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            reading.words += rest
            return
        if not argument.startswith("-") or argument == "-" or _is_number(argument):
            reading.words.append(argument)
            continue
        flag, equals, value = argument.partition("=")
        given = value if equals else None
        if flag in flags:
            _take_field(reading, flag, flags[flag], given, rest)
        elif flag in secret:
            _take_secret(reading, flag, secret[flag], given, rest)
        elif flag in COMMON:
            _take_common(reading, flag, given, rest)
        else:
            raise _unknown_flag(reading, flag)


def _take_field(reading: _Reading, flag: str, place: Field, given: str | None, rest: list[str]) -> None:
    if place.kind == "bool" and not place.repeated:
        wanted = not flag.startswith("--no-") or flag == place.flag
        if given is not None and given.lower() not in _FALSE | _TRUE:
            raise InvalidParameter(field=place.name, reason=f"{given!r} is neither true nor false")
        reading.given[place.name] = wanted if given is None else (given.lower() in _TRUE) == wanted
        return
    text = given if given is not None else _next(flag, rest)
    if place.name == "reason":
        reading.request.reason = text
    if place.repeated:
        found = reading.given.setdefault(place.name, [])
        found += _values(place, text, flag)
    elif place.name in reading.given:
        raise InvalidParameter(field=place.name, reason=f"{flag} is given twice")
    else:
        reading.given[place.name] = _value(place, text, flag)


def _take_secret(reading: _Reading, flag: str, place: Field, given: str | None, rest: list[str]) -> None:
    if flag.endswith("-stdin"):
        if given is not None:
            raise InvalidParameter(field=place.name, reason=f"{flag} takes no value")
        reading.secrets.append((place, "-", flag))
    else:
        reading.secrets.append((place, given if given is not None else _next(flag, rest), flag))


def _take_common(reading: _Reading, flag: str, given: str | None, rest: list[str]) -> None:
    placeholder, _ = COMMON[flag]
    if not placeholder:
        if given is not None:
            raise InvalidParameter(field=flag.removeprefix("--"), reason="takes no value")
        setattr(reading.request, flag.removeprefix("--").replace("-", "_"), True)
        return
    text = given if given is not None else _next(flag, rest)
    match flag:
        case "--input":
            reading.document = text
        case "--token-file":
            reading.token = text
        case "--as":
            reading.request.as_user = text
        case "--confirm":
            reading.request.confirm = text
        case "--waves":
            reading.request.waves = text
        case "--at-once":
            reading.request.at_once = text
        case "--stop-after":
            reading.request.stop_after = text
        case _:
            reading.request.reason = text


def _finish(reading: _Reading, stdin: inputs.Stdin, *, ask: bool = False) -> Request:
    request = reading.request
    for name, text in (("as", request.as_user), ("confirm", request.confirm), ("reason", request.reason)):
        inputs.check_text(text, name)
    if reading.document is not None:
        request.data = inputs.document(reading.document, stdin)
    inputs.check_text(reading.given, "input")
    request.data |= reading.given
    for place, where, flag in reading.secrets:
        request.data[place.name] = inputs.secret_from(where, flag, stdin)
    if reading.token is not None:
        request.token = inputs.secret_from(reading.token, "--token-file", stdin)
    for place in reading.fields if ask else []:
        if place.secret and place.required and place.name not in request.data:
            from_stdin, from_file = secret_flags(place)
            request.data[place.name] = inputs.ask_secret(place.name, place.name, f"{from_stdin} or {from_file} PATH")
    return request


def _values(place: Field, text: str, flag: str) -> list[Any]:
    """One repeated option: a value, a JSON list of values, or for objects the short form `host/name`."""
    if text.startswith("[") and (parsed := inputs.parse(text, flag)) is not None:
        return list(parsed)
    if place.shape:
        return [_item(place, text, flag)]
    return [_value(place, text, flag)]


def _item(place: Field, text: str, flag: str) -> Any:
    if text.startswith("{"):
        return inputs.parse(text, flag)
    host, slash, name = text.partition("/")
    if {"host", "name"} <= set(place.shape):
        return {"host": host, "name": name} if slash else {"name": text}
    first = place.shape[0]
    return {first: int(text) if _is_number(text) and text.lstrip("-").isdigit() else text}


def _value(place: Field, text: str, flag: str) -> Any:
    if place.kind == "int":
        try:
            return int(text)
        except ValueError:
            raise InvalidParameter(field=place.name, reason=f"{text!r} is not a whole number") from None
    if place.kind == "float":
        try:
            return float(text)
        except ValueError:
            raise InvalidParameter(field=place.name, reason=f"{text!r} is not a number") from None
    if place.kind == "int|str" and text.isascii() and text.isdigit():
        return int(text)
    if place.kind == "bool":
        if text.lower() not in _FALSE | _TRUE:
            raise InvalidParameter(field=place.name, reason=f"{text!r} is neither true nor false")
        return text.lower() in _TRUE
    if place.kind == "json" and text[:1] in {"{", "[", '"'}:
        return inputs.parse(text, flag)
    return text


def _next(flag: str, rest: list[str]) -> str:
    if not rest:
        raise InvalidParameter(field=flag.removeprefix("--").replace("-", "_"), reason=f"{flag} needs a value")
    return rest.pop(0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[-1:].isdigit()


def _unknown_flag(reading: _Reading, flag: str) -> InvalidParameter:
    for place in reading.fields:
        if place.secret and flag == place.flag:
            from_stdin, from_file = secret_flags(place)
            reason = f"a secret is not taken from the command line; use {from_stdin}, {from_file} PATH or the prompt"
            return InvalidParameter(field=place.name, reason=reason)
    import difflib

    known = [*by_flag(reading.fields), *COMMON]
    close = difflib.get_close_matches(flag, known, n=2, cutoff=0.6)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; see --help"
    return InvalidParameter(field=flag, reason=f"no such option{hint}")
