"""systemd's own rules for unit names and their escaping, in pure Python."""

from __future__ import annotations

import re
import string

UNIT_TYPES = frozenset(
    ("service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope")
)
_MAX_LENGTH = 255
_NAME = re.compile(r"[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.([a-z]+)")
_PLAIN = frozenset(string.ascii_letters + string.digits + ":_.")
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


def valid_unit_name(name: str) -> bool:
    """Whether systemd would accept `name` as a full unit name (a template included)."""
    if len(name) > _MAX_LENGTH or not (match := _NAME.fullmatch(name)):
        return False
    return match[1] in UNIT_TYPES and not name.startswith(f".{match[1]}") and name[0] != "@"


def is_template(name: str) -> bool:
    """Whether `name` is a bare template (`work@.service`), which cannot be started."""
    before, at, after = name.partition("@")
    return bool(at and before and after.startswith(".") and after.count(".") == 1)


def split_instance(name: str) -> tuple[str, str] | None:
    """`("work@.service", "a")` for `work@a.service`: the template and the still escaped instance; else None."""
    stem, _, suffix = name.rpartition(".")
    before, at, instance = stem.partition("@")
    return (f"{before}@.{suffix}", instance) if at and before and instance else None


def instance_name(template: str, instance: str) -> str:
    """`work@.service` and an (escaped) instance to a unit name. Raises ValueError when it would not be valid."""
    before, at, suffix = template.partition("@")
    name = f"{before}@{instance}{suffix or '.service'}"
    if not at or not instance or not valid_unit_name(name):
        raise ValueError(f"{template!r} has no valid instance {instance!r}")
    return name


def escape(text: str) -> str:
    """As `systemd-escape TEXT` does: `/` becomes `-`, anything not plain becomes `\\xNN` per byte."""
    out = []
    for index, byte in enumerate(text.encode("utf-8", "surrogateescape")):
        char = chr(byte)
        if char == "/":
            out.append("-")
        elif char in _PLAIN and not (char == "." and index == 0):
            out.append(char)
        else:
            out.append(f"\\x{byte:02x}")
    return "".join(out)


def unescape(text: str) -> str:
    """As `systemd-escape --unescape TEXT` does. What is no valid escape is given back as it is."""
    if "\\" not in text:
        return text.replace("-", "/")
    raw = text.encode("utf-8", "surrogateescape")
    if _ESCAPE.sub(b"", raw).count(b"\\"):
        return text
    # One pass, so that an escaped dash does not become a slash.
    parts = _ESCAPE.split(raw)
    parts[::2] = [plain.replace(b"-", b"/") for plain in parts[::2]]
    parts[1::2] = [bytes.fromhex(code.decode("ascii")) for code in parts[1::2]]
    return b"".join(parts).decode("utf-8", "surrogateescape")
