"""A list or a log with its title line and its prompts: what a screen puts in its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from screens.text import Safe, content, join
from screens.widgets.line import Line
from screens.widgets.log import LogView
from screens.widgets.table import VirtualTable

if TYPE_CHECKING:
    from screens.widgets.filter import Prompt

T = TypeVar("T")


class Pane(Vertical):
    """Title, body, and a prompt that is there only while it is used."""

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    Pane > .title { text-style: bold; background: $panel; }
    Pane > .prompt { height: 1; }
    Pane > .prompt > Line { width: auto; }
    """

    def __init__(self, body: Widget, name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.body = body
        self.heading = Safe(name)
        self.note = Safe("")
        self._before = ""

    def compose(self) -> ComposeResult:
        yield Line(classes="title")
        yield self.body

    def summary(self) -> Safe:
        """What the title says after the name."""
        raise NotImplementedError

    def apply(self, purpose: str, text: str) -> None:
        """What was typed into a prompt takes effect."""
        raise NotImplementedError

    def retitle(self) -> None:
        """Write the title again."""
        parts = [part for part in (self.heading, self.note, self.summary()) if part]
        for line in self.query(".title").results(Line):
            line.show(content((join(parts, " · "), "bold")))

    async def ask(self, purpose: str, value: str, hint: str) -> None:
        """Open a prompt; the value comes back by itself when it is left with esc."""
        from screens.widgets.filter import Prompt, label

        if self.query(".prompt"):
            return
        self._before = value
        prompt = Prompt(purpose, value, hint)
        await self.mount(Horizontal(Line(label(purpose)), prompt, classes="prompt"))
        self.query_one(".prompt > Line").styles.width = len(purpose) + 1
        prompt.focus()

    async def on_prompt_typed(self, event: Prompt.Typed) -> None:
        self.apply(event.prompt.purpose, event.text)

    async def on_prompt_left(self, event: Prompt.Left) -> None:
        kept = event.text if event.kept else self._before
        await self.query(".prompt").remove()
        self.apply(event.prompt.purpose, kept)
        self.body.focus()


class ListPane(Pane, Generic[T]):
    """A table with filter and sort."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="list.filter"),
        Binding("o", "sort", "sort by", id="list.sort", show=False),
        Binding("O", "reverse", "reverse the order", id="list.reverse", show=False),
    ]

    def __init__(self, table: VirtualTable[T], name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(table, name, id=id)
        self.table = table

    def summary(self) -> Safe:
        return self.table.rows.summary()

    def apply(self, purpose: str, text: str) -> None:
        self.table.changed(self.table.rows.set_filter(text))

    @on(VirtualTable.Edited)
    def _edited(self) -> None:
        self.retitle()

    async def action_filter(self) -> None:
        await self.ask("/", self.table.rows.filter, "words  !not  column:value  @environment  #tag  ~fuzzy")

    def action_reverse(self) -> None:
        rows = self.table.rows
        self.table.changed(rows.set_sort(rows.sort_column, not rows.reverse))

    def action_sort(self) -> None:
        from screens.widgets.menu import Entry, Menu

        columns = self.table.rows.spec.columns
        entries = [Entry(column.id, "", Safe(column.title.lower())) for column in columns]
        entries.insert(0, Entry("", "", Safe("natural order")))
        self.app.push_screen(Menu(Safe("sort by"), entries), self._sort)

    def _sort(self, column: str | None) -> None:
        if column is not None:
            self.table.changed(self.table.rows.set_sort(column))

    def step_back(self) -> bool:
        """Undo one narrowing: the filter, then the marks; False when there is none."""
        rows = self.table.rows
        if rows.filter:
            self.table.changed(rows.set_filter(""))
        elif rows.marks:
            self.table.action_clear_marks()
        else:
            return False
        return True


class LogPane(Pane):
    """A log with filter and find."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="log.filter"),
        Binding("backslash", "find", "find", id="log.find"),
    ]

    def __init__(self, log: LogView, name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(log, name, id=id)
        self.log_view = log

    def summary(self) -> Safe:
        return self.log_view.summary()

    def apply(self, purpose: str, text: str) -> None:
        if purpose == "/":
            self.log_view.set_filter(text)
        else:
            self.log_view.set_find(text)

    @on(LogView.Edited)
    def _edited(self) -> None:
        self.retitle()

    async def action_filter(self) -> None:
        await self.ask("/", self.log_view.buffer.filter, "words  !not  host:  unit:  level:err")

    async def action_find(self) -> None:
        await self.ask("find", self.log_view.found, "text; n and N go on")

    def step_back(self) -> bool:
        """Drop the filter, then what is looked for; False when there is neither."""
        if self.log_view.buffer.filter:
            self.log_view.set_filter("")
        elif self.log_view.found:
            self.log_view.set_find("")
        else:
            return False
        return True
