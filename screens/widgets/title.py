"""A list in one line: how many rows in which states, what hides the others, what is marked."""

from __future__ import annotations

from typing import Any

from screens.text import Safe, join
from screens.widgets.groups import ALARMING
from screens.widgets.rows import Rows


def summary(rows: Rows[Any]) -> Safe:
    """`8 of 315 rows · 12 marked (3 hidden by filter) · 4 error 4 started · /nginx hides 307 (2 error)`.

    What an action would act on comes first: a narrow window cuts the end.
    """
    total, visible = len(rows.records), rows.visible_count
    noun = singular(rows.spec.noun) if total == 1 else rows.spec.noun
    parts = [f"{total} {noun}" if visible == total else f"{visible} of {total} {noun}"]
    if rows.marks:
        hidden = rows.marking.hidden()
        parts.append(f"{len(rows.marks)} marked" + (f" ({hidden} hidden by filter)" if hidden else ""))
    if rows.marking.anchor is not None:
        parts.append("range (v ends it)")
    parts.append(rows.tally.words())
    reasons = " ".join(part for part in (rows.only, f"/{rows.filter}" if rows.filter else "") if part)
    if reasons:
        alarming = rows.hidden.words(ALARMING)
        parts.append(f"{reasons} hides {total - visible}" + (f" ({alarming})" if alarming else ""))
    grouping = rows.spec.grouping(rows.group)
    if grouping:
        folded = sum(group.folded for group in rows.groups.values())
        parts.append(f"by {grouping.title}: {len(rows.groups)}" + (f" ({folded} folded)" if folded else ""))
    if rows.working:
        parts.append("sorting …")
    return join((Safe(part) for part in parts if part), " · ")


def singular(noun: str) -> str:
    """One of what a list counts: `authorities` is one authority."""
    return f"{noun[:-3]}y" if noun.endswith("ies") else noun.removesuffix("s")
