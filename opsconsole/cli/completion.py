"""Completion for bash and zsh: the script asks us, we answer from the index alone, one candidate per line."""

from __future__ import annotations

from collections.abc import Iterable

from opsconsole import index
from opsconsole.cli import output
from opsconsole.cli.helping import GLOBAL, USAGE
from opsconsole.cli.names import COMMANDS, dashed, resolve, underscored
from opsconsole.cli.options import COMMON, Field, by_flag, fields_of, positional, secret_flags
from opsconsole.engine.errors import InvalidParameter

FILES = "\x1ffiles"
"""Answered instead of candidates where a file name is wanted; the shell completes those better."""

_FILE_OPTIONS = {"--input", "--token-file"}

BASH = r"""# completion of opsconsole for bash; load it with: source <(opsconsole completion bash)
_opsconsole() {
    local current="${COMP_WORDS[COMP_CWORD]}" line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == $'\x1ffiles' ]]; then
            compopt -o default 2>/dev/null
            return 0
        fi
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" _complete "$COMP_CWORD" "${COMP_WORDS[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}
complete -F _opsconsole opsconsole
"""

ZSH = r"""#compdef opsconsole
# completion of opsconsole for zsh; load it with: source <(opsconsole completion zsh), or put it into $fpath
_opsconsole() {
    local -a found
    found=("${(@f)$("${words[1]}" _complete $((CURRENT - 1)) "${(@)words[2,-1]}" 2>/dev/null)}")
    if [[ ${found[1]} == $'\x1ffiles' ]]; then
        _files
        return
    fi
    [[ -n ${found[1]} ]] && compadd -a found
}
if [[ ${funcstack[1]} == _opsconsole ]]; then
    _opsconsole "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u; }
    compdef _opsconsole opsconsole
fi
"""


def run(arguments: list[str]) -> int:
    """Print the script for one shell."""
    scripts = {"bash": BASH, "zsh": ZSH}
    if len(arguments) != 1 or arguments[0] not in scripts:
        raise InvalidParameter(field="shell", reason="name one of bash, zsh")
    output.text(scripts[arguments[0]])
    return 0


def answer(arguments: list[str]) -> int:
    """`_complete POSITION WORD…`: the candidates for the word at this position (the first after the program is 1)."""
    position = int(arguments[0]) if arguments and arguments[0].isdigit() else 1
    words = arguments[1:]
    current = words[position - 1] if position - 1 < len(words) else ""
    found = candidates(words[: position - 1], current)
    output.text("\n".join(found) if found else "")
    return 0


def candidates(before: list[str], current: str) -> list[str]:
    """What may stand in the place of `current` after the words `before`."""
    while before and before[0] in GLOBAL:
        before = before[1:]
    return [word for word in _all(before, current) if word.startswith(current) or word == FILES]


def _all(before: list[str], current: str) -> Iterable[str]:
    if not before:
        areas = {row[0].partition(".")[0] for row in index.OPERATIONS}
        return sorted(areas | {name.split()[0] for name in COMMANDS}) + (list(GLOBAL) if current[:1] == "-" else [])
    match before[0]:
        case "call":
            return _call(before[1:], current)
        case "ops":
            return (
                ["--json"]
                if current.startswith("-")
                else sorted({row[0].partition(".")[0] for row in index.OPERATIONS})
            )
        case "completion":
            return ["bash", "zsh"]
    for length in (2, 1):
        command = " ".join(before[:length])
        if command in USAGE:
            return [option.split()[0] for option in USAGE[command][1]]
    return _words(before, current)


def _call(before: list[str], current: str) -> Iterable[str]:
    if before and before[-1] in _FILE_OPTIONS:
        return [FILES]
    if before and COMMON.get(before[-1], ("",))[0]:
        return []
    if current.startswith("-"):
        return [flag for flag in COMMON if flag not in before]
    return [] if any(word in index.MODULES for word in before) else sorted(index.MODULES)


def _words(before: list[str], current: str) -> Iterable[str]:
    found = resolve([word for word in before if not word.startswith("-")])
    deeper = _next_words(before)
    if found is None:
        return deeper
    fields = fields_of(found[0])
    flags = by_flag(fields)
    last = before[-1]
    if last in flags and flags[last].kind != "bool":
        return _values(flags[last])
    if last in _FILE_OPTIONS or any(last == secret_flags(field)[1] for field in fields if field.secret):
        return [FILES]
    if COMMON.get(last, ("",))[0]:
        return []
    if "=" in current and (flag := current.partition("=")[0]) in flags:
        return [f"{flag}={value}" for value in _values(flags[flag])]
    if current.startswith("-"):
        return _options(fields, flags, before)
    places = positional(fields)
    number = len([word for word in found[1] if not word.startswith("-")])
    return [*deeper, *(_values(places[number]) if number < len(places) else [])]


def _next_words(before: list[str]) -> list[str]:
    """The parts of ids that may come next."""
    wanted = [underscored(word) for word in before]
    depth = len(wanted)
    parts = [row[0].split(".") for row in index.OPERATIONS]
    found = {dashed(part[depth]) for part in parts if len(part) > depth and part[:depth] == wanted}
    found |= {name.split()[1] for name in COMMANDS if " " in name and [name.split()[0]] == before}
    return sorted(found)


def _options(fields: list[Field], flags: dict[str, Field], before: list[str]) -> list[str]:
    repeatable = {flag for flag, field in flags.items() if field.repeated}
    secret = [flag for field in fields if field.secret for flag in secret_flags(field)]
    return [flag for flag in [*flags, *secret, *COMMON, "--help"] if flag not in before or flag in repeatable]


def _values(field: Field) -> list[str]:
    if field.kind == "bool":
        return ["true", "false"]
    return list(field.choices)
