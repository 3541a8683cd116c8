"""What systemctl prints about a simulated machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from drivers.systemd_names import split_instance
from opsconsole.demo.catalogue import Spec
from opsconsole.demo.machine import SimMachine, Unit, names_of

_RELATIONS = {
    "RequiredBy": "requires",
    "BoundBy": "binds_to",
    "ConsistsOf": "part_of",
}
_UNSET = "[not set]"


def show(machine: SimMachine, names: Sequence[str], properties: Sequence[str]) -> bytes:
    """`systemctl show -p … -- names`: one block per name, properties a unit does not have left out."""
    blocks = []
    for name in names:
        unit = machine.names.get(name)
        values = of_unit(machine, unit) if unit is not None else of_stranger(machine, name)
        blocks.append("".join(f"{key}={values[key]}\n" for key in properties if key in values))
    return "\n".join(blocks).encode("utf-8", "surrogateescape")


def of_unit(machine: SimMachine, unit: Unit) -> dict[str, str]:
    """All properties of one unit as text."""
    spec = unit.spec
    uptime = max(0.0, machine.clock() - unit.entered)
    running = unit.pid != 0
    wobble = 1 + machine.rng.uniform(-0.03, 0.03)
    values = {
        "Id": unit.name,
        "Names": " ".join(names_of(spec)),
        "Description": spec.description,
        "LoadState": "masked" if unit.masked else "loaded",
        "ActiveState": unit.active,
        "SubState": unit.sub,
        "Result": unit.result,
        "UnitFileState": unit.state,
        "UnitFilePreset": "enabled" if spec.vendor else "disabled",
        "FragmentPath": "/dev/null" if unit.masked else path_of(spec),
        "Type": "oneshot" if spec.behaviour in {"oneshot", "remains"} else "notify" if spec.reload else "simple",
        "Restart": "always" if spec.behaviour == "loops" else "no",
        "StatusText": "Ready to serve" if running and spec.reload else "",
        "MainPID": str(unit.pid),
        "ExecMainStatus": str(unit.exit_status),
        "NRestarts": str(unit.restarts),
        "StateChangeTimestamp": _stamp(unit.changed),
        "ActiveEnterTimestamp": _stamp(unit.entered),
        "InvocationID": unit.invocation,
        "NeedDaemonReload": _yes(unit.pending_reload),
        "ConditionResult": _yes(unit.condition and unit.condition_at > 0),
        "ConditionTimestamp": _stamp(unit.condition_at),
        "RefuseManualStart": "no",
        "RefuseManualStop": _yes(spec.refuse_manual),
        "TriggeredBy": " ".join(spec.triggered_by),
        "Requires": " ".join(["sysinit.target", "system.slice", *_services(spec.requires)]),
        "BindsTo": " ".join(_services(spec.binds_to)),
        "PartOf": " ".join(_services(spec.part_of)),
        "MemoryCurrent": str(int(spec.memory * 1048576 * wobble)) if running else _UNSET,
        "CPUUsageNSec": str(int(uptime * spec.memory * 40_000)) if running else _UNSET,
        "ControlGroup": f"/system.slice/{unit.name}" if running else "",
    }
    for key, field in _RELATIONS.items():
        hanging = [other.name for other in machine.units.values() if spec.name in getattr(other.spec, field)]
        values[key] = " ".join(hanging)
    return values


def of_stranger(machine: SimMachine, name: str) -> dict[str, str]:
    """A name without a unit file of its own: a dead-man, an instance of a known template, or nothing at all."""
    stem, _, kind = name.rpartition(".")
    transient = machine.transients.get(stem)
    values = {"Id": name, "Names": name, "Description": name, "LoadState": "not-found", "ActiveState": "inactive"}
    values |= {"SubState": "dead", "Result": "success", "InvocationID": ""}
    split = split_instance(name)
    if transient is not None and kind in {"timer", "service"}:
        active = transient.timer if kind == "timer" else transient.service
        values |= {"LoadState": "loaded", "ActiveState": active, "SubState": "waiting" if kind == "timer" else active}
    elif split is not None and split[0] in templates(machine):
        values |= {
            "LoadState": "loaded",
            "UnitFileState": "disabled",
            "FragmentPath": f"/usr/lib/systemd/system/{split[0]}",
        }
    return values


def templates(machine: SimMachine) -> dict[str, Spec]:
    """Templates on disk, each with one of its instances."""
    found: dict[str, Spec] = {}
    for unit in machine.units.values():
        if split := split_instance(unit.name):
            found[split[0]] = unit.spec
    return found


def unit_files(machine: SimMachine) -> str:
    """`systemctl list-unit-files --no-legend`; the third column came with systemd 246."""
    lines = [
        f"{name:<45} {'indirect' if spec.state == 'enabled' else spec.state:<15} -"
        for name, spec in templates(machine).items()
    ]
    for unit in machine.units.values():
        if split_instance(unit.name):
            if unit.state not in {"enabled", "masked"}:
                continue
            preset = "-"
        else:
            preset = "-" if unit.state in {"static", "generated"} else "enabled" if unit.spec.vendor else "disabled"
        lines.append(f"{unit.name:<45} {unit.state:<15} {preset}")
        lines += [f"{alias:<45} {'alias':<15} -" for alias in list(names_of(unit.spec))[1:]]
    return "".join(f"{line}\n" for line in sorted(lines))


def unit_texts(machine: SimMachine) -> str:
    """`grep '^Description='` over the directories of unit files."""
    found = {path_of(unit.spec): unit.spec.description for unit in machine.units.values() if not unit.masked}
    return "".join(f"{path}:Description={text}\n" for path, text in found.items())


def links(machine: SimMachine) -> list[str]:
    """Symlinks by which enabled instances are wanted."""
    return [
        f"/etc/systemd/system/multi-user.target.wants/{unit.name}"
        for unit in machine.units.values()
        if split_instance(unit.name) and unit.state == "enabled"
    ]


def configs(machine: SimMachine, stem: str) -> list[str]:
    """Instances of the template with this stem that have a configuration file."""
    return [unit.spec.name.partition("@")[2] for unit in machine.units.values() if unit.name.startswith(f"{stem}@")]


def path_of(spec: Spec) -> str:
    directory = "/usr/lib/systemd/system" if spec.vendor else "/etc/systemd/system"
    split = split_instance(spec.unit)
    return f"{directory}/{split[0] if split else spec.unit}"


def unit_text(machine: SimMachine, unit: Unit) -> str:
    """`systemctl cat`: the file, and a drop-in where the unit waits for a daemon-reload."""
    spec = unit.spec
    program = spec.name.partition("@")[0]
    lines = [f"# {path_of(spec)}", "[Unit]", f"Description={spec.description}", "After=network-online.target"]
    lines += [f"{key}={' '.join(_services(value))}" for key, value in _relations(spec) if value]
    lines += ["", "[Service]", f"Type={of_unit(machine, unit)['Type']}", f"ExecStart=/usr/sbin/{program} --foreground"]
    if spec.reload:
        lines.append("ExecReload=/bin/kill -HUP $MAINPID")
    if spec.behaviour == "loops":
        lines += ["Restart=always", "RestartSec=5"]
    if spec.behaviour == "remains":
        lines.append("RemainAfterExit=yes")
    if spec.state in {"enabled", "disabled"}:
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    if spec.pending_reload:
        lines += ["", f"# /etc/systemd/system/{unit.name}.d/limits.conf", "[Service]", "LimitNOFILE=65536"]
    return "".join(f"{line}\n" for line in lines)


def _relations(spec: Spec) -> Iterable[tuple[str, Sequence[str]]]:
    return (("Requires", spec.requires), ("BindsTo", spec.binds_to), ("PartOf", spec.part_of))


def _services(names: Iterable[str]) -> list[str]:
    return [f"{name}.service" for name in names]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _stamp(when: float) -> str:
    """As printed under TZ=UTC and LC_ALL=C; empty for never."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(when)) if when else ""
