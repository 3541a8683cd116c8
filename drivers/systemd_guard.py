"""Not cutting the branch we sit on: what carries our own way in, and a restart that happens without us.

A dead-man is a transient timer on the target. It restores a unit unless we come back in time to take it away, so it
must not depend on any connection of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from drivers.errors import ProtocolError, Refused
from drivers.runner import Runner, quote_argv
from drivers.systemd_answers import check_names, raise_for, said
from drivers.systemd_parse import UnitState, blocks

DeadmanState = Literal["armed", "firing", "fired", "failed", "gone"]

_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("the ssh server", ("ssh.service", "sshd.service", "ssh@*.service", "sshd@*.service", "ssh.socket", "sshd.socket",
                        "dropbear.service", "dropbear.socket")),
    ("the network", ("systemd-networkd.service", "systemd-networkd.socket", "NetworkManager.service",
                     "networking.service", "ifup@*.service", "network.service", "wicked*.service", "connman.service",
                     "wpa_supplicant.service", "wpa_supplicant@*.service", "iwd.service", "dhcpcd.service",
                     "dhcpcd@*.service", "netplan-*.service", "cloud-init-local.service")),
    ("the firewall", ("nftables.service", "iptables.service", "ip6tables.service", "netfilter-persistent.service",
                      "firewalld.service", "ufw.service", "shorewall*.service", "ferm.service")),
    ("a VPN that may be our path", ("openvpn.service", "openvpn@*.service", "openvpn-server@*.service",
                                    "openvpn-client@*.service", "wg-quick@*.service", "strongswan*.service",
                                    "ipsec.service", "tailscaled.service", "zerotier-one.service", "tinc@*.service")),
)  # fmt: skip
_NEEDS = ("requires", "binds_to", "part_of")
_TAG = re.compile(r"[A-Za-z0-9_]{1,64}")
_RESTORING = frozenset(("start", "restart", "reload", "enable", "unmask"))


@dataclass(frozen=True, slots=True)
class Deadman:
    """An armed restore: `verb unit` runs `seconds` after arming. `timer` and `service` are its units on the host."""

    tag: str
    verb: str
    unit: str
    seconds: int

    @property
    def timer(self) -> str:
        return f"opsconsole-deadman-{self.tag}.timer"

    @property
    def service(self) -> str:
        return f"opsconsole-deadman-{self.tag}.service"


def carriers(units: Mapping[str, UnitState], connection: Literal["ssh", "local"] = "ssh") -> dict[str, str]:
    """Units whose stop may cut our own way in, each with the reason in words.

    These are the running ssh, network, firewall and VPN units, and all they require, bind to or are part of. With
    `connection="local"` nothing is: pass `ssh` also for the local machine when the operator came in over the net.
    """
    if connection == "local":
        return {}
    found: dict[str, str] = {}
    for name, unit in units.items():
        if unit.installed_only or unit.active_state in ("inactive", "failed"):
            continue
        names = {name, *unit.names, *unit.triggered_by}
        for reason, patterns in _KINDS:
            hits = [other for other in sorted(names) for pattern in patterns if fnmatchcase(other, pattern)]
            if hits:
                found[name] = reason
                found.update((other, reason) for other in hits)
    needed = closure(units, list(found), _NEEDS)
    served = {
        socket: unit.id for unit in units.values() for socket in unit.triggered_by if unit.active_state == "active"
    }
    for name, by in needed.items():
        found.setdefault(name, f"needed by {by}")
        if name in served:
            found.setdefault(served[name], f"serves {name}, needed by {by}")
    return found


def closure(units: Mapping[str, UnitState], start: Iterable[str], relations: Sequence[str]) -> dict[str, str]:
    """Everything reached from `start` over `relations` (fields of UnitState), each with the unit it was reached from.

    The start itself is not in it. Names that are no services (targets, sockets) are ends.
    """
    begun = list(start)
    reached: dict[str, str] = {}
    todo = list(begun)
    while todo:
        name = todo.pop()
        unit = units.get(name)
        for other in (other for field in relations if unit for other in getattr(unit, field)):
            if other not in reached and other not in begun:
                reached[other] = name
                todo.append(other)
    return reached


async def arm_deadman(runner: Runner, verb: str, unit: str, seconds: int, tag: str) -> Deadman:
    """Have the host run `systemctl VERB UNIT` by itself in `seconds`, unless disarmed. Proves that the timer runs.

    `tag` makes its name unique (letters, digits, underscore). Raises ValueError for a verb that restores nothing.
    """
    if verb not in _RESTORING or not _TAG.fullmatch(tag) or not 1 <= seconds <= 86400:
        raise ValueError(f"no dead-man for verb {verb!r}, tag {tag!r}, {seconds} s")
    check_names(runner.name, [unit])
    deadman = Deadman(tag, verb, unit, seconds)
    argv = [
        "systemd-run", "--quiet", "--no-ask-password", f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms",
        f"--unit={deadman.service.removesuffix('.service')}",
        "--property=Type=oneshot", "--property=RemainAfterExit=yes",
        f"--description=opsconsole restores {unit}", "--", "systemctl", "--no-ask-password", verb, "--", unit,
    ]  # fmt: skip
    done = await runner.run(quote_argv(argv), timeout=30, become=True)
    if not done.ok:
        raise_for(runner.name, f"arm the dead-man for {unit}", done)
        raise Refused(runner.name, f"arm the dead-man for {unit}", said(done))
    if (state := await deadman_state(runner, deadman)) not in ("armed", "firing", "fired"):
        raise ProtocolError(runner.name, f"arm the dead-man for {unit}", f"its timer is {state}")
    return deadman


async def disarm(runner: Runner, deadman: Deadman) -> DeadmanState:
    """Take the dead-man away and say what it was just before: `fired` means that the restore has already run."""
    before = await deadman_state(runner, deadman)
    if before != "gone":
        stop = quote_argv(["systemctl", "--no-ask-password", "stop", "--", deadman.timer, deadman.service])
        await runner.run(stop, timeout=30, become=True)
        if before == "failed":
            reset = quote_argv(["systemctl", "--no-ask-password", "reset-failed", "--", deadman.service])
            await runner.run(reset, timeout=30, become=True)
        if (after := await deadman_state(runner, deadman)) != "gone":
            raise ProtocolError(runner.name, "disarm the dead-man", f"{deadman.timer} is still {after}")
    return before


async def deadman_state(runner: Runner, deadman: Deadman) -> DeadmanState:
    """`armed` while waiting, `firing` while the restore runs, `fired` or `failed` by how it ended, else `gone`."""
    argv = ["systemctl", "show", "--no-pager", "-p", "Id,ActiveState,SubState", "--", deadman.timer, deadman.service]
    done = await runner.run(quote_argv(argv), timeout=30)
    found = {
        block.get("Id", ""): block.get("ActiveState", "") for block in blocks(done.stdout.decode("utf-8", "replace"))
    }
    if deadman.timer not in found or deadman.service not in found:
        raise ProtocolError(runner.name, "look at the dead-man", said(done))
    if found[deadman.service] == "failed":
        return "failed"
    if found[deadman.service] == "activating":
        return "firing"
    if found[deadman.service] in ("active", "deactivating"):
        return "fired"
    return "armed" if found[deadman.timer] == "active" else "gone"
