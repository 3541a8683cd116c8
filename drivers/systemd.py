"""systemd on one machine: read all of it in one round trip, act on one unit, keep the way back open.

Works with systemd 239 to 256 through `systemctl` alone, as any user; only `act` and the dead-man need root or sudo.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from drivers.errors import ProtocolError, Refused, Unsupported
from drivers.runner import Completed, Runner, quote_argv
from drivers.systemd_answers import check_names, raise_for, said
from drivers.systemd_guard import Deadman, DeadmanState, arm_deadman, carriers, closure, deadman_state, disarm
from drivers.systemd_parse import PROPERTIES, HostUnits, Parsed, UnitState, blocks, number, unit_of
from drivers.systemd_script import read_answer, snapshot_script

__all__ = [
    "VERBS",
    "Deadman",
    "DeadmanState",
    "HostUnits",
    "UnitState",
    "act",
    "arm_deadman",
    "carriers",
    "cat",
    "closure",
    "deadman_state",
    "dependencies",
    "disarm",
    "show",
    "snapshot",
]

VERBS = frozenset(
    ("start", "stop", "restart", "reload", "enable", "disable", "mask", "unmask", "reset-failed", "daemon-reload")
)
_PLAIN = "LC_ALL=C TZ=UTC SYSTEMD_COLORS=0 SYSTEMD_PAGER= "


async def snapshot(
    runner: Runner,
    *,
    timeout: float,
    instance_configs: Mapping[str, str] | None = None,
    privileges: bool = True,
    earlier: HostUnits | None = None,
) -> HostUnits:
    """All service units of the host, loaded or only installed, in one round trip.

    `instance_configs` maps a template to the glob of its configuration files (`openvpn@.service` to
    `/etc/openvpn/*.conf`); each match is an instance even when nothing enabled or started it. `privileges=False`
    leaves out the sudo question, which writes a line to the host's auth log where the answer is no.
    With an `earlier` answer of the same host its unit files are used again when none has changed: reading them is by
    far the most expensive part over there. Raises `Unsupported` where PID 1 is not systemd.
    """
    configs = dict(instance_configs or {})
    started, clock = time.monotonic(), time.time()
    script = snapshot_script(configs, privileges=privileges, stamp=earlier.files.stamp if earlier else "")
    done = await runner.run("exec /bin/sh -s", stdin=script.encode(), timeout=timeout)
    duration = time.monotonic() - started
    parsed = read_answer(done.stdout.decode("utf-8", "replace"), configs, earlier.files if earlier else None)
    facts = parsed.facts
    _check_answer(runner.name, done, parsed)
    theirs, there = _seconds(facts.get("epoch", "")), _seconds(facts.get("epoch_end", ""))
    working = min(duration, max(0.0, there - theirs)) if theirs and there else 0.0
    asked = clock + (duration - working) / 2
    return HostUnits(
        host=runner.name,
        units=parsed.units,
        systemd_version=number(facts.get("version")),
        boot_id=facts.get("boot_id", ""),
        euid=number(facts.get("euid")),
        sudo={"yes": True, "no": False}.get(facts.get("sudo", "")),
        taken_at=asked,
        clock_skew=theirs - asked if theirs else None,
        duration=duration,
        failed_to_parse=parsed.failed,
        files=parsed.files,
    )


def _check_answer(host: str, done: Completed, parsed: Parsed) -> None:
    facts = parsed.facts
    if facts.get("systemd") == "no":
        init = facts.get("pid1", "unknown")
        raise Unsupported(host, "read the units", f"no systemd here (PID 1 is {init})")
    if "systemd" not in facts or "cut" in facts:
        answer = (done.stderr or done.stdout[-300:]).decode("utf-8", "replace").strip()[:300]
        raise ProtocolError(
            host,
            "read the units",
            f"the answer is incomplete (exit status {done.exit_status}): {answer or 'nothing said'}",
            remedy="check that a plain command works there and that its login shell prints nothing",
        )
    if not parsed.units or facts.get("error"):
        raise ProtocolError(host, "read the units", facts.get("error") or "systemctl listed nothing")


def _seconds(epoch: str) -> float | None:
    """`date +%s.%N`, of which busybox leaves the fraction as it stands."""
    whole, _, fraction = epoch.partition(".")
    return float(f"{whole}.{fraction if fraction.isdigit() else 0}") if whole.isdigit() else None


async def show(runner: Runner, units: Sequence[str], *, timeout: float) -> dict[str, UnitState]:
    """The named units now, by the name asked for (aliases too). An unknown one has load_state `not-found`."""
    check_names(runner.name, units)
    if not units:
        return {}
    command = quote_argv(["systemctl", "show", "--no-pager", "-p", ",".join(PROPERTIES), "--", *units])
    done = await runner.run(_PLAIN + command, timeout=timeout)
    found: dict[str, UnitState] = {}
    for block in blocks(done.stdout.decode("utf-8", "replace")):
        if "Id" in block:
            unit = unit_of(block)
            found.update((name, unit) for name in {unit.id, *unit.names}.intersection(units))
    if missing := [name for name in units if name not in found]:
        raise_for(runner.name, f"show {missing[0]}", done)
        raise ProtocolError(runner.name, "read the units", f"no answer for {', '.join(missing)[:200]}")
    return found


async def cat(runner: Runner, unit: str, *, timeout: float = 20) -> str:
    """The unit file and its drop-ins as text, each after a comment line with its path."""
    check_names(runner.name, [unit])
    command = quote_argv(["systemctl", "cat", "--no-pager", "--", unit])
    done = await runner.run(_PLAIN + command, timeout=timeout)
    if not done.ok:
        raise_for(runner.name, f"show the files of {unit}", done)
        raise Refused(runner.name, f"show the files of {unit}", said(done), code="not_found")
    return done.stdout.decode("utf-8", "replace")


def dependencies(units: Mapping[str, UnitState], unit: str, *, reverse: bool = True) -> dict[str, str]:
    """What stops when `unit` stops (`reverse`), or what `unit` cannot run without; each with the unit it hangs on."""
    forth, back = ("requires", "binds_to", "part_of"), ("required_by", "bound_by", "consists_of")
    return closure(units, [unit], back if reverse else forth)


async def act(runner: Runner, verb: str, unit: str = "", *, timeout: float) -> Completed:
    """Run `systemctl VERB -- UNIT` as root and wait for the job.

    A job that failed is an answer, not an error: look at `exit_status` and read the state back. Raises `Refused`
    with `code` `not_found`, `masked`, `privilege`, `invalid` or `busy` when nothing was done, `ValueError` for an
    unknown verb.
    """
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is none of {', '.join(sorted(VERBS))}")
    argv = ["systemctl", "--no-ask-password", "--no-pager", verb]
    if verb != "daemon-reload" and (unit or verb != "reset-failed"):
        check_names(runner.name, [unit])
        argv += ["--", unit]
    done = await runner.run(quote_argv(argv), timeout=timeout, become=True)
    if not done.ok:
        raise_for(runner.name, f"{verb} {unit}".strip(), done)
    return done
