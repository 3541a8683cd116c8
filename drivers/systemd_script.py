"""The one script a snapshot runs on a host, and what is read out of its answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from drivers.systemd_names import instance_name, is_template, split_instance, valid_unit_name
from drivers.systemd_parse import (
    PROPERTIES,
    Parsed,
    UnitFiles,
    UnitState,
    blocks,
    descriptions,
    facts,
    only_installed,
    sections,
    unit_files,
    unit_of,
)

MARKER = "@@opsconsole"
_STAMP = re.compile(r"\d{1,20} \d{1,20}")
_GLOB = re.compile(r"/[A-Za-z0-9_@%+=:,./-]*/[A-Za-z0-9_@%+=:,.-]*\*[A-Za-z0-9_@%+=:,.-]*")

# Everything asked in one go; nothing in it needs a privilege. TZ=UTC makes every systemd print times in one format.
_SCRIPT = r"""
export LC_ALL=C TZ=UTC SYSTEMD_COLORS=0 SYSTEMD_PAGER= SYSTEMD_URLIFY=0
m='@@opsconsole'
echo "$m host"
echo "epoch=$(date +%s.%N)"
euid=$(id -u)
echo "euid=$euid"
read -r boot < /proc/sys/kernel/random/boot_id; echo "boot_id=$boot"
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then echo systemd=yes
else read -r one < /proc/1/comm; echo "systemd=no"; echo "pid1=$one"; exit 0; fi
systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/version=\1/p'
if [ "@SUDO@" = yes ] && [ "$euid" != 0 ]; then
  if sudo -n -l systemctl >/dev/null 2>&1 </dev/null; then echo sudo=yes; else echo sudo=no; fi
fi
echo "$m show"
systemctl show --no-pager -p @PROPERTIES@ -- '*.service' 2>&1 </dev/null || echo "show_failed=$?"
echo "$m stamp"
u=/etc/systemd/system; r=/run/systemd
stamp=$(stat -c '%z %i %n' $u $u/* $r/system $r/system/* $r/generator* $r/transient/*.service /usr/lib/systemd/system \
  /usr/local/lib/systemd/system /lib/systemd/system/. 2>/dev/null | cksum)
echo "files_stamp=$stamp"
if [ "$stamp" != '@STAMP@' ]; then
  echo "$m files"
  # With --root it is systemctl that reads the disk: it takes up to a second, in which PID 1 would do nothing else.
  systemctl --root=/ list-unit-files --no-pager --no-legend --full --type=service 2>/dev/null ||
    systemctl list-unit-files --no-pager --no-legend --full --type=service 2>&1
  echo "$m texts"
  for d in $u $r/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
    [ -L "${d%/systemd/system}" ] || grep -Hsm1 '^Description=' "$d"/*.service
  done
fi
echo "$m links"
set --
for d in /etc/systemd/system /run/systemd/system /run/systemd/generator /run/systemd/generator.early \
  /run/systemd/generator.late /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
  [ -L "${d%/systemd/system}" ] && continue
  for f in "$d"/*.wants/*@?*.service "$d"/*.requires/*@?*.service; do
    [ -L "$f" ] || continue
    printf '%s\n' "$f"; n=${f##*/}
    case $n in *[!A-Za-z0-9:_.@\\-]*) ;; *) set -- "$@" "$n";; esac
  done
done
echo "$m configs"
@CONFIGS@
echo "$m instances"
[ $# -eq 0 ] || systemctl show --no-pager -p @PROPERTIES@ -- "$@" 2>&1
echo "$m end"
echo "epoch_end=$(date +%s.%N)"
"""

_CONFIG_LOOP = r"""
for f in @GLOB@; do
  [ -f "$f" ] || continue
  printf '%s %s\n' '@TEMPLATE@' "$f"
  i=${f##*/}; i=${i#'@BEFORE@'}; i=${i%'@AFTER@'}
  case $i in ''|*[!A-Za-z0-9:_.\\-]*) ;; *) set -- "$@" "@STEM@@$i.service";; esac
done
"""


def snapshot_script(instance_configs: Mapping[str, str], *, privileges: bool, stamp: str = "") -> str:
    """The script; with the `stamp` of an earlier answer it leaves out the unit files when none has changed since.

    `instance_configs` maps a template (`openvpn@.service`) to one absolute glob with one `*`.

    Raises ValueError for a template or glob that is not of that form, as both become part of the script.
    """
    loops = []
    for template, glob in instance_configs.items():
        if not is_template(template) or not valid_unit_name(template) or not template.endswith("@.service"):
            raise ValueError(f"{template!r} is not a service template")
        if not _GLOB.fullmatch(glob):
            raise ValueError(f"{glob!r} is not an absolute path with one * in its last part")
        before, after = glob.rpartition("/")[2].split("*")
        loop = _CONFIG_LOOP.replace("@GLOB@", glob).replace("@TEMPLATE@", template)
        loop = loop.replace("@STEM@", template.removesuffix("@.service"))
        loops.append(loop.replace("@BEFORE@", before).replace("@AFTER@", after))
    script = _SCRIPT.replace("@PROPERTIES@", ",".join(PROPERTIES)).replace("@CONFIGS@", "".join(loops))
    script = script.replace("@STAMP@", stamp if _STAMP.fullmatch(stamp) else "")
    return script.replace("@SUDO@", "yes" if privileges else "no")


def read_answer(text: str, instance_configs: Mapping[str, str], earlier: UnitFiles | None = None) -> Parsed:
    """The script's stdout to facts and units; odd lines are counted in `failed`.

    `earlier` are the unit files to use when the host says that they are still the same.
    """
    found = sections(text, MARKER)
    parsed = Parsed(facts=facts(found.get("host", "")) | facts(found.get("end", "")))
    if "end" not in found:
        parsed.facts["cut"] = "yes"
    if error := _show_error(found.get("show", "")):
        parsed.facts["error"] = error
    _read_blocks(parsed, found.get("show", ""), loaded=True)
    _read_blocks(parsed, found.get("instances", ""), loaded=False)
    stamp = facts(found.get("stamp", "")).get("files_stamp", "")
    if earlier is not None and stamp == earlier.stamp and "files" not in found:
        parsed.files = earlier
    else:
        files, odd = unit_files(found.get("files", ""), descriptions(found.get("texts", "")))
        parsed.failed += odd
        parsed.files = UnitFiles(stamp, files)
    _add_files(parsed)
    _add_sources(parsed, _link_sources(found.get("links", ""), parsed))
    _add_sources(parsed, _config_sources(found.get("configs", ""), instance_configs, parsed))
    parsed.units = {name: unit for name, unit in parsed.units.items() if unit.sources and not _is_idle_guess(unit)}
    return parsed


def _is_idle_guess(unit: UnitState) -> bool:
    """A configuration file whose template is not installed makes no instance."""
    return unit.load_state == "not-found" and all(source.startswith("config:") for source in unit.sources)


def _show_error(text: str) -> str:
    failed = re.search(r"^show_failed=", text, re.MULTILINE)
    return text[: failed.start()].strip()[-300:] if failed else ""


def _read_blocks(parsed: Parsed, text: str, *, loaded: bool) -> None:
    for block in blocks(text):
        name = block.get("Id", "")
        if not valid_unit_name(name):
            parsed.failed += 1
        elif name not in parsed.units:
            unit = unit_of(block, installed_only=not loaded)
            parsed.units[name] = unit if loaded else replace(unit, sources=())


def _add_files(parsed: Parsed) -> None:
    known = {alias for unit in parsed.units.values() for alias in unit.names}
    for name, file in parsed.files.entries.items():
        unit = parsed.units.get(name)
        if unit is not None:
            parsed.units[name] = replace(unit, sources=(*unit.sources, "unit-file"))
        elif name not in known:
            parsed.units[name] = only_installed(name, file)


def _link_sources(text: str, parsed: Parsed) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for path in text.splitlines():
        name = path.rpartition("/")[2]
        if valid_unit_name(name) and split_instance(name):
            sources.setdefault(name, []).append(f"wants:{path}")
        else:
            parsed.failed += 1
    return sources


def _config_sources(text: str, instance_configs: Mapping[str, str], parsed: Parsed) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for line in text.splitlines():
        template, _, path = line.partition(" ")
        before, star, after = instance_configs.get(template, "").rpartition("/")[2].partition("*")
        instance = path.rpartition("/")[2].removeprefix(before).removesuffix(after)
        try:
            name = instance_name(template, instance)
        except ValueError:
            parsed.failed += 1
            continue
        if star:
            sources.setdefault(name, []).append(f"config:{path}")
    return sources


def _add_sources(parsed: Parsed, found: Mapping[str, list[str]]) -> None:
    for name, sources in found.items():
        if unit := parsed.units.get(name):
            parsed.units[name] = replace(unit, sources=(*unit.sources, *sources))
        else:
            parsed.failed += 1
