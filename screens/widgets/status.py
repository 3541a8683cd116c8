"""The bottom line: what the last action said for five seconds, and else the keys that work here."""

from __future__ import annotations

from typing import Final

from textual.binding import ActiveBinding
from textual.content import Content
from textual.timer import Timer

from screens.text import Safe, content, width
from screens.widgets.line import Line
from screens.widgets.roles import CONTENT_STYLES

FLASH_SECONDS: Final = 5.0
_KEYS: Final = {
    "slash": "/",
    "backslash": "\\",
    "question_mark": "?",
    "exclamation_mark": "!",
    "escape": "esc",
    "asterisk": "*",
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
        parts: list[str | tuple[str, str]] = []
        room = self.app.size.width
        for key, active in sorted(shown.values(), key=lambda pair: pair[1].binding.action != "help"):
            name, word = key_name(key), active.binding.description
            room -= width(name) + width(word) + 3
            if room < 0:
                break
            parts += [(name, "bold" if active.enabled else "dim"), (f" {word}  ", "" if active.enabled else "dim")]
        return content(*parts)

    def on_resize(self) -> None:
        self.hints()
