"""The keys that work here, made from the bindings that are active; and the messages of this session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from screens.frame import ConsoleModal
from screens.text import Safe, content, fit
from screens.widgets.lines import LogLine
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.panes import ListPane
from screens.widgets.status import key_name
from screens.widgets.table import VirtualTable

KEY_CELLS = 22


def help_text(active: Iterable[tuple[str, ActiveBinding]]) -> Content:
    """Keys by where they work, one line per action: what this screen can do first, then what works everywhere, then
    moving about. Greyed: not possible now."""
    sections: dict[tuple[int, str], dict[str, tuple[list[str], str, bool]]] = {}
    for key, bound in active:
        binding = bound.binding
        if binding.system or not binding.description:
            continue
        said = _PLAINER.get(binding.description, binding.tooltip or binding.description)
        section = (3, "among the panes") if binding.description in _PLAINER else _section(bound.node)
        keys, _, _ = sections.setdefault(section, {}).setdefault(binding.action, ([], said, bound.enabled))
        keys.append(key_name(key))
    lines: list[Content] = []
    for (_, title), actions in sorted(sections.items(), key=lambda pair: pair[0]):
        lines.append(content((title, "bold")))
        for keys, description, enabled in actions.values():
            style = "" if enabled else "dim"
            lines.append(
                content(("  " + fit(" ".join(keys), KEY_CELLS), "bold" if enabled else "dim"), (description, style))
            )
    return Content("\n").join(lines)


_PLAINER: Final = {
    "Focus Next": "to the next pane",
    "Focus Previous": "to the pane before",
    "Copy selected text": "copy what the mouse has marked",
}
"""What the library says of its own keys, in our words."""


def _section(node: DOMNode) -> tuple[int, str]:
    """Place and title of the keys of a node."""
    if isinstance(node, Screen):
        return 0, "on this screen"
    if isinstance(node, App):
        return 1, "everywhere"
    if isinstance(node, (VirtualTable, ListPane)):
        return 2, "in the list"
    if isinstance(node, (LogView, LogPane)):
        return 2, "in the text"
    return 4, "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(node).__name__).strip()


class HelpPane(ConsoleModal[None]):
    """`?`: every key of the screen, of the console, and of what has the focus."""

    DEFAULT_CSS = "HelpPane VerticalScroll { height: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,q", "cancel", "close", id="help.close", show=False),
        Binding("down,j", "scroll(1)", "down", id="help.down", show=False),
        Binding("up,k", "scroll(-1)", "up", id="help.up", show=False),
        Binding("pagedown,space", "scroll(10)", "page down", id="help.page_down", show=False),
        Binding("pageup", "scroll(-10)", "page up", id="help.page_up", show=False),
    ]

    def __init__(self, active: Iterable[tuple[str, ActiveBinding]]) -> None:
        super().__init__()
        self._text = help_text(active)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll(can_focus=False, classes="body"):
                yield Static(self._text, markup=False)
            yield Static(content(("space and PgDn show more · esc closes", "dim")), markup=False)

    def action_scroll(self, rows: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)


class MessagesPane(ConsoleModal[None]):
    """`!`: what the console has said in this session, newest at the end."""

    DEFAULT_CSS = "MessagesPane > .dialog { height: 80%; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,exclamation_mark", "cancel", "close", id="messages.close", show=False),
    ]

    def __init__(self, messages: Iterable[LogLine]) -> None:
        super().__init__()
        self._messages = list(messages)
        self._log = LogView(sources=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield LogPane(self._log, Safe("messages"))

    def on_mount(self) -> None:
        self._log.feed(self._messages)
        self._log.flush()
        self._log.focus()
        self.call_after_refresh(self._log.action_wrap)
