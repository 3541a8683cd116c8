"""What systemd itself would never do, said before anybody tries: one sentence per action and state, or None."""

from __future__ import annotations

from drivers.systemd import UnitState
from opsconsole.services.project import Row

_NO_ENABLE = {
    "static": "the unit has no [Install] section; other units pull it in",
    "generated": "the unit is generated from other configuration (fstab, an init script); change that instead",
    "transient": "the unit exists only until the next boot",
    "indirect": "the unit file only carries other units along (Also=); enable an instance or those",
    "": "the unit has no unit file",
}


def refusal(row: Row, action: str) -> str | None:
    """Why `action` makes no sense on this row now."""
    if row["multiple_instances"]:
        return None if row["instances"] else "the service has no instances"
    state = row["unit_file_state"].removesuffix("-runtime")
    if row["masked"] and action in {"start", "restart", "enable", "reload"}:
        return "the unit is masked; somebody forbade it to run (systemctl unmask takes that back)"
    if action in {"enable", "disable"} and state in _NO_ENABLE:
        return _NO_ENABLE[state]
    if action == "reload" and row["active"] not in {"active", "reloading"}:
        return "only a running service can reload"
    if action == "reset_failed" and row["active"] != "failed" and not row["restarts"]:
        return "it has not failed"
    return None


def manual(unit: UnitState, action: str) -> str | None:
    """Units that systemd starts or stops only by itself."""
    if action in {"start", "restart"} and unit.refuse_manual_start:
        return "the unit refuses to be started by hand (RefuseManualStart)"
    if action in {"stop", "restart"} and unit.refuse_manual_stop:
        return "the unit refuses to be stopped by hand (RefuseManualStop)"
    return None
