"""The operator's own keys: every mistake is named with its line and costs one key only."""

from __future__ import annotations

import pytest

from screens.shell.bindings import all_bindings, character_names, load_all
from screens.shell.keymap import Bound, Keymap, read

BOUND = (
    Bound("help.open", ("question_mark", "f1"), "OpsConsole", "app"),
    Bound("services.restart", ("R",), "ServicesScreen", "screen"),
    Bound("services.stop", ("T",), "ServicesScreen", "screen"),
    Bound("journal.reload", ("ctrl+r",), "JournalScreen", "screen"),
    Bound("table.down", ("down", "j"), "VirtualTable", "widget"),
    Bound("detail.down", ("j",), "DetailPane", "pane"),
    Bound("plan.confirm", ("enter",), "PlanPane", "modal"),
    Bound("screen.back", ("escape",), "ConsoleScreen", "screen"),
)


def keymap(text: str) -> Keymap:
    return read(text, "keymap.toml", BOUND, character_names())


def test_good_lines_are_taken_in_both_spellings() -> None:
    found = keymap('[keys]\n"services.restart" = "ctrl+t, F5"\ntable.down = "n,?"\nhelp.open = "f2"\n')
    assert found.notes == ()
    assert found.keys == {
        "services.restart": "ctrl+t,f5",
        "table.down": "n,question_mark",
        "help.open": "f2",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('services.restrat = "x"', "no such id; did you mean services.restart"),
        ('services.restart = "esc"', "esc keeps its meaning"),
        ('services.restart = "ctrl+c"', "ctrl+c keeps its meaning"),
        ('services.restart = "ctrl+i"', "ctrl+i is tab to a terminal"),
        ('services.restart = "hyper+x"', "'hyper+x' is no key"),
        ('services.restart = "xx"', "'xx' is no key"),
        ('services.restart = ""', "must be a text of keys"),
        ("services.restart = 5", "must be a text of keys"),
        ('screen.back = "x"', "esc and ctrl+c keep their meaning"),
        ('services.restart = "T"', "T is already services.stop"),
        ('services.restart = "f1"', "f1 is already help.open"),
        ('table.down = "R"', "R is already services.restart"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_hold(line: str, said: str) -> None:
    found = keymap(f'# mine\n[keys]\nplan.confirm = "f9"\n\n{line}\n')
    assert found.keys == {"plan.confirm": "f9"}
    assert len(found.notes) == 1
    assert found.notes[0].startswith("keymap.toml line 5: ")
    assert said in found.notes[0]


def test_two_ids_on_one_key_name_both_lines() -> None:
    found = keymap('[keys]\nservices.restart = "x"\nservices.stop = "x"\n')
    assert found.keys == {"services.restart": "x"}
    assert found.notes == (
        "keymap.toml line 3: services.stop: x is already services.restart (line 2); the default is used",
    )


def test_a_default_that_is_taken_back_may_clash_with_what_was_taken() -> None:
    """restart wants stop's key, stop's own line is wrong and so stop keeps it: both lines are said."""
    found = keymap('[keys]\nservices.restart = "T"\nservices.stop = "f1"\n')
    assert found.keys == {}
    assert [note.partition(":")[0] for note in found.notes] == ["keymap.toml line 3", "keymap.toml line 2"]


def test_swapped_keys_are_no_clash() -> None:
    found = keymap('[keys]\nservices.restart = "T"\nservices.stop = "R"\n')
    assert found.notes == ()
    assert found.keys == {"services.restart": "T", "services.stop": "R"}


def test_the_same_key_on_two_screens_or_in_a_dialog_is_no_clash() -> None:
    found = keymap('[keys]\nservices.restart = "ctrl+r"\nplan.confirm = "question_mark"\n')
    assert found.notes == ()


def test_broken_toml_and_other_tables_are_said() -> None:
    assert keymap("[keys\n").notes[0].startswith("keymap.toml: ")
    assert "line 1" in keymap("[keys\n").notes[0]
    assert keymap("[colours]\nred = 1\n").notes == (
        "keymap.toml line 1: colours: not known here; keys stand under [keys]",
    )


def test_the_real_bindings_can_be_listed_and_moved() -> None:
    load_all()
    bound = list(all_bindings())
    by_id = {binding.id: binding for binding in bound}
    assert len(by_id) == len(bound) > 60
    assert by_id["table.down"].kind == "widget"
    assert by_id["help.open"].keys == ("question_mark", "f1")
    everything = "".join(f'"{binding.id}" = "f{number % 12 + 13}"\n' for number, binding in enumerate(bound))
    assert read("[keys]\n" + everything, "k", bound, character_names()).keys
