"""`ctrl+p`: everything that can be done here and everything that can be gone to, found by a few letters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Input

from screens.frame import ConsoleModal
from screens.text import Safe, content, join
from screens.widgets.filter import CleanInput
from screens.widgets.line import Line
from screens.widgets.menu import Entry, entry_rows
from screens.widgets.spec import View
from screens.widgets.table import VirtualTable

MOST: Final = 200
DEBOUNCE: Final = 0.08
NOTHING: Final = Safe("")
_NOWHERE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of the palette: what it is, its key, and why it cannot be done now (empty: it can)."""

    id: str
    title: Safe
    key: str = ""
    because: Safe = NOTHING


Objects = Callable[[str, int], Iterable[Offer]]
"""Objects of the open screen that fit a text, at most so many."""


def rank(typed: str, title: str) -> int:
    """How badly a title fits what was typed, 0 best; `_NOWHERE` when the letters do not occur in it in this order."""
    typed, title = typed.lower().replace(" ", ""), title.lower()
    if not typed:
        return 0
    whole = title.find(typed)
    if whole >= 0:
        return whole if whole == 0 or not title[whole - 1].isalnum() else 20 + whole
    position, gaps, last = -1, 0, -1
    for letter in typed:
        position = title.find(letter, position + 1)
        if position < 0:
            return _NOWHERE
        gaps += position - last - 1
        last = position
    return 200 + gaps


def best(typed: str, offers: Sequence[Offer], limit: int = MOST) -> list[Offer]:
    """The offers that fit, best first, in their own order where they fit alike."""
    found = [(rank(typed, offer.title), number) for number, offer in enumerate(offers)]
    return [offers[number] for points, number in sorted(found) if points < _NOWHERE][:limit]


class PalettePane(ConsoleModal[str]):
    """The answer is the id of what was chosen, None after esc."""

    AROUND = 4
    DEFAULT_CSS = """
    PalettePane > .dialog { max-width: 90; }
    PalettePane VirtualTable { overflow-y: auto; height: 18; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "down", id="palette.down", priority=True),
        Binding("up", "move(-1)", "up", id="palette.up", priority=True),
        Binding("pagedown", "page(1)", "page down", id="palette.page_down", priority=True),
        Binding("pageup", "page(-1)", "page up", id="palette.page_up", priority=True),
    ]

    def __init__(self, offers: Sequence[Offer], objects: Objects) -> None:
        super().__init__()
        self._offers = list(offers)
        self._objects = objects
        self._shown: list[Offer] = []
        self._rows = entry_rows(long=not any(offer.because for offer in offers))
        self._due: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield CleanInput(placeholder="a few letters of an action, a host, a service", compact=True, id="typed")
            table = VirtualTable(self._rows, ascii=self.console.ascii, empty="nothing fits")
            table.add_class("body")
            table.can_focus = False
            yield table
            yield Line(content(("enter does it or goes there · esc leaves", "dim")), id="because")

    def on_mount(self) -> None:
        self.query_one(CleanInput).focus()
        self.show_for("")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._due is not None:
            self._due.stop()
        self._due = self.set_timer(DEBOUNCE, lambda: self.show_for(event.value))

    def show_for(self, typed: str) -> None:
        """Fill the list for what is typed."""
        self._due = None
        found = best(typed, self._offers)
        if typed:
            found += [replace(offer, id=f"object:{offer.id}") for offer in self._objects(typed, MOST)]
        self._shown = found[:MOST]
        entries = {
            f"{number}": (number, Entry(offer.id, offer.key, offer.title, not offer.because, offer.because))
            for number, offer in enumerate(self._shown)
        }
        table = self.query_one(VirtualTable)
        table.changed(self._rows.replace(entries))
        table.move_to("0")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._due is not None:
            self._due.stop()
            self.show_for(event.value)
        self._choose()

    @on(VirtualTable.Opened)
    def _opened(self, event: VirtualTable.Opened) -> None:
        event.stop()
        self._choose()

    def _choose(self) -> None:
        cursor = self.query_one(VirtualTable).cursor
        if cursor is None or int(cursor) >= len(self._shown):
            self.app.bell()
            return
        offer = self._shown[int(cursor)]
        if offer.because:
            self.query_one("#because", Line).say(offer.because, "warn")
        else:
            self.dismiss(offer.id)

    def action_move(self, rows: int) -> None:
        self.query_one(VirtualTable).action_move(rows)

    def action_page(self, pages: int) -> None:
        self.query_one(VirtualTable).action_page(pages)


def offers_of(table: VirtualTable[Any], text: str, limit: int) -> list[Offer]:
    """Rows of a table in whose words all typed ones occur, named by their first columns."""
    wanted = text.lower().split()
    rows, found = table.rows, []
    view = View(time.time(), False)
    for key, record in rows.records.items():
        words = rows.spec.subject.words(record)
        if all(word in words for word in wanted):
            cells = [column.cell(record, view).text.strip() for column in rows.spec.columns[1:3]]
            found.append(Offer(key, join(cells, "  ")))
            if len(found) >= limit:
                break
    return found
