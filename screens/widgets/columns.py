"""Which columns of which list a person wants, kept in the home, and the dialog to choose them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from screens.frame import ConsoleModal
from screens.text import Safe, content
from screens.widgets.line import Line
from screens.widgets.query import Subject
from screens.widgets.rows import Rows
from screens.widgets.spec import Cell, Column, Spec
from screens.widgets.table import VirtualTable

FILE: Final = "columns.json"
MOST_BYTES: Final = 65536


class BrokenChoices(Exception):
    """The file cannot be read or written; the message names it and says what to do."""


class ColumnChoices:
    """`columns.json` in the home: ids of the columns by the id of the list, readable by its owner alone."""

    def __init__(self, home: str | Path) -> None:
        self.path = Path(home) / FILE

    def read(self) -> dict[str, tuple[str, ...]]:
        """Everything that was chosen; nothing when there is no file. Raises `BrokenChoices`."""
        try:
            with self.path.open("rb") as file:
                data = json.loads(file.read(MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BrokenChoices(f"{self.path} cannot be read ({error}); remove it to choose anew") from error
        if not isinstance(data, dict):
            raise BrokenChoices(f"{self.path} is not an object of lists; remove it to choose anew")
        return {str(name): _ids(self.path, name, ids) for name, ids in data.items()}

    def write(self, name: str, ids: Sequence[str]) -> None:
        """Keep the choice for one list (none: the usual columns), the others as they are. Raises `BrokenChoices`."""
        chosen = {other: list(kept) for other, kept in self.read().items() if other != name}
        if ids:
            chosen[name] = list(ids)
        beside = self.path.with_name(f".{FILE}.{os.getpid()}")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(chosen, file, indent=1, sort_keys=True)
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise BrokenChoices(f"{self.path} cannot be written: {error}") from error


def _ids(path: Path, name: object, ids: object) -> tuple[str, ...]:
    if not isinstance(ids, list) or not all(isinstance(column_id, str) for column_id in ids):
        raise BrokenChoices(f"{path}: {Safe(name)!r} is not a list of column names; remove the file to choose anew")
    return tuple(ids)


class Choice:
    """The dialog without a terminal: all columns in an order, each shown or not."""

    def __init__(self, columns: Sequence[Column[Any]], chosen: Sequence[str]) -> None:
        known = {column.id: column for column in columns}
        self.shown: set[str] = {column_id for column_id in chosen if column_id in known} or set(known)
        order = [column_id for column_id in dict.fromkeys(chosen) if column_id in known]
        self.order = order + [column_id for column_id in known if column_id not in order]
        self._usual = tuple(known)
        self._touched = bool(order)

    def toggle(self, column_id: str) -> None:
        """Show or hide; the last one stays."""
        if self.shown != {column_id}:
            self.shown ^= {column_id}
            self._touched = True

    def move(self, column_id: str, step: int) -> None:
        """One place up (-1) or down (1)."""
        at = self.order.index(column_id)
        to = min(max(at + step, 0), len(self.order) - 1)
        self.order[at], self.order[to] = self.order[to], self.order[at]
        self._touched = True

    def reset(self) -> None:
        """The usual columns, by the width of the window."""
        self.order, self.shown, self._touched = list(self._usual), set(self._usual), False

    @property
    def ids(self) -> list[str]:
        """What is chosen, in order; empty for the usual columns."""
        return [column_id for column_id in self.order if column_id in self.shown] if self._touched else []


class _Entry(tuple[int, str, bool]):
    """Place, title and whether it is shown."""


def _sign(entry: _Entry) -> Cell:
    return Cell(Safe("[x]" if entry[2] else "[ ]"), "ok" if entry[2] else "muted")


_SPEC: Final[Spec[_Entry]] = Spec(
    columns=(
        Column("shown", "", lambda entry, view: _sign(entry), lambda entry: not entry[2], minimum=3, maximum=3),
        Column("title", "COLUMN", lambda entry, view: Cell(Safe(entry[1])), lambda entry: entry[1], stretch=True),
    ),
    subject=Subject(words=lambda entry: entry[1].lower()),
    order=lambda entry: entry[0],
    noun="columns",
)


class ColumnsPane(ConsoleModal[list[str]]):
    """Answers the chosen ids (empty: the usual columns), None after esc."""

    DEFAULT_CSS = """
    ColumnsPane > .dialog { max-width: 60; }
    ColumnsPane VirtualTable { overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", "show or hide", id="columns.toggle", priority=True),
        Binding("J,shift+down", "shift(1)", "further right", id="columns.right", priority=True),
        Binding("K,shift+up", "shift(-1)", "further left", id="columns.left", priority=True),
        Binding("r", "reset", "the usual columns", id="columns.reset"),
        Binding("enter", "keep", "keep", id="columns.keep", priority=True),
    ]

    def __init__(self, columns: Sequence[Column[Any]], chosen: Sequence[str]) -> None:
        super().__init__()
        self._titles: Mapping[str, str] = {column.id: column.title or column.id for column in columns}
        self.choice = Choice(columns, chosen)
        self._rows: Rows[_Entry] = Rows(_SPEC)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content(("columns", "bold")))
            self._table: VirtualTable[_Entry] = VirtualTable(self._rows, ascii=self.console.ascii)
            self._table.styles.height = len(self._titles) + 1
            self._table.add_class("body")
            yield self._table
            yield Line(content(("space show or hide · J K move · r usual · enter keep · esc leave", "dim")))

    def on_mount(self) -> None:
        self._show()
        self._table.move_to(self.choice.order[0])
        self._table.focus()

    def _show(self) -> None:
        choice = self.choice
        entries = {
            column_id: _Entry((index, self._titles[column_id], column_id in choice.shown))
            for index, column_id in enumerate(choice.order)
        }
        self._table.changed(self._rows.replace(entries))

    def action_switch(self) -> None:
        self.choice.toggle(self._table.cursor or "")
        self._show()

    def action_shift(self, step: int) -> None:
        self.choice.move(self._table.cursor or self.choice.order[0], step)
        self._show()

    def action_reset(self) -> None:
        self.choice.reset()
        self._show()

    def action_keep(self) -> None:
        self.dismiss(self.choice.ids)
