"""A service or a host in full, as the detail pane shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from textual.content import Content

from screens.render.host import age_cell, glyph, span, state_cell
from screens.render.service import Item, flags, status_word
from screens.text import Safe, content, join, paragraphs
from screens.widgets.roles import CONTENT_STYLES

_SHOWN: Final = {
    *("key", "host", "host_id", "environment", "name", "unit", "description", "status", "active", "sub", "result"),
    *("enabled", "unit_file_state", "restarts", "since", "pending_reload", "masked", "auto_restart", "main"),
    *("multiple_instances", "available_actions", "memory", "parent", "instance"),
}
_MIB: Final = 1024 * 1024


def detail_text(item: Item, data: Mapping[str, Any] | None, now: float, plain: bool) -> Content:
    """What is known; `data` is the answer of `services.get`, None while it is not there."""
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
            ("state", join([service.active, service.sub], "/")),
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
