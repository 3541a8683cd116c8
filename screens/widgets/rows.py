"""What a table shows, without a terminal: records by key, filtered, sorted, grouped and marked, and what has changed.

The table widget paints from this and asks for cells only of the rows it paints, so a list of a hundred thousand records
costs its filter and its sort and nothing else. Those are done in steps (`run`), so that they never hold a key up.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from screens.text import Safe
from screens.widgets import arrange
from screens.widgets.groups import HEADING, Group, State, Tally, gather
from screens.widgets.marks import Marks
from screens.widgets.query import matcher
from screens.widgets.spec import Cell, Column, Grouping, Spec, View

__all__ = ["HEADING", "Cell", "Change", "Column", "Grouping", "Rows", "Spec", "View"]

T = TypeVar("T")

AT_ONCE: Final = 2000
"""Lists up to this long are arranged before the call returns."""
FEW: Final = 64

ORDER, SORT, TEST, SHOW = "order", "sort", "test", "show"


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did to the shown list: `order` (rows came, went or moved), the keys whose cells differ, and what
    their records were before."""

    order: bool
    keys: frozenset[str] = frozenset()
    before: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Rows(Generic[T]):
    """The view model. `shown` is what the table shows, in order: keys of records and, when grouped, of group rows.

    `tally` counts the states of what the filters let through, `hidden` of what they hide. While `working` is true a
    sort or a filter is under way: `shown` is still the list before it, and `run()` goes on with it.
    """

    spec: Spec[T]
    records: dict[str, T] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    hidden: Tally = field(default_factory=Tally)
    filter: str = ""
    only: str = ""
    sort_column: str = ""
    reverse: bool = False
    group: str = ""
    frozen_since: float | None = None
    generation: int = 0
    _versions: dict[str, int] = field(default_factory=dict)
    _orders: dict[str, Any] = field(default_factory=dict)
    _states: dict[str, State] = field(default_factory=dict)
    _natural: list[str] = field(default_factory=list)
    _ordered: list[str] = field(default_factory=list)
    _visible: set[str] | None = None
    _matches: Callable[[T], bool] | None = None
    _only: Callable[[T], bool] | None = None
    _job: arrange.Steps[None] | None = None
    _doing: set[str] = field(default_factory=set)
    _late: set[str] = field(default_factory=set)
    _lately: dict[str, bool] = field(default_factory=dict)
    _held: dict[str, T] = field(default_factory=dict)
    _held_gone: set[str] = field(default_factory=set)
    _hint: int = 0

    def __post_init__(self) -> None:
        self.marking = Marks(self)

    @property
    def marks(self) -> set[str]:
        """Keys that are marked, hidden ones included."""
        return self.marking.keys

    @property
    def working(self) -> bool:
        return self._job is not None

    def position(self, key: str | None) -> int | None:
        """Where the key is in `shown`."""
        if key is None:
            return None
        if self._hint < len(self.shown) and self.shown[self._hint] == key:
            return self._hint
        try:
            self._hint = self.shown.index(key)
        except ValueError:
            return None
        return self._hint

    def marked(self) -> list[str]:
        """Marked keys, the shown ones first, in the order of the list."""
        return self.marking.ordered()

    def version(self, key: str) -> int:
        """Grows whenever the record of this key changes within a generation."""
        return self._versions.get(key, 0)

    def visible(self, key: str) -> bool:
        """Whether the filters let the record through, folded away or not."""
        return key in self.records if self._visible is None else key in self._visible

    @property
    def visible_count(self) -> int:
        return len(self.records) if self._visible is None else len(self._visible)

    # Records

    def replace(self, records: Mapping[str, T]) -> Change:
        """All records anew. Marks of keys that are gone are gone."""
        if self.frozen_since is not None:
            self._held = dict(records)
            self._held_gone = self.records.keys() - records.keys()
            return Change(order=False)
        self.records = dict(records)
        self.generation += 1
        for known in (self._versions, self._orders, self._states, self._lately):
            known.clear()
        self.marking.keep(self.records)
        if self._visible is not None:
            self._visible &= self.records.keys()
        if not self.shown:
            self.shown = self._natural = self._ordered = list(self.records) if self._visible is None else []
        else:
            self._drop()
        self._job = None
        return self._start(ORDER, SORT, TEST)

    def update(self, changed: Mapping[str, T], removed: Iterable[str] = ()) -> Change:
        """Records that came or changed, and keys that went. Nothing is sorted again unless its place depends on it."""
        if self.frozen_since is not None:
            self._held.update(changed)
            self._held_gone = (self._held_gone - changed.keys()).union(removed)
            return Change(order=False)
        gone = [key for key in removed if self.records.pop(key, None) is not None]
        for key in gone:
            self._forget(key)
        before: dict[str, T] = {}
        keys: list[str] = []
        moved: set[str] = set()
        regroup = bool(gone)
        for key, record in changed.items():
            old = self.records.get(key)
            if old is not None:
                if old == record:
                    continue
                before[key] = old
            self.records[key] = record
            self._versions[key] = self._versions.get(key, 0) + 1
            keys.append(key)
            moves, regroups = self._place(key, old, record)
            regroup = regroup or regroups
            if moves:
                moved.add(key)
        order = bool(gone or moved or (regroup and self.group))
        if order:
            self._rearrange(moved, bool(gone))
        return Change(order, frozenset(keys), before)

    def freeze(self, now: float) -> None:
        """From now on (Unix seconds) updates are kept and not shown, until `thaw()`."""
        if self.frozen_since is None:
            self.frozen_since = now

    def thaw(self) -> Change:
        """Show what came meanwhile."""
        self.frozen_since = None
        held, gone = self._held, self._held_gone
        self._held, self._held_gone = {}, set()
        return self.update({key: record for key, record in held.items() if key not in gone}, gone)

    def _forget(self, key: str) -> None:
        self.marking.discard(key)
        self._versions.pop(key, None)
        if self._job is None:
            self._orders.pop(key, None)
        else:
            self._lately[key] = False
        (self.tally if self._was_visible(key) else self.hidden).take(self._states.pop(key, None), -1)
        if self._visible is not None:
            self._visible.discard(key)

    def _was_visible(self, key: str) -> bool:
        return self._visible is None or key in self._visible

    def _place(self, key: str, old: T | None, record: T) -> tuple[bool, bool]:
        """Take in order, visibility and state of a record; whether it moves, and whether its group differs."""
        order, shows = self.spec.order(record), self._passes(record)
        was_shown = old is not None and self._was_visible(key)
        moves = old is None or self._orders.get(key) != order or shows != was_shown
        self._orders[key] = order
        before, state = self._states.get(key), self.spec.state(record) if self.spec.state else None
        if old is not None:
            (self.tally if was_shown else self.hidden).take(before, -1)
        (self.tally if shows else self.hidden).take(state)
        if state is not None:
            self._states[key] = state
        if self._visible is not None:
            (self._visible.add if shows else self._visible.discard)(key)
        if self._job is not None:
            self._lately[key] = shows
        if old is None:
            return True, True
        column, grouping = self.spec.column(self.sort_column), self.spec.grouping(self.group)
        moves = moves or (column is not None and column.sort(old) != column.sort(record))
        return moves, state != before or (grouping is not None and grouping.value(old) != grouping.value(record))

    def _passes(self, record: T) -> bool:
        return (self._only is None or self._only(record)) and (self._matches is None or self._matches(record))

    def _rearrange(self, moved: set[str], gone: bool) -> None:
        """Bring moved keys to their places; a few are put there, for more the list is sorted again."""
        if gone and (self._job is not None or len(self.records) > AT_ONCE):
            self._drop()
        if self._job is not None:
            self._late |= {ORDER, SORT} if moved else {SORT}
            return
        if len(moved) > FEW:
            self._start(ORDER, SORT)
            return
        if moved or gone:
            natural = [key for key in self._natural if key in self.records and key not in moved]
            for key in moved:
                insort(natural, key, key=self._orders.__getitem__)
            self._natural = natural
        self._start(SORT)

    def _drop(self) -> None:
        """Keys that are gone leave every list now, whatever is still being worked on."""
        records = self.records
        self._natural = [key for key in self._natural if key in records]
        self._ordered = [key for key in self._ordered if key in records]
        self.shown = [key for key in self.shown if key in records or key in self.groups]

    # What is shown, and how

    def set_filter(self, text: str) -> Change:
        """Show only what the filter text means (see `query`)."""
        self.filter = text.strip()
        self._matches = matcher(self.filter, self.spec.subject)
        return self._start(TEST)

    def set_only(self, word: str, predicate: Callable[[T], bool] | None) -> Change:
        """A second filter with a name of its own (`errors only`), beside the typed one."""
        self.only, self._only = (word, predicate) if predicate else ("", None)
        return self._start(TEST)

    def set_sort(self, column_id: str, reverse: bool = False) -> Change:
        """Sort by a column; an empty or unknown id is the natural order."""
        self.sort_column = column_id if self.spec.column(column_id) else ""
        self.reverse = reverse
        return self._start(SORT)

    def set_group(self, grouping_id: str) -> Change:
        """Group by one of the spec's groupings; an empty or unknown id is no grouping."""
        self.group = grouping_id if self.spec.grouping(grouping_id) else ""
        self.folded.clear()
        return self._start()

    def fold(self, heading: str, folded: bool) -> Change:
        """Fold a group away or open it again."""
        group = self.groups.get(heading)
        if group is None or group.folded == folded:
            return Change(order=False)
        group.folded = folded
        (self.folded.add if folded else self.folded.discard)(heading)
        self.shown = self._with_headings()
        return Change(order=True)

    def heading_of(self, key: str) -> str | None:
        """The group row above a record."""
        grouping = self.spec.grouping(self.group)
        if key in self.groups:
            return key
        return HEADING + Safe(grouping.value(self.records[key])) if grouping and key in self.records else None

    def run(self, seconds: float | None = None) -> Change | None:
        """Go on with what is under way, for so long or to its end; the change once something new is to be shown."""
        end = None if seconds is None else time.perf_counter() + seconds
        while self._job is not None:
            try:
                next(self._job)
            except StopIteration:
                self._done()
                if end is not None or self._job is None:
                    return Change(order=True)
            if end is not None and time.perf_counter() >= end:
                return None
        return None

    def summary(self) -> Safe:
        """The list in one line (see `title`)."""
        from screens.widgets.title import summary

        return summary(self)

    # The work

    def _start(self, *stages: str) -> Change:
        self._doing |= {*stages} | self._late
        self._late.clear()
        self._job = self._steps(frozenset(self._doing))
        self._lately.clear()
        slow = self._doing & {ORDER, TEST} or (SORT in self._doing and self.sort_column) or self.group
        if len(self.records) <= AT_ONCE or not slow:
            self.run()
        return Change(order=True)

    def _done(self) -> None:
        """The work is through; what happened meanwhile may need some more."""
        self._job = None
        self._doing.clear()
        if len(self._orders) > len(self.records):
            self._orders = {key: order for key, order in self._orders.items() if key in self.records}
        if self._late:
            late, self._late = self._late, set()
            self._start(*late)

    def _steps(self, stages: frozenset[str]) -> arrange.Steps[None]:
        natural, ordered, visible = self._natural, None, self._visible
        if ORDER in stages:
            keys = list(self.records)
            yield from arrange.evaluate(keys, self.records, self.spec.order, self._orders)
            keys = yield from arrange.keep(keys, self._orders)
            natural = yield from arrange.sort(keys, self._orders.__getitem__)
        if stages & {ORDER, SORT}:
            ordered = yield from self._sorted(natural)
        if TEST in stages:
            visible = yield from self._tested(natural)
        if ORDER in stages:
            self._natural = natural
        if ordered is not None:
            self._ordered = ordered
        self._visible = visible
        if self._lately:
            self._drop()
        yield from self._show()

    def _sorted(self, natural: list[str]) -> arrange.Steps[list[str]]:
        column = self.spec.column(self.sort_column)
        if column is None:
            return natural[::-1] if self.reverse else natural
        values: dict[str, Any] = {}
        yield from arrange.evaluate(natural, self.records, column.sort, values)
        keys = yield from arrange.keep(natural, values)
        return (yield from arrange.sort(keys, values.__getitem__, self.reverse))

    def _tested(self, keys: list[str]) -> arrange.Steps[set[str] | None]:
        """Which records the filters let through, and how many of those and of the others are in which state."""
        visible: set[str] | None = None
        if self._only is not None or self._matches is not None:
            visible = yield from arrange.select(keys, self.records, self._passes)
        if self.spec.state is not None:
            yield from arrange.evaluate(keys, self.records, self.spec.state, self._states)
        if visible is not None:
            for key, shows in self._lately.items():
                (visible.add if shows else visible.discard)(key)
        if self.spec.state is not None:
            every = Tally(self._states.values())
            shown = every if visible is None else Tally(map(self._states.__getitem__, visible))
            self.tally, self.hidden = shown, Tally(every - shown)
        return visible

    def _show(self) -> arrange.Steps[None]:
        visible, grouping = self._visible, self.spec.grouping(self.group)
        keys = self._ordered if visible is None else (yield from arrange.keep(self._ordered, visible))
        if grouping is None:
            self.groups, self.shown = {}, keys
            if self._lately:
                self._drop()
            return
        groups = yield from gather(keys, self.records, grouping.value, self._states, grouping.first)
        for heading, group in groups.items():
            group.folded = heading in self.folded
        self.groups = groups
        self.shown = self._with_headings()

    def _with_headings(self) -> list[str]:
        shown: list[str] = []
        for heading, group in self.groups.items():
            shown.append(heading)
            if not group.folded:
                shown += [key for key in group.keys if key in self.records]
        return shown
