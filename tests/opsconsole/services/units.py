"""A small host as systemd would show it, for tests of what is made of that."""

from __future__ import annotations

from dataclasses import replace

from drivers.systemd import HostUnits, UnitState


def unit(name: str, **facts: object) -> UnitState:
    """A running, enabled unit; `facts` change it."""
    plain = UnitState(
        id=name,
        names=(name,),
        description=f"The {name}",
        load_state="loaded",
        active_state="active",
        sub_state="running",
        result="success",
        unit_file_state="enabled",
        invocation_id="0" * 32,
        type="simple",
    )
    return replace(plain, **facts)  # type: ignore[arg-type]


def host(*units: UnitState, name: str = "web1") -> HostUnits:
    return HostUnits(
        host=name,
        units={u.id: u for u in units},
        systemd_version=252,
        boot_id="b",
        euid=0,
        sudo=None,
        taken_at=1_795_222_461.0,
        clock_skew=0.0,
        duration=0.1,
    )


def instance(template: str, name: str, **facts: object) -> UnitState:
    stem = template.removesuffix(".service")
    return unit(f"{stem}{name}.service", template=template, instance=name, **facts)
