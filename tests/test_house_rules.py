"""Rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_LINES, MOST_FUNCTION_LINES = 420, 60
ROOMS = ("opsconsole", "screens", "drivers", "data")
GENERATED = {"opsconsole/index.py"}
# Written in two halves, so that this file does not hold them.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|except[^\n:]*:\s*pa" r"ss\b")
LEAKS = re.compile("/wo" "rk/|/fa" "rm/|DESI" r"GN\.md|DECISI" r"ONS(\.md)?\b|knowl" r"edge/|\bissues? #?\d+\b")


def tracked(root: Path) -> list[Path]:
    """Files of the repository as far as it knows them; all files where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    return [root / name for name in names if name and (root / name).is_file()]


def code(root: Path) -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in (root / room).rglob("*.py") if str(path.relative_to(root)) not in GENERATED)


def test_modules_stay_readable(root: Path) -> None:
    long = {
        str(path.relative_to(root)): lines
        for path in code(root)
        if (lines := len(path.read_text("utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_functions_stay_readable(root: Path) -> None:
    long: dict[str, int] = {}
    for path in code(root):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long[f"{path.relative_to(root)}:{node.name}"] = lines
    assert long == {}


def test_nothing_is_left_unfinished(root: Path) -> None:
    found = {
        f"{path.relative_to(root)}:{number}"
        for path in code(root)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if UNFINISHED.search(line)
    }
    assert found == set()


def test_the_project_stands_on_its_own(root: Path) -> None:
    files = tracked(root)
    if not files:
        pytest.skip("not a git checkout")
    found: set[str] = set()
    for path in files:
        name = str(path.relative_to(root))
        if name.startswith("tests/spec/") or path.suffix in {".lock", ".svg"}:
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
            if LEAKS.search(line):
                found.add(f"{name}:{number}")
    assert found == set()


def test_locked_dependencies_name_no_place(root: Path) -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (root / name).read_text("utf-8")
        assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links|-e)\b|://|file:", text, re.MULTILINE)
        pinned = re.findall(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[a-z,]+\])?==", text, re.MULTILINE)
        hashed = re.findall(r"^[A-Za-z0-9][^\n]*\\\n\s+--hash=sha256:", text, re.MULTILINE)
        assert len(pinned) == len(hashed) > 30


def test_texts_are_the_same_version_in_both_locks(root: Path) -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (root / name).read_text("utf-8"), re.MULTILINE))

    run, develop = versions("requirements.lock"), versions("requirements-dev.lock")
    assert {name: develop.get(name) for name in run} == run
