"""A host as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from textual.content import Content

from screens.render.hosts import guards, parse_row
from screens.text import Safe, content, join, paragraphs
from screens.widgets.roles import CONTENT_STYLES

_FIELDS: Final = (
    *("host_type", "status", "os_status", "os_type", "cpu", "memory", "location", "environment"),
    *("address", "ssh_user", "ssh_port", "created_at", "updated_at"),
)
_UNITS: Final = {"memory": " MiB", "cpu": " cores"}
MOST: Final = 200


def host_text(record: Mapping[str, Any], applications: Any, impact: Any, grants: Sequence[Any]) -> Content:
    """Everything that is known about a host. A part that is a text is why it is not known."""
    lines = [content((Safe(record.get("name")), "bold"))]
    if record.get("description"):
        lines += [content(line) for line in paragraphs(str(record["description"])[:20_000])[:20]]
    standing = guards(parse_row(record, None, 0.0))
    if standing:
        lines.append(content((Safe(standing), CONTENT_STYLES["warn"])))
    lines.append(content(""))
    for name in _FIELDS:
        if record.get(name):
            value = f"{Safe(record[name])}{_UNITS.get(name, '')}"
            lines.append(content((f"{name.replace('_', ' ')}: ", "dim"), value))
    addresses = [Safe(one) for one in record.get("ip_address") or ()]
    if addresses:
        lines.append(content(("ip addresses: ", "dim"), join(addresses, ", ")))
    if record.get("tags"):
        lines.append(content(("tags: ", "dim"), join([Safe(tag) for tag in record["tags"]], " ")))
    server = record.get("dci_server_id")
    lines.append(content(("racked as: ", "dim"), f"server {Safe(server)}" if server else "not recorded"))
    lines += section("runs on it", applications, _application, "no application is recorded here")
    down = impact if isinstance(impact, str) else list(impact.get("lines") or ())
    lines += section("goes down with it", down, lambda line: content(Safe(line)), "nothing that is recorded")
    for title, found in zip(("users with rights here", "roles with rights here"), grants, strict=False):
        lines += section(title, found, _grant, "none of their own; modules and administrators aside")
    return Content("\n").join(lines)


def section(title: str, found: Any, show: Any, none: str) -> list[Content]:
    """A heading and its lines, bounded; a text is shown as the reason."""
    head = [content(""), content((title, "bold"))]
    if isinstance(found, str):
        return [*head, content((f"  {Safe(found)}", "dim"))]
    shown = [content("  ") + show(one) for one in found[:MOST]]
    if len(found) > MOST:
        shown.append(content((f"  … and {len(found) - MOST} more", "dim")))
    return [*head, *(shown or [content((f"  {none}", "dim"))])]


def _application(one: Mapping[str, Any]) -> Content:
    return content(Safe(one.get("full_name")), (f"  {Safe(one.get('description'))}", "dim"))


def _grant(one: Mapping[str, Any]) -> Content:
    subject = one.get("user") or one.get("role") or {}
    subject = subject if isinstance(subject, Mapping) else {}
    flags = one.get("permission")
    held = [Safe(flag) for flag, on in flags.items() if on] if isinstance(flags, Mapping) else []
    return content(Safe(subject.get("username") or subject.get("name")), (f"  {join(held, ', ')}", "dim"))
