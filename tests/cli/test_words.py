"""Words and options made into a request, without running anything."""

from __future__ import annotations

import pytest

from opsconsole.cli import helping, inputs, names, options, words
from opsconsole.cli.options import fields_of, positional
from opsconsole.engine.errors import ConsoleError, InvalidParameter, InvalidRequest

pytestmark = pytest.mark.usefixtures("sampled")


def read(*arguments: str) -> dict[str, object]:
    return words.read_words("sample.echo", list(arguments), inputs.Stdin()).data


def test_the_longest_spelling_wins() -> None:
    assert names.resolve(["sample", "things", "touch", "lamp"]) == ("sample.things.touch", ["lamp"])
    assert names.resolve(["sample", "things"]) is None


def test_required_fields_and_the_leading_name_need_no_option() -> None:
    assert [field.name for field in positional(fields_of("sample.echo"))] == ["name"]
    assert [field.name for field in positional(fields_of("sample.things.touch"))] == ["name"]
    assert [field.name for field in positional(fields_of("sample.secrets.keep"))] == ["name"]


def test_lists_are_repeated_or_json() -> None:
    assert read("a", "--tag", "x", "--tags", '["y", "z"]')["tags"] == ["x", "y", "z"]
    assert read("a", "--item", '{"host": "h", "name": "n"}', "--item", "m")["items"] == [
        {"host": "h", "name": "n"},
        {"name": "m"},
    ]


@pytest.mark.parametrize(
    ("name", "one"),
    [("items", "item"), ("entries", "entry"), ("addresses", "address"), ("ip_address", "ip_address")],
)
def test_a_repeated_option_is_named_for_one(name: str, one: str) -> None:
    assert options._singular(name) == one


def test_flags_can_be_taken_back() -> None:
    assert read("a", "--deep")["deep"] is True
    assert read("a", "--no-deep")["deep"] is False
    assert read("a", "--deep=false")["deep"] is False
    with pytest.raises(InvalidParameter, match="neither true nor false"):
        read("a", "--deep=perhaps")


def test_numbers_below_zero_are_values() -> None:
    assert read("a", "--ratio", "-1.5")["ratio"] == -1.5
    assert read("-3")["name"] == "-3"


def test_after_two_dashes_everything_is_a_word() -> None:
    assert read("--", "--deep") == {"name": "--deep"}


def test_a_reason_field_is_also_the_reason() -> None:
    request = words.read_words("sample.echo", ["a", "--reason", "night"], inputs.Stdin())
    assert (request.reason, request.data["reason"]) == ("night", "night")


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="twice"):
        read("a", "--count", "1", "--count", "2")


@pytest.mark.parametrize("word", ["a\0b", "\udcff"])
def test_no_text_that_is_no_text(word: str) -> None:
    with pytest.raises(InvalidParameter):
        read(word)


@pytest.mark.parametrize("flag", ["--count", "--confirm", "--as", "--input", "--token-file", "--password-file"])
def test_an_option_without_its_value(flag: str) -> None:
    with pytest.raises(InvalidParameter, match="needs a value"):
        read("a", flag)


def test_call_takes_no_options_of_fields() -> None:
    with pytest.raises(InvalidParameter):
        words.read_call(["sample.echo", "--count", "1"], inputs.Stdin())
    with pytest.raises(InvalidRequest):
        words.read_call(["sample.echo", "again"], inputs.Stdin())


def test_secrets_of_a_request_are_known_for_the_log() -> None:
    request = words.read_words("sample.echo", ["a"], inputs.Stdin())
    request.data |= {"password": "p1", "items": [{"passphrase": "p2", "name": "n"}]}
    assert set(request.secrets()) == {"p1", "p2"}


def test_help_at_every_level() -> None:
    assert "sample …" in helping.text_for([])
    assert "sample things touch" in helping.text_for(["sample"])
    text = helping.text_for(["sample", "echo"])
    for part in ("NAME", "--count NUMBER", "--tag TEXT", "--item HOST/NAME", "plain|loud", "--password-stdin"):
        assert part in text
    assert "--password TEXT" not in text
    assert "--confirm" not in text
    assert "--confirm" in helping.text_for(["sample", "things", "destroy"])
    for command in names.COMMANDS:
        assert "usage: opsconsole" in helping.text_for(command.split())
    with pytest.raises(ConsoleError):
        helping.text_for(["nothing"])
