"""The command line without a terminal: what lines mean, what completes them, what is kept of them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from screens.shell.commands import Call, Go, Own, Wrong, complete, parse
from screens.shell.history import KEPT, History

MODES = ("services", "hosts")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("q", Own("q")),
        (" quit ", Own("q")),
        ("help", Own("help")),
        ("theme light", Own("theme", "light")),
        ("services", Go("services", None)),
        ("svc nginx @prod", Go("services", "nginx @prod")),
        ('svc host:"a b"', Go("services", 'host:"a b"')),
        ("services nginx", Go("services", "nginx")),
        ("services restart nginx --host web1", Call("services.restart", {"host": "web1", "name": "nginx"})),
        ("services reset-failed --host web1 --name x", Call("services.reset_failed", {"host": "web1", "name": "x"})),
        ("environments list", Call("environments.list", {})),
    ],
)
def test_lines_mean(line: str, command: object) -> None:
    assert parse(line, MODES) == command


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "tab completes"),
        ("servces", "did you mean services"),
        ("hlep", "did you mean help"),
        ("services restrat nginx", "did you mean services restart?; svc restrat nginx filters"),
        ("enviroments list", "did you mean environments list"),
        ("access users", "which operation? access users"),
        ("theme lihgt", "did you mean light"),
        ("theme", "theme takes one of auto"),
        ("services restart 'web1", "a quotation mark is missing"),
        ("services restart --hots web1", "did you mean --host"),
        ("services restart web1 nginx --confirm yes", "the plan asks for it"),
        ("services restart --as root web1 nginx", "the console acts as whoever started it"),
        ("services list --input -", "words and options only"),
        ("xyzzy", "nothing is called xyzzy"),
    ],
)
def test_what_means_nothing_is_said_with_what_is_near(line: str, said: str) -> None:
    with pytest.raises(Wrong) as wrong:
        parse(line, MODES)
    assert said in str(wrong.value)


@pytest.mark.parametrize(
    "line",
    [
        "access credentials create x --secret hunter2",
        "access credentials create x --secret-file /etc/shadow",
        "access credentials create x --secret-stdin",
        "access credentials update x --secret=hunter2",
        "dci users create ann --password hunter2",
    ],
)
def test_secrets_are_refused(line: str) -> None:
    with pytest.raises(Wrong) as wrong:
        parse(line, MODES)
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("", ["environments", "q", "services", "svc", "theme"]),
        ("serv", ["services"]),
        ("services re", ["reload", "reset-failed", "restart"]),
        ("services restart --h", ["--host"]),
        ("theme li", ["light"]),
    ],
)
def test_completion(line: str, some: list[str]) -> None:
    found = complete(line, MODES)
    assert set(some) <= set(found)
    assert all(word.startswith(line.rpartition(" ")[2]) for word in found)


def test_completion_offers_no_secret_and_nothing_that_is_refused() -> None:
    offered = complete("access credentials create --", MODES)
    assert offered
    assert not [word for word in offered if "secret" in word or word in ("--as", "--confirm", "--help", "--input")]
    assert complete("svc x --", MODES) == complete("q ", MODES) == []


def test_history_is_private_bounded_and_clean(tmp_path: Path) -> None:
    path = tmp_path / "home" / "history"
    history = History(path)
    for number in range(KEPT + 5):
        history.add(f"svc {number}")
    history.add("svc 7")
    history.add("svc \x1b]52;c;x\x07y")
    history.add("  ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = History(path)
    assert again.lines == history.lines
    assert len(again.lines) == KEPT
    assert again.lines[-2:] == ["svc 7", "svc y"]
    assert list(path.parent.iterdir()) == [path]


def test_a_history_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "history")
    history.add("q")
    assert "history" in history.problem
    assert history.lines == ["q"]
    (tmp_path / "history").mkdir()
    assert "cannot be read" in History(tmp_path / "history").problem


def test_without_a_home_nothing_is_written() -> None:
    history = History(None)
    history.add("q")
    assert history.lines == ["q"]
