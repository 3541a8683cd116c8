"""Waves are counts, shares and the rest; what makes no sense is refused with its field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconsole.engine.errors import InvalidParameter
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.output import whole


@pytest.mark.parametrize(
    ("waves", "total", "sizes"),
    [
        ((), 7, [7]),
        (("1", "10%", "rest"), 100, [1, 10, 89]),
        (("1", "10%", "rest"), 1, [1]),
        (("1", "10%"), 5, [1, 1, 3]),
        (("50%", "50%"), 3, [2, 1]),
        (("200",), 3, [3]),
        (("rest",), 0, []),
    ],
)
def test_sizes(waves: tuple[str, ...], total: int, sizes: list[int]) -> None:
    assert TaskOptions(waves).sizes(total) == sizes


@given(st.lists(st.sampled_from(["1", "3", "10%", "100%", "50"]), max_size=6), st.integers(0, 500))
def test_every_target_is_in_one_wave(waves: list[str], total: int) -> None:
    sizes = TaskOptions(tuple(waves)).sizes(total)
    assert sum(sizes) == total
    assert 0 not in sizes


@pytest.mark.parametrize("waves", ["0", "-1", "0%", "101%", "some", "", "1,,2", "rest,1", ",".join(["1"] * 21)])
def test_what_is_no_wave(waves: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        TaskOptions.of({"waves": waves or " "})
    assert refused.value.field == "waves"


@pytest.mark.parametrize("given", [{"limit": 0}, {"stop_after": 0}, {"limit": 501}, {"speed": 3}])
def test_what_is_no_option(given: dict[str, int]) -> None:
    with pytest.raises(InvalidParameter) as refused:
        TaskOptions.of(given)
    assert refused.value.field == next(iter(given))


@given(st.text(alphabet="aé€𝄞\n", max_size=40), st.integers(1, 40))
def test_output_is_cut_between_characters(text: str, at: int) -> None:
    data = text.encode()[:at]
    shown = data[: whole(data)]
    shown.decode("utf-8")
    assert len(data) - len(shown) < 4


def test_output_that_is_no_text_is_not_held_back() -> None:
    assert whole(b"\x80\x80\x80\x80\x80") == 5
    assert whole(b"\xff\xfe") >= 1
