"""A service or a host in full, as the detail pane shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from textual.content import Content

from screens.render.host import age_cell, glyph, span, state_cell
from screens.render.service import Item, flags, instances_word, status_word
from screens.text import Safe, content, join, paragraphs
from screens.widgets.roles import CONTENT_STYLES

_SHOWN: Final = {
    *("key", "host", "host_id", "environment", "name", "unit", "description", "status", "active", "sub", "result"),
    *("enabled", "unit_file_state", "restarts", "since", "pending_reload", "masked", "auto_restart", "main"),
    *("multiple_instances", "available_actions", "memory", "parent", "instance"),
    *("instances", "instances_up", "host_state", "load", "cpu_nsec"),
}
_MOST_LINES: Final = 5000
_MIB: Final = 1024 * 1024


def detail_text(
    item: Item, data: Mapping[str, Any] | None, now: float, plain: bool, view: str = "properties"
) -> Content:
    """What is known. `data` is the answer of the operation behind the view (`properties`, `unit file` or
    `dependencies`), None while it is not there."""
    if item.service and view != "properties":
        return Content("\n").join(_other_view(item, data, view))
    lines = _service(item, data or {}, now, plain) if item.service else _host(item, now, plain)
    if item.service and data is None:
        lines.append(content(("asking the host …", "dim")))
    if item.service and data:
        lines += _rest(data) + _actions(data)
    return Content("\n").join(lines)


def _host(item: Item, now: float, plain: bool) -> list[Content]:
    host, state = item.host, state_cell(item.host, plain)
    lines = [
        content((host.name, "bold")),
        content((state.text, CONTENT_STYLES[state.role])),
        *_pairs(
            ("environment", host.environment),
            ("tags", join(host.tags, " ")),
            ("last read", Safe(f"{span(now - host.seen.at)} ago") if host.seen.at is not None else Safe("never")),
        ),
    ]
    lines += [content((line, CONTENT_STYLES["bad"])) for line in paragraphs(host.error) if line]
    lines += [content(("what to do: ", "bold"), line) for line in paragraphs(host.remedy) if line]
    return lines


def _service(item: Item, data: Mapping[str, Any], now: float, plain: bool) -> list[Content]:
    service, host = item.service, item.host
    if service is None:
        return []
    word, role = status_word(item)
    age = age_cell(host, now)
    memory = data.get("memory")
    return [
        content((join([host.name, service.name], "/"), "bold")),
        content((f"{'?' if item.last_known else glyph(role, plain)} {word}", CONTENT_STYLES[role])),
        *([content(("last known; the host does not answer now", CONTENT_STYLES["warn"]))] if item.last_known else []),
        *_pairs(
            ("about", service.description),
            ("unit", service.unit),
            ("state", Safe(instances_word(service)) or join([service.active, service.sub], "/")),
            ("result", service.result),
            ("since", Safe(f"{span(now - service.since)} ago") if service.since is not None else Safe("unknown")),
            ("restarts", Safe("unknown" if service.restarts is None else service.restarts)),
            ("enabled", join([part for part in (service.enabled, service.unit_file_state) if part], " · ")),
            ("odd", Safe(flags(service))),
            ("memory", Safe(f"{memory / _MIB:.1f} MiB") if isinstance(memory, (int, float)) else Safe("")),
            ("environment", host.environment),
            ("read", Safe(f"{age.text} ago" if age.role == "muted" else age.text)),
        ),
    ]


def _other_view(item: Item, data: Mapping[str, Any] | None, view: str) -> list[Content]:
    service = item.service
    heading = content((join([item.host.name, service.name if service else ""], "/"), "bold"), (f"  {view}", "dim"))
    if data is None:
        waits = "asking the host …" if item.host.up else "the host does not answer now"
        return [heading, content((waits, "dim"))]
    if "not known" in data:
        return [heading, *_pairs(("not known", Safe(data["not known"])))]
    return [heading, *(_unit_file(data) if view == "unit file" else _dependencies(data))]


def _unit_file(data: Mapping[str, Any]) -> list[Content]:
    """Sections stand out, comments do not; a comment with a path is where the next lines come from."""
    lines = []
    for line in paragraphs(data.get("text"), lines=_MOST_LINES):
        style = "bold" if line.startswith("[") else "dim" if line.startswith(("#", ";")) else ""
        lines.append(content((line, style)))
    return lines


def _dependencies(data: Mapping[str, Any]) -> list[Content]:
    """What it needs and what would be hit, each with the unit it hangs on, direct ones first."""
    unit = data.get("unit")
    lines: list[Content] = []
    for name, title, role in (("hits", "would be hit when it stops", "warn"), ("needs", "cannot run without", "")):
        found = data.get(name)
        found = found if isinstance(found, Mapping) else {}
        lines.append(content((f"{len(found)} {title}", "bold")))
        ranked = sorted(found.items(), key=lambda pair: (pair[1] != unit, str(pair[0])))
        for other, through in ranked:
            by = "" if through == unit else f"  through {Safe(through)}"
            lines.append(content((f"  {Safe(other)}", CONTENT_STYLES[role]), (by, "dim")))
    return lines


def _rest(data: Mapping[str, Any]) -> list[Content]:
    """Whatever else the house says, as it says it."""
    rest = [(name, value) for name, value in data.items() if name not in _SHOWN and value not in (None, "", [], {})]
    return _pairs(*((Safe(name), Safe(value)) for name, value in rest))


def _actions(data: Mapping[str, Any]) -> list[Content]:
    available = data.get("available_actions")
    if not isinstance(available, Mapping):
        return []
    refused = [
        content((f"  {Safe(name)}: {Safe(verdict.get('because'))}", "dim"))
        for name, verdict in available.items()
        if isinstance(verdict, Mapping) and not verdict.get("allowed")
    ]
    return [content(("not possible now", "bold")), *refused] if refused else []


def _pairs(*pairs: tuple[str, Safe]) -> list[Content]:
    return [content((f"{name}: ", "dim"), value) for name, value in pairs if value]
