"""What a fresh interpreter has loaded at the moments that count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "sqlalchemy", "sqlmodel", "pydantic", "cryptography", "asyncssh", "openstack", "pyghmi", "pysnmp", "alembic",
    "psycopg",
)  # fmt: skip
TERMINAL = ("textual", "rich")
LIGHT_FORBIDDEN = (*HEAVY, *TERMINAL, "asyncio")
LATER = (
    "screens.performing", "screens.render.plan", "screens.render.record", "screens.widgets.form", "screens.widgets.log",
    "screens.widgets.menu", "textual.widgets._text_area", "sqlite3", "tomllib", "opsconsole.backend",
)  # fmt: skip
"""Modules that the first frame does without; each of them was once imported for it, or nearly."""


def modules(code: str, root: Path, *arguments: str) -> set[str]:
    """All modules in memory after `code` ran in an interpreter of its own."""
    tail = "\nimport sys, json\nsys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"COLUMNS": "80"},
        timeout=60,
    )
    return set(json.loads(done.stderr.rpartition("\n")[2]))


def loaded(code: str, root: Path, *arguments: str) -> set[str]:
    """The same as top-level packages."""
    return {name.partition(".")[0] for name in modules(code, root, *arguments)}


def test_nothing_heavy_before_the_first_frame(root: Path) -> None:
    names = modules("import screens.app, opsconsole.client, opsconsole.index, opsconsole.__main__", root)
    assert not {name.partition(".")[0] for name in names} & set(HEAVY)
    assert not names & set(LATER)
    assert "textual" in names


def test_what_was_seen_last_needs_none_of_the_house(root: Path, tmp_path: Path) -> None:
    code = "import os, sys; os.environ['OPSCONSOLE_HOME'] = sys.argv[1]; import opsconsole.backend as b; b.connect()"
    names = loaded(code, root, str(tmp_path))
    assert "sqlite3" in names
    assert not names & {*HEAVY, *TERMINAL}


RUN = "import opsconsole.__main__ as m\nassert m.main() in (0, 5)"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["ops"],
        ["ops", "--json"],
        ["services", "--help"],
        ["services", "restart", "--help"],
        ["_complete", "2", "services", "re"],
        ["completion", "bash"],
    ],
)
def test_help_listing_and_completion_stay_light(root: Path, arguments: list[str]) -> None:
    assert not loaded(RUN, root, *arguments) & set(LIGHT_FORBIDDEN)


@pytest.mark.parametrize("arguments", [["call", "services.list"], ["doctor"], ["db", "upgrade"]])
def test_the_headless_half_never_loads_a_terminal_library(root: Path, arguments: list[str]) -> None:
    names = loaded(RUN, root, *arguments)
    assert not names & set(TERMINAL)
    assert "screens" not in names


ALONE = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(room.__path__):
    importlib.import_module(f"{sys.argv[1]}.{module.name}")
"""


@pytest.mark.parametrize("room", ["data", "drivers"])
def test_the_lower_rooms_know_nobody(root: Path, room: str) -> None:
    assert not loaded(ALONE, root, room) & ({"data", "drivers", "opsconsole", "screens"} - {room})
