"""Help at every level, from the index alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from opsconsole import index
from opsconsole.cli.names import COMMANDS, below, dashed, resolve, summary_of, unknown
from opsconsole.cli.options import COMMON, Field, fields_of, positional, secret_flags

GLOBAL: dict[str, str] = {
    "--readonly": "refuse every change",
    "--ascii": "the console without line drawing and symbols",
    "--no-mouse": "the console leaves the mouse to the terminal",
    "--version": "print the version",
    "--help": "this, at every level",
}
_EXIT = """exit status: 0 done · 1 a bug of ours · 2 bad input · 3 not permitted · 4 not found · 5 conflict, wrong state
  6 a target could not be reached or refused · 7 confirmation needed · 8 partly failed · 130 interrupted"""

USAGE: dict[str, tuple[str, dict[str, str]]] = {
    "demo": (
        "opsconsole demo [--serve] [--ascii] [--readonly]",
        {
            "--serve": "no console: print the environment other commands need to use the fleet, and keep it running",
            "--ascii": "the console without line drawing and symbols",
            "--no-mouse": "the console leaves the mouse to the terminal",
            "--readonly": "refuse every change",
        },
    ),
    "ops": (
        "opsconsole ops [--json] [AREA]",
        {"--json": "as JSON with permission, danger and input schema"},
    ),
    "call": (
        "opsconsole call ID [--input FILE|-] [options]",
        {},
    ),
    "doctor": ("opsconsole doctor [--json]", {"--json": "as JSON"}),
    "completion": ("opsconsole completion bash|zsh", {}),
    "task list": ("opsconsole task list [options of: opsconsole tasks list]", {}),
    "task show": ("opsconsole task show ID", {}),
    "task follow": (
        "opsconsole task follow ID [--after N]",
        {"--after N": "only what came after this piece; the last number is printed at the end"},
    ),
    **{f"task {verb}": (f"opsconsole task {verb} ID", {}) for verb in ("cancel", "pause", "resume", "retry")},
    "worker": (
        "opsconsole worker [--stay] [--unit]",
        {
            "--stay": "stay when there is nothing to do, and keep the timers",
            "--unit": "print a systemd unit that keeps one running, and do nothing else",
        },
    ),
    "tick": ("opsconsole tick", {}),
    "db upgrade": ("opsconsole db upgrade", {}),
    "unlock": (
        "opsconsole unlock [--ttl SECONDS] [--passphrase-fd N]",
        {
            "--ttl SECONDS": "forget the key after this time",
            "--passphrase-fd N": "read the passphrase from this open file descriptor",
        },
    ),
    "lock": ("opsconsole lock", {}),
    "secrets passphrase": (
        "opsconsole secrets passphrase [--off] [--passphrase-fd N]",
        {
            "--off": "back to a key file",
            "--passphrase-fd N": "read the passphrase (with --off the present one) from this open file descriptor",
        },
    ),
}


def text_for(words: list[str]) -> str:
    """Help for these words; raises ObjectNotFound when they spell nothing."""
    if not words:
        return _overview()
    for length in (2, 1):
        command = " ".join(words[:length])
        if command in USAGE:
            return _command(command)
    found = resolve(words)
    if found is not None:
        return _operation(found[0])
    rows = below(words)
    if not rows:
        raise unknown(words)
    lines = [f"opsconsole {' '.join(words)} … : {len(rows)} operations", ""]
    more = [f"{name}" for name in COMMANDS if name.split()[0] == words[0] and len(words) == 1]
    pairs = [(" ".join(dashed(part) for part in row[0].split(".")), row[1]) for row in rows]
    pairs += [(name, COMMANDS[name]) for name in more]
    return "\n".join([*lines, *_columns(pairs), "", "each with --help"])


def _overview() -> str:
    areas = groupby(index.OPERATIONS, key=lambda row: row[0].partition(".")[0])
    pairs = [(f"{area} …", f"{len(list(rows))} operations") for area, rows in areas]
    return "\n".join(
        [
            "opsconsole                     the console",
            "opsconsole COMMAND …           one of the commands below",
            "opsconsole AREA NOUN VERB …    one operation, for example: opsconsole services restart nginx --host web1",
            "",
            "commands:",
            *_columns(list(COMMANDS.items())),
            "",
            "areas:",
            *_columns(pairs),
            "",
            "options:",
            *_columns(list(GLOBAL.items())),
            "",
            _EXIT,
        ]
    )


def _command(command: str) -> str:
    usage, options = USAGE[command]
    pairs = list(options.items())
    if command == "call":
        pairs = [(f"{flag} {value}".strip(), text) for flag, (value, text) in COMMON.items()]
    lines = [f"usage: {usage}", "", COMMANDS[command]]
    if pairs:
        lines += ["", "options:", *_columns(pairs)]
    return "\n".join(lines)


def _operation(operation: str) -> str:
    _, summary, permission, danger, kind, _, _, _, streams, _ = summary_of(operation)
    fields = fields_of(operation)
    places = positional(fields)
    words = " ".join(dashed(part) for part in operation.split("."))
    named = " ".join(place.name.upper() if place.required else f"[{place.name.upper()}]" for place in places)
    facts = [kind, f"permission {permission}"]
    if kind != "read":
        facts.append(f"danger {danger}")
    if streams:
        facts.append("one JSON object per line until Ctrl-C")
    lines = [f"usage: opsconsole {words} {named}".rstrip() + (" [options]" if fields else ""), ""]
    lines += [summary, " · ".join(facts)]
    if fields:
        ordered = sorted(fields, key=lambda field: not field.required)
        lines += ["", "input:", *_columns([pair for field in ordered for pair in _described(field)])]
    common = [
        (f"{flag} {value}".strip(), text)
        for flag, (value, text) in COMMON.items()
        if (kind != "read" or flag not in {"--plan", "--confirm", "--reason"})
        and (kind == "task" or flag != "--wait")
        and flag not in {field.flag for field in fields}
    ]
    return "\n".join([*lines, "", "options:", *_columns(common)])


def _described(field: Field) -> Iterable[tuple[str, str]]:
    marks = [mark for mark, on in (("required", field.required), ("repeatable", field.repeated)) if on]
    text = field.text + (f" ({', '.join(marks)})" if marks else "")
    if field.secret:
        from_stdin, from_file = secret_flags(field)
        return [(from_stdin, text.strip()), (f"{from_file} PATH", "the same from a file")]
    return [(f"{field.flag} {field.placeholder}".strip(), text.strip())]


def _columns(pairs: list[tuple[str, str]]) -> list[str]:
    width = min(max((len(left) for left, _ in pairs), default=0), 38)
    lines: list[str] = []
    for left, right in pairs:
        if len(left) > width:
            lines += [f"  {left}", f"  {'':{width}}  {right}"]
        else:
            lines.append(f"  {left:{width}}  {right}".rstrip())
    return lines
