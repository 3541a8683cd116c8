"""Ways to run the program as a script runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opsconsole import index
from tests.cli import sample
from tests.cli.operators import pair

__all__ = ["home", "pair", "program", "sampled"]


@dataclass(frozen=True)
class Done:
    """A finished call of the program."""

    status: int
    out: bytes
    err: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON object on standard error."""
        found: dict[str, Any] = json.loads(self.err)["error"]
        assert set(found) == {"code", "message", "field", "targets", "source_codes", "data"}
        return found


@dataclass(frozen=True)
class Program:
    """The program with a home of its own. `module` is what is run."""

    home: Path
    root: Path
    module: str = "tests.cli.sample_main"

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-m", self.module]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"OPSCONSOLE_HOME": str(self.home), "LC_ALL": "C"}

    def __call__(self, *arguments: str, given: bytes = b"", **more: Any) -> Done:
        done = subprocess.run(
            [*self.argv, *arguments],
            input=given,
            capture_output=True,
            check=False,
            cwd=self.root,
            env=self.environment,
            timeout=60,
            **more,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.argv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.root,
            env=self.environment,
        )


@pytest.fixture
def home(_sqlite_template: Path) -> Path:
    """A home with a migrated, empty database."""
    place = Path(os.environ["OPSCONSOLE_HOME"])
    place.mkdir(mode=0o700, parents=True)
    shutil.copy(_sqlite_template, place / "opsconsole.db")
    (place / "opsconsole.db").chmod(0o600)
    return place


@pytest.fixture
def program(home: Path, root: Path) -> Program:
    """The program with the sample operations."""
    return Program(home, root)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample operations in the index of this process."""
    for name in ("OPERATIONS", "MODULES", "OPTIONS"):
        monkeypatch.setattr(index, name, getattr(index, name))
    sample.install()
