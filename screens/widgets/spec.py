"""What a kind of record is as a table: columns, cells, filter, order, groups, states. Pure descriptions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from screens.text import Safe
from screens.widgets.query import Subject

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
class Grouping(Generic[T]):
    """One way to group: `value` is what the records of a group have in common, as it is shown. Groups come by name, or
    by what `first` gives for the states in one and its name."""

    id: str
    title: str
    value: Callable[[T], str]
    first: Callable[[Collection[tuple[str, str]], str], Any] | None = None


def _always(old: Any, new: Any) -> bool:
    return True


@dataclass(frozen=True)
class Spec(Generic[T]):
    """A kind of record as a table: its columns, how it is filtered, its natural order, and what it is called.

    `state` gives the word and the role that titles and group rows count; `notable` says whether a change between two
    versions of a record is one the operator should see light up.
    """

    columns: tuple[Column[T], ...]
    subject: Subject[T]
    order: Callable[[T], Any]
    noun: str = "rows"
    state: Callable[[T], tuple[str, str]] | None = None
    groupings: tuple[Grouping[T], ...] = ()
    notable: Callable[[T, T], bool] = _always

    def column(self, column_id: str) -> Column[T] | None:
        return next((column for column in self.columns if column.id == column_id), None)

    def grouping(self, grouping_id: str) -> Grouping[T] | None:
        return next((grouping for grouping in self.groupings if grouping.id == grouping_id), None)
