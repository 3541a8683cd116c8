"""A jump host of a team: a service account owns the console, operators come in by sshd's ForceCommand and sudo.

The two files are those of docs/team.md; a test holds them against the page.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.guests import Guest, GuestLab

OPERATORS = ("ann", "bob", "eve")
PROGRAM = "/usr/local/bin/opsconsole"
HOME = "/var/lib/opsconsole/.local/share/opsconsole"
SSHD = """\
Match Group operators
    ForceCommand /usr/bin/sudo -n -u opsconsole /usr/local/bin/opsconsole
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitUserRC no
"""
SUDOERS = """\
Defaults!/usr/local/bin/opsconsole env_reset, !setenv, use_pty
Defaults!/usr/local/bin/opsconsole env_keep = "TERM LANG LANGUAGE LC_ALL LC_CTYPE COLORTERM NO_COLOR SSH_CONNECTION"
Defaults!/usr/local/bin/opsconsole env_keep += "SSH_ORIGINAL_COMMAND"
%operators ALL=(opsconsole) NOPASSWD: /usr/local/bin/opsconsole ""
"""
SETTINGS = 'mode = "team"\nexchange = "/srv/exchange"\n'
_ACCOUNTS = r"""
set -e
groupadd -f operators
id opsconsole >/dev/null 2>&1 || useradd --system --create-home --home-dir /var/lib/opsconsole \
    --shell /usr/sbin/nologin opsconsole
chmod 0700 /var/lib/opsconsole
install -d -m 0755 /srv/exchange
for name in {operators}; do
    id $name >/dev/null 2>&1 || useradd -m -s /bin/bash -p '*' -G operators $name
    install -d -m 0700 -o $name -g $name /home/$name/.ssh
    install -m 0600 -o $name -g $name /root/.ssh/authorized_keys /home/$name/.ssh/authorized_keys
    install -d -m 2770 -o $name -g opsconsole /srv/exchange/$name
done
install -d -m 0700 -o opsconsole -g opsconsole /var/lib/opsconsole/.local /var/lib/opsconsole/.local/share {home}
chmod 0711 /root
grep -q team /etc/hosts || echo "127.0.1.1 team" >> /etc/hosts
ln -sfn {program} /usr/local/bin/opsconsole
"""


@dataclass
class JumpHost:
    """The machine, and ways to come in."""

    guest: Guest

    def argv(self, operator: str, *options: str, tty: bool = False) -> list[str]:
        """OpenSSH's client as this operator; a command may follow."""
        quiet = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        how = ["-tt"] if tty else ["-o", "BatchMode=yes"]
        where = f"{operator}@{self.guest.address}"
        return ["ssh", "-F", "none", "-i", str(self.guest.key), *quiet, *how, *options, where]

    def ask(
        self, operator: str, command: str, *options: str, given: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One headless call over ssh."""
        return subprocess.run(
            [*self.argv(operator, *options), command],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )

    def as_root(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The first administrator: root of the machine, who needs no ForceCommand."""
        return self.guest.ssh(f"sudo -u opsconsole {PROGRAM} {' '.join(words)}")

    def reload(self) -> None:
        """sshd reads its files again; for a moment it refuses connections."""
        self.guest.sh("sshd -t && systemctl reload ssh")
        deadline = time.monotonic() + 20
        while self.guest.ssh("true").returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("sshd did not come back")
            time.sleep(0.1)

    def write(self, path: str, text: str, mode: str = "0644", owner: str = "root") -> None:
        self.guest.sh(f"cat > {path} <<'END-OF-FILE'\n{text}END-OF-FILE\nchmod {mode} {path}; chown {owner} {path}")


def jump_host(lab: GuestLab) -> JumpHost:
    """A guest set up as docs/team.md says, with root as administrator, `ann` and `bob` as users, `eve` as none."""
    host = JumpHost(lab.guest("team"))
    program = Path(sys.executable).with_name("opsconsole")
    host.guest.sh(_ACCOUNTS.format(operators=" ".join(OPERATORS), home=HOME, program=program))
    host.write("/etc/ssh/sshd_config.d/opsconsole.conf", SSHD)
    host.write("/etc/sudoers.d/opsconsole", SUDOERS, "0440")
    host.write(f"{HOME}/settings.toml", SETTINGS, "0600", "opsconsole:opsconsole")
    host.guest.sh("visudo -c -q")
    host.reload()
    for name in ("ann", "bob"):
        done = host.as_root("dci users create", f"{name}@example.com", "--username", name)
        if done.returncode:
            raise RuntimeError(f"{name} cannot be made: {done.stderr}")
    done = host.as_root("access users assign-roles ann --item @admin")
    if done.returncode:
        raise RuntimeError(f"ann cannot be made administrator: {done.stderr}")
    return host
