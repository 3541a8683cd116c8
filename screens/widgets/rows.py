"""What a table shows, without a terminal: records by key, filtered, sorted and marked, and what of it has changed.

The table widget paints from this and asks for cells only of the rows it paints, so a list of a hundred thousand records
costs its filter and its sort and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, TypeVar

from screens.text import Safe, join
from screens.widgets.query import Subject, matcher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text and its role (ok, warn, bad, busy, unknown, muted, accent or none); never a colour.

    A cell with `until` covers its neighbours up to the column of that id.
    """

    text: Safe
    role: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What a cell may depend on besides its record: the clock (Unix seconds) and whether glyphs must be ASCII."""

    now: float = 0.0
    ascii: bool = False


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column. Widths are in cells; `above` is the narrowest table that shows it, `stretch` takes what room is left.

    `volatile` columns change with the clock alone (ages) and are always `maximum` wide. `sort` gives something
    comparable among all records.
    """

    id: str
    title: str
    cell: Callable[[T, View], Cell]
    sort: Callable[[T], Any]
    minimum: int = 3
    maximum: int = 24
    above: int = 0
    stretch: bool = False
    right: bool = False
    volatile: bool = False


@dataclass(frozen=True)
class Spec(Generic[T]):
    """A kind of record as a table: its columns, how it is filtered, its natural order, and what it is called."""

    columns: tuple[Column[T], ...]
    subject: Subject[T]
    order: Callable[[T], Any]
    noun: str = "rows"

    def column(self, column_id: str) -> Column[T] | None:
        return next((column for column in self.columns if column.id == column_id), None)


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did to the shown list: `order` (rows came, went or moved) and the keys whose cells differ."""

    order: bool
    keys: frozenset[str] = frozenset()


@dataclass
class Rows(Generic[T]):
    """The view model. `shown` is what the table shows, in order; `generation` and `version()` tell what is stale."""

    spec: Spec[T]
    records: dict[str, T] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    filter: str = ""
    only: str = ""
    sort_column: str = ""
    reverse: bool = False
    generation: int = 0
    _versions: dict[str, int] = field(default_factory=dict)
    _orders: dict[str, Any] = field(default_factory=dict)
    _positions: dict[str, int] | None = None
    _matches: Callable[[T], bool] | None = None
    _only: Callable[[T], bool] | None = None

    def position(self, key: str | None) -> int | None:
        """Where the key is in `shown`."""
        if key is None:
            return None
        if self._positions is None:
            self._positions = {shown: index for index, shown in enumerate(self.shown)}
        return self._positions.get(key)

    def version(self, key: str) -> int:
        """Grows whenever the record of this key changes within a generation."""
        return self._versions.get(key, 0)

    def replace(self, records: Mapping[str, T]) -> Change:
        """All records anew. Marks of keys that are gone are gone."""
        self.records = dict(records)
        self.generation += 1
        self._versions.clear()
        self.marks &= self.records.keys()
        self._arrange_all()
        return Change(order=True)

    def update(self, changed: Mapping[str, T], removed: Iterable[str] = ()) -> Change:
        """Records that came or changed, and keys that went. Nothing is sorted again unless its place depends on it."""
        moved = False
        touched: list[str] = []
        for key in removed:
            if self.records.pop(key, None) is not None:
                moved = True
                self.marks.discard(key)
                self._versions.pop(key, None)
                self._orders.pop(key, None)
        for key, record in changed.items():
            old = self.records.get(key)
            if old is not None and old == record:
                continue
            order = self._order(record)
            moved = moved or old is None or self._orders.get(key) != order or self._sorts_apart(old, record)
            self.records[key] = record
            self._versions[key] = self._versions.get(key, 0) + 1
            if order is None:
                self._orders.pop(key, None)
            else:
                self._orders[key] = order
            touched.append(key)
        if moved:
            self._arrange(touched)
        return Change(order=moved, keys=frozenset(touched))

    def set_filter(self, text: str) -> Change:
        """Show only what the filter text means (see `query`)."""
        self.filter = text.strip()
        self._matches = matcher(self.filter, self.spec.subject)
        self._arrange_all()
        return Change(order=True)

    def set_only(self, word: str, predicate: Callable[[T], bool] | None) -> Change:
        """A second filter with a name of its own (`errors only`), beside the typed one."""
        self.only, self._only = (word, predicate) if predicate else ("", None)
        self._arrange_all()
        return Change(order=True)

    def set_sort(self, column_id: str, reverse: bool = False) -> Change:
        """Sort by a column; an empty or unknown id is the natural order."""
        self.sort_column = column_id if self.spec.column(column_id) else ""
        self.reverse = reverse
        self._arrange(())
        return Change(order=True)

    def toggle(self, key: str) -> None:
        """Mark or unmark one key."""
        if key in self.records:
            self.marks ^= {key}

    def mark_shown(self) -> None:
        """Mark everything the filter shows (what it hides keeps the mark it has)."""
        self.marks |= set(self.shown)

    def clear_marks(self) -> None:
        self.marks.clear()

    def marked(self) -> list[str]:
        """Marked keys, the shown ones first, in the order of the list."""
        hidden = self.marks.difference(self.shown)
        return [*(key for key in self.shown if key in self.marks), *sorted(hidden)]

    def summary(self) -> Safe:
        """The list in one line: how many, what hides the others, what is marked, how it is sorted."""
        total, shown = len(self.records), len(self.shown)
        parts = [f"{total} {self.spec.noun}" if shown == total else f"{shown} of {total} {self.spec.noun}"]
        reasons = [part for part in (self.only, f"/{self.filter}" if self.filter else "") if part]
        if reasons:
            parts.append(f"{' '.join(reasons)} hides {total - shown}")
        if self.marks:
            hidden = len(self.marks.difference(self.shown))
            parts.append(f"{len(self.marks)} marked" + (f" ({hidden} hidden)" if hidden else ""))
        return join((Safe(part) for part in parts), " · ")

    def _order(self, record: T) -> Any:
        """The natural place of a record; None when the filters hide it."""
        if self._only is not None and not self._only(record):
            return None
        if self._matches is not None and not self._matches(record):
            return None
        return self.spec.order(record)

    def _sorts_apart(self, old: T, new: T) -> bool:
        column = self.spec.column(self.sort_column)
        return column is not None and column.sort(old) != column.sort(new)

    def _arrange_all(self) -> None:
        orders = ((key, self._order(record)) for key, record in self.records.items())
        self._orders = {key: order for key, order in orders if order is not None}
        self._arrange(self._orders)

    def _arrange(self, touched: Iterable[str]) -> None:
        """Sort what is visible; starting from the list as it was, which the sort then mostly finds in order."""
        before = set(self.shown)
        keys = [key for key in self.shown if key in self._orders]
        keys += [key for key in touched if key in self._orders and key not in before]
        if self.reverse and not self.sort_column:
            keys.reverse()
        keys.sort(key=self._orders.__getitem__)
        column = self.spec.column(self.sort_column)
        if column:
            sort, records = column.sort, self.records
            keys.sort(key=lambda key: sort(records[key]), reverse=self.reverse)
        elif self.reverse:
            keys.reverse()
        self.shown = keys
        self._positions = None


def lay_out(columns: Sequence[Column[Any]], natural: Sequence[int], total: int, gap: int = 1) -> list[tuple[int, int]]:
    """Which columns fit into `total` cells and how wide: pairs of column index and width, in order.

    Columns that want a wider table go first; then the stretching ones give up room down to their minimum; then whole
    columns go from the right, those with a higher `above` before the others, the first two never.
    """
    kept = [index for index, column in enumerate(columns) if column.above <= total]
    widths = {i: min(max(natural[i], columns[i].minimum), columns[i].maximum) for i in kept}

    def missing() -> int:
        return sum(widths[i] for i in kept) + gap * max(len(kept) - 1, 0) - total

    for index in sorted((i for i in kept if columns[i].stretch), key=lambda i: -widths[i]):
        widths[index] -= min(max(missing(), 0), widths[index] - columns[index].minimum)
    for index in sorted(kept[2:], key=lambda i: (-columns[i].above, -i)):
        if missing() <= 0:
            break
        kept.remove(index)
    stretching = [i for i in kept if columns[i].stretch]
    room = -missing()
    for index in stretching:
        extra = min(max(natural[index] - widths[index], 0), max(room, 0))
        widths[index] += extra
        room -= extra
    if stretching and room > 0:
        widths[stretching[-1]] += room
    return [(index, widths[index]) for index in kept]


def sample(keys: Sequence[str], limit: int = 200) -> Iterable[str]:
    """Keys to measure column widths on: the first ones and some of the rest, so that one long list costs no more."""
    if len(keys) <= limit:
        return keys
    half = limit // 2
    return chain(keys[:half], keys[half :: max((len(keys) - half) // half, 1)])
