"""A short list to choose from. What cannot be chosen now is greyed and says why, so that keys stay where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical

from screens.frame import ConsoleModal
from screens.text import Safe, content
from screens.widgets.line import Line, Sentence
from screens.widgets.query import Subject
from screens.widgets.rows import Cell, Column, Rows, Spec
from screens.widgets.table import VirtualTable

NOTHING = Safe("")
_KEYS: Final = "enter choose · esc leave"


@dataclass(frozen=True, slots=True)
class Entry:
    """One choice; `key` chooses it directly. A choice that is not allowed says `because`."""

    id: str
    key: str
    title: Safe
    allowed: bool = True
    because: Safe = NOTHING


def _cell(text: str, entry: Entry, role: str = "") -> Cell:
    return Cell(Safe(text), role if entry.allowed else "muted")


_SPEC: Final[Spec[tuple[int, Entry]]] = Spec(
    columns=(
        Column(
            "key", "", lambda item, view: _cell(item[1].key, item[1], "accent"), lambda item: item[1].key, minimum=1
        ),
        Column("title", "", lambda item, view: _cell(item[1].title, item[1]), lambda item: item[1].title, maximum=40),
        Column(
            "because",
            "",
            lambda item, view: _cell(item[1].because, item[1], "muted"),
            lambda item: item[1].because,
            stretch=True,
            maximum=70,
        ),
    ),
    subject=Subject(words=lambda item: item[1].title.lower()),
    order=lambda item: item[0],
    noun="choices",
)


def entry_rows(*, long: bool = False) -> Rows[tuple[int, Entry]]:
    """An empty list of entries; a record is an entry with its place. With `long` titles take what room there is."""
    if not long:
        return Rows(_SPEC)
    columns = tuple(replace(column, maximum=90) if column.id == "title" else column for column in _SPEC.columns)
    return Rows(replace(_SPEC, columns=columns))


class Menu(ConsoleModal[str]):
    """Choose with enter or the entry's key; the answer is the entry's id, None after esc."""

    AROUND = 6
    DEFAULT_CSS = """
    Menu > .dialog { max-width: 76; }
    Menu VirtualTable { overflow-y: auto; }
    """

    def __init__(self, title: Safe, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._heading = title
        self._entries = list(entries)
        rows = entry_rows()
        rows.replace({f"{index}": (index, entry) for index, entry in enumerate(self._entries)})
        self._rows = rows

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content((self._heading, "bold")))
            table = VirtualTable(self._rows, ascii=self.console.ascii)
            table.styles.height = len(self._entries) + 1
            table.add_class("body")
            yield table
            yield Sentence(content((_KEYS, "dim")), id="because")

    def on_mount(self) -> None:
        table = self.query_one(VirtualTable)
        table.move_to("0")
        table.focus()

    @on(VirtualTable.Opened)
    def _opened(self, event: VirtualTable.Opened) -> None:
        event.stop()
        self._choose(self._entries[int(event.key)])

    def on_key(self, event: events.Key) -> None:
        """Keys of the entries are known only now, so they cannot be bindings."""
        for entry in self._entries:
            if entry.key and event.character == entry.key:
                event.stop()
                self._choose(entry)
                return

    @on(VirtualTable.Moved)
    def _moved(self, event: VirtualTable.Moved) -> None:
        """Why the one under the cursor is greyed, to the end of the sentence: the remedy stands there."""
        event.stop()
        if event.key is not None:
            self._explain(self._entries[int(event.key)])

    def _explain(self, entry: Entry) -> None:
        line = self.query_one("#because", Sentence)
        if entry.allowed:
            line.say(Safe(_KEYS), "muted")
        else:
            line.say(entry.because or Safe("not possible now"), "warn")

    def _choose(self, entry: Entry) -> None:
        if entry.allowed:
            self.dismiss(entry.id)
        else:
            self._explain(entry)
