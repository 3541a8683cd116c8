"""Two people at two accounts of one machine, over one database: nothing but programs and what they print."""

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
from tests.opsconsole.wiping import NAME


@dataclass(frozen=True)
class Operator:
    """Somebody with an account and a home of his own."""

    home: Path
    url: str
    root: Path
    account: str | None = None

    def __call__(self, *arguments: str, given: Any = None) -> tuple[int, Any]:
        """Exit status, and the answer or the error."""
        if given is not None:
            arguments = (*arguments, "--input", "-")
        done = subprocess.run(
            [*_as(self.account), sys.executable, "-P", "-m", "tests.cli.wiping_main", *arguments],
            input=json.dumps(given).encode() if given is not None else b"",
            capture_output=True,
            check=False,
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(self.root),
                "HOME": str(self.home),
                "OPSCONSOLE_HOME": str(self.home),
                "OPSCONSOLE_DATABASE_URL": self.url,
            },
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


def test_a_second_account_agrees(pair: Pair) -> None:
    first, other = pair.first, pair.other
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, given=wipe)
    assert (status, refused["code"], refused["data"]["expect"]) == (7, "approval_required", "approval")
    assert refused["data"]["eligible"] == [ACCOUNT]
    status, asked = first("call", NAME, "--request-approval", "--reason", "scrap", given=wipe)
    assert (status, asked["state"], asked["eligible"]) == (0, "pending", [ACCOUNT])
    approval = asked["approval_id"]

    status, refused = first("approvals", "approve", approval, "--confirm", "yes")
    assert (status, refused["code"]) == (3, "permission_denied")
    status, refused = first("approvals", "approve", approval, "--confirm", "yes", "--as", ACCOUNT)
    assert (status, refused["code"]) == (3, "permission_denied")
    assert "second person to himself" in refused["message"]
    status, refused = first("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")

    status, listed = other("approvals", "list", "--to-decide")
    assert (status, [row["id"] for row in listed["results"]]) == (0, [approval])
    status, plan = other("approvals", "get", approval, "--fresh")
    assert (status, plan["fresh"]["same"], plan["plan"]["targets"][0]["name"]) == (0, True, "old-1")
    status, refused = other("approvals", "approve", approval)
    assert (status, refused["data"]["expect"]) == (7, "yes")
    status, agreed = other("approvals", "approve", approval, "--confirm", "yes")
    assert (status, agreed["state"], agreed["decided_by"]) == (0, "approved", ACCOUNT)

    status, refused = other("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")
    status, refused = first("call", NAME, "--confirm", approval, given=wipe | {"level": "quick"})
    assert (status, refused["code"]) == (5, "plan_stale")
    assert first("call", NAME, "--confirm", approval, given=wipe)[0] == 0
    status, refused = first("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")
    assert first("audit", "verify")[1]["verdict"] == "intact"


def test_break_glass_and_its_review(pair: Pair) -> None:
    first, other = pair.first, pair.other
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, "--break-glass", given=wipe)
    assert (status, refused["field"]) == (7, "reason")
    assert first("call", NAME, "--break-glass", "--reason", "fire", given=wipe)[0] == 0
    status, open_ones = other("reviews", "list", "--state", "open")
    [review] = open_ones["results"]
    assert (review["who"], review["reason"], review["may_close"]) == ("root", "fire", True)
    status, refused = first("reviews", "close", review["id"], "--note", "all well")
    assert (status, refused["code"]) == (3, "permission_denied")
    assert other("reviews", "close", review["id"], "--note", "looked at it")[0] == 0
    assert other("approvals", "count")[1]["reviews"] == 0


def test_mistakes(pair: Pair) -> None:
    first = pair.first
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, "--request-approval", given=wipe)
    assert (status, refused["field"]) == (2, "reason")
    status, refused = first("call", NAME, "--request-approval=yes", "--reason", "r", given=wipe)
    assert (status, refused["field"]) == (2, "request-approval")
    status, refused = first("call", "hosts.list", "--request-approval", "--reason", "r")
    assert (status, refused["field"]) == (2, "operation")
    status, refused = first("call", NAME, "--request-approval", "--reason", "r", given={"hosts": []})
    assert (status, refused["code"]) == (2, "empty_list")
    status, refused = first("approvals", "approve", "no-such-id", "--confirm", "yes")
    assert (status, refused["code"]) == (4, "object_not_found")
    assert first("call", NAME, "--plan", "--request-approval", given=wipe)[1]["rung"] == 4
    assert first("approvals", "list")[1]["count"] == 0


def _host_id(operator: Operator) -> int:
    hosts = operator("hosts", "list")[1]["results"]
    return int(next(host["id"] for host in hosts if host["name"] == "old-1"))
