"""Colours: the terminal's own by default, dark, light, or high contrast; and a frame per level of environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.app import App
from textual.theme import Theme

AUTO: Final = "auto"
NAMES: Final = (AUTO, "terminal", "dark", "light", "contrast")
"""What the setting `theme` and `:theme` take."""

_OURS: Final = {"terminal": "ansi-dark", "dark": "textual-dark", "light": "textual-light", "contrast": "contrast"}
_LIGHT_BACKGROUNDS: Final = ("7", "15")

CONTRAST: Final = Theme(
    name="contrast",
    primary="#00e5ff",
    secondary="#ffd400",
    accent="#ff9cff",
    warning="#ffd400",
    error="#ff5f5f",
    success="#4dff4d",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#262626",
    boost="#333333",
    dark=True,
    variables={
        "block-cursor-background": "#ffffff",
        "block-cursor-foreground": "#000000",
        "text-error": "#ff8080",
        "border": "#ffffff",
    },
)

FRAME_CSS: Final = """
.-level-prod Pane > .title { background: $error; color: $foreground; text-style: bold; }
.-level-prod DetailPane { border-left: solid $error; }
.-level-prod.-narrow DetailPane { border-left: none; border-top: solid $error; }
.-level-stage Pane > .title { background: $warning 40%; }
.-level-prod:ansi Pane > .title { background: ansi_red; color: ansi_bright_white; }
.-level-stage:ansi Pane > .title { background: ansi_yellow; color: ansi_black; }
.-level-prod:nocolor Pane > .title { text-style: bold reverse; }
"""
"""The frame in the colour of what is at stake; the header says the same in words."""


def theme_name(name: str, environment: Mapping[str, str], *, no_color: bool) -> str:
    """The library's theme for one of ours.

    `auto` is the terminal's own sixteen colours unless it says it can do all of them (that also halves what goes over
    SSH). Without colour it is always those: the library's other themes would write greys.
    """
    if no_color or name == "terminal":
        return _own(environment)
    if name != AUTO:
        return _OURS[name]
    truecolor = environment.get("COLORTERM", "").lower() in ("truecolor", "24bit")
    return "textual-dark" if truecolor else _own(environment)


def _own(environment: Mapping[str, str]) -> str:
    """The terminal's palette; some terminals say in COLORFGBG that their background is light."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return "ansi-light" if background in _LIGHT_BACKGROUNDS else "ansi-dark"


def register(app: App[int]) -> None:
    """Make our own themes known to the app."""
    app.register_theme(CONTRAST)
