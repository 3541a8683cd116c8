"""systemd's name rules, checked against systemd-escape where it is installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.systemd_names import (
    escape,
    instance_name,
    is_template,
    split_instance,
    unescape,
    valid_unit_name,
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
_real = pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="systemd-escape is not installed")


@given(_TEXT)
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text


@given(_TEXT)
def test_every_escaped_text_is_a_valid_instance(text: str) -> None:
    escaped = escape(text)
    if len(escaped) < 200:
        name = instance_name("work@.service", escaped)
        assert split_instance(name) == ("work@.service", escaped)


@_real
@settings(max_examples=60, deadline=None)
@given(_TEXT)
def test_escape_is_what_systemd_escape_does(text: str) -> None:
    done = subprocess.run(["systemd-escape", "--", text], capture_output=True, check=True)
    assert escape(text) == done.stdout.decode().removesuffix("\n")


@_real
@pytest.mark.parametrize("text", ["a-b", r"a\x2db", r"\x41\x2f", "plain", "-", r"x\x20y"])
def test_unescape_is_what_systemd_escape_does(text: str) -> None:
    done = subprocess.run(["systemd-escape", "--unescape", "--", text], capture_output=True, check=True)
    assert unescape(text) == done.stdout.decode().removesuffix("\n")


@pytest.mark.parametrize("text", ["a\\", r"a\x2", r"a\xzz", r"a\b"])
def test_what_is_no_escape_stays_as_it_is(text: str) -> None:
    assert unescape(text) == text


@pytest.mark.parametrize(
    "name",
    ["a.service", "work@.service", "work@a.service", "dev-sda.device", r"a@b\x2dc.service", "-.mount", "a.b.c.timer",
     "x" * 247 + ".service", "..service", "a@b@c.service"],
)  # fmt: skip
def test_names_systemd_takes(name: str) -> None:
    assert valid_unit_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "a", ".service", "a.servic", "a.service ", "a b.service", "a/b.service", "a.service\n", "[/x].service",
     "\x1b[31m.service", "@.service", "@a.service", "x" * 248 + ".service", "é.service", "a;b.service", "-H.host",
     "a$(id).service", "a*.service"],
)  # fmt: skip
def test_names_systemd_refuses(name: str) -> None:
    assert not valid_unit_name(name)


def test_templates_and_instances_are_told_apart() -> None:
    assert is_template("work@.service")
    assert not is_template("work@a.service")
    assert not is_template("work.service")
    assert split_instance("work@a.b.service") == ("work@.service", "a.b")
    assert split_instance("work@.service") is None
    assert split_instance("work.service") is None


@pytest.mark.parametrize(
    ("template", "instance"), [("work@.service", ""), ("work@.service", "a b"), ("work.service", "a")]
)
def test_an_instance_name_that_would_not_be_valid(template: str, instance: str) -> None:
    with pytest.raises(ValueError, match="instance"):
        instance_name(template, instance)
