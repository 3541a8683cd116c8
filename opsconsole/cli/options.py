"""What options and positional words an operation takes, derived from the index."""

from __future__ import annotations

from typing import NamedTuple

from opsconsole import index
from opsconsole.cli.names import dashed

COMMON: dict[str, tuple[str, str]] = {
    "--input": ("FILE", "the input as a JSON object, - reads standard input; options win over it"),
    "--plan": ("", "show what would change and change nothing"),
    "--confirm": ("TEXT", "what the confirmation asks for: yes, a count, a name, a plan's digest, an approval's id"),
    "--request-approval": ("", "ask for the second person that this needs, with --reason, and do nothing yet"),
    "--break-glass": ("", "go on without the second person, with --reason; loud, and somebody else reviews it"),
    "--reason": ("TEXT", "why, for the journal"),
    "--as": ("USER", "act for another user; administrators only"),
    "--token-file": ("PATH", "identify by the token in this file, - reads standard input"),
    "--wait": ("", "wait for the end of what runs as a task, and answer as it ended"),
    "--task": ("", "let a worker do it as a task, and answer its id at once"),
    "--waves": ("LIST", "as a task, in waves: counts, shares, rest (1,10%,rest)"),
    "--at-once": ("NUMBER", "as a task, with at most so many targets at once"),
    "--stop-after": ("NUMBER", "as a task that begins nothing more after so many failures"),
    "--attached": ("", "perform a task in this process, with its own ssh agent, to its end"),
}
"""Options of every call: placeholder (empty for a flag) and meaning."""


class Field(NamedTuple):
    """One field of an input. `flag` is its option; `shape` the names inside one item of a list of objects."""

    name: str
    kind: str
    required: bool
    secret: bool
    repeated: bool
    choices: tuple[str, ...]
    text: str
    flag: str
    shape: tuple[str, ...] = ()

    @property
    def scalar(self) -> bool:
        return not self.repeated and not self.secret and self.kind != "json"

    @property
    def placeholder(self) -> str:
        """What stands for the value in help, empty for a flag."""
        if self.kind == "bool" and not self.repeated:
            return ""
        if self.choices:
            return "|".join(self.choices)
        if self.shape:
            return "HOST/NAME" if {"host", "name"} <= set(self.shape) else f"{self.shape[0].upper()}|JSON"
        return {"int": "NUMBER", "float": "NUMBER", "json": "JSON"}.get(self.kind, "TEXT")


def fields_of(operation: str) -> list[Field]:
    """The fields in the order of their declaration."""
    rows = index.OPTIONS[operation]
    taken = {row[0] for row in rows}
    return [_field(row, taken) for row in rows]


def _field(row: index.Option, taken: set[str]) -> Field:
    name, kind, required, secret, repeated, choices, text = row
    word = _singular(name) if repeated and _singular(name) not in taken else name
    flag = f"--{dashed(word)}"
    if flag in COMMON and flag != "--reason":
        flag = f"--field-{dashed(word)}"
    shape = tuple(kind.removeprefix("item:").split(",")) if kind.startswith("item:") else ()
    return Field(name, "json" if shape else kind, required, secret, repeated, choices, text, flag, shape)


def _singular(name: str) -> str:
    """A repeated option takes one of them at a time: items → item, entries → entry, addresses → address."""
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("ss", "ss"), ("us", "us"), ("s", "")):
        if name.endswith(ending):
            return name.removesuffix(ending) + instead
    return name


def positional(fields: list[Field]) -> list[Field]:
    """The fields that need no option: the required scalars, and the first field when it names the object."""
    return [
        field
        for number, field in enumerate(fields)
        if field.scalar and field.kind != "bool" and (field.required or (number == 0 and _names_object(field)))
    ]


def _names_object(field: Field) -> bool:
    return field.name in {"id", "name"} or field.name.endswith("_id")


def by_flag(fields: list[Field]) -> dict[str, Field]:
    """Every spelling of every field's option but those of secrets, which have options of their own."""
    found: dict[str, Field] = {}
    for field in fields:
        if field.secret:
            continue
        found[field.flag] = field
        if field.repeated:
            found.setdefault(f"--{dashed(field.name)}", field)
        if field.kind == "bool":
            found.setdefault(f"--no-{field.flag.removeprefix('--')}", field)
    return found


def secret_flags(field: Field) -> tuple[str, str]:
    """The two options that hand over a secret: from standard input, from a file."""
    return f"--{dashed(field.name)}-stdin", f"--{dashed(field.name)}-file"
