"""Second processes for tests of what two programs do to one database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from data.database import Database

PRELUDE = """
import sys
from pathlib import Path
from data.database import Database
def opened():
    return Database.open(sys.argv[1] or None, home=Path(sys.argv[2]))
"""


def url_of(database: Database) -> str:
    """The argument another process opens the same database with."""
    return "" if database.dialect == "sqlite" else database.url.render_as_string(hide_password=False)


def other_process(url: str | None, home: Path, code: str) -> subprocess.Popen[str]:
    """Start a fresh interpreter that runs `code` after the prelude; its standard streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PRELUDE + code, url or "", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Standard output of a process that must end well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
