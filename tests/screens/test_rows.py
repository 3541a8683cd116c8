"""The view model of tables: filter language, order, marks, and what an update says has changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screens.text import Safe
from screens.widgets.layout import lay_out
from screens.widgets.query import Subject, matcher, parse
from screens.widgets.rows import Cell, Column, Rows, Spec


@dataclass(frozen=True)
class Thing:
    host: str
    name: str
    size: int = 0
    env: str = "lab"
    tags: tuple[str, ...] = ()


def column(name: str, **more: object) -> Column[Thing]:
    made: Column[Thing] = Column(
        name, name.upper(), lambda t, view: Cell(Safe(getattr(t, name))), lambda t: getattr(t, name)
    )
    return replace(made, **more)  # type: ignore[arg-type]


SUBJECT: Subject[Thing] = Subject(
    words=lambda t: f"{t.host} {t.name}".lower(),
    fields=("host", "name"),
    field=lambda t, name: str(getattr(t, name)).lower(),
    environments=lambda t: (t.env, "prod" if t.env == "live" else "dev"),
    tags=lambda t: t.tags,
)
SPEC = Spec((column("host"), column("name"), column("size")), SUBJECT, lambda t: (t.host, t.name), "things")
THINGS = {
    "a": Thing("web1", "nginx", 3),
    "b": Thing("web1", "cron", 1, tags=("edge",)),
    "c": Thing("db1", "Postgres", 2, env="live"),
    "d": Thing("db2", "cron", 2, env="live", tags=("edge", "old")),
}


def rows() -> Rows[Thing]:
    made = Rows(SPEC)
    made.replace(THINGS)
    return made


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", "abcd"),
        ("cron", "bd"),
        ("cron web", "b"),
        ("!cron", "ac"),
        ("host:db", "cd"),
        ("!host:db cron", "b"),
        ("POSTGRES", "c"),
        ("@live", "cd"),
        ("@prod", "cd"),
        ("!@live", "ab"),
        ("#edge", "bd"),
        ("#edge !@live", "b"),
        ("~ngx", "a"),
        ("!", "abcd"),
        ("@", "abcd"),
        ('"web1 nginx"', "a"),
        ("nosuch:web", ""),
        ("[/x] \\( *", ""),
    ],
)
def test_filter_language(text: str, keys: str) -> None:
    made = rows()
    made.set_filter(text)
    assert set(made.shown) == set(keys)


@given(st.text(max_size=40))
def test_any_filter_text_means_something(text: str) -> None:
    parse(text, ("host",))
    test = matcher(text, SUBJECT)
    if test is not None:
        test(THINGS["a"])


def test_natural_order_sort_and_reverse() -> None:
    made = rows()
    assert made.shown == ["c", "d", "b", "a"]
    made.set_sort("size")
    assert made.shown == ["b", "c", "d", "a"]
    made.set_sort("size", reverse=True)
    assert made.shown[0] == "a"
    made.set_sort("nosuch")
    assert made.shown == ["c", "d", "b", "a"]


def test_update_sorts_only_when_a_place_changes() -> None:
    made = rows()
    change = made.update({"a": replace(THINGS["a"], size=9)})
    assert (change.order, change.keys) == (False, frozenset("a"))
    assert made.version("a") == 1
    assert made.update({"a": replace(THINGS["a"], size=9)}).keys == frozenset()
    assert made.update({"a": replace(THINGS["a"], host="aaa")}).order
    assert made.shown[0] == "a"
    assert made.update({}, ["a"]).order
    assert "a" not in made.shown
    made.set_filter("cron")
    assert made.update({"c": replace(THINGS["c"], name="cron")}).order
    assert "c" in made.shown


def test_marks_survive_a_refresh_and_hidden_ones_are_counted() -> None:
    made = rows()
    made.marking.toggle("a")
    made.set_filter("cron")
    made.marking.mark_shown()
    assert made.marked() == ["d", "b", "a"]
    assert made.summary() == "2 of 4 things · 3 marked (1 hidden by filter) · /cron hides 2"
    made.marking.toggle("b")
    made.replace({key: THINGS[key] for key in "abc"})
    assert made.marks == {"a"}
    made.set_only("small only", lambda thing: thing.size < 2)
    assert made.summary() == "1 of 3 things · 1 marked (1 hidden by filter) · small only /cron hides 2"


def test_positions_follow_the_list() -> None:
    made = rows()
    assert made.position("a") == 3
    made.set_filter("nginx")
    assert (made.position("a"), made.position("b"), made.position(None)) == (0, None, None)


def test_columns_are_dropped_by_the_room_there_is() -> None:
    columns = (column("host"), column("name", stretch=True, minimum=8), column("size", above=100))
    assert [index for index, _ in lay_out(columns, [6, 30, 4], 80)] == [0, 1]
    assert [index for index, _ in lay_out(columns, [6, 30, 4], 120)] == [0, 1, 2]
    wide = dict(lay_out(columns, [6, 30, 4], 120))
    assert sum(wide.values()) + 2 == 120
    narrow = dict(lay_out(columns, [6, 30, 4], 20))
    assert narrow == {0: 6, 1: 13}


@given(st.integers(20, 200), st.lists(st.integers(0, 60), min_size=3, max_size=3))
def test_layout_fits(total: int, natural: list[int]) -> None:
    columns = (column("host", maximum=10), column("name", stretch=True, minimum=5), column("size"))
    laid = lay_out(columns, natural, total)
    assert sum(size for _, size in laid) + len(laid) - 1 <= total
