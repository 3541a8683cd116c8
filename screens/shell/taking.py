"""Taking something away from the screen: into the clipboard of the person's terminal, or into a private file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from textual.app import App

from opsconsole.engine import locations
from screens.shell import clipboard, dump
from screens.text import Safe, join
from screens.widgets.log import LogView
from screens.widgets.spec import View
from screens.widgets.table import VirtualTable

if TYPE_CHECKING:
    from screens.frame import Console

NAMES: Final = ("name", "service", "title", "id")
"""Columns that name a row, the first one found."""
CAPTIVE: Final = (
    "not in captive mode: the files here belong to the service account, not to you; the setting exchange names a place"
)


def copy(console: Console, text: str, what: str) -> None:
    """Send a text to the terminal's clipboard; what is too long for terminals is saved instead, and that is said."""
    try:
        sequence = clipboard.sequence(text, os.environ)
    except clipboard.TooLong as error:
        if (path := save(console, what, "txt", clipboard.cleaned(text) + "\n")) is not None:
            console.say(f"{what}: {error}; saved in {path}", "warn")
        return
    console.send_to_terminal(sequence.data)
    hint = f" – {sequence.hint}" if sequence.hint else ""
    console.say(f"{what} sent to the terminal{hint}", "ok")


def save(console: Console, name: str, ending: str, text: str) -> Path | None:
    """Write a dump; None when that is not allowed or failed, which was said then."""
    opened = create(console, name, ending)
    if opened is None:
        return None
    path, file = opened
    try:
        with file:
            file.write(text)
    except OSError as error:
        console.say(f"nothing saved: {path}: {error.strerror or error}", "bad")
        return None
    return path


def create(console: Console, name: str, ending: str) -> tuple[Path, TextIO] | None:
    """A new file to write a dump into: in the home, or for a captive console in the person's exchange directory. None
    when there is none, which was said then."""
    facts, now = console.facts, datetime.now(UTC).astimezone()
    if not facts:
        console.say("nothing saved: it is not known yet whose files these are; try again in a moment", "warn")
        return None
    exchange = facts.get("exchange")
    if facts.get("captive") and not exchange:
        console.say(f"nothing saved: {CAPTIVE}", "warn")
        return None
    try:
        if facts.get("captive"):
            return dump.hand_over(Path(str(exchange)), name, ending, now)
        return dump.create(locations.home(), name, ending, now)
    except OSError as error:
        console.say(f"nothing saved: {error.filename or locations.home()}: {error.strerror or error}", "bad")
        return None


def cells(table: VirtualTable[Any], key: str, view: View) -> dict[str, str]:
    """One row as texts by column id, whole, also what the window has no room for."""
    record = table.rows.records[key]
    return {column.id: str(column.cell(record, view).text).strip() for column in table.rows.spec.columns}


def name_of(row: dict[str, str]) -> str:
    """What names a row."""
    return next((row[name] for name in NAMES if row.get(name)), next(iter(row.values()), ""))


def table_text(table: VirtualTable[Any], view: View, kind: str) -> str:
    """All rows the table shows, as `csv` or `json`."""
    titles = [column.title or column.id for column in table.rows.spec.columns]
    rows = (list(cells(table, key, view).values()) for key in table.rows.shown if key in table.rows.records)
    return dump.as_csv(titles, rows) if kind == "csv" else dump.as_json(titles, rows)


def log_lines(log: LogView) -> list[Safe]:
    """The lines a log shows, each with its time, host and unit in front."""
    found: list[Safe] = []
    for number in range(log.buffer.first, log.buffer.first + len(log.buffer)):
        if log.buffer.row_of(number) is None:
            continue
        line = log.buffer.line(number)
        stamp = "" if line.at is None else f"{datetime.fromtimestamp(line.at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
        found.append(join([part for part in (stamp, line.host, line.source, line.text) if part], " "))
    return found


def screen_lines(app: App[int]) -> Sequence[str]:
    """What is on the screen, line by line."""
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]  # noqa: SLF001 - the only place that knows it
