"""Reading what systemctl prints: recorded answers of several versions, and answers nobody expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.systemd_guard import carriers
from drivers.systemd_parse import UnitFiles, UnitState, blocks, descriptions, number, sections, unit_files, unix_time
from drivers.systemd_script import read_answer, snapshot_script

_CONFIGS = {"openvpn@.service": "/etc/openvpn/*.conf"}

# Recorded on Debian 12 (systemd 252), shortened.
_DEBIAN_12 = """\
Welcome to this machine, says a login script.
@@opsconsole host
epoch=1795230186.691718000
euid=0
boot_id=f2175ebb-0683-417e-bbcf-d7ceeb6e3913
systemd=yes
version=252
@@opsconsole show
Type=simple
Restart=always
NRestarts=7
ExecMainStatus=1
MainPID=0
MemoryCurrent=[not set]
CPUUsageNSec=[not set]
Id=crashloop.service
Names=crashloop.service
RequiredBy=
Description=Crashes = again & again
LoadState=loaded
ActiveState=activating
SubState=auto-restart
FragmentPath=/etc/systemd/system/crashloop.service
UnitFileState=enabled
UnitFilePreset=enabled
StateChangeTimestamp=Sat 2026-11-21 03:03:06 UTC
ActiveEnterTimestamp=Sat 2026-11-21 03:03:06 UTC
ConditionTimestamp=Sat 2026-11-21 03:03:06 UTC
ConditionResult=yes
InvocationID=0f0e7ae5a3ce4f3f8f2b7e2a6c1d7a11
NeedDaemonReload=no
RefuseManualStart=no
Result=exit-code

Id=ssh.service
Names=sshd.service ssh.service
Requires=system.slice sysinit.target
Description=OpenBSD Secure Shell server
LoadState=loaded
ActiveState=active
SubState=running
MainPID=27
MemoryCurrent=4198400
CPUUsageNSec=49249000
UnitFileState=enabled
ConditionResult=no
ConditionTimestamp=

@@opsconsole stamp
files_stamp=2561713900 1855
@@opsconsole files
ssh.service              enabled         enabled
sshd.service             alias           -
static.service           static          -
masked.service           masked          enabled
openvpn@.service         disabled        enabled
bad line
@@opsconsole texts
/etc/systemd/system/static.service:Description=Mine
/usr/lib/systemd/system/static.service:Description=Theirs
@@opsconsole links
/etc/systemd/system/multi-user.target.wants/openvpn@branch\\x2d7.service
@@opsconsole configs
openvpn@.service /etc/openvpn/hq.conf
openvpn@.service /etc/openvpn/bad name.conf
@@opsconsole instances
Id=openvpn@branch\\x2d7.service
Names=openvpn@branch\\x2d7.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=enabled

Id=openvpn@hq.service
Names=openvpn@hq.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=disabled
@@opsconsole end
epoch_end=1795230186.791718000
"""


def test_a_recorded_answer() -> None:
    parsed = read_answer(_DEBIAN_12, _CONFIGS)
    assert parsed.failed == 2  # the bad line and the bad file name
    assert parsed.facts["version"] == "252"
    assert parsed.files.stamp == "2561713900 1855"
    crash = parsed.units["crashloop.service"]
    assert (crash.active_state, crash.sub_state, crash.n_restarts) == ("activating", "auto-restart", 7)
    assert (crash.main_pid, crash.memory, crash.cpu_nsec) == (None, None, None)
    assert crash.description == "Crashes = again & again"
    assert crash.state_change == 1795230186.0
    assert crash.condition_result is True
    ssh = parsed.units["ssh.service"]
    assert (ssh.main_pid, ssh.memory, ssh.cpu_nsec) == (27, 4198400, 49249000)
    assert ssh.names == ("sshd.service", "ssh.service")
    assert ssh.condition_result is None, "a condition that was never looked at is not unmet"
    assert ssh.sources == ("loaded", "unit-file")
    assert "sshd.service" not in parsed.units, "an alias of a loaded unit is no unit of its own"


def test_what_is_only_on_disk() -> None:
    units = read_answer(_DEBIAN_12, _CONFIGS).units
    static = units["static.service"]
    assert (static.installed_only, static.description, static.fragment_path) == (
        True,
        "Mine",
        "/etc/systemd/system/static.service",
    )
    assert units["masked.service"].load_state == "masked"
    assert units["openvpn@.service"].is_template


def test_instances_say_where_they_were_found() -> None:
    units = read_answer(_DEBIAN_12, _CONFIGS).units
    branch = units["openvpn@branch\\x2d7.service"]
    assert (branch.template, branch.instance, branch.installed_only) == ("openvpn@.service", "branch-7", True)
    assert branch.sources == ("wants:/etc/systemd/system/multi-user.target.wants/openvpn@branch\\x2d7.service",)
    assert units["openvpn@hq.service"].sources == ("config:/etc/openvpn/hq.conf",)


def test_a_config_without_its_template_installed_is_no_instance() -> None:
    text = _DEBIAN_12.replace(
        "Names=openvpn@hq.service\nLoadState=loaded", "Names=openvpn@hq.service\nLoadState=not-found"
    )
    assert "openvpn@hq.service" not in read_answer(text, _CONFIGS).units


def test_unit_files_are_taken_from_the_earlier_answer_when_unchanged() -> None:
    first = read_answer(_DEBIAN_12, _CONFIGS)
    begin, end = _DEBIAN_12.index("@@opsconsole files"), _DEBIAN_12.index("@@opsconsole links")
    second = read_answer(_DEBIAN_12[:begin] + _DEBIAN_12[end:], _CONFIGS, first.files)
    assert second.units == first.units
    third = read_answer(_DEBIAN_12[:begin] + _DEBIAN_12[end:], _CONFIGS, UnitFiles("1 1", first.files.entries))
    assert "static.service" not in third.units


def test_systemd_239_has_two_columns_and_fewer_properties() -> None:
    files, odd = unit_files("sshd.service enabled \nrc-local.service static\n", {})
    assert odd == 0
    assert (files["sshd.service"].state, files["sshd.service"].preset) == ("enabled", "")
    text = "@@opsconsole host\nsystemd=yes\nversion=239\n@@opsconsole show\nId=a.service\nActiveState=active\n"
    unit = read_answer(text + "@@opsconsole end\n", {}).units["a.service"]
    assert (unit.n_restarts, unit.unit_file_preset, unit.names) == (None, "", ("a.service",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@1795222461", 1795222461.0),
        ("Sat 2026-11-21 02:34:41 UTC", 1795228481.0),
        ("Sat 2026-11-21 02:34:41.250000 UTC", 1795228481.25),
        ("", None),
        ("n/a", None),
        ("0", None),
        ("Sat 2026-11-21 02:34:41 CEST", None),
        ("yesterday", None),
        ("a b c UTC", None),
    ],
)
def test_times(text: str, expected: float | None) -> None:
    assert unix_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", 12), ("[not set]", None), ("", None), (None, None), ("18446744073709551615", None), ("x", None)],
)
def test_numbers(text: str | None, expected: int | None) -> None:
    assert number(text) == expected


def test_blocks_take_any_order_and_odd_lines() -> None:
    assert list(blocks("b=2\nId=x\n\n\nno equals\nId=y=z\n")) == [{"b": "2", "Id": "x"}, {"Id": "y=z"}]


@given(st.text(max_size=300))
def test_nothing_a_host_says_is_an_exception(text: str) -> None:
    framed = "\n".join(
        f"@@opsconsole {name}\n{text}" for name in ("host", "show", "files", "links", "configs", "instances")
    )
    parsed = read_answer(framed, _CONFIGS)
    assert all(unit.id == name for name, unit in parsed.units.items())
    descriptions(text)


def test_a_description_cannot_forge_a_section() -> None:
    found = sections("@@opsconsole show\nDescription=@@opsconsole end\n@@opsconsole end\n", "@@opsconsole")
    assert found["show"] == "Description=@@opsconsole end\n"
    assert found["end"] == ""


@pytest.mark.parametrize(
    ("template", "glob"),
    [
        ("openvpn@.service", "/etc/openvpn/$(id)*.conf"),
        ("openvpn@.service", "/etc/openvpn/*.conf; id"),
        ("openvpn@.service", "openvpn/*.conf"),
        ("openvpn@.service", "/etc/*/x.conf"),
        ("openvpn@.service", "/etc/openvpn/x.conf"),
        ("openvpn.service", "/etc/openvpn/*.conf"),
        ("open'vpn@.service", "/etc/openvpn/*.conf"),
        ("vpn@.socket", "/etc/openvpn/*.conf"),
    ],
)
def test_only_plain_globs_become_part_of_the_script(template: str, glob: str) -> None:
    with pytest.raises(ValueError, match=r"template|absolute"):
        snapshot_script({template: glob}, privileges=False)


def test_a_stamp_is_only_taken_when_it_is_one() -> None:
    assert "'12 34'" in snapshot_script({}, privileges=False, stamp="12 34")
    assert "; id" not in snapshot_script({}, privileges=False, stamp="1'; id; '")


def _unit(name: str, **values: object) -> UnitState:
    return UnitState(id=name, names=(name,), active_state="active", **values)  # type: ignore[arg-type]


def test_carriers_are_what_the_way_in_stands_on() -> None:
    units = {
        unit.id: unit
        for unit in (
            _unit("ssh.service", requires=("sysinit.target",), triggered_by=("ssh.socket",)),
            _unit("NetworkManager.service", requires=("dbus.socket",)),
            _unit("dbus.service", triggered_by=("dbus.socket",)),
            _unit("openvpn@hq.service", part_of=("openvpn.service",)),
            _unit("openvpn.service"),
            _unit("wg-quick@wg0.service", binds_to=("keys.service",)),
            _unit("keys.service", requires=("hsm.service",)),
            _unit("hsm.service"),
            _unit("fail2ban.service"),
            _unit("nginx.service"),
        )
    }
    found = carriers(units)
    assert found["ssh.service"] == "the ssh server"
    assert found["ssh.socket"] == "the ssh server"
    assert found["sysinit.target"] == "needed by ssh.service"
    assert found["hsm.service"] == "needed by keys.service"
    assert "dbus.socket" in found["dbus.service"]
    assert "VPN" in found["openvpn@hq.service"]
    assert not {"nginx.service", "fail2ban.service"} & set(found)
    assert carriers(units, "local") == {}


def test_a_stopped_carrier_carries_nothing() -> None:
    off = UnitState(id="NetworkManager.service", names=("NetworkManager.service",), active_state="inactive")
    assert carriers({off.id: off}) == {}
