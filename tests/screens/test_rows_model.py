"""The view model against a plain one: whatever is done to it, in whatever slices, list and counts are right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from screens.text import Safe
from screens.widgets import rows as module
from screens.widgets.arrange import STEP, finish, sort
from screens.widgets.query import Subject, matcher
from screens.widgets.rows import HEADING, Cell, Column, Grouping, Rows, Spec


@dataclass(frozen=True)
class Unit:
    host: str
    name: str
    state: str


STATES = {"up": ("up", "ok"), "bad": ("error", "bad"), "off": ("off", "muted")}
SUBJECT: Subject[Unit] = Subject(
    words=lambda unit: f"{unit.host} {unit.name}",
    fields=("state",),
    field=lambda unit, name: unit.state,
)
SPEC: Spec[Unit] = Spec(
    columns=(
        Column("host", "HOST", lambda unit, view: Cell(Safe(unit.host)), lambda unit: unit.host),
        Column("state", "STATE", lambda unit, view: Cell(Safe(unit.state)), lambda unit: unit.state),
    ),
    subject=SUBJECT,
    order=lambda unit: (unit.host, unit.name),
    noun="units",
    state=lambda unit: STATES[unit.state],
    groupings=(Grouping("host", "host", lambda unit: unit.host), Grouping("state", "state", lambda unit: unit.state)),
)

KEYS = "abcdefgh"
UNITS = st.builds(Unit, st.sampled_from("xyz"), st.sampled_from("mno"), st.sampled_from(sorted(STATES)))
ACTIONS = st.one_of(
    st.tuples(st.just("update"), st.dictionaries(st.sampled_from(KEYS), UNITS, max_size=4)),
    st.tuples(st.just("remove"), st.sets(st.sampled_from(KEYS), max_size=3)),
    st.tuples(st.just("replace"), st.dictionaries(st.sampled_from(KEYS), UNITS)),
    st.tuples(st.just("filter"), st.sampled_from(["", "x", "!x", "state:bad", "m o", "~xm", "nothing"])),
    st.tuples(st.just("only"), st.booleans()),
    st.tuples(st.just("sort"), st.tuples(st.sampled_from(["", "host", "state"]), st.booleans())),
    st.tuples(st.just("group"), st.sampled_from(["", "host", "state"])),
    st.tuples(st.just("fold"), st.sampled_from(["x", "y", "bad", "up"])),
    st.tuples(st.just("mark"), st.sampled_from(KEYS)),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("freeze"), st.booleans()),
)


def is_bad(unit: Unit) -> bool:
    return unit.state == "bad"


class Plain:
    """The same with lists made anew every time."""

    def __init__(self) -> None:
        self.records: dict[str, Unit] = {}
        self.marks: set[str] = set()
        self.held: list[tuple[str, object]] | None = None

    def take(self, what: str, value: object) -> None:
        if self.held is not None:
            self.held.append((what, value))
            return
        if what == "update":
            assert isinstance(value, dict)
            self.records.update(value)
        elif what == "remove":
            assert isinstance(value, set)
            self.records = {key: unit for key, unit in self.records.items() if key not in value}
        else:
            assert isinstance(value, dict)
            self.records = dict(value)
        self.marks &= self.records.keys()


def do(rows: Rows[Unit], plain: Plain, what: str, value: object) -> None:
    if what == "update":
        assert isinstance(value, dict)
        rows.update(value)
        plain.take(what, value)
    elif what == "remove":
        assert isinstance(value, set)
        rows.update({}, value)
        plain.take(what, value)
    elif what == "replace":
        assert isinstance(value, dict)
        rows.replace(value)
        plain.take(what, value)
    elif what == "filter":
        rows.set_filter(str(value))
    elif what == "only":
        rows.set_only("bad only", is_bad if value else None)
    elif what == "sort":
        assert isinstance(value, tuple)
        rows.set_sort(*value)
    elif what == "group":
        rows.set_group(str(value))
    elif what == "fold":
        heading = HEADING + str(value)
        rows.fold(heading, heading not in rows.folded)
    elif what == "mark":
        rows.marking.toggle(str(value))
        plain.marks ^= {str(value)} & rows.records.keys()
    elif what == "step":
        assert isinstance(value, int)
        for _ in range(value):
            rows.run(0.0)
    elif what == "freeze":
        freeze(rows, plain, frozen=bool(value))


def freeze(rows: Rows[Unit], plain: Plain, *, frozen: bool) -> None:
    if frozen:
        rows.freeze(1.0)
        plain.held = plain.held if plain.held is not None else []
    elif plain.held is not None:
        rows.thaw()
        held, plain.held = plain.held, None
        before, marks = set(plain.records), set(plain.marks)
        for what, value in held:
            plain.take(what, value)
        plain.marks = marks & before & plain.records.keys()


def expected(rows: Rows[Unit], plain: Plain) -> list[str]:
    test = matcher(rows.filter, SUBJECT)
    keys = [
        key
        for key, unit in plain.records.items()
        if (test is None or test(unit)) and (not rows.only or unit.state == "bad")
    ]
    keys.sort(key=lambda key: SPEC.order(plain.records[key]))
    column = SPEC.column(rows.sort_column)
    if column:
        keys.sort(key=lambda key: column.sort(plain.records[key]), reverse=rows.reverse)
    return keys


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, max_size=14), st.booleans())
def test_whatever_happens_the_list_is_the_plain_one(actions: list[tuple[str, object]], sliced: bool) -> None:
    kept = module.AT_ONCE, module.FEW
    module.AT_ONCE, module.FEW = (0, 1) if sliced else kept  # type: ignore[misc]
    try:
        rows, plain = Rows(SPEC), Plain()
        for what, value in actions:
            do(rows, plain, what, value)
            assert all(key in rows.records or key in rows.groups for key in rows.shown)
            rows.summary()
        freeze(rows, plain, frozen=False)
        rows.run()
        assert not rows.working
        check(rows, plain)
    finally:
        module.AT_ONCE, module.FEW = kept  # type: ignore[misc]


def check(rows: Rows[Unit], plain: Plain) -> None:
    assert rows.records == plain.records
    wanted = expected(rows, plain)
    shown = [key for key in rows.shown if key not in rows.groups]
    opened = [key for group in rows.groups.values() for key in group.keys] if rows.group else shown
    natural = rows.reverse and not rows.sort_column
    assert {*opened} == {*wanted}
    if not rows.group:
        orders = [SPEC.order(plain.records[key]) for key in wanted]
        column = SPEC.column(rows.sort_column)
        if column:
            values = [column.sort(plain.records[key]) for key in wanted]
            assert [column.sort(plain.records[key]) for key in shown] == values
        else:
            assert [SPEC.order(plain.records[key]) for key in shown] == (orders[::-1] if natural else orders)
    assert rows.visible_count == len(wanted)
    assert rows.marks == plain.marks
    counted = Counter(STATES[plain.records[key].state] for key in wanted)
    assert rows.tally == counted
    assert rows.hidden == Counter(STATES[unit.state] for unit in plain.records.values()) - counted
    for group in rows.groups.values():
        assert group.tally == Counter(STATES[plain.records[key].state] for key in group.keys)
        assert group.folded == (group.heading in rows.folded)
        assert set(group.keys).isdisjoint(shown) or not group.folded


@given(st.lists(st.tuples(st.integers(0, 9), st.integers()), max_size=STEP * 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_sorting_in_steps_is_sorting(items: list[tuple[int, int]], reverse: bool) -> None:
    many = items * 4
    assert finish(sort(many, lambda item: item[0], reverse)) == sorted(many, key=lambda item: item[0], reverse=reverse)


def units(count: int) -> dict[str, Unit]:
    return {f"k{n:06}": Unit(f"h{n % 7}", f"u{n:06}", "bad" if n % 10 == 0 else "up") for n in range(count)}


def test_a_long_filter_goes_on_in_slices_and_the_list_stays_as_it_was() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(5000))
    rows.run()
    before = rows.shown
    rows.set_filter("state:bad")
    assert rows.working
    assert rows.shown is before
    assert "sorting" in rows.summary()
    slices = 0
    while rows.run(0.0) is None:
        slices += 1
    assert slices > 5
    assert len(rows.shown) == 500
    assert rows.summary() == "500 of 5000 units · 500 error · /state:bad hides 4500"


def test_updates_during_a_long_filter_are_not_lost() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(5000))
    rows.run()
    rows.set_filter("state:bad")
    rows.run(0.0)
    rows.update({"k000001": Unit("h1", "u000001", "bad"), "new": Unit("a", "a", "bad")}, ["k000010"])
    rows.run(0.0)
    rows.update({"k004990": Unit("h1", "u", "up")})
    rows.run()
    assert rows.shown[0] == "new"
    assert "k000001" in rows.shown
    assert "k000010" not in rows.shown
    assert "k004990" not in rows.shown
    assert rows.tally == Counter({("error", "bad"): 500})


def test_a_new_filter_during_a_long_one_knows_what_came_meanwhile() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(5000))
    rows.run()
    rows.set_filter("state:bad")
    rows.update({"new": Unit("a", "a", "up")})
    rows.set_filter("state:up")
    rows.run()
    assert rows.shown[0] == "new"


def test_the_filter_says_what_it_hides() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(20))
    rows.set_filter("u000003")
    assert rows.summary() == "1 of 20 units · 1 up · /u000003 hides 19 (2 error)"


def test_groups_roll_up_fold_and_are_marked_whole() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(20))
    rows.set_group("host")
    assert [group.value for group in rows.groups.values()] == [f"h{n}" for n in range(7)]
    first = rows.groups[rows.shown[0]]
    assert first.tally.words() == "1 error 2 up"
    assert first.tally.worst() == ("error", "bad")
    rows.fold(first.heading, True)
    assert rows.shown[:2] == [HEADING + "h0", HEADING + "h1"]
    assert rows.heading_of(first.keys[0]) == first.heading
    rows.marking.toggle(first.heading)
    assert rows.marks == set(first.keys)
    assert "3 marked" in rows.summary()
    assert "by host: 7 (1 folded)" in rows.summary()
    rows.marking.toggle(first.heading)
    assert not rows.marks


def test_a_range_follows_and_gives_back_what_it_leaves() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(7))
    order = rows.shown
    rows.marking.toggle(order[3])
    rows.marking.start_range(order[1])
    rows.marking.move_range(order[4])
    assert rows.marks == set(order[1:5])
    rows.marking.move_range(order[0])
    assert rows.marks == {*order[:2], order[3]}
    rows.marking.cancel_range()
    assert rows.marks == {order[3]}
    rows.marking.start_range(order[5])
    rows.marking.end_range()
    rows.marking.move_range(order[0])
    assert rows.marks == {order[3], order[5]}


def test_what_is_frozen_stays_and_catches_up() -> None:
    rows: Rows[Unit] = Rows(SPEC)
    rows.replace(units(5))
    rows.freeze(10.0)
    assert rows.update({"k000000": Unit("h0", "u", "off")}, ["k000001"]).order is False
    assert rows.records["k000000"].state == "bad"
    assert len(rows.shown) == 5
    change = rows.thaw()
    assert change.order
    assert rows.records["k000000"].state == "off"
    assert len(rows.shown) == 4
    assert change.before["k000000"].state == "bad"
