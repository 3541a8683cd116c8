"""What every section is made of: items, and counts that cost the same however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import Session, select

from opsconsole.engine.canonical import utc_text
from opsconsole.engine.registry import Json

MOST_SHOWN: Final = 20
"""Items of a section; how many more there are is counted."""
MOST_COUNTED: Final = 1000
"""Counting ends here: more than this is a number nobody acts on."""
LEVELS: Final = ("red", "amber", "unknown", "busy", "ok")
"""red: act now. amber: soon, or somebody waits. unknown: nobody knows. busy: under way. ok: the pulse."""
NEEDING: Final = ("red", "amber", "unknown")


@dataclass
class Section:
    """`count` is how many there are, at most MOST_COUNTED + 1, which means more than that."""

    id: str
    items: list[Json] = field(default_factory=list)
    count: int = 0

    def add(self, found: Sequence[Json], count: int | None = None) -> None:
        """Items, and how many there are of them altogether when these are not all."""
        self.items += found
        self.count += max(len(found), count or 0)

    def as_json(self) -> Json:
        items = sorted(self.items, key=lambda one: LEVELS.index(one["level"]))
        return {
            "id": self.id,
            "level": items[0]["level"] if items else "ok",
            "count": min(self.count, MOST_COUNTED),
            "more": self.count > MOST_COUNTED,
            "items": items,
        }


def item(
    level: str,
    kind: str,
    key: object,
    name: str,
    state: str,
    what: str,
    *,
    who: str | None = None,
    why: str | None = None,
    on: Sequence[str] = (),
    since: datetime | None = None,
    due: datetime | None = None,
    observed_at: datetime | None = None,
    environment: str | None = None,
    environment_level: str | None = None,
    host: str | None = None,
    number: int = 1,
    operations: Sequence[str] = (),
) -> Json:
    """One line. `kind`, `id` and `name` are the object's, `state` a word, `what` a sentence. `since` is when it began,
    `due` when it will happen (or did), `observed_at` when it was seen if it was seen and is no record of ours; `number`
    is how many things the line stands for; `operations` are those the caller may call about it now."""
    return {
        "level": level,
        "kind": kind,
        "id": str(key),
        "name": name,
        "state": state,
        "what": what,
        "who": who,
        "why": why,
        "on": list(on),
        "since": _text(since),
        "due": _text(due),
        "observed_at": _text(observed_at),
        "environment": environment,
        "environment_level": environment_level,
        "host": host,
        "number": number,
        "operations": list(operations),
    }


def _text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None


def counted(tx: Session, query: Any) -> int:
    """How many rows a select has, looking at no more than MOST_COUNTED + 1 of them."""
    return int(tx.exec(select(func.count()).select_from(query.limit(MOST_COUNTED + 1).subquery())).one())
