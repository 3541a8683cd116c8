"""The first word decides what is loaded; no exception leaves this module."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from opsconsole.cli import output
from opsconsole.engine.errors import ConsoleError, InvalidParameter, InvalidRequest

INTERRUPTED = 130


class Switches(NamedTuple):
    """The options before the first word."""

    readonly: bool = False
    ascii: bool = False
    version: bool = False
    help: bool = False
    no_mouse: bool = False


_SPELLED = {
    "--readonly": "readonly",
    "--ascii": "ascii",
    "--no-mouse": "no_mouse",
    "--version": "version",
    "--help": "help",
    "-h": "help",
}


def split(arguments: list[str]) -> tuple[Switches, list[str]]:
    """The switches in front and the words behind them."""
    found: dict[str, bool] = {}
    rest = list(arguments)
    while rest and rest[0] in _SPELLED:
        found[_SPELLED[rest.pop(0)]] = True
    if rest and rest[0].startswith("-"):
        raise InvalidParameter(field=rest[0], reason="no such option here; see opsconsole --help")
    return Switches(**found), rest


def asked_over_ssh(arguments: list[str]) -> list[str]:
    """The words `ssh account@here WORDS` brought to a captive console, which sshd starts whatever was asked for.

    They are one headless call, as if typed behind `opsconsole`, and nothing a shell would make of them.
    """
    import os

    given = os.environ.get("SSH_ORIGINAL_COMMAND", "").strip()
    if not given or any(not word.startswith("-") for word in arguments):
        return arguments
    from opsconsole.engine import locations, settings

    if not settings.load(locations.home() / "settings.toml").captive:
        return arguments
    import shlex

    try:
        words = shlex.split(given)
    except ValueError:
        raise InvalidRequest(reason="a quotation mark is missing in what was asked for over ssh") from None
    return [*arguments, *(words[1:] if words[:1] == ["opsconsole"] else words)]


def guarded(work: Callable[[], int]) -> int:
    """Run `work`; whatever it raises becomes an error object and an exit status, never a traceback."""
    import sys

    try:
        return work()
    except output.ReaderGone:
        output.silence(sys.stdout)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from opsconsole.cli import failures

        return failures.report(error)


def run(switches: Switches, words: list[str]) -> int:
    """Everything but the console itself. Raises what `guarded` turns into answers."""
    asked_for_help = switches.help or _help_asked(words)
    if switches.version:
        from opsconsole.cli.version import VERSION

        output.text(f"opsconsole {VERSION}")
        return 0
    if words and words[0] == "_complete":
        from opsconsole.cli import completion

        return completion.answer(words[1:])
    if asked_for_help:
        from opsconsole.cli import helping

        output.text(helping.text_for([word for word in _before_options(words) if word != "help"]))
        return 0
    return _command(switches, words)


def _command(switches: Switches, words: list[str]) -> int:
    first, rest = words[0], words[1:]
    if first == "ops":
        from opsconsole.cli import listing

        return listing.run(rest)
    if first == "completion":
        from opsconsole.cli import completion

        return completion.run(rest)
    if first == "doctor":
        from opsconsole.cli.doctor import report

        return report.run(rest)
    if " ".join(words[:2]) == "db upgrade" or first in {"unlock", "lock"} or words[:2] == ["secrets", "passphrase"]:
        from opsconsole.cli import upkeep

        return upkeep.run(words)
    if first in {"worker", "tick"}:
        from opsconsole.cli import working

        return working.run(words)
    if first == "task":
        from opsconsole.cli import following

        words = following.as_operation(words)
        if words[:2] == ["task", "follow"]:
            return following.run(words[2:])
    return _operation(switches, words)


def _operation(switches: Switches, words: list[str]) -> int:
    from opsconsole import index
    from opsconsole.cli import inputs, names
    from opsconsole.cli import words as spoken

    for word in words:
        inputs.check_text(word, "arguments")
    stdin = inputs.Stdin()
    if words[0] == "call":
        request = spoken.read_call(words[1:], stdin)
    else:
        spelled = _before_options(words)
        found = names.resolve(spelled)
        if found is None:
            raise _no_operation(spelled)
        operation, extra = found
        request = spoken.read_words(operation, [*extra, *words[len(spelled) :]], stdin)
    request.readonly = switches.readonly
    if request.operation not in index.MODULES:
        raise names.unknown([request.operation])
    calling = _engine()
    try:
        status: int = calling.run(request)
        return status
    except (ConsoleError, output.ReaderGone):
        raise
    except Exception as error:
        from opsconsole.cli import failures

        return failures.report(error, list(request.secrets()))


def _engine() -> ModuleType:
    """The module that calls operations. Tens of thousands of objects are made on import and none is ever freed, so
    the collector would only slow this down, and the end of the process too."""
    import gc

    gc.disable()
    try:
        from opsconsole.cli import calling
    finally:
        gc.enable()
    gc.freeze()
    return calling


def _no_operation(spelled: list[str]) -> ConsoleError:
    from opsconsole.cli import names

    rows = names.below(spelled)
    if not rows:
        return names.unknown(spelled)
    ways = ", ".join(row[0] for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    return InvalidRequest(f"{' '.join(spelled)}: which operation? {ways}", field="operation")


def _before_options(words: list[str]) -> list[str]:
    for number, word in enumerate(words):
        if word.startswith("-"):
            return words[:number]
    return words


def _help_asked(words: list[str]) -> bool:
    if words[:1] == ["help"]:
        return True
    options = words[len(_before_options(words)) :]
    end = options.index("--") if "--" in options else len(options)
    return bool({"--help", "-h"} & set(options[:end]))
