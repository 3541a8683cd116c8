from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data.database import Database

HEAVY = ("alembic", "psycopg", "cryptography", "mako")


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level packages a fresh interpreter has loaded after `code`."""
    tail = "\nimport sys, json\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code + tail, *arguments], capture_output=True, check=True, text=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_opening_a_current_file_loads_no_migrations(tmp_path: Path) -> None:
    Database.open(None, home=tmp_path).close()
    code = """
import sys
from pathlib import Path
from data.database import Database
from data.models import Host
from data.feed import Feed
from data.secrets import seal
from data.keyring import KeyRing
from sqlmodel import select
with Database.open(None, home=Path(sys.argv[1])) as database:
    assert database.read_sync(lambda session: session.exec(select(Host.name)).all()) == ["local"]
"""
    assert loaded_by(code, str(tmp_path)).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["data.errors", "data.version", "data.keyagent", "data.keyring", "data.secrets"])
def test_small_modules_stay_small(module: str) -> None:
    assert loaded_by(f"import {module}").isdisjoint({*HEAVY, "sqlalchemy", "sqlmodel", "pydantic", "asyncio"})
