"""Every error: a code, an exit status, a sentence without holes."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from drivers import errors as driver
from opsconsole.engine import errors
from opsconsole.engine.canonical import dumps
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError


def family(cls: type[ConsoleError]) -> list[type[ConsoleError]]:
    return [found for sub in cls.__subclasses__() if sub.__module__ == errors.__name__ for found in (sub, *family(sub))]


ALL = family(ConsoleError)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_each_has_code_and_status(error: type[ConsoleError]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", error.code)
    assert 1 <= error.exit_status <= 8
    names = re.findall(r"\{(\w+)\}", error.template)
    values: dict[str, Any] = {name: f"<{name}>" for name in names}
    made = error(**values)
    assert "?" not in made.message
    assert "{" not in made.message
    shown = made.as_json()
    assert set(shown) == {"code", "message", "field", "targets", "source_codes", "data"}
    json.loads(dumps(shown))


def test_one_code_has_one_status() -> None:
    statuses = {(error.code, error.exit_status) for error in ALL}
    doubled = [code for code, count in Counter(code for code, _ in statuses).items() if count > 1]
    assert doubled == []


def test_both_languages() -> None:
    error = errors.RequiredFieldMissing(field="name")
    assert error.as_json()["message"] == "name is required"
    assert error.as_json("ru")["message"] == "name: обязательное поле"
    assert errors.StateConflict("my own words").as_json("ru")["message"] == "my own words"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (driver.TimedOut("web", "run it", "no answer"), "host_unreachable"),
        (driver.Unreachable("web", "connect", "refused"), "host_unreachable"),
        (driver.AuthRefused("web", "log in", "no key fits"), "host_unreachable"),
        (driver.Unsupported("web", "list units", "no systemd"), "not_supported"),
        (driver.ProtocolError("web", "read", "nonsense"), "host_agent_call_failed"),
    ],
)
def test_driver_errors_keep_the_host(raised: driver.DriverError, code: str) -> None:
    error = translate(raised)
    assert error.code == code
    assert "web" in error.message


def test_nothing_reaches_a_terminal_raw() -> None:
    hostile = "\x1b]0;x\x07 \x9b31m \u202e \u2066 \u200b \x7f"
    text = dumps(errors.ObjectNotFound(entity="host", id=hostile, hint="").as_json())
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]", text)
    assert hostile in json.loads(text)["message"]
