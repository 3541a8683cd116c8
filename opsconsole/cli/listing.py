"""`opsconsole ops`: what there is, without importing any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opsconsole import index
from opsconsole.cli import output
from opsconsole.cli.names import below, unknown
from opsconsole.engine.errors import InvalidParameter, InvalidRequest

NAMES = ("id", "summary", "permission", "danger", "kind", "objects", "key", "module", "streams", "bulk")
SHOWN = ("id", "summary", "permission", "danger", "kind", "streams", "bulk")


def run(arguments: list[str]) -> int:
    """Print the operations, all or those below an area, as lines or as JSON."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    words = [part for argument in arguments if not argument.startswith("-") for part in argument.split(".")]
    for flag in flags:
        if flag != "--json":
            raise InvalidParameter(field=flag, reason="no such option; ops takes --json")
    if len(arguments) - len(flags) > 1:
        raise InvalidRequest("ops takes one area at most", field="area")
    rows = below(words)
    if not rows and words:
        raise unknown(words)
    if "--json" in flags:
        output.answer(as_json(rows))
        return 0
    width = max((len(row[0]) for row in rows), default=0)
    output.text("".join(f"{row[0]:{width}}  {_mark(row)}  {row[1]}\n" for row in rows))
    return 0


def as_json(rows: list[index.Operation]) -> list[dict[str, Any]]:
    """One object per operation; `input_schema` is the JSON schema of its input."""
    import json

    schemas = json.loads(Path(index.__file__).with_name("index_schemas.json").read_text("utf-8"))
    return [
        {name: value for name, value in zip(NAMES, row, strict=True) if name in SHOWN}
        | {"input_schema": schemas[row[0]]}
        for row in rows
    ]


def _mark(row: index.Operation) -> str:
    return f"{'read' if row[4] == 'read' else 'danger ' + row[3]:11}"
