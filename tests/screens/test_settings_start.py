"""What the settings file says of the console itself, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsconsole.engine import locations, settings
from screens.app import _wanted
from screens.shell.themes import NAMES, theme_name


def write(text: str) -> Path:
    home = locations.home()
    home.mkdir(parents=True, exist_ok=True)
    path = home / "settings.toml"
    path.write_text(text)
    return path


def test_theme_and_mouse_are_read_before_the_first_frame() -> None:
    assert _wanted() == ("auto", True, "")
    write('theme = "light"\nmouse = false\nstart = "home"\n')
    assert _wanted() == ("light", False, "home")


def test_wrong_ones_are_named_with_their_line_and_the_default_holds() -> None:
    path = write('# colours\ntheme = "pink"\nmouse = "no"\n')
    notes = settings.load(path).notes
    assert notes[0].startswith(f"{path} line 2: theme: must be one of auto, terminal, dark, light, contrast")
    assert notes[1].startswith(f"{path} line 3: mouse: ")
    assert _wanted() == ("auto", True, "services")
    assert "start: must be one of services, home" in settings.load(write('start = "vpn"\n')).notes[0]
    assert "line 1" in settings.load(write("theme = \n")).notes[0]
    assert _wanted() == ("auto", True, "services")


@pytest.mark.parametrize("name", NAMES)
def test_every_theme_of_the_settings_is_one_of_ours(name: str) -> None:
    assert settings.load(write(f'theme = "{name}"\n')).theme == name
    assert theme_name(name, {}, no_color=False)
    assert theme_name(name, {"COLORFGBG": "0;15"}, no_color=True) == "ansi-light"
    assert theme_name(name, {"COLORFGBG": "15;0"}, no_color=True) == "ansi-dark"
