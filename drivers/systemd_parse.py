"""What systemctl prints, turned into plain values. Pure; never raises on odd lines, counts them."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from drivers.systemd_names import is_template, split_instance, unescape, valid_unit_name

_NO_NUMBER = frozenset(("", "[not set]", "[no data]", "n/a", "infinity", "18446744073709551615"))
_NO_TIME = frozenset(("", "n/a", "0", "@0"))

PROPERTIES = (
    "Id",
    "Names",
    "Description",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "UnitFilePreset",
    "FragmentPath",
    "Type",
    "Restart",
    "StatusText",
    "MainPID",
    "ExecMainStatus",
    "NRestarts",
    "StateChangeTimestamp",
    "ActiveEnterTimestamp",
    "InvocationID",
    "NeedDaemonReload",
    "ConditionResult",
    "ConditionTimestamp",
    "RefuseManualStart",
    "RefuseManualStop",
    "TriggeredBy",
    "RequiredBy",
    "BoundBy",
    "ConsistsOf",
    "Requires",
    "BindsTo",
    "PartOf",
    "MemoryCurrent",
    "CPUUsageNSec",
    "ControlGroup",
)
"""Asked of `systemctl show`; an old systemd leaves out what it does not know."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """One service unit as systemd sees it. Times are Unix seconds, `memory` bytes, `cpu_nsec` nanoseconds.

    None means that systemd does not say (not set, not evaluated yet, too old). `installed_only`: the unit is on
    disk but not in memory, so nothing is running. `sources` says where it was found: `loaded`, `unit-file`,
    `wants:PATH` or `config:PATH`. For an instance `template` is the template's name and `instance` the unescaped text.
    """

    id: str
    names: tuple[str, ...] = ()
    description: str = ""
    load_state: str = ""
    active_state: str = ""
    sub_state: str = ""
    result: str = ""
    unit_file_state: str = ""
    unit_file_preset: str = ""
    fragment_path: str = ""
    type: str = ""
    restart: str = ""
    status_text: str = ""
    main_pid: int | None = None
    exec_main_status: int | None = None
    n_restarts: int | None = None
    state_change: float | None = None
    active_enter: float | None = None
    invocation_id: str = ""
    need_daemon_reload: bool = False
    condition_result: bool | None = None
    refuse_manual_start: bool = False
    refuse_manual_stop: bool = False
    triggered_by: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()
    bound_by: tuple[str, ...] = ()
    consists_of: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    binds_to: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    memory: int | None = None
    cpu_nsec: int | None = None
    control_group: str = ""
    template: str | None = None
    instance: str | None = None
    installed_only: bool = False
    sources: tuple[str, ...] = ("loaded",)

    @property
    def is_template(self) -> bool:
        return is_template(self.id)


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A unit file on disk, as `list-unit-files` has it. `path` and `description` are empty when it has none."""

    state: str
    preset: str
    path: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """All unit files of a host; `stamp` changes when any of them does."""

    stamp: str = ""
    entries: Mapping[str, UnitFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostUnits:
    """All service units of one host at one moment, by id.

    `taken_at` is our clock (Unix seconds) when the host was asked; `clock_skew` is theirs minus ours, in seconds,
    exact to half a network round trip.
    `sudo` says whether `sudo -n` would run systemctl for us: None when it was not asked or not needed (`euid` 0).
    """

    host: str
    units: Mapping[str, UnitState]
    systemd_version: int | None
    boot_id: str
    euid: int | None
    sudo: bool | None
    taken_at: float
    clock_skew: float | None
    duration: float
    failed_to_parse: int = 0
    files: UnitFiles = field(default_factory=UnitFiles, repr=False)

    def find(self, name: str) -> UnitState | None:
        """The unit with this id or alias."""
        if unit := self.units.get(name):
            return unit
        return next((unit for unit in self.units.values() if name in unit.names), None)


@dataclass(slots=True)
class Parsed:
    """A snapshot script's answer, still without host name and clocks of ours."""

    facts: dict[str, str] = field(default_factory=dict)
    units: dict[str, UnitState] = field(default_factory=dict)
    files: UnitFiles = field(default_factory=UnitFiles)
    failed: int = 0


def number(text: str | None) -> int | None:
    if text is None or text in _NO_NUMBER:
        return None
    try:
        return int(text)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def unix_time(text: str) -> float | None:
    """`@1795222461`, or `Sat 2026-11-21 02:34:41 UTC` as printed under TZ=UTC, to Unix seconds; else None."""
    if text in _NO_TIME:
        return None
    try:
        if text.startswith("@"):
            return float(text[1:])
        _, day, clock, zone = text.split(" ")
        if zone not in ("UTC", "GMT"):
            return None
        year, month, date = (int(part) for part in day.split("-"))
        hour, minute, second = clock.split(":")
        return calendar.timegm((year, month, date, int(hour), int(minute), 0)) + float(second)
    except ValueError:
        return None


def blocks(text: str) -> Iterator[dict[str, str]]:
    """The blocks of `systemctl show`: `Key=value` lines, one blank line between units, keys in any order."""
    block: dict[str, str] = {}
    for line in text.split("\n"):
        if line:
            key, equals, value = line.partition("=")
            if equals:
                block[key] = value
        elif block:
            yield block
            block = {}
    if block:
        yield block


def unit_of(block: Mapping[str, str], *, installed_only: bool = False, sources: tuple[str, ...] = ()) -> UnitState:
    """One block to a unit. Raises KeyError without `Id`."""
    get = block.get
    name = block["Id"]
    split = split_instance(name)
    evaluated = get("ConditionTimestamp", "") not in _NO_TIME
    pid = number(get("MainPID"))
    return UnitState(
        id=name,
        names=_words(get("Names")) or (name,),
        description=get("Description", ""),
        load_state=get("LoadState", ""),
        active_state=get("ActiveState", ""),
        sub_state=get("SubState", ""),
        result=get("Result", ""),
        unit_file_state=get("UnitFileState", ""),
        unit_file_preset=get("UnitFilePreset", ""),
        fragment_path=get("FragmentPath", ""),
        type=get("Type", ""),
        restart=get("Restart", ""),
        status_text=get("StatusText", ""),
        main_pid=pid or None,
        exec_main_status=number(get("ExecMainStatus")),
        n_restarts=number(get("NRestarts")),
        state_change=unix_time(get("StateChangeTimestamp", "")),
        active_enter=unix_time(get("ActiveEnterTimestamp", "")),
        invocation_id=get("InvocationID", ""),
        need_daemon_reload=get("NeedDaemonReload") == "yes",
        condition_result=get("ConditionResult") == "yes" if evaluated else None,
        refuse_manual_start=get("RefuseManualStart") == "yes",
        refuse_manual_stop=get("RefuseManualStop") == "yes",
        triggered_by=_words(get("TriggeredBy")),
        required_by=_words(get("RequiredBy")),
        bound_by=_words(get("BoundBy")),
        consists_of=_words(get("ConsistsOf")),
        requires=_words(get("Requires")),
        binds_to=_words(get("BindsTo")),
        part_of=_words(get("PartOf")),
        memory=number(get("MemoryCurrent")),
        cpu_nsec=number(get("CPUUsageNSec")),
        control_group=get("ControlGroup", ""),
        template=split[0] if split else None,
        instance=unescape(split[1]) if split else None,
        installed_only=installed_only,
        sources=sources or ("loaded",),
    )


def unit_files(text: str, texts: Mapping[str, tuple[str, str]]) -> tuple[dict[str, UnitFile], int]:
    """`systemctl list-unit-files --no-legend` by name, and how many lines made no sense.

    The third column (preset) is missing before systemd 246 and `-` where there is none.
    """
    found: dict[str, UnitFile] = {}
    odd = 0
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or not valid_unit_name(words[0]):
            odd += 1
            continue
        preset = words[2] if len(words) > 2 and words[2] != "-" else ""
        found[words[0]] = UnitFile(words[1], preset, *texts.get(words[0], ("", "")))
    return found, odd


def descriptions(text: str) -> dict[str, tuple[str, str]]:
    """`PATH:Description=TEXT` lines, the directory with the highest precedence first: name to (path, text)."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        path, _, description = line.partition(":Description=")
        found.setdefault(path.rpartition("/")[2], (path, description))
    return found


def only_installed(name: str, file: UnitFile) -> UnitState:
    """A unit file that is not in memory: nothing of it can be running."""
    split = split_instance(name)
    return UnitState(
        id=name,
        names=(name,),
        description=file.description,
        load_state="masked" if file.state.startswith("masked") else "not-loaded",
        active_state="inactive",
        sub_state="dead",
        unit_file_state=file.state,
        unit_file_preset=file.preset,
        fragment_path=file.path,
        template=split[0] if split else None,
        instance=unescape(split[1]) if split else None,
        installed_only=True,
        sources=("unit-file",),
    )


def sections(text: str, marker: str) -> dict[str, str]:
    """Split a script's output at the lines `MARKER name`; text before the first one is under the empty name."""
    first, *rest = re.split(rf"^{re.escape(marker)} (.*)\n?", text, flags=re.MULTILINE)
    return {"": first} | dict(zip(rest[::2], rest[1::2], strict=True))


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(text.split()) if text else ()


def facts(text: str) -> dict[str, str]:
    """`key=value` lines."""
    pairs: Iterable[tuple[str, str, str]] = (line.partition("=") for line in text.splitlines())
    return {key: value.strip() for key, equals, value in pairs if equals}
