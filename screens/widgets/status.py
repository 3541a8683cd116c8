"""The bottom line: what the last action said for five seconds, and else the keys that work here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.app import App
from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer

from screens.text import Safe, clip, content, join, width
from screens.widgets.line import Line
from screens.widgets.roles import CONTENT_STYLES

FLASH_SECONDS: Final = 5.0
CRUMBS_SHARE: Final = 0.45
"""How much of the line the crumbs may take from the keys."""
_KEYS: Final = {
    "slash": "/",
    "backslash": "\\",
    "question_mark": "?",
    "exclamation_mark": "!",
    "escape": "esc",
    "asterisk": "*",
    "colon": ":",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "comma": ",",
    "full_stop": ".",
}


def key_name(key: str) -> str:
    """A key as people write it."""
    return _KEYS.get(key, key)


class StatusLine(Line):
    """Keys come from the bindings that are active now, so they are never wrong."""

    DEFAULT_CSS = "StatusLine { dock: bottom; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._flashing: Timer | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.hints())
        self.hints()

    def flash(self, text: Safe, role: str) -> None:
        """Show a message for five seconds."""
        if self._flashing is not None:
            self._flashing.stop()
        self.show(content((text, CONTENT_STYLES.get(role, ""))))
        self._flashing = self.set_timer(FLASH_SECONDS, self._flashed)

    def _flashed(self) -> None:
        self._flashing = None
        self.hints()

    def hints(self) -> None:
        """Show the keys, unless a message is being shown."""
        if self._flashing is None and self.is_attached:
            self.show(self._keys())

    def _keys(self) -> Content:
        shown: dict[str, tuple[str, ActiveBinding]] = {}
        for key, active in self.screen.active_bindings.items():
            if active.binding.show:
                shown.setdefault(active.binding.action, (key, active))
        crumbs = trimmed(self._crumbs(), int(self.app.size.width * CRUMBS_SHARE))
        parts: list[str | tuple[str, str]] = [(f"{crumbs}  ", "bold $primary")] if crumbs else []
        room = self.app.size.width - (width(crumbs) + 2 if crumbs else 0)
        for key, active in sorted(shown.values(), key=_rank):
            name, word = key_name(key), active.binding.description
            room -= width(name) + width(word) + 3
            if room < 0:
                break
            parts += [(name, "bold" if active.enabled else "dim"), (f" {word}  ", "" if active.enabled else "dim")]
        return content(*parts)

    def _crumbs(self) -> Sequence[Safe]:
        """Where this screen lies; a screen that knows nothing of crumbs has none."""
        where = getattr(self.app, "crumbs", None)
        found: Sequence[Safe] = where(self.screen) if where is not None else ()
        return found

    def on_resize(self) -> None:
        self.hints()


def _rank(pair: tuple[str, ActiveBinding]) -> tuple[int, bool]:
    """Where a narrow line is cut, what a screen is there for stands before what every list and log can; what is not
    possible now stands behind."""
    _, active = pair
    if active.binding.action == "help":
        return 0, False
    if isinstance(active.node, Screen):
        return 2, not active.enabled
    if isinstance(active.node, App):
        return 4, not active.enabled
    return (1 if active.binding.action == "filter" else 3), not active.enabled


def trimmed(crumbs: Sequence[Safe], cells: int) -> Safe:
    """The crumbs in a line of so many cells; where they are too long the first ones go, the last one never."""
    kept = list(crumbs)
    while len(kept) > 1 and width(join(kept, " > ")) + (4 if len(kept) < len(crumbs) else 0) > cells:
        kept.pop(0)
    return clip(join([*([Safe("…")] if len(kept) < len(crumbs) else []), *kept], " > "), cells)
