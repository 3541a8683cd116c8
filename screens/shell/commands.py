"""What may be typed after `:`: modes, filters, themes, and every operation in the words of the headless program."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opsconsole import index
from screens.shell.themes import NAMES

ALIASES: Final = {"svc": "services"}
OWN: Final = {
    "q": "leave the console",
    "quit": "leave the console",
    "help": "the keys that work here",
    "theme": "colours: " + ", ".join(NAMES),
}
_GIVEN_ELSEWHERE: Final = {
    "--input": "words and options only",
    "--token-file": "the console acts as whoever started it",
    "--as": "the console acts as whoever started it",
    "--confirm": "the plan asks for it",
    "--reason": "the plan asks for it",
    "--plan": "the plan is shown first anyway",
    "--wait": "not here",
    "--request-approval": "the plan offers it",
    "--break-glass": "the plan offers it",
}


class Wrong(ValueError):
    """The line means nothing; the text says why and what is near."""


@dataclass(frozen=True, slots=True)
class Own:
    """A command of the console itself: `q`, `help` or `theme` with its name."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Go:
    """To a mode, with its filter set when one was typed (None leaves it)."""

    mode: str
    filter: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """An operation and its input."""

    operation: str
    data: dict[str, Any] = field(repr=False)

    @property
    def row(self) -> index.Operation:
        return next(row for row in index.OPERATIONS if row[0] == self.operation)

    @property
    def reads(self) -> bool:
        return self.row[4] == "read"

    @property
    def streams(self) -> bool:
        return self.row[8]

    @property
    def incomplete(self) -> bool:
        """Whether a form has to ask for something: what is required and was not typed, or a secret."""
        return any(secret or (required and name not in self.data) for name, _, required, secret, *_ in self._options)

    @property
    def _options(self) -> tuple[index.Option, ...]:
        return index.OPTIONS[self.operation]


Command = Own | Go | Call


def parse(line: str, modes: Sequence[str]) -> Command:
    """What a line means; raises `Wrong`."""
    words = _words(line)
    if not words:
        raise Wrong("type a mode, a command or an operation; tab completes")
    first = words[0]
    if first in OWN:
        return _own(first, words[1:])
    mode = ALIASES.get(first, first)
    call = None if first in ALIASES else _call(words)
    if call is not None:
        return call
    if mode in modes:
        _not_a_slip(first, words[1:])
        return Go(mode, line.strip().partition(" ")[2].strip() or None)
    raise Wrong(_unknown(words, modes))


def complete(line: str, modes: Sequence[str]) -> list[str]:
    """What the last word of the line may become."""
    from opsconsole.cli.completion import FILES, candidates

    before, _, current = line.rpartition(" ")
    words = before.split()
    if not words:
        areas = {row[0].partition(".")[0] for row in index.OPERATIONS}
        return sorted(word for word in {*areas, *modes, *OWN, *ALIASES} if word.startswith(current))
    if words[0] == "theme":
        return [name for name in NAMES if name.startswith(current)] if len(words) == 1 else []
    if words[0] in OWN or words[0] in ALIASES or words[0] not in {row[0].partition(".")[0] for row in index.OPERATIONS}:
        return []
    refused = (*_GIVEN_ELSEWHERE, "--help")
    return [word for word in candidates(words, current) if word not in (*refused, FILES) and not _takes_secret(word)]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        raise Wrong("a quotation mark is missing") from None


def _own(name: str, rest: list[str]) -> Own:
    if name != "theme":
        return Own("q" if name == "quit" else name)
    if len(rest) != 1 or rest[0] not in NAMES:
        near = difflib.get_close_matches(rest[0], NAMES, n=1) if rest else []
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Wrong(f"theme takes one of {', '.join(NAMES)}{hint}")
    return Own(name, rest[0])


def _call(words: list[str]) -> Call | None:
    """The operation the words spell, with its input; None when they spell none."""
    from opsconsole.cli import inputs, names
    from opsconsole.cli.words import read_words
    from opsconsole.engine.errors import ConsoleError

    plain = words[: next((number for number, word in enumerate(words) if word.startswith("-")), len(words))]
    found = names.resolve(plain)
    if found is None:
        return None
    operation, extra = found
    arguments = [*extra, *words[len(plain) :]]
    _refuse(operation, arguments)
    try:
        request = read_words(operation, arguments, inputs.Stdin())
    except ConsoleError as error:
        raise Wrong(str(error)) from None
    if any(request.secrets()):
        raise Wrong("a secret is not taken here: what is typed is kept in the history; use the form or the shell")
    return Call(operation, request.data)


def _refuse(operation: str, arguments: Sequence[str]) -> None:
    """Options that have no place here, and operations that cannot be called without a secret."""
    from opsconsole.cli.options import fields_of

    fields = fields_of(operation)
    own = {place.flag for place in fields if not place.secret}
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag in own:
            continue
        if flag in _GIVEN_ELSEWHERE:
            raise Wrong(f"{flag} is not taken here: {_GIVEN_ELSEWHERE[flag]}")
        if any(flag.startswith(place.flag) for place in fields if place.secret):
            raise Wrong(f"{flag}: a secret is not taken here; what is typed is kept in the history")
    needed = [place.name for place in fields if place.secret and place.required]
    if needed:
        raise Wrong(
            f"{operation} needs a secret ({', '.join(needed)}), which is not taken here; call it from the shell"
        )


def _takes_secret(word: str) -> bool:
    return word.endswith("-stdin") or (word.endswith("-file") and word.startswith("--"))


def _not_a_slip(mode: str, rest: Sequence[str]) -> None:
    """A filter that looks like a misspelt operation of the mode is one."""
    verbs = {row[0].split(".")[1].replace("_", "-") for row in index.OPERATIONS if row[0].startswith(f"{mode}.")}
    near = difflib.get_close_matches(rest[0], verbs, n=1, cutoff=0.75) if rest else []
    if near:
        short = next((alias for alias, name in ALIASES.items() if name == mode), None)
        how = f"; {short} {' '.join(rest)} filters" if short else ""
        raise Wrong(f"no operation {mode} {rest[0]}; did you mean {mode} {near[0]}?{how}")


def _unknown(words: Sequence[str], modes: Sequence[str]) -> str:
    from opsconsole.cli import names

    below = names.below(words)
    if below:
        ways = ", ".join(row[0].replace(".", " ").replace("_", "-") for row in below[:6])
        return f"{' '.join(words)}: which operation? {ways}{', …' if len(below) > 6 else ''}"
    spoken = [row[0].replace(".", " ").replace("_", "-") for row in index.OPERATIONS]
    wanted = " ".join(word for word in words[:3] if not word.startswith("-"))
    near = difflib.get_close_matches(words[0], [*modes, *OWN, *ALIASES], n=1, cutoff=0.6)
    near += difflib.get_close_matches(wanted, spoken, n=2, cutoff=0.6)
    return (
        f"nothing is called {words[0]}; did you mean {' or '.join(near)}?" if near else f"nothing is called {words[0]}"
    )
