"""What was given, in two parts, and whole again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from pydantic import SecretStr

from opsconsole.engine.given import bound, split, whole
from opsconsole.engine.registry import Input


class Leaf(Input):
    name: str = "x"
    pin: SecretStr | None = None
    token: str | None = None


class Tree(Input):
    title: str = "t"
    password: SecretStr | None = None
    passphrase: str | None = None
    leaves: list[Leaf] = []
    by_number: dict[int, str] = {}
    by_name: dict[str, Leaf] = {}
    at: datetime | None = None


LEAF = st.fixed_dictionaries(
    {}, optional={"name": st.text(max_size=5), "pin": st.text(max_size=5), "token": st.none() | st.text(max_size=5)}
)
TREE = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=5),
        "password": st.text(max_size=8),
        "passphrase": st.text(max_size=8),
        "leaves": st.lists(LEAF, max_size=3),
        "by_number": st.dictionaries(st.integers(0, 9), st.text(max_size=3), max_size=3),
        "by_name": st.dictionaries(st.text(min_size=1, max_size=3), LEAF, max_size=3),
    },
)


@drawn(TREE)
def test_nothing_is_lost_and_nothing_shown(data: dict[str, Any]) -> None:
    model = Tree.model_validate(data)
    parts = split(model)
    again = Tree.model_validate(whole(parts.shown, parts.packed() if parts.secrets else None))
    assert again == model
    assert again.model_fields_set == model.model_fields_set
    assert bound(b"k" * 32, "x.y", again) == bound(b"k" * 32, "x.y", model)
    # The same input with other secrets looks the same.
    for path, _ in parts.secrets:
        place: Any = parts.shown
        for step in path:
            place = place[step]
        assert place == "***"


def test_the_seal_tells_apart_what_differs() -> None:
    key = b"k" * 32
    base = Tree(password=SecretStr("a"))
    others = [Tree(password=SecretStr("b")), Tree(), Tree(password=SecretStr("a"), title="t"), Tree(passphrase="a")]
    assert len({bound(key, "x.y", model) for model in (base, *others)}) == 5
    assert bound(key, "x.z", base) != bound(key, "x.y", base)
    assert bound(b"j" * 32, "x.y", base) != bound(key, "x.y", base)


@pytest.mark.parametrize("value", [datetime(2026, 1, 2, tzinfo=UTC)])
def test_a_moment_stays_one(value: datetime) -> None:
    parts = split(Tree(at=value))
    assert parts.secrets == []
    assert Tree.model_validate(whole(parts.shown, None)).at == value
