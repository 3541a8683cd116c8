"""A shell on a host: which command opens it, and a line in the journal that somebody was given one."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace

from opsconsole.engine.errors import NotSupported
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Outcome, change
from opsconsole.hosts.changes import host_target
from opsconsole.hosts.fields import OneHost
from opsconsole.hosts.lookup import HostFacts, visible_hosts
from opsconsole.house import House

_PERMISSION = "host.login_host"


@change(
    "hosts.shell",
    summary="Say which command opens a shell on a host, and note in the journal that it was asked for",
    permission=_PERMISSION,
    input=OneHost,
    kind="action",
    danger="low",
    objects=("host",),
    key="s",
)
class Shell(Change[OneHost]):
    """`argv` is to be run in the caller's own terminal, by his own ssh with his own keys: no stored secret is in it."""

    async def plan(self) -> Plan:
        house, ref = self.ctx.house, self.input.id
        _refuse_shared(house)
        host = (
            await self.ctx.database.read(lambda tx: visible_hosts(tx, self.ctx.caller, [ref], permission=_PERMISSION))
        )[0]
        self._facts = host
        # Two people may have a shell on one machine; what they ask for excludes nobody.
        target = replace(host_target(host, {}, {"shell": "asked for"}), resource=f"shell:{host.id}:{os.getpid()}")
        plan = record_plan("hosts.shell", f"a shell on {host.name}", [target], self.input, undo=None, level=host.level)
        return replace(plan, reversible=True, verification="nothing is done; what is done in the shell is not recorded")

    async def execute(self, target: Target) -> Json | None:
        return None

    def record(self, tx: object, outcomes: list[Outcome]) -> Json:
        host = self._facts
        note = "the credential stored for it is not given to ssh; it uses your own keys" if host.credential_id else ""
        return {"host": host.name, "argv": argv_of(self.ctx.house, host), "note": note}


def _refuse_shared(house: House) -> None:
    """A shell of the service account would be a way around every rule."""
    if house.settings.captive or house.settings.mode != "personal":
        raise NotSupported(what="a shell", reason="this console belongs to a service account that many people share")


def argv_of(house: House, host: HostFacts) -> list[str]:
    """For this machine the login shell of the account, else ssh as the console itself would connect."""
    if host.local:
        return [pwd.getpwuid(os.geteuid()).pw_shell or "/bin/sh"]
    own = str(house.home / "known_hosts").replace("%", "%%")
    if house.settings.ssh_files == "home":
        words = ["-F", str(house.home / "ssh_config"), "-o", f'UserKnownHostsFile="{own}"']
    else:
        files = " ".join(f'"{path}"' for path in ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2", own))
        words = ["-o", f"GlobalKnownHostsFile={files}"]
    if host.address:
        words += ["-o", f"HostName={host.address}"]
    if host.ssh_port:
        words += ["-p", str(host.ssh_port)]
    if host.ssh_user:
        words += ["-l", host.ssh_user]
    return ["ssh", *words, "--", host.name]
