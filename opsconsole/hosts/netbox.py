"""The devices of a NetBox CSV export: name, address, place, platform; role, site and tags become tags."""

from __future__ import annotations

import csv
import io
import ipaddress
import re

from opsconsole.hosts.fields import host_name
from opsconsole.hosts.found import Found, FoundHost

_NAMES = {
    "name": ("name", "device", "device name"),
    "address": ("primary ip", "primary ipv4", "primary ip4", "ip address", "ipv4 address", "primary ipv6"),
    "site": ("site",),
    "rack": ("rack",),
    "position": ("position", "position (u)"),
    "location": ("location",),
    "role": ("role", "device role"),
    "platform": ("platform",),
    "tags": ("tags",),
    "description": ("description",),
    "status": ("status",),
}
_NO_TAG = re.compile(r"[^\w.:/-]+")
_GONE = ("decommissioning", "inventory", "planned")


def parse(text: str) -> Found:
    """Read one file; its first line names the columns, in any order and any case. `name` must be one of them."""
    found = Found()
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: dict[str, int] = {}
    width = 0
    try:
        for cells in reader:
            if not width:
                columns, width = _columns(cells), len(cells)
                if "name" not in columns:
                    found.wrong(1, "the first line must name the columns, one of them name; this is no device export")
                    return found
            elif any(cell.strip() for cell in cells):
                _row(found, cells, columns, width, reader.line_num)
    except csv.Error as error:
        found.wrong(reader.line_num, f"not CSV: {error}")
    if not width:
        found.wrong(1, "the file is empty")
    return found


def _columns(cells: list[str]) -> dict[str, int]:
    titles = [cell.strip().lower().replace("_", " ") for cell in cells]
    places: dict[str, int] = {}
    for field, names in _NAMES.items():
        for name in names:
            if name in titles:
                places.setdefault(field, titles.index(name))
    return places


def _row(found: Found, cells: list[str], columns: dict[str, int], width: int, line: int) -> None:
    if len(cells) != width:
        found.wrong(line, f"{len(cells)} cells, the first line has {width}")
        return
    said = {field: cells[place].strip() for field, place in columns.items()}
    try:
        name = host_name(said["name"])
    except ValueError as error:
        found.wrong(line, f"name {said['name'][:60]!r}: {error}" if said["name"] else "a device without a name")
        return
    if name in found.hosts:
        found.wrong(line, f"{name} was named before, in line {found.hosts[name].line}")
        return
    if said.get("status", "").lower() in _GONE:
        found.notes.append(f"line {line}: {name} is {said['status'].lower()} and left out")
        return
    _fill(found, found.host(name, line), said)


def _fill(found: Found, host: FoundHost, said: dict[str, str]) -> None:
    address = said.get("address", "").partition("/")[0]
    if address:
        try:
            host.address = str(ipaddress.ip_address(address))
        except ValueError:
            found.wrong(host.line, f"{host.name}: {address[:60]!r} is no address")
    place = [said[field] for field in ("site", "location", "rack") if said.get(field)]
    if said.get("position"):
        place.append(f"U{said['position'].removesuffix('.0')}")
    host.location = " / ".join(place) or None
    host.os_type = said.get("platform") or None
    host.description = said.get("description") or None
    for field in ("role", "site"):
        if said.get(field):
            host.tags.add(_tag(said[field]))
    host.tags |= {_tag(word) for word in said.get("tags", "").split(",") if word.strip()}


def _tag(word: str) -> str:
    """A word of NetBox as a tag of ours: its slug."""
    return _NO_TAG.sub("-", word.strip().lower()).strip("-.:/") or "tag"
