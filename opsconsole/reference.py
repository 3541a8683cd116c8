"""The reference pages under docs/, made from the declarations so that they cannot say anything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from opsconsole.engine.registry import Operation
from opsconsole.indexing import Option, options_of, schema_of

COLUMNS = (
    "id", "area", "seed", "method", "path", "summary", "permission", "kind", "async_result", "danger", "bulk", "driver",
    "input_required", "input_optional", "output", "permission_source", "origin", "doc_line", "doc_variants", "notes",
)  # fmt: skip
BY_HAND = ("driver", "output", "notes")
"""Columns of operations-added.csv that people write; everything else follows from the declaration."""

_INTRO = """# Operations

Made by `make index` from the declarations. Every operation is called the same two ways:

    opsconsole call ID --input FILE        the input as a JSON object, `-` reads standard input
    opsconsole AREA NOUN VERB --option …   the same with options

`--plan` shows what a change would do and changes nothing.
"""


def generated(docs: Path, operations: Sequence[Operation]) -> dict[Path, str]:
    """The pages by path. Hand-written columns of operations-added.csv are kept."""
    files = {docs / "operations.md": operations_page(operations)}
    specified = docs.parent / "tests" / "spec" / "operations.csv"
    if specified.exists():
        known = {row["id"] for row in rows_of(specified.read_text("utf-8"))}
        added = docs / "operations-added.csv"
        before = rows_of(added.read_text("utf-8")) if added.exists() else []
        files[added] = added_page([op for op in operations if op.id not in known], before)
    return files


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def operations_page(operations: Iterable[Operation]) -> str:
    """All operations by area, with their fields."""
    parts = [_INTRO]
    for area, members in groupby(operations, key=lambda op: op.id.partition(".")[0]):
        parts.append(f"## {area}\n")
        parts.extend(_operation(op) for op in members)
    return "\n".join(parts).rstrip() + "\n"


def _operation(op: Operation) -> str:
    facts = [f"permission `{op.permission}`", op.kind]
    if op.target_permission:
        facts.append(f"on each target `{op.target_permission}`")
    if op.kind != "read":
        facts.append(f"danger {op.danger}")
        facts.append("can be undone" if op.reversible else "cannot be undone")
    if op.second_person:
        facts.append("needs a second person")
    if op.streams:
        facts.append("streams one JSON object per line")
    lines = [f"### `{op.id}`", "", f"{op.summary}.".replace("..", "."), "", " · ".join(facts), ""]
    options = options_of(schema_of(op))
    if options:
        lines += ["| Field | Type | Required | Meaning |", "|---|---|---|---|"]
        lines += [_field(option) for option in options]
        lines.append("")
    return "\n".join(lines)


def _field(option: Option) -> str:
    name, kind, required, secret, repeated, choices, text = option
    kind = f"object ({kind.removeprefix('item:').replace(',', ', ')})" if kind.startswith("item:") else kind
    kind = f"list of {kind}" if repeated else kind
    if choices:
        kind = " ".join(f"`{choice}`" for choice in choices) if not repeated else f"{kind}: {', '.join(choices)}"
    if secret:
        kind += ", secret"
    cells = (f"`{name}`", kind, "yes" if required else "", text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def added_page(operations: Iterable[Operation], before: Iterable[dict[str, str]]) -> str:
    """operations-added.csv: what the console has beyond the documents."""
    written = {row["id"]: row for row in before}
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for op in operations:
        writer.writerow(_added(op) | {name: written.get(op.id, {}).get(name, "") for name in BY_HAND})
    return out.getvalue()


def _added(op: Operation) -> dict[str, str]:
    options = options_of(schema_of(op))
    return dict.fromkeys(COLUMNS, "") | {
        "id": op.id,
        "area": op.id.partition(".")[0],
        "summary": op.summary,
        "permission": op.permission,
        "kind": op.kind,
        "danger": op.danger,
        "bulk": "yes" if op.bulk else "no",
        "input_required": ", ".join(option[0] for option in options if option[2]),
        "input_optional": ", ".join(option[0] for option in options if not option[2]),
        "permission_source": "proposed",
        "origin": "added",
    }
