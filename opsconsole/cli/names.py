"""From typed words to an operation's id, over the generated index."""

from __future__ import annotations

from collections.abc import Iterable

from opsconsole import index
from opsconsole.engine.errors import ObjectNotFound

COMMANDS: dict[str, str] = {
    "demo": "the console over a simulated fleet on this machine",
    "ops": "all operations, as lines or as JSON",
    "call": "one operation by its id, input and answer as JSON",
    "doctor": "what is wrong here and what to do about it",
    "completion": "a completion script for bash or zsh",
    "task list": "tasks.list",
    "task show": "tasks.get: one task with the state of each target",
    "task follow": "the output of a task as text, until it ends; Ctrl-C leaves it running",
    "task cancel": "tasks.cancel",
    "task pause": "tasks.pause: nothing more is begun until it is resumed",
    "task resume": "tasks.resume",
    "task retry": "tasks.retry: what failed, once more",
    "worker": "perform tasks; ends when there is nothing to do",
    "tick": "run the timers that are due, for cron",
    "db upgrade": "bring the database to this program's schema",
    "unlock": "hand the passphrase to this session",
    "lock": "forget the unlocked data key",
    "secrets passphrase": "switch between key file and passphrase",
}
"""Everything that is no operation, with its summary."""


def dashed(word: str) -> str:
    return word.replace("_", "-")


def underscored(word: str) -> str:
    return word.replace("-", "_")


def resolve(words: list[str]) -> tuple[str, list[str]] | None:
    """The id that the longest beginning of `words` spells and the words after it; None when none does."""
    for length in range(len(words), 0, -1):
        operation = ".".join(underscored(word) for word in words[:length])
        if operation in index.MODULES:
            return operation, words[length:]
    return None


def below(words: Iterable[str]) -> list[index.Operation]:
    """The operations whose id begins with these words."""
    wanted = [underscored(word) for word in words]
    return [row for row in index.OPERATIONS if row[0].split(".")[: len(wanted)] == wanted]


def unknown(words: list[str]) -> ObjectNotFound:
    """The error for words that spell nothing, with the nearest ones that do."""
    import difflib

    wanted = ".".join(underscored(word) for word in words)
    names = [*index.MODULES, *COMMANDS]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    if not close:
        close = [row[0] for row in below(words[:1])][:3]
    hint = f"; did you mean {', '.join(close)}?" if close else "; see: opsconsole ops"
    return ObjectNotFound(entity="operation", id=wanted, hint=hint, field="operation")


def summary_of(operation: str) -> index.Operation:
    return next(row for row in index.OPERATIONS if row[0] == operation)
