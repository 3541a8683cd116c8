"""The input of an operation as fields of a form: what may be typed, what it means, what is wrong with it.

Fields are made from the operation's JSON schema, so a form knows what the house will refuse before it is asked. The
house has the last word: what only it can know (a name that is taken) comes back as an error of the field.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from screens.text import Safe, join

Json = dict[str, Any]

LONG: Final = 1000
"""Texts that may be longer than this get several lines."""
SHORT: Final = 100
"""Longer limits are said only when they are passed."""
_YES: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_UNBOUNDED: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `kind`: text, long, secret, integer, number, yesno, choice, time, list, rows or json.

    `item` is a list's element or, for `rows`, empty; `columns` are the fields of one row. Bounds are inclusive: of the
    number, or of the length of a text or list.
    """

    name: str
    kind: str
    required: bool = False
    nullable: bool = False
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    says: str = ""
    item: Field | None = None
    columns: tuple[Field, ...] = ()
    integers: bool = False

    @property
    def label(self) -> str:
        return self.name.replace("__gt", " from").replace("__lt", " until").replace("_", " ")


class Wrong(ValueError):
    """What is typed cannot be meant; the message says what is expected."""


@lru_cache(maxsize=1)
def _schemas() -> dict[str, Json]:
    import opsconsole.index

    path = Path(str(opsconsole.index.__file__)).with_name("index_schemas.json")
    return dict(json.loads(path.read_text("utf-8")))


def schema(operation: str) -> Json:
    """The input schema of an operation; KeyError for one that does not exist."""
    return _schemas()[operation]


def fields(source: Mapping[str, Any], hide: Collection[str] = ()) -> list[Field]:
    """The fields of an input schema, required ones first."""
    required, defs = set(source.get("required") or ()), source.get("$defs") or {}
    made = [
        replace(_field(name, part, defs), required=name in required)
        for name, part in (source.get("properties") or {}).items()
        if name not in hide
    ]
    return sorted(made, key=lambda field: not field.required)


def _field(name: str, part: Mapping[str, Any], defs: Mapping[str, Any]) -> Field:
    part = _resolved(part, defs)
    secret, options = _is_secret(part), [_resolved(option, defs) for option in part.get("anyOf") or [part]]
    nullable = any(option.get("type") == "null" for option in options)
    options = [option for option in options if option.get("type") != "null"]
    integers = any(option.get("type") == "integer" for option in options)
    chosen = next((option for option in options if option.get("type") == "string"), options[0] if options else {})
    merged = {**part, **chosen}
    made = Field(
        name,
        _kind(merged, defs, secret or _is_secret(chosen)),
        nullable=nullable,
        help=str(merged.get("description") or ""),
        default=part.get("default"),
        choices=tuple(str(choice) for choice in merged.get("enum") or ()),
        least=_bound(merged, "minimum", "minLength", "minItems"),
        most=_bound(merged, "maximum", "maxLength", "maxItems"),
        pattern=str(merged.get("pattern") or ""),
        says=str(merged.get("patternSays") or ""),
        integers=integers and len(options) > 1,
    )
    if made.kind == "list":
        return replace(made, item=_field(name, merged["items"], defs))
    if made.kind == "rows":
        return replace(made, columns=tuple(fields({**_resolved(merged["items"], defs), "$defs": defs})))
    return made


def _resolved(part: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = part.get("$ref")
    return {**defs.get(str(reference).rpartition("/")[2], {}), **part} if reference else part


def _is_secret(part: Mapping[str, Any]) -> bool:
    return bool(part.get("secret") or part.get("writeOnly") or part.get("format") == "password")


def _kind(part: Mapping[str, Any], defs: Mapping[str, Any], secret: bool) -> str:
    if secret:
        return "secret"
    if part.get("enum"):
        return "choice"
    kind = part.get("type")
    if kind == "string":
        if part.get("format") == "date-time":
            return "time"
        most = part.get("maxLength", _UNBOUNDED)
        return "long" if most > LONG and not part.get("pattern") and most != _UNBOUNDED else "text"
    if kind == "array":
        inner = _resolved(part.get("items") or {}, defs)
        if inner.get("type") in ("string", "integer", "number") or inner.get("anyOf"):
            return "list"
        flat = inner.get("type") == "object" and all(
            _is_flat(p, defs) for p in (inner.get("properties") or {}).values()
        )
        return "rows" if flat and inner.get("properties") else "json"
    return {"integer": "integer", "number": "number", "boolean": "yesno"}.get(str(kind), "json")


def _is_flat(part: Mapping[str, Any], defs: Mapping[str, Any]) -> bool:
    part = _resolved(part, defs)
    return all(
        _resolved(option, defs).get("type") not in ("array", "object", None) for option in part.get("anyOf") or [part]
    )


def _bound(part: Mapping[str, Any], *names: str) -> float | None:
    found = next((part[name] for name in names if name in part), None)
    return found if isinstance(found, (int, float)) and found != _UNBOUNDED else None


def shown(field: Field, value: Any) -> str:
    """A value as one would type it. Secrets are never shown, not even their length."""
    if value is None or field.kind == "secret":
        return ""
    if field.kind == "yesno":
        return "yes" if value else "no"
    if field.kind == "list" and isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if field.kind == "rows" and isinstance(value, list):
        return "\n".join(" ".join(shlex.quote(f"{name}={one}") for name, one in row.items()) for row in value)
    if field.kind in ("json", "rows"):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def read(field: Field, typed: str) -> Any:
    """What was typed as the value the house takes; empty is None (or an empty list). Raises `Wrong`."""
    text = typed if field.kind in ("secret", "long") else typed.strip()
    if not text:
        if field.required:
            raise Wrong("this is needed")
        return [] if field.kind in ("list", "rows") and not field.nullable else None
    readers = {"integer": _number, "number": _number, "yesno": _yesno, "choice": _choice, "time": _time}
    readers |= {"list": _list, "rows": _rows, "json": _json}
    return readers.get(field.kind, _text)(field, text)


def _text(field: Field, text: str) -> Any:
    if field.integers and text.isdecimal():
        return int(text)
    length = len(text)
    if field.least is not None and length < field.least:
        raise Wrong(f"at least {field.least:g} characters; these are {length}")
    if field.most is not None and length > field.most:
        raise Wrong(f"at most {field.most:g} characters; these are {length}")
    if field.pattern and field.kind != "secret" and not re.search(field.pattern, text):
        raise Wrong(field.says or f"does not match {field.pattern}")
    return text


def _number(field: Field, text: str) -> Any:
    try:
        value = int(text) if field.kind == "integer" else float(text)
    except ValueError:
        raise Wrong("a whole number" if field.kind == "integer" else "a number") from None
    if (field.least is not None and value < field.least) or (field.most is not None and value > field.most):
        raise Wrong(bounds(field))
    return value


def _yesno(field: Field, text: str) -> bool:
    if text.lower() not in _YES:
        raise Wrong("yes or no")
    return _YES[text.lower()]


def _choice(field: Field, text: str) -> str:
    if text not in field.choices:
        raise Wrong(f"one of {', '.join(field.choices)}")
    return text


def _time(field: Field, text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Wrong("a time, for example 2027-01-31 22:00+03:00") from None
    return (at if at.tzinfo else at.astimezone()).isoformat()


def _list(field: Field, text: str) -> list[Any]:
    item = field.item or Field(field.name, "text")
    values = []
    for part in re.split(r"[,\n]", text):
        if part.strip():
            try:
                values.append(read(item, part))
            except Wrong as wrong:
                raise Wrong(f"{part.strip()}: {wrong}") from None
    if field.most is not None and len(values) > field.most:
        raise Wrong(f"at most {field.most:g}; these are {len(values)}")
    if field.least is not None and len(values) < field.least:
        raise Wrong(f"at least {field.least:g}; these are {len(values)}")
    return values


def _rows(field: Field, text: str) -> list[Json]:
    """One object per line: `host=web1 name=nginx`."""
    columns = {column.name: column for column in field.columns}
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            words = dict(word.split("=", 1) for word in shlex.split(line))
        except ValueError:
            raise Wrong(f"line {number}: {row_form(field)}") from None
        unheard = next((name for name in words if name not in columns), None)
        if unheard is not None:
            raise Wrong(f"line {number}: there is no {unheard}; {row_form(field)}")
        try:
            row = {name: read(column, words.get(name, "")) for name, column in columns.items() if _given(column, words)}
        except Wrong as wrong:
            raise Wrong(f"line {number}: {wrong}; {row_form(field)}") from None
        rows.append(row)
    return rows


def _given(column: Field, words: Mapping[str, str]) -> bool:
    return column.required or column.name in words


def _json(field: Field, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Wrong(f"no JSON at line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Wrong("nested too deeply") from None


def row_form(field: Field) -> str:
    """How a line of a `rows` field is written."""
    return " ".join(f"{c.name}=…" if c.required else f"[{c.name}=…]" for c in field.columns)


def bounds(field: Field) -> str:
    """`1 to 65535`; empty when there are none."""
    least, most = field.least, field.most
    if least is not None and most is not None:
        return f"{least:g} to {most:.0f}"
    return f"at least {least:g}" if least is not None else f"at most {most:.0f}" if most is not None else ""


def hint(field: Field) -> Safe:
    """Help for the field: what it means, and what may be typed."""
    form = {
        "integer": f"a whole number {bounds(field)}".strip(),
        "number": f"a number {bounds(field)}".strip(),
        "yesno": "yes or no",
        "time": "for example 2027-01-31 22:00+03:00",
        "list": "several with commas between",
        "rows": f"one line each: {row_form(field)}",
        "json": "JSON",
        "secret": "not shown, not kept",
        "choice": ", ".join(field.choices),
        "text": f"at most {field.most:.0f} characters" if field.most is not None and field.most <= SHORT else "",
    }.get(field.kind, "")
    needed = "needed" if field.required else ""
    return join([part for part in (Safe(field.help), Safe(form), Safe(needed)) if part], " · ")


def changed(fields_: Sequence[Field], values: Mapping[str, Any], before: Mapping[str, Any]) -> Json:
    """What to send: the values that differ from those before. What was emptied is null where that is allowed, else
    an empty text."""
    found: Json = {}
    for field in fields_:
        value, old = values.get(field.name), before.get(field.name)
        if value == old or (value in (None, []) and old in (None, "", [])):
            continue
        clears = value is None and field.kind in ("text", "long") and not field.least
        found[field.name] = "" if clears else value
    return found
