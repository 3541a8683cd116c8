"""Other people on a managed host: traps laid where jobs live, and jobs that turn on who keeps them."""

from __future__ import annotations

import os
import pwd
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers import detached
from drivers.detached import JobSpec
from drivers.errors import Refused
from drivers.local import LocalRunner
from drivers.runner import Completed, Stream, quote_argv

OTHER = "games"


@dataclass
class As:
    """This machine as another account sees it; `root` is what sees all of it."""

    account: str
    root: LocalRunner

    @property
    def name(self) -> str:
        return self.root.name

    def _line(self, command: str) -> str:
        user = pwd.getpwnam(self.account)
        drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "sh", "-c", command]
        return quote_argv(drop)

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        return await self.root.run(command if become else self._line(command), stdin=stdin, timeout=timeout)

    def stream(self, command: str, *, become: bool = False) -> AbstractAsyncContextManager[Stream]:
        return self.root.stream(command if become else self._line(command))

    async def fresh(self) -> None:
        await self.root.fresh()

    async def sh(self, command: str) -> str:
        done = await self.root.run(command, timeout=30)
        assert done.exit_status == 0, (command, done)
        return done.stdout.decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
@pytest.mark.parametrize("how", ["link", "hard", "swapped"])
async def test_the_secrets_of_an_account_are_wiped_and_nothing_else(how: str, tmp_path: Path) -> None:
    """The account owns the directory of its secrets; root, who wipes it, follows no link out of it."""
    precious = tmp_path / "precious"
    precious.write_text("root's own", "ascii")
    runner = LocalRunner("local")
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o711)
    trap = {
        "link": f"ln -s {precious} $OPSCONSOLE_SECRETS/x",
        "hard": f"ln {precious} $OPSCONSOLE_SECRETS/x || ln -sf {precious} $OPSCONSOLE_SECRETS/pw",
        "swapped": f"d=$OPSCONSOLE_SECRETS; mv $d/pw /tmp/moved-$$; rm -f /tmp/moved-$$; ln -s {precious} $d/pw",
    }[how]
    spec = JobSpec(f"trap-{uuid.uuid4()}", trap.encode(), run_as=OTHER, secret_files={"pw": b"geheim"})
    await detached.start(runner, spec)
    async for _ in detached.follow(runner, spec.name):
        pass
    await detached.remove(runner, spec.name)
    assert precious.read_text("ascii") == "root's own"
    left = await runner.run(f"find /run/opsconsole-jobs -user {OTHER}", timeout=10)
    assert left.stdout == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
@pytest.mark.parametrize("trap", ["files", "climb", "torn"])
async def test_a_trap_where_jobs_may_lie_is_not_touched(trap: str) -> None:
    """Somebody else was first in /var/tmp: a dead job of "ours" there, with secrets that lead to what is precious."""
    victim = As("list", LocalRunner("local"))
    base = f"/var/tmp/opsconsole-{pwd.getpwnam(victim.account).pw_uid}"
    precious = f"/tmp/precious-{uuid.uuid4()}"
    boot = "00000000-0000-0000-0000-000000000000"
    bait = f"{base}/jobs/bait"
    laid = {
        "files": f"mkdir {bait}/secrets && ln -s {precious}/file {bait}/secrets/x",
        "climb": f"ln -s /run/opsconsole-jobs/../..{precious} {bait}/secrets",
        "torn": f"rm -rf {base}/jobs && ln -s {precious} {base}/jobs",
    }[trap]
    laying = f'umask 022; mkdir -p {bait} && echo "1 1 {boot} 1 setsid 1 1" > {bait}/begun && {laid}'
    await victim.sh(
        f"rm -rf {base}; mkdir -p -m 711 /run/opsconsole-jobs; mkdir -p {precious}/.new-mine; "
        f"echo mine > {precious}/file; touch -d '2 days ago' {precious}/.new-mine; "
        f"chown -R {victim.account} {precious}; "
        f"setpriv --reuid={OTHER} --regid=60 --clear-groups sh -c '{laying}'"
    )
    try:
        found = await detached.leftovers(victim)
        await detached.look(victim, "bait")
        await detached.stop(victim, "bait")
        await detached.remove(victim, "bait")
        assert await victim.sh(f"cat {precious}/file; ls -A {precious}") == "mine\n.new-mine\nfile\n"
        assert "bait" not in {one.name for one in found}
        if trap != "torn":
            assert await victim.sh(f"ls {base}/jobs") == "bait\n"
        with pytest.raises(Refused):
            await detached.start(victim, JobSpec("bait", b"id"))
    finally:
        await victim.sh(f"rm -rf {base} {precious}")


@pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
async def test_a_job_that_lies_about_itself() -> None:
    """Names and words of a hostile host or account come back as what they are, or not at all."""
    root = As("root", LocalRunner("local"))
    odd = f"odd-{uuid.uuid4()}\nunit=evil\njob=exited 1 1 1 \x1b[2J"
    place = "/var/lib/opsconsole-jobs"
    await root.sh(f"mkdir -p -m 711 {place}; mkdir {quote_argv([place + '/' + odd])}")
    try:
        found = await detached.leftovers(root)
        assert not [one for one in found if one.name == "evil" or "\x1b" in one.name or "odd" in one.name]
    finally:
        await root.sh(f"rmdir {quote_argv([place + '/' + odd])}")
