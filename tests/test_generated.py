"""Generated files are what the declarations make of them, and every operation is accounted for."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from pathlib import Path

from opsconsole import index, indexing
from opsconsole.cli import names
from opsconsole.cli.version import VERSION
from opsconsole.reference import COLUMNS

_ID = re.compile(r"^\| `([a-z0-9_.]+)` \| (.+) \|$", re.MULTILINE)


def specified(root: Path) -> set[str]:
    with (root / "tests/spec/operations.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"] for row in csv.DictReader(file)}


def test_nothing_generated_is_stale() -> None:
    assert indexing.stale() == [], "run: make index"


def test_the_index_is_the_registry() -> None:
    declared = {operation.id: operation for operation in indexing.declared()}
    assert list(index.MODULES) == sorted(declared)
    schemas = json.loads(Path(index.__file__).with_name("index_schemas.json").read_text("utf-8"))
    for row in index.OPERATIONS:
        operation = declared[row[0]]
        assert row[1:6] == (
            operation.summary,
            operation.permission,
            operation.danger,
            operation.kind,
            operation.objects,
        )
        assert [option[0] for option in index.OPTIONS[row[0]]] == list(schemas[row[0]].get("properties", {}))


def test_every_specified_operation_is_there_or_says_why_not(root: Path) -> None:
    reasons = dict(_ID.findall((root / "docs/not-yet.md").read_text("utf-8")))
    wanted = specified(root)
    assert wanted - set(index.MODULES) - set(reasons) == set(), "neither implemented nor in docs/not-yet.md"
    assert set(reasons) - wanted == set(), "docs/not-yet.md names what nobody asked for"
    assert set(reasons) & set(index.MODULES) == set(), "implemented, so take it out of docs/not-yet.md"
    assert all(len(reason) > 10 for reason in reasons.values())


def test_every_other_operation_is_listed_as_added(root: Path) -> None:
    with (root / "docs/operations-added.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = {row["id"]: row for row in reader}
    with (root / "tests/spec/operations.csv").open(encoding="utf-8", newline="") as file:
        assert tuple(next(csv.reader(file))) == tuple(reader.fieldnames or ()) == COLUMNS
    assert set(rows) == set(index.MODULES) - specified(root)


def test_declarations_agree_with_the_specification(root: Path) -> None:
    with (root / "tests/spec/operations.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for operation in indexing.declared():
        row = rows.get(operation.id)
        if row is None:
            continue
        assert (operation.permission, operation.danger) == (row["permission"], row["danger"]), operation.id
        options = {option[0] for option in index.OPTIONS[operation.id]}
        asked = fields_of(row["input_required"]) | fields_of(row["input_optional"])
        assert asked <= options, operation.id


def fields_of(column: str) -> set[str]:
    """Names in an input column: a bare list is the field items; what is inside a list's entries is not looked at."""
    parts = [part.strip() for part in re.sub(r"\{[^}]*\}", "", column).split(",")]
    outer = [part for part in parts if part and "(per entry" not in part and "(ignored" not in part]
    return {
        "items" if part.startswith("list of") else part.partition("(")[0].partition(" or ")[0].strip() for part in outer
    }


def test_no_operation_hides_behind_a_command() -> None:
    commands = {name.replace(" ", ".") for name in names.COMMANDS}
    assert not commands & set(index.MODULES)
    assert not {row[0].partition(".")[0] for row in index.OPERATIONS} & {
        "ops",
        "call",
        "help",
        "completion",
        "_complete",
    }


def test_the_version_is_the_projects(root: Path) -> None:
    assert tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"] == VERSION


def test_the_log_cases_are_complete(root: Path) -> None:
    cases = json.loads((root / "tests/spec/log_cases.json").read_text("utf-8"))
    assert len(cases["cases"]) == 27
    for case in cases["cases"]:
        assert ("error" in case) != ("content" in case)
        if "content" in case:
            assert case["content"] in cases["file"]
            assert len(case["content"]) == case["length"]
            assert case["total_length"] == len(cases["file"])
