"""How a task goes through its targets, as fields of a form and as the options of an order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from screens.render.form import Field, Json

WAVES: Final = (
    Field(
        "waves",
        "text",
        help="counts, shares and rest, one after the other: 1, 10%, rest; empty: all at once",
        most=200,
        pattern=r"^\s*(\d+%?|rest)(\s*,\s*(\d+%?|rest))*\s*$",
        says="counts, shares (10%) and rest, with commas between",
    ),
    Field("at_once", "integer", help="so many targets at once at most", least=1, most=500),
    Field("stop_after", "integer", help="begin nothing more after so many have failed", least=1, most=100_000),
)


def options(data: Mapping[str, Any]) -> tuple[Json, Json]:
    """What was typed, in two parts: the options of the task, and the rest."""
    task: Json = {}
    if data.get("waves"):
        task["waves"] = [part.strip() for part in str(data["waves"]).split(",") if part.strip()]
    for name, field in (("limit", "at_once"), ("stop_after", "stop_after")):
        if data.get(field) is not None:
            task[name] = int(data[field])
    return task, {name: value for name, value in data.items() if name not in {"waves", "at_once", "stop_after"}}
