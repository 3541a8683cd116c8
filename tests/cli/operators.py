"""Two people at two accounts of one machine, over one database, each with a home of his own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.postgres import ACCOUNT, PostgresServer


@dataclass(frozen=True)
class Operator:
    """Somebody with an account and a home of his own."""

    home: Path
    url: str
    root: Path
    account: str | None = None

    @property
    def command(self) -> list[str]:
        return [*_as(self.account), sys.executable, "-P", "-m", "tests.cli.wiping_main"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.root),
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "OPSCONSOLE_HOME": str(self.home),
            "OPSCONSOLE_DATABASE_URL": self.url,
        }

    def __call__(self, *arguments: str, given: Any = None) -> tuple[int, Any]:
        """Exit status, and the answer or the error."""
        if given is not None:
            arguments = (*arguments, "--input", "-")
        done = subprocess.run(
            [*self.command, *arguments],
            input=json.dumps(given).encode() if given is not None else b"",
            capture_output=True,
            check=False,
            cwd="/",
            env=self.environment,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        said = done.stdout or done.stderr
        return done.returncode, json.loads(said)["error"] if done.returncode else json.loads(said)


def _as(account: str | None) -> list[str]:
    return ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "--"] if account else []


@dataclass(frozen=True)
class Pair:
    first: Operator
    other: Operator
    url: str


@pytest.fixture
def pair(postgres_server: PostgresServer, root: Path) -> Iterator[Pair]:
    """The one who runs the tests, first user and administrator, and an account of the lab made a second one."""
    if os.geteuid() != 0:
        pytest.skip("only root can act for two accounts")
    if subprocess.run([*_as(ACCOUNT), sys.executable, "-c", ""], check=False, capture_output=True, cwd="/").returncode:
        pytest.skip(f"the account {ACCOUNT} cannot run this interpreter")
    url = postgres_server.create("opsconsole_template")
    place = Path(tempfile.mkdtemp(prefix="opsc-two-"))
    place.chmod(0o711)
    homes = [place / "first", place / "other"]
    for home in homes:
        home.mkdir(mode=0o700)
    try:
        first, other = Operator(homes[0], url, root), Operator(homes[1], url, root, ACCOUNT)
        assert first("call", "hosts.create", given={"name": "old-1", "host_type": "PHY_HOST"})[0] == 0
        user = {"email": "labops@example.org", "username": ACCOUNT, "role": "@admin"}
        status, answer = first("call", "dci.users.create", given=user)
        assert status == 0, answer
        shutil.copy(homes[0] / "audit.key", homes[1] / "audit.key")
        account = pwd.getpwnam(ACCOUNT)
        for path in (homes[1], homes[1] / "audit.key"):
            os.chown(path, account.pw_uid, account.pw_gid)
        yield Pair(first, other, url)
    finally:
        postgres_server.drop(url)
        shutil.rmtree(place)
