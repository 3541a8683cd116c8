"""An application as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from textual.content import Content

from screens.render.cmdb import ROLES
from screens.text import Safe, content, join, paragraphs
from screens.widgets.roles import CONTENT_STYLES

_FIELDS: Final = (
    *("application_type", "production_name", "run_user", "directory", "startup_cmd", "stop_cmd"),
    *("stdout_path", "stderr_path", "pid_path", "environment", "created_at", "updated_at"),
)
_LABELS: Final = {"production_name": "product line", "application_type": "type"}
MOST: Final = 200
Row = Mapping[str, Any]


def application_text(
    record: Row, persons: Sequence[Row], instances: Sequence[Row], required: Sequence[Row], impact: Row
) -> Content:
    """Everything that is known about an application, what it is first."""
    lines = [content((Safe(record.get("full_name")), "bold"))]
    description = record.get("description")
    if description:
        lines += [content(line) for line in paragraphs(str(description)[:20_000])[:40]]
    lines.append(content(""))
    for name in _FIELDS:
        if record.get(name):
            label = _LABELS.get(name, name.replace("_", " "))
            lines.append(content((f"{label}: ", "dim"), Safe(record[name])))
    if record.get("protected"):
        lines.append(content(("protected", CONTENT_STYLES["warn"])))
    lines += _section("instances", [_instance(one) for one in instances], "it runs nowhere")
    lines += _section("answer for it", [_person(one) for one in persons], "nobody")
    lines += _section("requires", [content(Safe(one.get("full_name"))) for one in required], "nothing")
    down = [content(Safe(line)) for line in impact.get("lines") or ()]
    lines += _section("goes down with it", down, "nothing that is recorded")
    return Content("\n").join(lines)


def _section(title: str, found: Sequence[Content], none: str) -> list[Content]:
    shown = [content("  ") + line for line in found[:MOST]]
    if len(found) > MOST:
        shown.append(content((f"  … and {len(found) - MOST} more", "dim")))
    return [content(""), content((title, "bold")), *(shown or [content((f"  {none}", "dim"))])]


def _instance(one: Row) -> Content:
    status = Safe(one.get("status"))
    role = ROLES.get(status, "unknown")
    more = join([part for part in (Safe(one.get("version")), Safe(one.get("environment"))) if part], " · ")
    return content(Safe(one.get("hostname")), "  ", (status, CONTENT_STYLES[role]), (f"  {more}", "dim"))


def _person(one: Row) -> Content:
    name = Safe(one.get("name") or one.get("username"))
    reach = join([part for part in (Safe(one.get("mobile")), Safe(one.get("email"))) if part], ", ")
    return content(name, (f" ({Safe(one.get('type'))})", "dim"), f"  {reach}" if reach else "")
