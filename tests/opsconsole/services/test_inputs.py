"""Bad names are refused at the door, by field, and nothing of them reaches the terminal raw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.systemd_names import valid_unit_name
from opsconsole.engine.canonical import dumps
from opsconsole.engine.dispatch import validate
from opsconsole.engine.errors import ConsoleError, InvalidParameter
from opsconsole.engine.registry import REGISTRY, find
from opsconsole.services import actions, journal, reads, watch  # the areas must be declared

AREAS = (actions, journal, reads, watch)
BAD = [
    "a[/x]",
    "a\x1b]52;c;AAAA\x07",
    "a\nb",
    "x" * 300,
    "",
    " ",
    "../../etc/passwd",
    "-rf",
    "a b",
    "é",
    "a;reboot",
    "$(id)",
]


@pytest.mark.parametrize("name", [name for name in BAD if name != "-rf"])
def test_a_bad_name_names_the_field(name: str) -> None:
    for operation in ("services.get", "services.restart"):
        with pytest.raises(ConsoleError) as caught:
            validate(find(operation), {"name": name})
        assert caught.value.exit_status == 2
        assert caught.value.field == "name"


@given(st.text(max_size=400))
def test_only_what_systemd_takes_gets_through(name: str) -> None:
    try:
        given_input = validate(REGISTRY["services.get"], {"name": name})
    except ConsoleError as error:
        text = dumps(error.as_json())
        assert not any(ord(c) < 32 or 0x7F <= ord(c) <= 0x9F for c in text)
        return
    kept = given_input.name  # type: ignore[attr-defined]
    full = kept if kept.endswith(".service") else f"{kept}.service"
    assert valid_unit_name(full) or valid_unit_name(full.replace("@.", "@x."))


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameter) as caught:
        validate(find("services.restart"), {"nmae": "nginx"})
    assert caught.value.field == "nmae"
    assert "name" in caught.value.message


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(InvalidParameter) as caught:
        validate(find("services.stop"), {"items": [{"host": "a", "name": "ok"}, {"host": "a", "name": "n o"}]})
    assert caught.value.field == "items.1.name"
